"""The figure of docs/spectra.md: the bias and the pulls of every scene, and the spectrum of a source."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raysearch.detect.photometry import Photometry
from raysearch.errors import NothingToSearch
from raysearch.model import Pixels
from raysearch.plot.spectra import spectrum
from raysearch.testing.fields import Field
from raysearch.testing.spherex_boxes import boxes
from raysearch.testing.spherex_optics import Optics
from raysearch.testing.spherex_spec import PIXEL_ARCSEC, FrameSpec, PointSource

MARKS = "os^Dv<>P"
SOURCE = PointSource("a", 150.0, 20.0, 800.0, index=1.0)
"""Its flux density goes with the wavelength."""


def figure(rows: list[dict], path: Path) -> None:
    """Write the figure: `rows` has for each scene, flux and method what the benchmark's table has."""
    whole = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(whole)
    axes = whole.subplot_mosaic([["bias", "pulls"], ["spectrum", "spectrum"]])
    fitted = [row for row in rows if row["method"] == "psf"]
    _bias(axes["bias"], fitted)
    _pulls(axes["pulls"], fitted)
    last = spectrum(observed(), axes["spectrum"])
    wave = np.linspace(0.7, 5.0, 50)
    last.plot(wave, SOURCE.flux_ujy * (wave / SOURCE.at_um) ** SOURCE.index, color="0.5", lw=0.8, zorder=0)
    last.set_title("one source on 120 images of all six detectors; the line is the truth", fontsize=9)
    whole.savefig(path, dpi=110)


def _bias(ax: Axes, rows: list[dict]) -> None:
    for mark, name in zip(MARKS, dict.fromkeys(row["scene"] for row in rows), strict=False):
        of = [row for row in rows if row["scene"] == name]
        places = np.array([row["flux"] for row in of]) * 1.04 ** (MARKS.index(mark) - 3.5)
        bias, error = (100 * np.array([row[key] for row in of]) for key in ("bias", "bias_err"))
        ax.errorbar(places, bias, error, fmt=mark, ms=4, lw=0.8, label=name)
    ax.axhspan(-1, 1, color="0.9", zorder=0)
    ax.set(xscale="log", xlabel="flux density (µJy)", ylabel="bias of the PSF's flux (%)", ylim=(-3, 3))
    ax.legend(fontsize=7, ncols=2, frameon=False)


def _pulls(ax: Axes, rows: list[dict]) -> None:
    for mark, name in zip(MARKS, dict.fromkeys(row["scene"] for row in rows), strict=False):
        of = [row for row in rows if row["scene"] == name]
        ax.plot([row["flux"] for row in of], [row["spread"] for row in of], mark, ms=4, label=name)
    ax.axhspan(0.9, 1.1, color="0.9", zorder=0)
    ax.set(xscale="log", xlabel="flux density (µJy)", ylabel="standard deviation of the pulls", ylim=(0.8, 1.5))


def observed() -> pa.Table:
    """Return the photometry of the source on 20 images of each detector, which hold it at different places."""
    rng, rows = np.random.default_rng(4), []
    for number in range(20):
        for detector in range(1, 7):
            field = Field(150.0, 20.0, 120, 120, PIXEL_ARCSEC, 30.0)
            ra, dec = Optics(field, detector).sky(*rng.uniform(20, 100, 2))
            spec = FrameSpec(number, detector, field, bad=1.0, sources=(replace(SOURCE, ra=float(ra), dec=float(dec)),))
            image, _ = boxes(spec)
            with suppress(NothingToSearch):  # it fell on bad pixels
                found = Photometry().detect(Pixels("o", "u", images=(image,)))
                rows += [{**one.values, "ra": SOURCE.ra, "dec": SOURCE.dec} for one in found]
    return pa.Table.from_pylist(rows)
