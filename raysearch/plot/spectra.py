"""The spectrum of a source, as photometry of many images gives it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes

from raysearch.plot.style import BLUE, ORANGE


def spectrum(table: pa.Table, ax: Axes) -> Axes:
    """Return the axes with a source's flux densities over wavelength: errors upright, bandwidths across.

    Measurements by the PSF are drawn, or where there are none those in the smallest aperture. Those for which some of the source's
    light (1 % or more) fell on bad pixels are open; without a PSF, those with any bad pixel.

    Parameters
    ----------
    table
        Rows of one source of a table of spectra.
    ax
        Empty axes.

    Raises
    ------
    ValueError
        The table holds more than one source.
    """
    if len(table["ra"].unique()) > 1 or len(table["dec"].unique()) > 1:
        raise ValueError("a spectrum is of one source: choose its rows")
    rows = drawn(table)
    columns = ("central_wavelength_um", "bandwidth_um", "flux_ujy", "flux_err_ujy", "good_fraction", "n_bad")
    wavelength, width, flux, error, fraction, bad = (rows[name].to_numpy() for name in columns)
    spoiled = np.where(np.isfinite(fraction), fraction < 0.99, bad > 0)
    for of, colour, face, label in ((~spoiled, BLUE, BLUE, "on good pixels"), (spoiled, ORANGE, "none", "partly on bad pixels")):
        if of.any():
            bars = {"xerr": width[of] / 2, "yerr": error[of], "fmt": "o", "ms": 3.5, "lw": 0.8}
            ax.errorbar(wavelength[of], flux[of], color=colour, mfc=face, label=label, **bars)
    if spoiled.any():
        ax.legend(frameon=False, loc="best")
    ax.axhline(0.0, lw=0.6, color="0.5", zorder=0)
    ax.set_xlabel("wavelength (µm)")
    ax.set_ylabel("flux density (µJy)")
    return ax


def drawn(table: pa.Table) -> pa.Table:
    """Return the rows that are drawn of a source: one method's, those with a flux."""
    fitted = table.filter(pc.equal(table["method"], "psf"))
    chosen = fitted if pc.any(pc.is_finite(fitted["flux_ujy"])).as_py() else _smallest(table)
    return chosen.filter(pc.and_(pc.is_finite(chosen["flux_ujy"]), pc.is_finite(chosen["central_wavelength_um"])))


def _smallest(table: pa.Table) -> pa.Table:
    """Return the rows of the smallest aperture."""
    sums = table.filter(pc.equal(table["method"], "aperture"))
    return sums.filter(pc.equal(sums["aperture_px"], pc.min(sums["aperture_px"])))
