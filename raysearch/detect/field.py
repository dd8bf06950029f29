"""What passes between the steps of the line detector: a window made ready for the search, and what the search found in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Field:
    """A window without its continuum, its noise known: n planes of y by x spaxels."""

    wavelength_um: NDArray[np.float64]
    """Of each plane, micrometres, increasing, shape (n,)."""
    residual: NDArray[np.float32]
    """Science minus continuum, in the cube's unit, shape (n, y, x); 0 where not `good`."""
    sigma: NDArray[np.float32]
    """Standard deviation of the noise of one voxel, as measured in this cube, shape (n, y, x); infinite where not `good`."""
    good: NDArray[np.bool_]
    """Voxels that may be used, shape (n, y, x)."""
    continuum: NDArray[np.float32]
    """What was taken off, shape (n, y, x)."""
    searched: slice
    """The planes in which the line may lie."""
    lsf_planes: float
    """Standard deviation of the line-spread function at the line, planes (not yet integrated over a plane's width)."""
    psf_spaxels: float
    """Standard deviation of the point-spread function at the line, spaxels."""
    null: NDArray[np.bool_]
    """Planes that hold no searched line, so that they tell what noise looks like, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One connected region in which the search found the line."""

    plane: int
    """Of the peak, counted in the window."""
    y: int
    x: int
    scale: float
    """Standard deviation of the spatial filter in which the peak stands highest, spaxels; 0: unfiltered."""
    snr: float
    """Peak of the matched filter's output, in standard deviations of its noise."""
    false_alarm: float
    """Number of false candidates expected in this window at this S/N or above."""
    spaxels: NDArray[np.bool_]
    """The region on the sky, shape (y, x)."""
