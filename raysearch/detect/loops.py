"""The inner loops of the line detector, compiled: they go over each voxel once where arrays would go over all of them many times.

They work on planes of spaxels, shape (n, spaxels), many spaxels at a time, so that the processor's vectors hold the same plane of
several spaxels. Sums keep their order, so that the same bytes give the same answer. Compiled code is kept beside this file or,
where that is not writable, in the user's cache; where neither is, each process compiles anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float32]
Flags: TypeAlias = NDArray[np.bool_]
Places: TypeAlias = NDArray[np.intp]
Function = TypeVar("Function", bound=Callable[..., Any])

LANES = 128
"""Spaxels at a time: their spectra stay in the processor's nearest memory."""

MAD = np.float32(1.4826)
"""Standard deviation of a normal distribution, in its median absolute deviations."""

NONE, ONE, INFINITE = np.float32(0.0), np.float32(1.0), np.float32(np.inf)


def keep_memory() -> None:
    """Have the C library keep what large arrays leave, where it is glibc, instead of giving it back and fetching it anew.

    It keeps as much as the largest block freed so far, up to 32 MB (mallopt(3), M_MMAP_THRESHOLD); the kernel would have to clear
    each page again for each array, which costs more time than what is computed in it.
    """
    np.empty(31 * 2**20, dtype=np.uint8)


def compiled(function: Function) -> Function:
    """Return the function compiled when it is first called, and kept for later processes."""
    try:
        return cast("Function", numba.njit(function, cache=True, error_model="numpy"))
    except RuntimeError:  # no folder to keep it in
        return cast("Function", numba.njit(function, error_model="numpy"))


def inner(function: Function) -> Function:
    """Return a function that only compiled ones call."""
    options: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast("Function", numba.njit(**options)(function))


class Plan(NamedTuple):
    """How the continuum of n planes is told; it depends on their number alone."""

    cubic: Values
    """Orthonormal polynomials, shape (n, terms)."""
    backwards: Values
    """From every other plane to the parts of these, shape (planes, terms)."""
    knots: Places
    """The first plane and the last but one of those that tell a level, and whether they are sorted by `wide`, shape (knots, 3)."""
    left: Places
    """The knot before each plane, shape (n,)."""
    share: Values
    """How far each plane is on its way to the next knot, shape (n,)."""
    windows: Places
    terms: NDArray[np.float64]
    """What `fitted` needs for the continuum of a plane, told by all planes around it ..."""
    windows_gap: Places
    terms_gap: NDArray[np.float64]
    """... and for its forecast, told by those that are not near."""
    half: Places
    quarter: Places
    wide: Places
    short: Places
    """Networks for every other plane, every fourth, and the two kinds of knots."""


class Clips(NamedTuple):
    """What counts as an outlier; told in `continuum`."""

    trend_rounds: int
    huber: np.float32
    low: float
    rounds: int
    below: np.float32
    above: np.float32


class Work(NamedTuple):
    """Space to work in."""

    planes: Values
    """Shape (6, n, LANES)."""
    sums: NDArray[np.float64]
    """Shape (3, n + 1, LANES)."""
    rows: Values
    """Shape (11, LANES)."""
    good: Flags
    sound: Flags
    """Shape (n, LANES)."""

    @classmethod
    def of(cls, planes: int) -> Work:
        """Return space for so many planes."""
        shape = (planes, LANES)
        sums = np.empty((3, planes + 1, LANES))
        flags = np.zeros((2, *shape), dtype=np.bool_)
        return cls(np.zeros((6, *shape), np.float32), sums, np.zeros((11, LANES), np.float32), flags[0], flags[1])


