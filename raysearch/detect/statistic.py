"""How far a line of each width and extent, centred in each voxel, stands out of the noise."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysearch.detect.continuum import local_fits
from raysearch.detect.field import Field
from raysearch.detect.filters import EXTENTS, WIDTHS, correlation, profile, smooth
from raysearch.detect.noise import MAD

TINY = np.float32(1e-12)
"""Less weight than this, of the largest, is none."""

AROUND = 3.0
"""Standard deviation, in spaxels, of the surroundings that tell a spaxel's scatter; or twice the filter's, if that is more."""

BOUND = 3.0
"""Outputs are clipped at this many standard deviations where their scatter is measured."""

STRONG = 6.0
"""Standard deviations, in one plane and a point source's spaxels, at which a spaxel shows a strong line."""

LIT = 4.0
"""Areas of the point-spread function, 4 pi sigma^2 each, that a strong line covers at least: more than single artefacts do."""

SURE = 4.0
"""The profile of what stands out less, in one plane, is not looked at."""

WITHIN = 0.05
"""A line whose neighbours hold less than this part of its brightest plane, at least, fits into one plane."""

DOUBT, SURPLUS = 0.5, 0.02
"""A peak is a spike of one plane where that explains more chi^2, by more than the first and this part of it, than any line does."""

BESIDE = 2
"""Planes on each side of a peak that tell its profile."""

RIDGE = 0.05
"""Added to the covariance of noise from plane to plane, and its least eigenvalue: what is not known of it."""

BLOCK = 32
"""Planes that are filtered at once."""

CERTAIN = 3.0
"""A spaxel is too bright where its four neighbours fall short of a point source's by this many standard deviations."""

CROSS = np.array([(0, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)])
"""Steps (plane, y, x) to a spaxel and its four neighbours."""


