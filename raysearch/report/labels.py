"""How columns, units and quality are called on the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

LABELS: Mapping[str, str] = {
    "line": "Line",
    "rest_um": "Rest wavelength",
    "wavelength_um": "Wavelength",
    "snr": "S/N",
    "false_alarm": "False alarms expected",
    "ra": "RA",
    "dec": "Dec",
    "peak_ra": "RA of the peak",
    "peak_dec": "Dec of the peak",
    "fwhm_kms": "Line width (FWHM)",
    "flux_w_m2": "Line flux",
    "velocity_kms": "Velocity",
    "position_err_arcsec": "Error of the position",
    "offset_arcsec": "Distance from the target",
    "direction": "Direction from the target",
    "position_angle": "Position angle",
    "spaxels": "Spaxels",
    "area_arcsec2": "Area",
    "extent_along_arcsec": "Extent along",
    "extent_across_arcsec": "Extent across",
    "extended": "Extended",
    "continuum_mjy_sr": "Continuum",
    "notes": "Notes",
    "mjd": "MJD",
    "n_bad": "Bad pixels",
    "n_nan": "Pixels without data",
    "ab_mag": "AB magnitude",
    "good_fraction": "Good pixels",
    "kind": "Colour",
    "x": "Target's column",
    "y": "Target's row",
    "x0": "Box begins at column",
    "y0": "Box begins at row",
    "nx": "Columns",
    "ny": "Rows",
    "clipped": "Cut by the image's border",
    "flux_a_ujy": "Flux in the first band",
    "flux_b_ujy": "Flux in the second band",
    "band_a": "First band",
    "band_b": "Second band",
    "central_wavelength_a_um": "Wavelength in the first band",
    "central_wavelength_b_um": "Wavelength in the second band",
    "mjd_a": "MJD of the first image",
    "mjd_b": "MJD of the second image",
    "flags_a": "Flags in the first image",
    "flags_b": "Flags in the second image",
    "obs_id_a": "First image",
    "obs_id_b": "Second image",
    "source": "Number in the pair's catalogue",
    "a_px": "Semi-major axis",
    "b_px": "Semi-minor axis",
    "theta_deg": "Angle",
}
"""Of columns whose names alone do not say it well."""

_SIGNIFICANCE = ("snr", "significance", "sigma")
_WHOLE = {
    "deg": "°",
    "um": "µm",
    "arcsec": "″",
    "arcsec2": "arcsec²",
    "uJy": "µJy",
    "byte": "B",
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SUFFIX = re.compile(r"_(?:um|deg|arcsec2?|kms|w_m2|mjy_sr|ujy|px|s)$")


def label_of(column: str) -> str:
    """Return a column's name as the page writes it."""
    if column in LABELS:
        return LABELS[column]
    words = _SUFFIX.sub("", column).replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def unit_text(unit: str | None) -> str:
    """Return a unit as astronomers write it: `W / m2` is `W m⁻²`."""
    if not unit:
        return ""
    if unit in _WHOLE:
        return _WHOLE[unit]
    above, *below = unit.split(" / ")
    parts = [_power(part, 1) for part in above.split()] + [_power(part, -1) for group in below for part in group.split()]
    return "\u202f".join(parts)


def _power(part: str, sign: int) -> str:
    match = re.fullmatch(r"([A-Za-z%]+)\^?(-?\d+)?", part)
    if match is None:
        return part
    power = sign * int(match[2] or 1)
    return _WHOLE.get(match[1], match[1]) + ("" if power == 1 else str(power).translate(_SUPERSCRIPTS))


def significance_of(columns: Sequence[str]) -> str:
    """Return the column that says how sure a candidate is; empty where there is none."""
    return next((name for name in _SIGNIFICANCE if name in columns), "")


def note_heads(record: Mapping[str, Any]) -> list[str]:
    """Return what is odd about a candidate, in a few words each: what the filter for quality offers."""
    text = record.get("notes") or record.get("note") or ""
    heads = [part.partition(":")[0].strip() for part in str(text).split(";")]
    if record.get("n_bad"):
        heads.append("bad pixels")
    if record.get("clipped") and not text:
        heads.append("cut by the image's border")
    return list(dict.fromkeys(head for head in heads if head))
