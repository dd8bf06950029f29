"""What the line detectors find, and what they find that is not there: lines of known flux in real and synthetic noise.

Real noise is the line-free planes of real cubes, put together anew; it is left out where the real data are not there
(RAYSEARCH_REAL_DATA, or ../shared/data). Seeds are fixed, and below 100000: other seeds are for those who work on a detector.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from parts.detection_report import Rows, figure, report
from scipy import stats

from raysearch.detect import open_detector
from raysearch.model import Candidate, Limit, Target
from raysearch.testing.injection import C_KM_S, SIGMA, Emission, Scene, emission_image, flux_per_unit, inject, line_fwhm_um
from raysearch.testing.noise import NOISES, make_noise
from raysearch.testing.realnoise import RealCube, read_real_cube, resample, untouched

REAL = {
    "16CygB": ("jwst/16CygB_Level3_ch4-short_s3d.fits.gz", {}),
    "NGC7469-short": ("jwst/ngc7469_Level3_ch4-short_s3d.fits.gz", {"redshift": 0.0163}),
    "NGC7469-long": ("jwst/ngc7469_Level3_ch4-long_s3d.fits.gz", {"redshift": 0.0163}),
    "MUSE": ("cubes/subcub_mosaic.fits", {"resolving_power": 1770.0, "psf_arcsec": 0.8}),
    "HCN": ("cubes/region5_hcn_crop.fits", {"resolving_power": 8e5, "psf_arcsec": 36.0, "emission_um": (3382.36, 3382.52)}),
}
"""Real cubes: the file, and what its header does not say."""
JWST = ("16CygB", "NGC7469-short", "NGC7469-long")
"""Those that most windows are made of; of each with the cube's own signs half as many, of all other noise an eighth."""
VELOCITY = {"HCN": 1.5}
"""Range searched, km/s, where 500 is more than the cube."""
ASKED = (1e-1, 1e-2, 1e-3)
CURVES = ("16CygB", "NGC7469-short", "NGC7469-long", "white", "drizzled", "star", "cosmic", "borders", "err-varies", "everything")
"""Noise in which completeness is measured."""
VARIED = ("NGC7469-short", "star")
"""Noise in which width, velocity and distance from the star are varied too."""
JET = {"shape": "jet", "length_arcsec": 3.5, "width_arcsec": 0.7}
SHAPES = {"point": {"shape": "point"}, "jet": JET, "field": {"shape": "field"}}
FLUXES = np.geomspace(2, 2e4, 17)
"""In those of an ideal filter's S/N = 1 for a point in white noise: only a ruler, not a result."""
BRIGHT = {"point": (15, 30, 60, 120, 250), "jet": (50, 100, 200, 400, 800)}
"""Fluxes, on the same ruler, at which what candidates say is compared with the truth."""


@dataclass(frozen=True)
class Noise:
    """A kind of noise."""

    name: str
    real: bool
    velocity: float
    make: Callable[..., Scene]
    """Of a seed and a number of planes."""


@dataclass(frozen=True)
class Trial:
    """How lines are injected."""

    shape: str = "jet"
    width: float = 1.0
    """Of the line, in resolution elements."""
    velocity: float = 0.0
    """km/s; the sign is drawn."""
    near: bool = False
    """2.5 spaxels from the star, or 6 to 9."""


