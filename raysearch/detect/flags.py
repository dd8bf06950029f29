"""Which pixels of an image are not to be used, by the names that its own header gives to its flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import DetectorError

BAD_FLAGS = (
    "TRANSIENT", "OVERFLOW", "SUR_ERROR", "PHANTOM", "REFERENCE", "NONFUNC", "DICHROIC", "MISSING_DATA", "HOT", "COLD",
    "FULLSAMPLE", "PHANMISS", "NONLINEAR", "PERSIST", "OUTLIER",
)  # fmt: skip
"""Those that the published notebook takes for bad (IRSA, "SPHEREx Source Discovery Tool"). SOURCE, which marks about half of all
pixels, is no defect."""


def bad_mask(plane: NDArray[Any], names: Mapping[str, int], bad: Sequence[str]) -> NDArray[np.bool_]:
    """Return where a plane of flags carries a bad one, in the plane's shape.

    Parameters
    ----------
    plane
        FLAGS: of each pixel the sum of its flags' values.
    names
        Name of a flag -> its value, a power of two, as the file's header has them (`Image.flags`).
    bad
        The names of the bad ones.

    Raises
    ------
    DetectorError
        The file has no flag of that name, and it is none of `BAD_FLAGS`: files of the first release lack some of these.
    """
    unknown = [name for name in bad if name not in names and name not in BAD_FLAGS]
    if unknown:
        known = ", ".join(sorted(names)) or "none"
        raise DetectorError(f"[detector] bad_flags: no flag {', '.join(unknown)} in this image's header: known are {known}")
    bits = sum({names[name] for name in bad if name in names})
    mask: NDArray[np.bool_] = (plane & bits) != 0
    return mask