@lru_cache(maxsize=64)
def network(size: int) -> NDArray[np.intp]:
    """Return the pairs that sort this many values where each pair is put in order in turn, shape (pairs, 2).

    Batcher's merges (Knuth, The Art of Computer Programming 3, section 5.2.2, algorithm M): the same pairs for all spaxels at once.
    """
    pairs = []
    top = 1 << max(0, (size - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(size - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


@compiled
def quantile(
    values: NDArray[np.float32],
    pairs: NDArray[np.intp],
    size: int,
    count: NDArray[np.float32],
    part: float,
    found: NDArray[np.float32],
) -> None:
    """Write this quantile of each spaxel's first `size` planes, of which `count` are finite, to `found`; 0 where none are.

    Sorts `values`, shape (planes, LANES).
    """
    for k in range(len(pairs)):
        first, second = values[pairs[k, 0]], values[pairs[k, 1]]
        for s in range(LANES):
            a, b = first[s], second[s]
            first[s] = a if a < b else b  # noqa: FURB136 (the processor's own minimum)
            second[s] = b if a < b else a  # noqa: FURB136
    for s in range(LANES):
        rank = part * max(count[s] - 1, 0)
        low = int(rank)
        below = values[low, s]
        above = values[min(low + 1, size - 1), s] if rank > low else below
        found[s] = below + np.float32(rank - low) * (above - below) if count[s] > 0 else NONE


@compiled
def fitted(
    values: NDArray[np.float32],
    windows: NDArray[np.intp],
    terms: NDArray[np.float64],
    sums: NDArray[np.float64],
    found: NDArray[np.float32],
) -> None:
    """Write what polynomials around each plane say of it to `found`.

    A polynomial's weights are a polynomial of the same degree in the plane, so that three running sums tell all of them.

    Parameters
    ----------
    values, found
        Shape (n, LANES).
    windows
        Of each plane: the first used and the last but one, and the same of those in between that are not used, shape (n, 4).
    terms
        Of each plane: its place, and the weights' coefficients, shape (n, 4).
    sums
        Space for the running sums, shape (3, n + 1, LANES).
    """
    n = len(values)
    for s in range(LANES):
        sums[0, 0, s] = sums[1, 0, s] = sums[2, 0, s] = 0.0
    for i in range(n):
        t = terms[i, 0]
        for s in range(LANES):
            value = np.float64(values[i, s])
            sums[0, i + 1, s] = sums[0, i, s] + value
            sums[1, i + 1, s] = sums[1, i, s] + t * value
            sums[2, i + 1, s] = sums[2, i, s] + t * t * value
    for i in range(n):
        a, b, c, d = windows[i, 0], windows[i, 1], windows[i, 2], windows[i, 3]
        u, v, w = terms[i, 1], terms[i, 2], terms[i, 3]
        for s in range(LANES):
            level, slope, curve = sums[0, b, s] - sums[0, a, s], sums[1, b, s] - sums[1, a, s], sums[2, b, s] - sums[2, a, s]
            found[i, s] = u * level + v * slope + w * curve
        if d > c:
            for s in range(LANES):
                level, slope, curve = sums[0, d, s] - sums[0, c, s], sums[1, d, s] - sums[1, c, s], sums[2, d, s] - sums[2, c, s]
                found[i, s] -= u * level + v * slope + w * curve


@inner
def _clear(values: Values) -> None:
    """Set everything to 0."""
    for i in range(len(values)):
        for s in range(LANES):
            values[i, s] = NONE


@inner
def _count(good: Flags, size: int, step: int, count: Values) -> None:
    """Write how many of every `step`-th of the first `size` planes are good to `count`."""
    for s in range(LANES):
        count[s] = NONE
    for i in range(0, size, step):
        for s in range(LANES):
            count[s] += ONE if good[i, s] else NONE


@inner
def _scatter(values: Values, good: Flags, size: int, step: int, pairs: Places, space: Values, count: Values, found: Values) -> None:
    """Write the standard deviation about 0, told by the median of every `step`-th plane, to `found`; `count` is of these planes."""
    few = (size + step - 1) // step
    for i in range(few):
        for s in range(LANES):
            size = abs(values[step * i, s])
            space[i, s] = size if good[step * i, s] else INFINITE
    quantile(space, pairs, few, count, 0.5, found)
    for s in range(LANES):
        found[s] *= MAD


@inner
def _take_trend(values: Values, good: Flags, plan: Plan, clips: Clips, work: Work) -> None:
    """Take the cubic that outliers do not move off `values`; told by every other plane."""
    few, cubic, backwards = (len(values) + 1) // 2, plan.cubic, plan.backwards
    residual, relative, space, model, sound = work.planes[0], work.planes[1], work.planes[2], work.planes[3], work.sound
    count, middle, bound, parts, new = work.rows[0], work.rows[1], work.rows[2], work.rows[3:7], work.rows[7:11]
    for i in range(few):
        for s in range(LANES):
            known, value = good[2 * i, s], values[2 * i, s]
            sound[i, s] = known
            space[i, s] = value if known else INFINITE
    _count(sound, few, 1, count)
    quantile(space, plan.half, few, count, 0.5, middle)
    for i in range(few):
        for s in range(LANES):
            value = values[2 * i, s] - middle[s]
            relative[i, s] = value if sound[i, s] else NONE
    _count(sound, few, 2, count)
    _clear(parts)
    for _ in range(clips.trend_rounds):
        for i in range(few):
            a, b, c, d = cubic[2 * i, 0], cubic[2 * i, 1], cubic[2 * i, 2], cubic[2 * i, 3]
            for s in range(LANES):
                model[i, s] = parts[0, s] * a + parts[1, s] * b + parts[2, s] * c + parts[3, s] * d
            for s in range(LANES):
                rest = relative[i, s] - model[i, s]
                residual[i, s] = rest if sound[i, s] else NONE
        _scatter(residual, sound, few, 2, plan.quarter, space, count, bound)
        _clear(new)
        for i in range(few):
            row = residual[i]
            for s in range(LANES):
                most = clips.huber * bound[s]
                row[s] = model[i, s] + min(max(row[s], -most), most)
            for k in range(4):
                part, total = backwards[i, k], new[k]
                for s in range(LANES):
                    total[s] += part * row[s]
        for k in range(4):
            for s in range(LANES):
                parts[k, s] = new[k, s]
    for i in range(len(values)):
        a, b, c, d = cubic[i, 0], cubic[i, 1], cubic[i, 2], cubic[i, 3]
        for s in range(LANES):
            curve = parts[0, s] * a + parts[1, s] * b + parts[2, s] * c + parts[3, s] * d + middle[s]
            rest = values[i, s] - curve
            values[i, s] = rest if good[i, s] else NONE


@inner
def _take_level(values: Values, good: Flags, plan: Plan, clips: Clips, work: Work) -> None:
    """Take a quantile of the planes around some, and straight lines between and beyond, off `values`."""
    space, count, level, knots = work.planes[0], work.rows[0], work.planes[1], plan.knots
    for k in range(len(knots)):
        first, size = knots[k, 0], knots[k, 1] - knots[k, 0]
        for i in range(size):
            for s in range(LANES):
                value = values[first + i, s]
                space[i, s] = value if good[first + i, s] else INFINITE
        _count(good[first:], size, 1, count)
        quantile(space, plan.wide if knots[k, 2] else plan.short, size, count, clips.low, level[k])
    for i in range(len(values)):
        left, right, share = plan.left[i], min(plan.left[i] + 1, len(knots) - 1), plan.share[i]
        for s in range(LANES):
            line = (ONE - share) * level[left, s] + share * level[right, s]
            rest = values[i, s] - line
            values[i, s] = rest if good[i, s] else NONE


@inner
def _take_forecast(values: Values, error: Values, good: Flags, plan: Plan, clips: Clips, work: Work) -> None:
    """Take what the planes around each plane foretell off `values`; outliers tell nothing of it."""
    n, last = len(values), clips.rounds - 1
    model, residual, space, count, unit = work.planes[0], work.planes[1], work.planes[2], work.rows[0], work.rows[1]
    _clear(model)
    for i in range(0, n, 2):
        for s in range(LANES):
            work.sound[i // 2, s] = good[i, s]
    _count(work.sound, (n + 1) // 2, 1, count)
    for step in range(clips.rounds):
        if step < last - 1:
            for i in range(0, n, 2):
                for s in range(LANES):
                    residual[i // 2, s] = (values[i, s] - model[i, s]) / error[i, s]
            _scatter(residual, work.sound, (n + 1) // 2, 1, plan.half, space, count, unit)
        below = clips.below if step >= last - 1 else INFINITE
        for i in range(n):
            for s in range(LANES):
                rest, most = values[i, s] - model[i, s], unit[s] * error[i, s]
                kept = good[i, s] & (rest >= -below * most) & (rest <= clips.above * most)
                residual[i, s] = model[i, s] + (rest if kept else NONE)
        final = step == last
        fitted(residual, plan.windows_gap if final else plan.windows, plan.terms_gap if final else plan.terms, work.sums, model)
    for i in range(n):
        for s in range(LANES):
            rest = values[i, s] - model[i, s]
            values[i, s] = rest if good[i, s] else NONE


@inner
def _load(good: Flags, start: int, here: int, sound: Flags) -> bool:
    """Return whether any voxel of these spaxels is good, which are copied to `sound`; the lanes beyond are not good."""
    any_good = False
    for i in range(len(good)):
        for s in range(here):
            known = good[i, start + s]
            sound[i, s] = known
            any_good |= known
        for s in range(here, LANES):
            sound[i, s] = False
    return any_good


@compiled
def without_continuum(spectra: Values, error: Values, good: Flags, plan: Plan, clips: Clips, work: Work, found: Values) -> None:
    """Write the spectra, shape (n, spaxels), without their continuum to `found`; 0 where not good."""
    n, spaxels = spectra.shape
    values, errors, sound = work.planes[4], work.planes[5], work.good
    for start in range(0, spaxels, LANES):
        here = min(LANES, spaxels - start)
        if _load(good, start, here, sound):
            for i in range(n):
                for s in range(here):
                    value, its_error, known = spectra[i, start + s], error[i, start + s], sound[i, s]
                    values[i, s] = value if known else NONE
                    errors[i, s] = its_error if known else ONE
            _take_trend(values, sound, plan, clips, work)
            _take_level(values, sound, plan, clips, work)
            _take_forecast(values, errors, sound, plan, clips, work)
            for i in range(n):
                for s in range(here):
                    found[i, start + s] = values[i, s]
        else:
            for i in range(n):
                for s in range(here):
                    found[i, start + s] = NONE


@compiled
def clipped_variance(
    residual: Values, error: Values, good: Flags, pairs: Places, clip: np.float32, work: Work, variance: Values, counts: Values
) -> None:
    """Write each spaxel's variance about 0, in units of its errors and outliers clipped, and its number of good planes."""
    n, spaxels = residual.shape
    values, space, count, bound, total, sound = work.planes[0], work.planes[1], work.rows[0], work.rows[1], work.rows[2], work.good
    for start in range(0, spaxels, LANES):
        here = min(LANES, spaxels - start)
        _load(good, start, here, sound)
        for i in range(n):
            for s in range(here):
                value = residual[i, start + s] / error[i, start + s]
                values[i, s] = value if sound[i, s] else NONE
        _count(sound, n, 2, count)
        _scatter(values, sound, n, 2, pairs, space, count, bound)
        _count(sound, n, 1, count)
        for s in range(LANES):
            total[s] = NONE
        for i in range(n):
            for s in range(LANES):
                value = min(max(values[i, s], -clip * bound[s]), clip * bound[s])
                total[s] += value * value
        for s in range(here):
            counts[start + s] = count[s]
            variance[start + s] = total[s] / max(count[s], ONE)


@compiled
def plane_squares(
    residual: Values, error: Values, good: Flags, scatter: Values, most: np.float32, found: NDArray[np.float64]
) -> None:
    """Write how many voxels of each plane are good, and their sums of squares below 0 and above, to `found`, shape (3, n)."""
    n, spaxels = residual.shape
    row, sums = np.empty(spaxels, np.float32), np.empty((3, LANES), np.float32)
    count, low, high = sums[0], sums[1], sums[2]
    for i in range(n):
        _clear(sums)
        for s in range(spaxels):
            value = residual[i, s] / (error[i, s] * scatter[s])
            row[s] = value if good[i, s] else NONE
        for start in range(0, spaxels, LANES):
            some, known = row[start : start + LANES], good[i, start : start + LANES]
            for s in range(len(some)):
                count[s] += ONE if known[s] else NONE
            for s in range(len(some)):
                value = max(min(some[s], NONE), -most)
                low[s] += value * value
            for s in range(len(some)):
                value = min(max(some[s], NONE), most)
                high[s] += value * value
        for k in range(3):
            found[k, i] = 0.0
            for s in range(LANES):
                found[k, i] += sums[k, s]
