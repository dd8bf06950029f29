"""What stands beside a cube's science image: errors, flags and weights by whatever name, and facts in the primary header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.read.fits import CARD, Hdu, Header

ROLES: Mapping[str, tuple[str, ...]] = {
    "ERR": ("ERR", "ERROR", "UNCERT", "STAT", "VAR", "VARIANCE"),
    "DQ": ("DQ", "FLAGS", "MASK"),
    "WMAP": ("WMAP", "EXPOSURE_MAP", "COVERAGE", "NHITS"),
}
"""Names of the extensions that play each role: JWST; SOFIA (ERROR, EXPOSURE_MAP), MUSE (STAT), Herschel (COVERAGE), SPHEREx mosaics
(FLAGS, NHITS) and others. An extension that begins with UNCERT is one of errors too. Any other role is the extension's own name."""

VARIANCES = ("STAT", "VAR", "VARIANCE")
"""Of the errors, those that are squares."""

IDENTIFYING = frozenset(
    {
        *("TELESCOP", "INSTRUME", "CHANNEL", "BAND", "GRATING", "FILTER", "DETECTOR", "DETCHAN", "RESOLUN", "SPECRES", "PIXSCAL"),
        *("OBJECT", "TARGNAME", "BUNIT", "BMAJ", "BMIN", "BPA"),
        *("RESTFRQ", "RESTFREQ", "RESTWAV", "SPECSYS", "VELOSYS", "VELREF"),
    }
)
"""Keywords of the primary header that hold for the science image too, where its own header does not say otherwise."""


def plays(role: str, hdu: Hdu, science: Hdu) -> bool:
    """Return whether an extension plays a role: it has a name of it, and the science image's shape; flags are integers."""
    if hdu.kind != "IMAGE" or hdu.cube_shape != science.cube_shape or (role == "DQ" and hdu.bitpix < 0):
        return False
    return hdu.name in ROLES.get(role, (role,)) or (role == "ERR" and hdu.name.startswith("UNCERT"))


def as_role(role: str, name: str, planes: NDArray[Any]) -> NDArray[Any]:
    """Return an extension's planes as its role has them: errors are standard deviations, and NaN where a variance is negative."""
    if role != "ERR" or name not in VARIANCES:
        return planes
    with np.errstate(invalid="ignore"):
        errors: NDArray[Any] = np.sqrt(planes)
    errors.setflags(write=False)
    return errors


def identified(science: Header, primary: Header) -> Header:
    """Return the science header, before it the primary header's identifying cards that it lacks."""
    if science is primary:
        return science
    cards = [primary.text[at : at + CARD] for at in range(0, len(primary.text), CARD)]
    kept = [card for card in cards if (keyword := card[:8].rstrip()) in IDENTIFYING and keyword not in science]
    return Header("".join(kept) + science.text) if kept else science
