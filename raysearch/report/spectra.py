"""Spectra of sources: one tidy table of all photometry, a row for each source, image and aperture."""

from __future__ import annotations

import pyarrow as pa

from raysearch.errors import TableError
from raysearch.report.columns import describe

COLUMNS = (
    *("source", "ra", "dec", "method", "aperture_px", "band", "central_wavelength_um", "bandwidth_um", "mjd"),
    *("flux_ujy", "flux_err_ujy", "ab_mag", "ab_mag_err", "background", "aperture_correction", "good_fraction"),
    *("n_pixels", "n_bad", "n_nan", "flags", "chi2_dof", "neighbours", "note", "x", "y", "obs_id", "uri", "config_hash"),
)
"""In this order."""

ORDER = ("source", "central_wavelength_um", "mjd", "obs_id", "method", "aperture_px")
"""What the rows are sorted by: each spectrum runs from short to long wavelengths."""


def spectra_table(candidates: pa.Table) -> pa.Table:
    """Return the records of the detector `photometry` as spectra: sorted, each column with its unit and description as metadata.

    The targets of photometry are the sources.

    Raises
    ------
    TableError
        The table lacks a column: its records are another detector's.
    """
    candidates = candidates.rename_columns(["source" if name == "target" else name for name in candidates.column_names])
    lacking = [name for name in COLUMNS if name not in candidates.column_names]
    if lacking:
        raise TableError(f"no table of photometry: it lacks {', '.join(lacking)}; spectra are made of the detector `photometry`")
    table = candidates.select(COLUMNS).sort_by([(name, "ascending") for name in ORDER])
    return table.cast(pa.schema([_told(field) for field in table.schema]))


def _told(field: pa.Field) -> pa.Field:
    """Return the field with what is known of it."""
    known = describe(field.name, "spectra")
    told = {"description": known.description, "unit": known.unit, "ucd": known.ucd}
    return field.with_metadata({key: text for key, text in told.items() if text})
