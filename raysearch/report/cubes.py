"""The planes around a candidate's line as a FITS cube of its own, their wavelengths in a table (FITS WCS paper III, section 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.model import Pixels, Window
from raysearch.report import tables
from raysearch.report.columns import in_card
from raysearch.report.provenance import creator

if TYPE_CHECKING:
    from astropy.io import fits

TABLE, COLUMN = "WCS-TABLE", "wavelength"
"""As JWST's cubes call them."""
_OF_THE_FILE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|EXTEND|EXTNAME|EXTVER|EXTLEVEL|BSCALE|BZERO|BLANK|DATAM(IN|AX)|CHECKSUM|DATASUM|END"
)
"""Cards that tell how the file's own arrays are laid out."""
_OF_FURTHER_AXES = re.compile(
    r"WCSAXES|(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CNAME|CROTA)[3-9]|(PC|CD)([3-9]_\d|\d_[3-9])|(PS|PV)[3-9]_\d+"
)
_OF_OTHER_WCS = re.compile(
    r"((WCSAXES|WCSNAME|RADESYS|EQUINOX|LONPOLE|LATPOLE)|(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CNAME)\d|(PC|CD|PS|PV)\d_\d+)[A-Z]"
)


def write_cube(pixels: Pixels, window: Window, candidate: Mapping[str, Any], path: Path) -> None:
    """Write a window as a FITS file: its planes along increasing wavelength, by role, and their wavelengths in micrometres, vacuum.

    The extensions are SCI and what else the detector had read (ERR, DQ, WMAP). The sky's coordinates and the unit are those of the
    cube it was cut from; `PLANE0` says where in it the first plane stands, counted from 0.

    Parameters
    ----------
    pixels
        Of the observation.
    window
        One of its windows.
    candidate
        The candidate's row: `obs_id`, `line`, `target`, `config_hash`.
    path
        The file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    told = {
        "OBS_ID": (candidate["obs_id"], "observation"),
        "LINE": (candidate["line"], "line searched"),
        "OBJECT": (candidate["target"], "target"),
        "PLANE0": (window.start, "first plane's place in the whole cube, from 0"),
        "NPLANES": (window.cube_planes, "planes of the whole cube"),
        "CREATOR": (creator(), "software that wrote this file"),
        "CFGHASH": (candidate["config_hash"], "hash of the search"),
    }
    for keyword, (value, comment) in told.items():
        primary.header[keyword] = (in_card(value) if isinstance(value, str) else value, comment)
    primary.header.add_history(f"cut from {in_card(pixels.uri)}")
    sky = _sky(pixels.header)
    images = [
        fits.ImageHDU(_plain(planes), sky if role == "SCI" else _without_unit(sky), name=role)
        for role, planes in window.planes.items()
    ]
    waves = window.wavelength_um
    column = fits.Column(COLUMN, f"{waves.size}D", unit="um", dim=f"(1,{waves.size})", array=waves.reshape(1, waves.size, 1))
    table = fits.BinTableHDU.from_columns([column], name=TABLE)
    with tables.whole(path) as torn:
        fits.HDUList([primary, *images, table]).writeto(torn, checksum=True, overwrite=True)


def _sky(cards: str) -> fits.Header:
    """Return the cube's header without what is told of its file and of its planes, which a table has here."""
    from astropy.io import fits

    whole = fits.Header.fromstring(cards)
    header = fits.Header()
    for card in whole.cards:
        if not any(rule.fullmatch(card.keyword) for rule in (_OF_THE_FILE, _OF_FURTHER_AXES, _OF_OTHER_WCS)):
            header.append(card, bottom=True)
    header["WCSAXES"] = 3
    axis = {"CTYPE3": "WAVE-TAB", "CUNIT3": "um", "CRPIX3": 1.0, "CRVAL3": 1.0, "PS3_0": TABLE, "PS3_1": COLUMN}
    # A matrix of CDi_j replaces CDELTj in all axes (FITS WCS paper I, section 2.1.2).
    axis |= {"CD3_3": 1.0} if "CD1_1" in header else {"CDELT3": 1.0}
    header.update(axis)
    return header


def _without_unit(header: fits.Header) -> fits.Header:
    kept = header.copy()
    kept.remove("BUNIT", ignore_missing=True)
    return kept


def _plain(planes: Any) -> Any:
    """Return the planes as a type that FITS has."""
    return planes.astype("u1") if planes.dtype.kind == "b" else planes