class Statistic:
    """The outputs of all filters for one field, in standard deviations of their own noise.

    On the sky the filter is S = sum(k w r) / sqrt(sum(k^2 w)) for a residual r, its inverse variance w (0 where not good) and a
    point source or broader Gaussian k: the matched filter for noise that differs from spaxel to spaxel (Herenz & Wisotzki 2017,
    A&A 602, A111, equations 4 to 9). Along the spectrum it is T = sum(p S) / sqrt(sum(p^2)) for a line profile p, over the good
    planes. Each output is divided by its scatter around each spaxel, which correlated noise makes differ from 1. All planes count
    alike in that, the searched ones too, so that none is special; those with strong lines do not count.
    """

    outputs: list[NDArray[np.float32]]
    """One for each width and, within it, each extent, of shape (n, y, x); 0 where not good."""
    highest: NDArray[np.float32]
    """The largest of the outputs in each voxel."""
    lowest: NDArray[np.float32]
    """The smallest."""
    emission: NDArray[np.bool_]
    """Planes near a strong emission line, whichever it is, shape (n,)."""
    absorption: NDArray[np.bool_]
    """Those near a strong absorption line."""

    def __init__(self, field: Field, gap: int, reach: int) -> None:
        self._field = field
        self._live = np.any(field.good, axis=0)[None].astype(np.float32)
        self.extents = tuple(extent * field.psf_spaxels for extent in EXTENTS)
        self._shares = [np.maximum(smooth(self._live, self._around(extent)), TINY) for extent in self.extents]
        self._single = self._spatial()
        everywhere = np.ones(len(field.good), dtype=bool)
        self._standardise(self._single[1], 1, everywhere)
        self.emission, self.absorption = self._lines(self._single[1]), self._lines(-self._single[1])
        calm = ~(self.emission | self.absorption)
        calm = calm if calm.sum() >= len(calm) / 4 else everywhere
        for index, single in enumerate(self._single):
            self._standardise(single, index, calm)
        self._flanks = 2 * _flanks(field.psf_spaxels)
        self._covariance = _covariance(self._single[1], calm)
        self.outputs = []
        for width in (part * field.lsf_planes for part in WIDTHS):
            weight = self._spectral_weight(width) / end_scatter(len(field.good), gap, reach, width)[:, None, None]
            for index, single in enumerate(self._single):
                output = _along(single, width, 1)
                output *= weight
                self._standardise(output, index, calm)
                self.outputs.append(output)
        self.highest, self.lowest = self.outputs[0].copy(), self.outputs[0].copy()
        for output in self.outputs[1:]:
            np.maximum(self.highest, output, out=self.highest)
            np.minimum(self.lowest, output, out=self.lowest)

    def _spatial(self) -> list[NDArray[np.float32]]:
        """Return S for each extent; 0 where not good."""
        field = self._field
        unit = np.float32(field.sigma.min())
        scaled: NDArray[np.float32] = unit / field.sigma
        weight = scaled * scaled
        scaled *= field.residual / field.sigma
        found: list[NDArray[np.float32]] = []
        for extent in self.extents:
            below: NDArray[np.float32] = np.maximum(smooth(weight, extent, 2), TINY)
            np.sqrt(below, out=below)
            single = smooth(scaled, extent) / below
            single *= field.good
            found.append(single)
        return found

    def _spectral_weight(self, width: float) -> NDArray[np.float32]:
        """Return 1 / sqrt(sum(p^2)) over the good planes; 0 where not good."""
        good = self._field.good.astype(np.float32)
        if (self._field.good == self._field.good.any(axis=0)).all():
            below = correlation(len(good), width, 2).sum(axis=1)[:, None, None]
        else:
            below = _along(good, width, 2)
        return np.asarray(good / np.sqrt(np.maximum(below, TINY)))

    def _standardise(self, outputs: NDArray[np.float32], index: int, planes: NDArray[np.bool_]) -> None:
        """Divide the outputs, in place, by their scatter around each spaxel in every other one of these planes."""
        sample = outputs[np.flatnonzero(planes)[::2]]
        bound = BOUND * _spread(sample)
        np.clip(sample, -bound, bound, out=sample)
        variance = np.einsum("zij,zij->ij", sample, sample)[None] / np.float32(len(sample))
        local = smooth(variance * self._live, self._around(self.extents[index])) / self._shares[index]
        outputs *= self._live / np.sqrt(np.maximum(local, TINY))

    def _around(self, extent: float) -> float:
        return max(AROUND, 2 * extent)

    def _lines(self, single: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the planes near a strong line, one that is as broad as the instrument makes it and covers much of the field."""
        lit = single > STRONG
        count = lit.sum(axis=(1, 2))
        enough = LIT * 4 * math.pi * self._field.psf_spaxels**2
        least = 0.8 * _flanks(self._field.lsf_planes)
        line = np.zeros(len(single), dtype=bool)
        for plane in np.flatnonzero(count > enough):
            flanks = sum(single[beside][lit[plane]].sum() for beside in (plane - 1, plane + 1) if 0 <= beside < len(single))
            line[plane] = flanks > least * single[plane][lit[plane]].sum()
        reach = math.ceil(2 * WIDTHS[-1] * self._field.lsf_planes)
        near = np.abs(np.arange(len(line))[:, None] - np.flatnonzero(line)) <= reach
        return np.asarray(near.any(axis=1))

    def best(self, plane: int, y: int, x: int) -> int:
        """Return which of the outputs is the largest in this voxel."""
        return int(np.argmax([output[plane, y, x] for output in self.outputs]))

    def too_sharp(self, places: NDArray[np.intp], sign: int) -> NDArray[np.bool_]:
        """Return which peaks (plane, y, x) are artefacts of one plane or one spaxel: sharper than the instrument shows anything.

        Where a line fits into one plane, or a point source into one spaxel, nothing is too sharp. `sign` is -1 in the cube turned
        upside down.
        """
        if not len(places):
            return np.zeros(0, dtype=bool)
        steps = np.array([(k, 0, 0) for k in range(-BESIDE, BESIDE + 1)])
        strongest = np.zeros(len(places), dtype=np.float32)
        spikes = np.zeros(len(places), dtype=bool)
        planes = np.zeros(len(places), dtype=np.intp)
        for single in self._single:
            offset = (sign * _gather(single, places, steps[1:-1])).argmax(axis=0) - BESIDE + 1
            centred = _shifted(places, offset)
            around = sign * _gather(single, centred, steps)
            peak = around[BESIDE]
            better = peak > strongest
            spike = (peak > SURE) & self._spike(around)
            spikes, planes = np.where(better, spike, spikes), np.where(better, offset, planes)
            strongest = np.maximum(peak, strongest)
        spikes &= _flanks(self._field.lsf_planes) > WITHIN
        return np.asarray(spikes | self._one_spaxel(_shifted(places, planes), sign))

    def _spike(self, around: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return where a spike of one plane fits better than any line; `around` has shape (planes, peaks)."""
        precise = np.linalg.inv(self._covariance)
        templates = _profiles(self._field.lsf_planes)
        power = np.einsum("ti,ij,tj->t", templates, precise, templates)
        fits = (templates @ precise @ around) ** 2 / power[:, None]
        return np.asarray((1 - SURPLUS) * fits[0] > fits[1:].max(axis=0) + DOUBT)

    def _one_spaxel(self, places: NDArray[np.intp], sign: int) -> NDArray[np.bool_]:
        """Return at which places the brightest spaxel falls off faster than the point-spread function."""
        alone = self._single[0]
        square = np.array([(0, j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)])
        brightest = (sign * _gather(alone, places, square)).argmax(axis=0)
        cross = sign * _gather(alone, places + square[brightest], CROSS)
        beside, least = cross[1:].sum(axis=0), self._flanks * cross[0]
        return np.asarray((least - beside > CERTAIN * math.sqrt(4 + self._flanks**2)) & (beside < least / 2))


@lru_cache(maxsize=64)
def end_scatter(planes: int, gap: int, reach: int, width: float) -> NDArray[np.float32]:
    """Return the scatter of a spectral filter's output in each plane, in white noise, relative to that in the middle of the window.

    At the ends the continuum is foretold from one side, and less well.
    """
    whole = correlation(planes, width) @ (np.eye(planes, dtype=np.float32) - local_fits(planes, gap, reach))
    scatter = np.sqrt((whole**2).sum(axis=1))
    relative: NDArray[np.float32] = np.maximum(scatter / np.median(scatter), 1).astype(np.float32)
    relative.flags.writeable = False
    return relative


def _along(values: NDArray[np.float32], width: float, power: int) -> NDArray[np.float32]:
    """Return values correlated along the spectrum with a Gaussian of this standard deviation, planes, to this power."""
    n = len(values)
    matrix, flat = correlation(n, width, power), values.reshape(n, -1)
    reach = int(np.count_nonzero(matrix[0]))
    found = np.empty_like(flat)
    for start in range(0, n, BLOCK):  # most of the matrix is 0
        stop = min(n, start + BLOCK)
        used = slice(max(0, start - reach), min(n, stop + reach))
        np.matmul(matrix[start:stop, used], flat[used], out=found[start:stop])
    return found.reshape(values.shape)


def _flanks(sigma: float) -> float:
    """Return what the two pixels beside the peak of a Gaussian hold together at least, in parts of the peak's."""
    parts = profile(sigma, 1)
    return float(2 * parts[0] / parts[1])


@lru_cache(maxsize=64)
def _profiles(sigma: float) -> NDArray[np.float64]:
    """Return a spike of one plane, then lines of this width with their centres all over it, shape (templates, planes)."""
    edges = np.arange(-BESIDE, BESIDE + 2) - 0.5
    lines = []
    for centre in (-0.5, -0.25, 0.0, 0.25, 0.5):
        below = [math.erf((edge - centre) / (sigma * math.sqrt(2))) for edge in edges]
        lines.append(np.diff(below) / 2)
    return np.stack([(np.arange(-BESIDE, BESIDE + 1) == 0).astype(float), *lines])


def _covariance(single: NDArray[np.float32], calm: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the covariance of a spaxel's noise in adjoining planes, in units of its variance, told by line-free planes."""
    size = 2 * BESIDE + 1
    lags = np.zeros(size)
    lags[0] = 1 + RIDGE
    planes = np.flatnonzero(calm)[::3]
    here = np.clip(single[planes], -BOUND, BOUND).ravel()
    variance = float(here @ here) or 1.0
    for lag in range(1, size):
        later = np.minimum(planes + lag, len(single) - 1)
        inside = calm[later] & (later == planes + lag)
        there = np.clip(single[later], -BOUND, BOUND) * inside[:, None, None]
        lags[lag] = float(here @ there.ravel()) / variance * len(planes) / max(1, int(np.count_nonzero(inside)))
    covariance = lags[np.abs(np.arange(size)[:, None] - np.arange(size))]
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, RIDGE)) @ vectors.T)


def _spread(values: NDArray[np.float32]) -> float:
    """Return the standard deviation of these values about 0, told by the median of a sample; zeros are no values."""
    sample = np.abs(values.ravel()[:: max(1, values.size // 8_000)])
    sample = np.sort(sample[sample > 0])
    return MAD * float(sample[len(sample) // 2]) if len(sample) else 1.0


def _shifted(places: NDArray[np.intp], planes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the places moved by these numbers of planes."""
    return np.column_stack([places[:, 0] + planes, places[:, 1:]])


def _gather(values: NDArray[np.float32], places: NDArray[np.intp], steps: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the values at these steps from the places, shape (steps, places); 0 outside."""
    there = places[None, :, :] + steps[:, None, :]
    inside = np.all((there >= 0) & (there < values.shape), axis=2)[..., None]
    known: NDArray[np.float32] = values[tuple(np.moveaxis(np.where(inside, there, 0), 2, 0))]
    return np.asarray(known * inside[..., 0], dtype=np.float32)
