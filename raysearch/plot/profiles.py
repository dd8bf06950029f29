"""The spectrum of a line's region, with its continuum and fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from raysearch.model import LIGHT_KM_S, Window
from raysearch.plot import style
from raysearch.plot.words import measured, number

REACH = 30
"""Planes shown to each side of the line, at least."""

NARROWEST_KMS = 30.0
"""Full width of the line taken for the continuum's planes where the detector does not measure it."""

FWHM = math.sqrt(8 * math.log(2))


@dataclass(frozen=True, slots=True)
class Profile:
    """A spectrum and what is told of it."""

    wavelength_um: NDArray[np.float64]
    value: NDArray[np.float64]
    """Mean of the region's pixels; NaN without data."""
    continuum: NDArray[np.float64]
    """Straight line through the planes beside the line."""
    fit: NDArray[np.float64] | None
    """Continuum and a Gaussian of the measured centre and width, its height fitted; None where no width was measured."""
    pixels: int

    @classmethod
    def of(cls, record: Mapping[str, Any], window: Window, region: NDArray[np.bool_]) -> Profile:
        """Return the spectrum of a region, bool of shape (y, x), around a record's line."""
        width = record.get("fwhm_kms", math.nan)
        line_um = float(record["wavelength_um"])
        step = float(np.median(np.diff(window.wavelength_um))) if len(window.wavelength_um) > 1 else 1.0
        fwhm_um = (width if math.isfinite(width) else NARROWEST_KMS) / LIGHT_KM_S * line_um
        half = max(REACH, math.ceil(4 * fwhm_um / step))
        at = int(np.abs(window.wavelength_um - line_um).argmin())
        used = slice(max(0, at - half), at + half + 1)
        waves = window.wavelength_um[used]
        value = _mean(window, used, region)
        away = np.abs(waves - line_um) > max(1.5 * fwhm_um, 3 * step)
        told = away & np.isfinite(value)
        terms = np.vander((waves - line_um) / step, 2)
        shape = np.exp(-0.5 * ((waves - line_um) / (fwhm_um / FWHM)) ** 2)
        continuum = terms @ _solved(terms[told], value[told]) if told.sum() >= 2 else np.full(len(waves), np.nan)
        fit = None
        known = np.isfinite(value - continuum)
        if math.isfinite(width) and known.any():
            height = float(shape[known] @ (value - continuum)[known] / (shape[known] @ shape[known]))
            fit = continuum + height * shape
        return cls(waves, value, continuum, fit, int(region.sum()))


def line_spectrum(record: Mapping[str, Any], window: Window, region: NDArray[np.bool_], ax: Axes, *, unit: str = "") -> Axes:
    """Draw the mean spectrum of a candidate's region, with the planes searched, the continuum and the fit; return the axes.

    Parameters
    ----------
    record
        A row of the candidate table.
    window
        The line's.
    region
        Which pixels, shape (y, x).
    unit
        Of the cube's values.
    """
    shown = Profile.of(record, window, region)
    first, stop = (place - window.start for place in window.searched)
    if stop > first:
        planes = np.clip([first, stop - 1], 0, len(window.wavelength_um) - 1)
        ax.axvspan(*window.wavelength_um[planes].tolist(), color=style.SKY, alpha=0.18, linewidth=0)
    ax.plot(shown.wavelength_um, shown.value, color=style.INK, linewidth=1.1, drawstyle="steps-mid")
    ax.plot(shown.wavelength_um, shown.continuum, color=style.BLUE, linewidth=1.4, linestyle=(0, (4, 3)))
    if shown.fit is not None:
        ax.plot(shown.wavelength_um, shown.fit, color=style.RED, linewidth=1.4)
    ax.set_xlim(float(shown.wavelength_um[0]), float(shown.wavelength_um[-1]))
    style.ticks(ax)
    ax.set_xlabel("wavelength (µm)")
    ax.set_ylabel(unit or "value")
    legend = [("continuum", style.BLUE), *([("fit", style.RED)] if shown.fit is not None else [])]
    legend += [("shaded: searched", style.INK)] if stop > first else []
    style.legend(ax, legend)
    return ax


def line_spectrum_alt(record: Mapping[str, Any], window: Window, region: NDArray[np.bool_], unit: str = "") -> str:
    """Return in words what `line_spectrum` shows."""
    shown = Profile.of(record, window, region)
    at = int(np.abs(shown.wavelength_um - record["wavelength_um"]).argmin())
    text = f"Mean spectrum of {shown.pixels} pixels from {shown.wavelength_um[0]:.4f} to {shown.wavelength_um[-1]:.4f} µm"
    text += f"; at the line, {shown.wavelength_um[at]:.4f} µm, {number(float(shown.value[at]))} {unit}".rstrip()
    text += f" above a continuum of {number(float(shown.continuum[at]))}" if math.isfinite(shown.continuum[at]) else ""
    if "velocity_kms" in record:
        text += f"; velocity {measured(record['velocity_kms'], record['velocity_err_kms'], 'km/s')}"
        text += f", full width {measured(record['fwhm_kms'], record['fwhm_err_kms'], 'km/s')}"
    return text + "."


def _mean(window: Window, used: slice, region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of a region in each plane; NaN without data."""
    values = window.sci[used][:, region].astype(np.float64)
    good = np.isfinite(values)
    count = good.sum(axis=1)
    return np.where(count == 0, np.nan, np.where(good, values, 0).sum(axis=1) / np.maximum(count, 1))


def _solved(terms: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of the least squares, told again without what lies 4 median deviations off."""
    solution = np.linalg.lstsq(terms, values, rcond=None)[0]
    apart = np.abs(values - terms @ solution)
    kept = apart <= 6 * max(float(np.median(apart)), 1e-300)
    return np.asarray(np.linalg.lstsq(terms[kept], values[kept], rcond=None)[0] if kept.sum() > 2 else solution)
