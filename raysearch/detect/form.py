"""The form of a compact source: an elliptical Gaussian, told by its own adaptive moments."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

STEPS = 40
"""Of the fit, at most."""

SETTLED = 1e-3
"""A step that moves centre and covariance by less than this (spaxels, in units of the point-spread function) is the last."""

SLIM = 0.8
"""A source's variance is at least this part of the point-spread function's, whose width is known to about 10 %."""

FINE = 3
"""Points along each side of a spaxel at which a Gaussian is looked at."""

DOUBT = 2.5
"""Relative error of a fitted variance, times the S/N; with allowance for noise that is correlated."""


@dataclass(frozen=True, slots=True)
class Form:
    """An elliptical Gaussian on the sky."""

    x: float
    y: float
    """Its centre, spaxels from 0."""
    covariance: NDArray[np.float64]
    """Of (x, y), spaxels squared, shape (2, 2)."""
    errors: NDArray[np.float64]
    """Of its variances across and along, spaxels squared, shape (2,)."""
    free: float
    """How far it was told by the light, from 0 (a point source) to 1."""

    @property
    def area(self) -> float:
        """Product of the standard deviations along and across, spaxels squared."""
        return math.sqrt(float(np.linalg.det(self.covariance)))

    def image(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the part of the light in each spaxel, shape (y, x)."""
        steps = (np.arange(FINE) + 0.5) / FINE - 0.5
        y = np.add.outer(np.arange(shape[0]) - self.y, steps).ravel()[:, None]
        x = np.add.outer(np.arange(shape[1]) - self.x, steps).ravel()
        (xx, xy), (_, yy) = np.linalg.inv(self.covariance)
        density = np.exp(-(xx * x**2 + 2 * xy * x * y + yy * y**2) / 2)
        spaxels: NDArray[np.float64] = density.reshape(shape[0], FINE, shape[1], FINE).mean(axis=(1, 3))
        return spaxels / (2 * math.pi * self.area)

    def fitted(self, picture: NDArray[np.float64], trust: NDArray[np.float64], psf: float, snr: float) -> Form:
        """Return the Gaussian that fits a picture best, beginning with this one; as broad as a point unless clearly otherwise.

        Its moments are those of the picture weighted with the Gaussian itself, which for a Gaussian halves them (adaptive moments:
        Bernstein & Jarvis 2002, AJ 123, 583). As far as spaxels are not trusted, they are taken to hold what the Gaussian says:
        those beyond the field's edge are not trusted at all.

        Parameters
        ----------
        picture, trust
            Light and how far it counts (0 to 1: the least variance over a spaxel's own), shape (y, x).
        psf
            Standard deviation of the point-spread function, spaxels.
        snr
            Of the detection.
        """
        margin = math.ceil(3 * psf)
        image, told = np.pad(picture, margin), np.pad(trust, margin)
        form = replace(self, x=self.x + margin, y=self.y + margin)
        for _ in range(STEPS):
            following = form.nearer(image, told, psf)
            if following is None:
                break
            moved = np.abs(following.covariance - form.covariance).max() / psf**2
            moved += math.hypot(following.x - form.x, following.y - form.y)
            form = following
            if moved < SETTLED:
                break
        return replace(_shrunk(form, psf, snr), x=form.x - margin, y=form.y - margin)

    def nearer(self, image: NDArray[np.float64], told: NDArray[np.float64], psf: float) -> Form | None:
        """Return the Gaussian of the moments weighted with this one, a step of `fitted`; None where there is no light."""
        weight = self.image(image.shape)
        height = float((told * weight * image).sum()) / max(float((told * weight**2).sum()), 1e-300)
        light = weight * (told * image + (1 - told) * height * weight)
        total = float(light.sum())
        if not total > 0:
            return None
        y, x = np.arange(image.shape[0]) - self.y, np.arange(image.shape[1]) - self.x
        move = 2 * np.array([float(light.sum(axis=0) @ x), float(light.sum(axis=1) @ y)]) / total
        move /= max(1.0, float(np.hypot(*move)) / psf)
        x, y = x - move[0], y - move[1]
        cross = float(y @ light @ x)
        moments = np.array([[float(light.sum(axis=0) @ x**2), cross], [cross, float(light.sum(axis=1) @ y**2)]])
        sizes, directions = np.linalg.eigh(2 * moments / total - np.eye(2) / 12)
        sizes = np.clip(sizes, SLIM * psf**2, (max(image.shape) / 2) ** 2)
        return replace(self, x=self.x + move[0], y=self.y + move[1], covariance=(directions * sizes) @ directions.T)


def _shrunk(form: Form, psf: float, snr: float) -> Form:
    """Return a form drawn to a point source's, the more the less the difference stands out of the noise."""
    sizes, directions = np.linalg.eigh(form.covariance)
    excess, errors = sizes - psf**2, DOUBT * sizes / max(snr, 1.0)
    kept = excess**2 / (excess**2 + errors**2)
    covariance = (directions * (psf**2 + kept * excess)) @ directions.T
    return replace(form, covariance=covariance, errors=errors, free=float(kept.mean()))