def real_data() -> Path:
    named = os.environ.get("RAYSEARCH_REAL_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"


@cache
def cube(name: str) -> RealCube:
    path, known = REAL[name]
    return read_real_cube(real_data() / path, **known)


def noises() -> dict[str, Noise]:
    """Return every kind there is here, the real ones first."""
    kinds = {}
    if real_data().is_dir():
        for name in REAL:
            velocity = VELOCITY.get(name, 500.0)
            make = lambda seed, planes, name=name, velocity=velocity, **how: resample(cube(name), seed, planes, velocity, **how)  # noqa: E731
            kinds[name] = Noise(name, True, velocity, make)
    else:
        print(f"no real data at {real_data()}: real noise is left out")
    for name, spec in NOISES.items():
        make = lambda seed, planes, name=name, spec=spec: make_noise(replace(spec, planes=planes), seed, name)  # noqa: E731
        kinds[name] = Noise(name, False, 500.0, make)
    return kinds


def planes_for(detectors) -> int:
    """Return an odd number of planes that serves all detectors' windows, the searched planes at 26 um included."""
    return 2 * (max(d.window for d in detectors) + 9) + 1


def cut(scene: Scene, half: int) -> Scene:
    """Return the scene with the planes that a reader would read for a detector with this window."""
    window = scene.window
    first, stop = (n - window.start for n in window.searched)
    kept = slice(max(0, first - half), min(len(window.sci), stop + half))
    planes = {name: array[kept] for name, array in window.planes.items()}
    made = replace(window, planes=planes, wavelength_um=window.wavelength_um[kept], start=window.start + kept.start)
    return replace(scene, pixels=replace(scene.pixels, windows=(made,)))


def search(detector, scene: Scene) -> tuple[list[Candidate], list[Limit]]:
    records = detector.detect(cut(scene, detector.window).pixels)
    return [r for r in records if isinstance(r, Candidate)], [r for r in records if isinstance(r, Limit)]


def poisson_interval(count: float, trials: float) -> tuple[float, float]:
    """Return the exact central 95 % interval of a rate (Garwood 1936)."""
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return low / trials, stats.chi2.ppf(0.975, 2 * count + 2) / 2 / trials


def wilson_interval(count: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a fraction (Wilson 1927)."""
    if not trials:
        return 0.0, 1.0
    interval = stats.binomtest(count, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


# False alarms


def measure_false_alarms(rows: Rows, noise: Noise, windows: int, first_seed: int, published) -> None:
    """Count candidates where there is no line; those of `lines` by their own false-alarm numbers."""
    detector = lines_detector(noise, 0.1)
    planes = planes_for([detector, published])
    alarms: list[tuple[float, int]] = []
    other = 0
    for k in range(windows):
        scene = noise.make(first_seed + k, planes)
        alarms += [(float(c.values["false_alarm"]), origin(scene, c, k)) for c in search(detector, scene)[0]]
        if k < 1000:
            other += bool(search(published, scene)[0])
    for asked in ASKED:
        places = [place for false_alarm, place in alarms if false_alarm <= asked]
        add_rate(rows, noise.name, places, windows, asked)
    n = min(windows, 1000)
    rows.add("false alarms", noise.name, "published", "windows with one", other / n, *wilson_interval(other, n), n)


def add_rate(rows: Rows, name: str, places: list[int], windows: int, asked: float) -> None:
    """Add a rate of false alarms, and the number of places they come from.

    One artefact of a real cube comes up in many windows made from it. The interval is that of as many independent alarms as have
    the same relative variance: (sum n)^2 / sum n^2, where n alarms are of one place.
    """
    each = np.array(list(Counter(places).values()), float)
    count = len(places)
    effective = count**2 / (each**2).sum() if count else 0.0
    rate = count / windows
    low, high = poisson_interval(effective, effective / rate if count else windows)
    rows.add("false alarms", name, "lines", "candidates per window", rate, low, high, windows, at=asked)
    rows.add("false alarms", name, "lines", "places", len(each), trials=windows, at=asked)
    rows.places[name, asked] = [f"{name} {place}" for place in places]


def origin(scene: Scene, candidate: Candidate, k: int) -> int:
    """Return where an alarm comes from: in resampled real noise the cube's planes, in tens; else the window itself."""
    if scene.source is None:
        return k
    return int(scene.source[np.abs(scene.window.wavelength_um - candidate.wavelength_um).argmin()]) // 10


def measure_untouched(rows: Rows, noise: Noise, published) -> None:
    """Count candidates in real windows as they are, wherever no known line may be."""
    detector = lines_detector(noise, 0.1)
    scenes = list(untouched(cube(noise.name), 4, planes_for([detector, published]), noise.velocity))
    alarms = np.array([float(c.values["false_alarm"]) for scene in scenes for c in search(detector, scene)[0]])
    for asked in ASKED[:2]:
        count = int((alarms <= asked).sum())
        rows.add(
            "untouched",
            noise.name,
            "lines",
            "candidates per window",
            count / len(scenes),
            *poisson_interval(count, len(scenes)),
            len(scenes),
            at=asked,
        )


# Completeness


def ruler(scene: Scene) -> float:
    """Return the flux of a point that an ideal filter would see at S/N = 1 in white noise as strong as this, W m^-2."""
    sci, middle = scene.window.sci, len(scene.window.sci) // 2
    with np.errstate(invalid="ignore"):
        scatter = 1.4826 * np.nanmedian(np.abs(np.diff(sci, axis=0))) / math.sqrt(2)
    psf = SIGMA * scene.psf_arcsec / pixel_arcsec(scene)
    step = abs(float(np.gradient(scene.window.wavelength_um)[middle]))
    lsf = SIGMA * scene.window.observed_um / scene.resolving_power / step
    voxels = 4 * math.pi * psf**2 * 2 * math.sqrt(math.pi) * math.hypot(lsf, 0.3)
    return float(scatter * flux_per_unit(scene)[middle] * math.sqrt(voxels))


def pixel_arcsec(scene: Scene) -> float:
    return float(3600 * math.sqrt(abs(np.linalg.det(scene.wcs.pixel_scale_matrix))))


def place(scene: Scene, rng: np.random.Generator, near: bool) -> tuple[float, float] | None:
    """Return an offset (y, x) from the star, where there are data all around."""
    window = scene.window
    first, stop = (n - window.start for n in window.searched)
    live = np.isfinite(window.sci[first:stop]).mean(axis=0) > 0.5
    for _ in range(200):
        radius, angle = (2.5 if near else rng.uniform(6, 9)), rng.uniform(0, 2 * math.pi)
        y, x = scene.star[0] + radius * math.sin(angle), scene.star[1] + radius * math.cos(angle)
        box = live[max(0, round(y) - 2) : round(y) + 3, max(0, round(x) - 2) : round(x) + 3]
        if box.shape == (5, 5) and box.all():
            return y - scene.star[0], x - scene.star[1]
    return None


def emission_of(trial: Trial, scene: Scene, rng: np.random.Generator, flux: float) -> Emission | None:
    offset = place(scene, rng, trial.near)
    if offset is None:
        return None
    scale = pixel_arcsec(scene) / 0.35
    shape = {k: (v * scale if isinstance(v, float) else v) for k, v in SHAPES[trial.shape].items()}
    extra = C_KM_S / scene.resolving_power * math.sqrt(trial.width**2 - 1)
    velocity = trial.velocity * rng.choice([-1, 1]) + rng.uniform(-20, 20)
    return Emission(flux, **shape, angle_deg=rng.uniform(0, 180), offset=offset, velocity=velocity, fwhm_km_s=extra)


def recovered(candidates: list[Candidate], scene: Scene, truth) -> Candidate | None:
    """Return the candidate that is the injected line: its peak on the emission, its velocity within 1.5 resolution elements."""
    image = emission_image(scene, truth.emission)
    width = line_fwhm_um(scene, truth.emission, truth.wavelength_um)
    for candidate in candidates:
        if abs(candidate.wavelength_um - truth.wavelength_um) > 1.5 * width:
            continue
        if "peak_ra" not in candidate.values:  # `published` tells no position
            return candidate
        y, x = (round(v) for v in scene.to_pixel(candidate.values["peak_ra"], candidate.values["peak_dec"]))
        inside = 0 <= y < image.shape[0] and 0 <= x < image.shape[1]
        if inside and image[y, x] >= 0.1 * image.max():
            return candidate
    return None


def trials(noise: Noise, trial: Trial, seeds, planes: int) -> Iterator[tuple[Scene, Emission]]:
    """Yield for each seed a scene, and what to inject at a flux of 1 on the ruler."""
    for seed in seeds:
        scene = noise.make(seed, planes)
        emission = emission_of(trial, scene, np.random.default_rng([seed, 1]), ruler(scene))
        if emission is not None:
            yield scene, emission


def measure_completeness(rows: Rows, noise: Noise, trial: Trial, seeds, detectors) -> None:
    """Count lines found at each flux, for each detector."""
    planes = planes_for(detectors.values())
    scenes = list(trials(noise, trial, seeds, planes))
    unit = float(np.median([emission.flux for _, emission in scenes]))
    where = {"shape": trial.shape, "width": trial.width, "velocity": trial.velocity, "place": "near" if trial.near else "far"}
    for name, detector in detectors.items():
        found_everywhere = 0
        # `published` tells no position: what it finds in a window is the line's only if it finds nothing there without the line
        fair = scenes if name == "lines" else [pair for pair in scenes if not search(detector, pair[0])[0]]
        for flux in FLUXES:
            some = fair[: len(fair) // 4] if found_everywhere >= 3 else fair
            found = 0
            for scene, emission in some:
                injected, truth = inject(scene, replace(emission, flux=unit * flux))
                found += recovered(search(detector, injected)[0], injected, truth) is not None
            found_everywhere = found_everywhere + 1 if found == len(some) else 0
            rows.add(
                "completeness",
                noise.name,
                name,
                "fraction found",
                found / len(some),
                *wilson_interval(found, len(some)),
                len(some),
                at=unit * flux,
                **where,
            )
        curve = rows.select(experiment="completeness", noise=noise.name, detector=name, **where)
        rows.add("half", noise.name, name, "flux", half_flux(curve), trials=len(scenes), **where)


def half_flux(curve) -> float:
    """Return the flux at which half of the lines are found, interpolated in its logarithm; infinite where that is nowhere."""
    flux, fraction = np.log([row["at"] for row in curve]), np.array([row["value"] for row in curve])
    above = np.flatnonzero(fraction >= 0.5)
    if not len(above):
        return math.inf
    k = int(above[0])
    if k == 0:
        return math.exp(flux[0])
    part = (0.5 - fraction[k - 1]) / (fraction[k] - fraction[k - 1])
    return math.exp(flux[k - 1] + part * (flux[k] - flux[k - 1]))


# Measurements


def measure_measurements(rows: Rows, noise: Noise, seeds, detector) -> None:
    """Compare what candidates say with what was injected."""
    records = []
    planes = planes_for([detector])
    for shape, fluxes in BRIGHT.items():
        for scene, emission in trials(noise, Trial(shape), seeds, planes):
            for flux in fluxes:
                injected, truth = inject(scene, replace(emission, flux=emission.flux * flux))
                candidate = recovered(search(detector, injected)[0], injected, truth)
                if candidate is not None:
                    records.append((shape, compared(candidate, injected, truth)))
    for shape in BRIGHT:
        for low, high in ((5, 8), (8, 12), (12, 25), (25, 60), (8, 1e9)):
            chosen = [values for kind, values in records if kind == shape and low <= values["snr"] < high]
            if len(chosen) >= 10:
                summarise(rows, noise, shape, low, high, chosen)


def compared(candidate: Candidate, scene: Scene, truth) -> dict[str, float]:
    """Return what a candidate says against the truth: velocities in resolution elements, errors in their own standard errors."""
    v = candidate.values
    velocity = v["velocity_kms"] - truth.emission.velocity
    east = 3600 * (v["ra"] - truth.ra) * math.cos(math.radians(truth.dec))
    north = 3600 * (v["dec"] - truth.dec)
    return {
        "snr": v["snr"],
        "flux ratio": v["flux_w_m2"] / truth.flux,
        "flux pull": (v["flux_w_m2"] - truth.flux) / v["flux_err_w_m2"],
        "velocity": velocity * scene.resolving_power / C_KM_S,
        "velocity pull": velocity / v["velocity_err_kms"],
        "east pull": east / v["position_err_arcsec"],
        "distance": math.hypot(east, north) / scene.psf_arcsec,
        "extended": v["extended"],
    }


def summarise(rows: Rows, noise: Noise, shape: str, low: float, high: float, chosen: list[dict[str, float]]) -> None:
    """Add medians and robust widths."""
    values = {key: np.array([one[key] for one in chosen], float) for key in chosen[0]}
    add = partial(rows.add, "measurements", noise.name, "lines", shape=shape, at=low, trials=len(chosen), high=high)
    add("flux bias", np.median(values["flux ratio"]) - 1)
    add("flux pull mean", np.median(values["flux pull"]))
    add("flux pull width", robust_width(values["flux pull"]))
    add("velocity bias (elements)", np.median(values["velocity"]))
    add("velocity scatter (elements)", robust_width(values["velocity"]))
    add("velocity pull width", robust_width(values["velocity pull"]))
    add("distance (PSF FWHM)", np.median(values["distance"]))
    add("position pull width", robust_width(values["east pull"]))
    add("called extended", values["extended"].mean())


def robust_width(values: np.ndarray) -> float:
    """Return half the distance between the 16th and the 84th percentile."""
    low, high = np.percentile(values, [15.865, 84.135])
    return float(high - low) / 2


def measure_limits(rows: Rows, noise: Noise, seeds, detector) -> None:
    """Inject points at the upper limits' fluxes where these are said to hold, at a target: 95 % shall be found."""
    found = asked = without = 0
    for seed in seeds:
        scene = noise.make(seed, planes_for([detector]))
        emission = emission_of(Trial("point", near=seed % 4 == 0), scene, np.random.default_rng([seed, 2]), 1.0)
        if emission is None:
            continue
        y, x = (a + b for a, b in zip(scene.star, emission.offset, strict=True))
        target = Target(scene.window.target, *scene.to_sky(y, x))
        scene = replace(scene, pixels=replace(scene.pixels, targets=(target,)))
        limits = search(detector, scene)[1]
        if not limits or not math.isfinite(limits[0].flux) or "at the target" not in limits[0].note:
            without += 1
            continue
        injected, truth = inject(scene, replace(emission, flux=limits[0].flux, velocity=0.0))
        asked += 1
        found += recovered(search(detector, injected)[0], injected, truth) is not None
    rows.add("limits", noise.name, "lines", "fraction found", found / max(1, asked), *wilson_interval(found, asked), asked)
    rows.add("limits", noise.name, "lines", "windows without a limit", without / len(seeds), trials=len(seeds))


def measure_time(rows: Rows) -> None:
    """Take the processor time of one window of 45 by 45 spaxels."""
    for name, detector in {"lines": open_detector("lines"), "published": open_detector("published")}.items():
        spec = replace(NOISES["star"], ny=45, nx=45, planes=planes_for([detector]))
        scenes = [cut(make_noise(spec, seed), detector.window) for seed in range(20)]
        spent = []
        for scene in scenes:
            started = time.process_time()
            detector.detect(scene.pixels)
            spent.append(time.process_time() - started)
        rows.add("time", "star", name, "ms per window", 1e3 * float(np.median(spent)), trials=len(spent))


def measure_speed(kinds: dict[str, Noise], times: int) -> str:
    """Return a table of processor times of one window: the best and the median of so many searches of windows without a line."""
    detectors = {"lines": open_detector("lines"), "published": open_detector("published")}
    rows = [
        "| noise | spaxels | `lines`, best | `lines`, median | `published`, best | `published`, median |",
        "|---|---|---|---|---|---|",
    ]
    for name, make in speed_cases(kinds).items():
        cells = []
        for detector in detectors.values():
            scenes = [cut(make(seed, planes_for([detector])), detector.window) for seed in range(min(times, 5))]
            spent = [processor_ms(detector, scenes[k % len(scenes)]) for k in range(-1, times)][1:]  # the first one compiles
            cells += [f"{min(spent):.1f}", f"{np.median(spent):.1f}"]
        rows.append(f"| {name} | {scenes[0].window.sci.shape[1]} x {scenes[0].window.sci.shape[2]} | {' | '.join(cells)} |")
    return f"Processor time of a window, ms, of {times} searches\n\n" + "\n".join(rows)


def speed_cases(kinds: dict[str, Noise]) -> dict[str, Callable[..., Scene]]:
    """Return what makes the windows that are timed."""
    cases: dict[str, Callable[..., Scene]] = {}
    for name in ("star", "everything"):
        for size in (25, 45, 200):
            spec = replace(NOISES[name], ny=size, nx=size)
            cases[f"{name}, {size}"] = lambda seed, planes, spec=spec: make_noise(replace(spec, planes=planes), seed)
    return cases | {name: kinds[name].make for name in JWST if name in kinds}


def processor_ms(detector, scene: Scene) -> float:
    started = time.process_time()
    detector.detect(scene.pixels)
    return 1e3 * (time.process_time() - started)


def lines_detector(noise: Noise, false_alarm: float):
    return open_detector("lines", {"false_alarm": false_alarm, "velocity": noise.velocity, "maps": False})


def write_docs(text: str, rows: Rows, command: str) -> None:
    """Replace the tables of docs/detection.md and its figure."""
    docs = Path(__file__).resolve().parents[2] / "docs"
    figure(rows, docs / "detection.png")
    page = (docs / "detection.md").read_text()
    before, after = page.split("<!-- measured -->\n")[0], page.split("<!-- end of measured -->")[1]
    (docs / "detection.md").write_text(
        f"{before}<!-- measured -->\n\nMade by `{command}`.\n\n{text}\n\n<!-- end of measured -->{after}"
    )


def measure(arguments) -> Rows:
    """Make all measurements that the arguments ask for, several kinds of noise side by side if so asked."""
    chosen = [name for name in noises() if not arguments.noise or name in arguments.noise]
    rows = Rows()
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as workers:
        for measured in workers.imap(partial(measure_kind, arguments), chosen):
            rows.rows += measured.rows
            rows.places |= measured.places
    if "alarms" in arguments.only:
        pool(rows, [name for name in JWST if name in chosen], "JWST together")
        pool(rows, [f"{name}, own signs" for name in JWST if name in chosen], "JWST, own signs")
    measure_time(rows)
    return rows


def measure_kind(arguments, name: str) -> Rows:
    """Make all measurements in one kind of noise."""
    rows, noise, first, few = Rows(), noises()[name], arguments.first_seed, arguments.injections
    published = open_detector("published")
    started = time.monotonic()
    windows = arguments.windows if name in JWST else arguments.windows // 8
    if "alarms" in arguments.only:
        measure_false_alarms(rows, noise, windows, first, published)
        if name in JWST:
            own = replace(noise, name=f"{name}, own signs", make=partial(noise.make, signs=False))
            measure_false_alarms(rows, own, windows // 2, first, published)
        if noise.real:
            measure_untouched(rows, noise, published)
    detectors = {"lines": lines_detector(noise, 0.01), "published": published}
    if "curves" in arguments.only and name in CURVES:
        for k, trial in enumerate(planned(name)):
            seeds = range(first + 30_000 + 100 * k, first + 30_000 + 100 * k + few)
            measure_completeness(rows, noise, trial, seeds, detectors)
    if "measurements" in arguments.only and name in CURVES:
        measure_measurements(rows, noise, range(first + 40_000, first + 40_000 + few), detectors["lines"])
    if "limits" in arguments.only and name in CURVES:
        measure_limits(rows, noise, range(first + 50_000, first + 50_000 + 3 * few), detectors["lines"])
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    return rows


def pool(rows: Rows, names: list[str], together: str) -> None:
    """Add the false alarms of several kinds of noise together."""
    if len(names) > 1:
        windows = sum(rows.select(experiment="false alarms", noise=name, at=ASKED[0])[0]["trials"] for name in names)
        for asked in ASKED:
            add_rate(rows, together, [place for name in names for place in rows.places[name, asked]], windows, asked)


def planned(noise: str) -> list[Trial]:
    """Return the curves to be measured in one kind of noise."""
    varied = [Trial(width=3.0), Trial(velocity=300.0), Trial(near=True), Trial("point", near=True)] if noise in VARIED else []
    return [Trial("point"), Trial("jet"), Trial("field"), *varied]


def _told(given: list[str]) -> list[str]:
    """Return the command's arguments without the folder of this machine."""
    return [text for before, text in zip(["", *given], given, strict=False) if "--out" not in (before, text)]


EXPERIMENTS = ("alarms", "curves", "measurements", "limits")


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the injections, a tenth of the windows")
    parser.add_argument("--windows", type=int, default=0, help="windows of each real cube in which false alarms are counted")
    parser.add_argument("--injections", type=int, default=0, help="lines injected at each flux of each curve")
    parser.add_argument("--jobs", type=int, default=1, help="kinds of noise measured side by side; the numbers are the same")
    parser.add_argument("--noise", nargs="*", default=[], help=f"only these kinds: {', '.join([*REAL, *NOISES])}")
    parser.add_argument("--only", nargs="*", default=EXPERIMENTS, choices=EXPERIMENTS, help="only these experiments")
    parser.add_argument("--first-seed", type=int, default=0, help="0 for the benchmark; 200000 and above to look around")
    parser.add_argument("--speed", action="store_true", help="only the time of a window, by kind and size (with OMP_NUM_THREADS=1)")
    parser.add_argument("--out", type=Path, help="folder for detection.ecsv, detection.md and detection.png")
    parser.add_argument("--docs", action="store_true", help="write the tables and the figure of docs/detection.md")
    arguments = parser.parse_args()
    arguments.windows = arguments.windows or (400 if arguments.quick else 4000)
    arguments.injections = arguments.injections or (10 if arguments.quick else 40)
    if arguments.speed:
        print(measure_speed(noises(), 10 if arguments.quick else 40))
        return
    rows = measure(arguments)
    text = report(rows)
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        rows.table().write(arguments.out / "detection.ecsv", overwrite=True)
        (arguments.out / "detection.md").write_text(text + "\n")
        figure(rows, arguments.out / "detection.png")
    if arguments.docs:
        write_docs(text, rows, " ".join(["scripts/bench detection", *_told(sys.argv[1:])]))


if __name__ == "__main__":
    main()
