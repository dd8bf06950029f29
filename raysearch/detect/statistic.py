"""How far a line of each width and extent, centred in each voxel, stands out of the noise."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysearch.detect import sweeps
from raysearch.detect.continuum import local_fits
from raysearch.detect.field import Field
from raysearch.detect.filters import EXTENTS, WIDTHS, along, correlation, profile, smooth
from raysearch.detect.noise import spread
from raysearch.detect.regions import region

TINY = np.float32(1e-12)
"""Less weight than this, of the largest, is none."""

AROUND = 3.0
"""Standard deviation, in spaxels, of the surroundings that tell a spaxel's scatter; or twice the filter's, if that is more."""

BOUND = 3.0
"""Outputs are clipped at this many standard deviations where their scatter is measured."""

STRONG = 6.0
"""Standard deviations of usual planes, in one plane and a point source's spaxels, at which a spaxel shows a strong line."""

LIT = 2.5
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

CERTAIN = 3.0
"""A spaxel is too bright where its four neighbours fall short of a point source's by this many standard deviations."""

UNSURE = 0.12
"""Of what the point-spread function and the weights say of a point source's height in its filter, the part not known."""

WHOLE = 5.0
"""The profile of what stands out more, in one plane, is looked at over its whole region too, ..."""

EDGE = 3.0
"""... which is what stands out by this around the peak."""

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
        first = self._factor(self._single[1], 1, everywhere)
        self._single[1] *= first
        self.emission, self.absorption = self._lines(self._single[1]), self._lines(-self._single[1])
        calm = ~(self.emission | self.absorption)
        calm = calm if calm.sum() >= len(calm) / 4 else everywhere
        self._calm = calm
        self._factors = [self._factor(single, index, calm) for index, single in enumerate(self._single)]
        for single, factor in zip(self._single, self._factors, strict=True):
            np.multiply(single, factor, out=single)
        self._factors[1] = self._factors[1] * first
        self._shared = _correlation(self._single[0], self._single[1], calm)
        self._flanks = 2 * _flanks(field.psf_spaxels)
        self._covariance = _covariance(self._single[1], calm)
        self.outputs = []
        self.highest, self.lowest = np.full_like(field.residual, -np.inf), np.full_like(field.residual, np.inf)
        for width in (part * field.lsf_planes for part in WIDTHS):
            ends, weight = np.float32(1) / end_scatter(len(field.good), gap, reach, width), self._spectral_weight(width)
            for index, single in enumerate(self._single):
                output = along(single, width, 1, ends * weight if weight.ndim == 1 else ends)
                if weight.ndim > 1:
                    output *= weight
                factor = self._factor(output, index, calm)
                sweeps.scale(*(_flat(array) for array in (output, factor, self.highest, self.lowest)))
                self.outputs.append(output)

    def _spatial(self) -> list[NDArray[np.float32]]:
        """Return S for each extent; 0 where not good."""
        field = self._field
        unit = np.float32(field.sigma.min())
        scaled: NDArray[np.float32] = unit / field.sigma
        weight = scaled * scaled
        scaled *= field.residual / field.sigma
        found = np.empty((len(EXTENTS), *scaled.shape), dtype=np.float32)
        work = np.empty((2, *scaled.shape), dtype=np.float32)
        for single, extent in zip(found, self.extents, strict=True):
            above, below = smooth(scaled, extent, 1, work[0]), smooth(weight, extent, 2, work[1])
            sweeps.matched(above.ravel(), below.ravel(), field.good.ravel(), TINY, single.ravel())
        return list(found)

    def _spectral_weight(self, width: float) -> NDArray[np.float32]:
        """Return 1 / sqrt(sum(p^2)) over the good planes, of each plane where all spaxels have the same; 0 where not good."""
        good = self._field.good
        if (good == good.any(axis=0)).all():
            return np.asarray(1 / np.sqrt(correlation(len(good), width, 2).sum(axis=1)), dtype=np.float32)
        return np.asarray(good / np.sqrt(np.maximum(along(good.astype(np.float32), width, 2), TINY)))

    def _factor(self, outputs: NDArray[np.float32], index: int, planes: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return 1 / the outputs' scatter around each spaxel in every other one of these planes, shape (1, y, x)."""
        sample = np.flatnonzero(planes)[::2]
        bound = np.float32(BOUND * spread(outputs[sample]))
        variance = np.empty_like(self._live)
        sweeps.clipped_squares(_flat(outputs), sample, bound, variance.ravel())
        local = smooth(variance * self._live, self._around(self.extents[index])) / self._shares[index]
        return np.asarray(self._live / np.sqrt(np.maximum(local, TINY)))

    def _around(self, extent: float) -> float:
        return max(AROUND, 2 * extent)

    def _lines(self, single: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the planes near a strong line, one that is as broad as the instrument makes it and covers much of the field.

        What is usual is the median plane's scatter: strong lines, which have swollen the scatter by which all is divided, have not.
        """
        count = np.maximum(self._field.good.sum(axis=(1, 2)), 1)
        usual = float(np.median(np.sqrt(np.einsum("zij,zij->z", single, single) / count)))
        lit = single > STRONG * min(usual, 1.0)
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

    def sharpness(self, places: NDArray[np.intp], sign: int) -> NDArray[np.float64]:
        """Return by how many standard deviations each peak (plane, y, x) is sharper than the instrument shows anything.

        What is above 0 is an artefact of one plane or one spaxel. Where a line fits into one plane, or a point source into one
        spaxel, nothing is too sharp. `sign` is -1 in the cube turned upside down.
        """
        if not len(places):
            return np.zeros(0)
        steps = np.array([(k, 0, 0) for k in range(-BESIDE, BESIDE + 1)])
        strongest = np.zeros(len(places), dtype=np.float32)
        spikes = np.full(len(places), -np.inf)
        planes = np.zeros(len(places), dtype=np.intp)
        for single in self._single:
            offset = (sign * _gather(single, places, steps[1:-1])).argmax(axis=0) - BESIDE + 1
            around = sign * _gather(single, _shifted(places, offset), steps)
            peak = around[BESIDE]
            better = peak > strongest
            spikes = np.where(better, np.where(peak > SURE, self._spike(around), -np.inf), spikes)
            planes = np.where(better, offset, planes)
            strongest = np.maximum(peak, strongest)
        centred = _shifted(places, planes)
        if _flanks(self._field.lsf_planes) > WITHIN:
            for index in np.flatnonzero((strongest > WHOLE) & (spikes <= 0)):
                spikes[index] = self._whole_spike(places[index], int(centred[index, 0]), sign)
        else:
            spikes[:] = -np.inf
        return np.asarray(np.maximum(spikes, self._one_spaxel(centred, sign)))

    def _whole_spike(self, place: NDArray[np.intp], centre: int, sign: int) -> float:
        """Return by how many standard deviations a spike of plane `centre` fits better than any line, over the peak's whole region.

        A band that a cosmic-ray shower brightens is told from a line by all its spaxels together, when by no single one.
        """
        plane, y, x = place.tolist()
        bright = sign * self.outputs[1][plane]
        lit = region(bright[None], (0, y, x), EDGE)[0]
        total = sign * (self._single[1][:, lit] @ bright[lit])
        around = np.pad(total, BESIDE)[centre : centre + 2 * BESIDE + 1]
        return float(self._spike(around[:, None] / max(spread(total[self._calm]), TINY))[0])

    def _spike(self, around: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return by how many standard deviations a spike of one plane fits better than any line, shape (peaks,).

        `around` has shape (planes, peaks). For the best fits a and b of two profiles, in standard deviations, whose outputs have
        the correlation rho, the error of a^2 - b^2 is 2 sqrt(a^2 + b^2 - 2 rho a b).
        """
        precise = np.linalg.inv(self._covariance)
        templates = _profiles(self._field.lsf_planes)
        power = templates @ precise @ templates.T
        norm = np.sqrt(np.diag(power))
        fits = templates @ precise @ around / norm[:, None]
        best = (fits[1:] ** 2).argmax(axis=0) + 1
        spike, line = fits[0], np.take_along_axis(fits, best[None], axis=0)[0]
        shared = (power[0] / (norm[0] * norm))[best]
        error = 2 * np.sqrt(np.maximum(spike**2 + line**2 - 2 * shared * spike * line, RIDGE))
        return np.asarray(((1 - SURPLUS) * spike**2 - line**2 - DOUBT) / error)

    def _one_spaxel(self, places: NDArray[np.intp], sign: int) -> NDArray[np.float64]:
        """Return by how many standard deviations the brightest spaxel falls off faster than the point-spread function allows.

        To its four neighbours; or to all around, as the point source's filter sees them.
        """
        alone = self._single[0]
        square = np.array([(0, j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)])
        brightest = (sign * _gather(alone, places, square)).argmax(axis=0)
        cross = sign * _gather(alone, places + square[brightest], CROSS)
        beside, least = cross[1:].sum(axis=0), self._flanks * cross[0]
        surely = (least - beside) / math.sqrt(4 + self._flanks**2) - CERTAIN
        return np.maximum(np.where(beside < least / 2, surely, -np.inf), self._narrow(places + square[brightest], sign))

    def _narrow(self, places: NDArray[np.intp], sign: int) -> NDArray[np.float64]:
        """Return by how many standard deviations these spaxels stand out more than the point source's filter allows.

        In a point source of amplitude a, S is a k(0) sqrt(w) for the spaxel alone and a sqrt(sum(k^2 w)) for the filter, both
        divided by their scatter; what is broader stands higher in the filter still.
        """
        alone, filtered = (sign * _gather(single, places, CROSS[:1])[0] for single in self._single[:2])
        surely = np.full(len(places), -np.inf)
        seen = np.flatnonzero(alone > SURE)
        alone, filtered, y, x = alone[seen], filtered[seen], *places[seen, 1:].T
        ratio = self._gain(places[seen]) * self._factors[1][0, y, x] / np.maximum(self._factors[0][0, y, x], TINY)
        noise = np.maximum(ratio**2 + 1 - 2 * ratio * self._shared, RIDGE)
        surely[seen] = (ratio * alone - filtered) / np.sqrt(noise + (UNSURE * ratio * alone) ** 2) - CERTAIN
        return surely

    def _gain(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return sqrt(sum(k^2 w)) / (k(0) sqrt(w)) for a point source k at these places, at most that of the same w everywhere."""
        reach = math.ceil(3 * self._field.psf_spaxels)
        bell = profile(self._field.psf_spaxels, reach)
        steps = np.array([(0, j, i) for j in range(-reach, reach + 1) for i in range(-reach, reach + 1)])
        sigma = _gather(self._field.sigma, places, steps)
        known = np.isfinite(sigma) & (sigma > 0)
        middle = len(steps) // 2
        own = np.where(known[middle], sigma[middle], 0)
        weight = np.where(known, own / np.where(known, sigma, 1), 0) ** 2
        power = (np.outer(bell, bell).ravel() ** 2) @ weight
        return np.asarray(np.minimum(np.sqrt(power), bell @ bell) / bell.max() ** 2)


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


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, y, x) as (n, spaxels), or (1, y, x) as (spaxels,), the same memory."""
    return values.reshape(len(values), -1) if len(values) > 1 else values.reshape(-1)


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
    sums = np.empty((size, single[0].size), dtype=np.float32)
    sweeps.lagged(_flat(single), planes, calm, np.float32(BOUND), sums)
    products = sums.sum(axis=1, dtype=np.float64)
    for lag in range(1, size):
        pairs = np.count_nonzero(calm[planes[planes + lag < len(single)] + lag])
        lags[lag] = products[lag] / (products[0] or 1.0) * len(planes) / max(1, pairs)
    covariance = lags[np.abs(np.arange(size)[:, None] - np.arange(size))]
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, RIDGE)) @ vectors.T)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32], calm: NDArray[np.bool_]) -> float:
    """Return the correlation of two filters' outputs, told by every fourth of the line-free planes."""
    planes = np.flatnonzero(calm)[::4]
    one, other = (np.clip(single[planes], -BOUND, BOUND).ravel() for single in (first, second))
    return float(one @ other) / (math.sqrt(float(one @ one) * float(other @ other)) or 1.0)


def _shifted(places: NDArray[np.intp], planes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the places moved by these numbers of planes."""
    return np.column_stack([places[:, 0] + planes, places[:, 1:]])


def _gather(values: NDArray[np.float32], places: NDArray[np.intp], steps: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the values at these steps from the places, shape (steps, places); 0 outside."""
    z, y, x = places.T[:, None, :] + steps.T[:, :, None]
    planes, rows, columns = values.shape
    inside = (z >= 0) & (z < planes) & (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    known = values.reshape(-1)[np.where(inside, (z * rows + y) * columns + x, 0)]
    return np.asarray(np.where(inside, known, 0), dtype=np.float32)
