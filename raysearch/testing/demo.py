"""Ready-made holdings: a small sky in Taurus where every fate of an observation is known, and a large one for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle

import numpy as np

from raysearch.testing.damaged import Damage, damage
from raysearch.testing.holdings import Holdings, Product, Row, observation_row, product, target_row
from raysearch.testing.synthetic import CubeSpec, Jet, make_cube

LINES_UM = (25.988, 24.519, 17.936, 5.340, 1.644, 1.600, 1.257)
"""The [Fe II] lines of the shipped `jets` search, micrometres."""

FEWEST = 20
"""Observations that the demo cannot do without."""

TARGETS = 30
FIRST_OBSID = 210_000_000


@dataclass(frozen=True, slots=True)
class Band:
    """One setting of an integral-field spectrograph."""

    instrument: str
    channel: str
    """MRS channel, or grating."""
    band: str
    """MRS band, or filter."""
    start_um: float
    stop_um: float
    pixel_arcsec: float
    resolving_power: float
    """Wavelength over the full width at half maximum of an unresolved line."""

    @property
    def label(self) -> str:
        """As file names spell it."""
        setting = f"ch{self.channel}-{self.band}" if self.instrument == "MIRI" else f"{self.channel}-{self.band}"
        return f"{self.instrument}_{setting}".lower()

    @property
    def lines_um(self) -> tuple[float, ...]:
        """The lines within reach."""
        return tuple(line for line in LINES_UM if self.start_um < line < self.stop_um)


BANDS = {
    "1A": Band("MIRI", "1", "SHORT", 4.90, 5.74, 0.13, 3500),
    "2A": Band("MIRI", "2", "SHORT", 7.51, 8.77, 0.17, 3000),
    "2C": Band("MIRI", "2", "LONG", 10.01, 11.70, 0.17, 3000),
    "3C": Band("MIRI", "3", "LONG", 15.41, 17.98, 0.20, 2300),
    "4A": Band("MIRI", "4", "SHORT", 17.70, 20.95, 0.35, 1600),
    "4C": Band("MIRI", "4", "LONG", 24.40, 28.70, 0.35, 1400),
    "G140H": Band("NIRSPEC", "G140H", "F100LP", 0.97, 1.89, 0.10, 2700),
    "G235H": Band("NIRSPEC", "G235H", "F170LP", 1.66, 3.17, 0.10, 2700),
}


def demo_holdings(observations: int = 60, seed: int = 2026) -> Holdings:
    """Return a small sky: 30 young stars in Taurus, a few other stars, and public cubes of them with known jets.

    Among the observations is one each of: a retired obs_id, a wavelength range without lines, no dataURL, a product that is
    nowhere, one unknown to path_lookup and one missing in S3 (both can still be downloaded), four damaged files, two fields
    without targets, a WAVE-TAB cube. Beyond them there are rows that the search's filters must not let through.
    """
    if observations < FEWEST:
        raise ValueError(f"the demo needs at least {FEWEST} observations to show every fate, not {observations}")
    sky = _Sky(np.random.default_rng(seed))
    sky.place_targets()
    _outstanding(sky)
    _oddities(sky)
    _ordinary(sky, observations - len(sky.observations))
    _decoys(sky)
    return sky.holdings()


@dataclass
class _Sky:
    """Holdings in the making."""

    rng: np.random.Generator
    targets: list[Row] = field(default_factory=list)
    observations: list[Row] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    bodies: dict[str, bytes | CubeSpec] = field(default_factory=dict)
    truth: dict[str, tuple[float, ...]] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)

    def holdings(self) -> Holdings:
        return Holdings(
            tuple(self.targets),
            tuple(self.observations),
            tuple(self.products),
            dict(self.bodies),
            dict(self.truth),
            dict(self.expected),
        )

    def place_targets(self) -> None:
        """Put young stars of several types on the sky, one close pair, one without a position, and stars that are not young."""
        kinds = cycle(["Y*O", "TT*", "Or*", "Y*?", "Y*O", "TT?", "Ae*"])
        for i in range(1, TARGETS + 1):
            ra, dec = self.rng.uniform(63.0, 72.0), self.rng.uniform(22.0, 28.0)
            redshift = None if i % 6 == 0 else round(self.rng.normal(5.4e-5, 0.5e-5), 8)
            self.targets.append(target_row(f"Synthetic YSO {i:02d}", ra, dec, next(kinds), rvz_redshift=redshift))
        second = self.targets[1]
        self.targets.append(target_row("Synthetic YSO 02 B", second["ra"], second["dec"] + 0.9 / 3600, "TT*"))
        self.targets.append(target_row("Synthetic YSO, unplaced", None, None, "Y*O"))
        for i, kind in enumerate(("*", "PM*", "WD*", "V*", "*", "RG*"), start=1):
            self.targets.append(
                target_row(f"Synthetic star {i:02d}", self.rng.uniform(63.0, 72.0), self.rng.uniform(22.0, 28.0), kind)
            )

    def spec(self, target: Row, band: Band, jets: tuple[float, ...] = (), label: str = "", **changes: object) -> CubeSpec:
        """Return a cube near a target, in the next file of the programme."""
        number = len(self.observations) + 1
        spec = CubeSpec(
            name=f"jw09001-o{number:03d}_t{self.targets.index(target) + 1:03d}_{label or band.label}",
            target=target["main_id"],
            instrument=band.instrument,
            channel=band.channel,
            band=band.band,
            planes=240,
            ny=25,
            nx=25,
            wave_start_um=band.start_um,
            wave_step_um=round((band.stop_um - band.start_um) / 240, 6),
            ra=target["ra"] + self.rng.uniform(-0.3, 0.3) / 3600,
            dec=target["dec"] + self.rng.uniform(-0.3, 0.3) / 3600,
            pixel_arcsec=band.pixel_arcsec,
            rotation=float(self.rng.integers(0, 360)),
            redshift=target.get("rvz_redshift") or 0.0,
            jets=tuple(Jet(line, angle=float(self.rng.integers(0, 180)), resolving_power=band.resolving_power) for line in jets),
            background=float(self.rng.uniform(40, 200)),
            noise=3.0,
            nan_border=round(self.rng.uniform(0.13, 0.37), 3),
            seed=number,
        )
        return replace(spec, **changes)  # type: ignore[arg-type]

    def add(self, spec: CubeSpec, fate: str, *, content: bytes | None = None, held: bool = True) -> None:
        """Add an observation, its product and its file."""
        self.observations.append(observation_row(spec, FIRST_OBSID + len(self.observations)))
        self.expected[spec.name] = fate
        self.truth[spec.name] = tuple(jet.rest_um for jet in spec.jets) if fate == "detected" else ()
        if held:
            self.products.append(product(spec))
            self.bodies[spec.name] = spec if content is None else content


def _outstanding(sky: _Sky) -> None:
    """Give the first target a jet in every line."""
    for name in ("4C", "4A", "1A", "G140H"):
        band = BANDS[name]
        layout = "new" if name == "4A" else "old"
        sky.add(sky.spec(sky.targets[0], band, band.lines_um, layout=layout, exposures=4), "detected")


def _oddities(sky: _Sky) -> None:
    """Add one observation for each way in which one can fail to be ordinary."""
    stars = iter(sky.targets[1:TARGETS])
    sky.add(sky.spec(next(stars), BANDS["4C"], label="miri_ch4-shortmediumlong"), "skipped")
    sky.add(sky.spec(next(stars), BANDS["2C"]), "skipped")
    sky.add(sky.spec(next(stars), BANDS["4A"]), "skipped", held=False)
    sky.observations[-1]["dataURL"] = None
    sky.add(sky.spec(next(stars), BANDS["4A"]), "skipped", held=False)
    sky.add(sky.spec(next(stars), BANDS["1A"], (5.340,)), "detected")
    sky.products[-1] = replace(sky.products[-1], located=False, in_cloud=False)
    sky.add(sky.spec(next(stars), BANDS["4A"], (17.936,)), "detected")
    sky.products[-1] = replace(sky.products[-1], in_cloud=False)
    sky.add(sky.spec(next(stars), BANDS["4C"], (25.988,), layout="new", axis="tab", nan_planes=30), "detected")
    kinds: tuple[Damage, ...] = ("truncated", "html", "gzip", "no-sci")
    for kind in kinds:
        spec = sky.spec(next(stars), BANDS["1A"], (5.340,))
        sky.add(spec, "failed", content=damage(make_cube(spec), kind))
    star = next(row for row in sky.targets if row["otype"] == "*")
    sky.add(sky.spec(star, BANDS["4A"], (17.936,)), "unmatched")
    sky.add(sky.spec(star, BANDS["1A"], ra=80.0, dec=-5.0), "unmatched")


def _ordinary(sky: _Sky, number: int) -> None:
    """Add cubes of all bands, target after target; half of those with lines in reach have a jet in some."""
    stars = cycle(sky.targets[1:TARGETS])
    for name, _ in zip(_bands(sky.rng), range(number), strict=False):
        band, star = BANDS[name], next(stars)
        jets = tuple(line for line in band.lines_um if sky.rng.random() < 0.5)
        fate = ("detected" if jets else "nothing") if band.lines_um else "skipped"
        sky.add(sky.spec(star, band, jets, layout="new" if sky.rng.random() < 0.3 else "old"), fate)


def _bands(rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield from rng.permutation(list(BANDS)).tolist()


def _decoys(sky: _Sky) -> None:
    """Add rows that a search for public JWST cubes must not be given."""
    spec = sky.spec(sky.targets[0], BANDS["4C"])
    for changes in ({"dataRights": "EXCLUSIVE_ACCESS"}, {"dataproduct_type": "image"}, {"obs_collection": "HST"}):
        number = len(sky.observations)
        sky.observations.append(observation_row(replace(spec, name=f"{spec.name}-{number}"), FIRST_OBSID + number, **changes))


def bench_holdings(observations: int = 1000, *, bodies: int = 8, planes: int = 1050, side: int = 45, seed: int = 0) -> Holdings:
    """Return many observations of 100 targets, whose keys share a few bodies: 5.340 um lies within each, a jet in every second.

    At the defaults each file has 34.1 MB: as large as a typical `_s3d.fits` of MIRI's channel 1.
    """
    rng = np.random.default_rng(seed)
    band = BANDS["1A"]
    targets = tuple(target_row(f"Bench YSO {i:03d}", rng.uniform(0, 360), rng.uniform(-60, 60)) for i in range(100))
    shapes = [
        CubeSpec(
            name=f"bench-{i}",
            channel="1",
            band="SHORT",
            planes=planes,
            ny=side,
            nx=side,
            wave_start_um=band.start_um,
            wave_step_um=(band.stop_um - band.start_um) / planes,
            pixel_arcsec=band.pixel_arcsec,
            jets=(Jet(5.340, length=side / 3, width=side / 6, resolving_power=band.resolving_power),) if i % 2 == 0 else (),
            seed=seed + i,
        )
        for i in range(bodies)
    ]
    rows, products, truth = [], [], {}
    for number in range(observations):
        shape, target = shapes[number % bodies], targets[number % len(targets)]
        name = f"jw{9100 + number // 900:05d}-o{number % 900 + 1:03d}_t{number % len(targets) + 1:03d}_{band.label}"
        spec = replace(shape, name=name, target=target["main_id"], ra=target["ra"], dec=target["dec"])
        rows.append(observation_row(spec, FIRST_OBSID + number))
        products.append(product(spec, body=shape.name))
        truth[name] = tuple(jet.rest_um for jet in shape.jets)
    expected = {name: "detected" if lines else "nothing" for name, lines in truth.items()}
    return Holdings(targets, tuple(rows), tuple(products), {shape.name: shape for shape in shapes}, truth, expected)
