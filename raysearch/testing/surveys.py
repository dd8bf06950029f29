"""Ready-made holdings of every archive: a few young stars, and of each survey a few files that show them, or do not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np

from raysearch.testing.demo import FIRST_OBSID
from raysearch.testing.fields import Field
from raysearch.testing.holdings import Holdings, Product, Row, observation_row, product, target_row
from raysearch.testing.images import make_chandra, make_fifi
from raysearch.testing.spherex import FrameSpec, PointSource, make_frame
from raysearch.testing.spherex_archive import SPHEREX_BUCKET, irsa_row, sia_row, spherex_product, tap_rows
from raysearch.testing.synthetic import CubeSpec, Jet

HEASARC_BUCKET = "nasa-heasarc"
CII_UM = 157.741
"""The [C II] line."""


def archives_holdings(seed: int = 2026) -> Holdings:
    """Return a small sky known to SIMBAD, MAST, IRSA and HEASARC: no file above 800 kB, and all made in well under a second.

    Six young stars in Taurus (the first with more names), and of them: three JWST cubes (two with a jet at 25.988 um); at IRSA
    five SPHEREx frames (a source in those of the first star; one missing in the cloud, one of which SIA2 says no place there) and
    one frame elsewhere, three SOFIA cubes ([C II] in the first; one without a footprint), a SOFIA image and a cube of a lower
    level; at HEASARC four Chandra observations (one address with a doubled slash, one only on HEASARC's own server, one without
    links) and one of ROSAT.

    `truth` has, beside the cubes' lines, an entry for each IRSA and HEASARC product, by `obs_publisher_did` or `obsid`.
    """
    sky = _Sky(np.random.default_rng(seed))
    for i in range(1, 7):
        ids = ("Synthetic YSO 1", "[SYN2026] 1") if i == 1 else ()
        sky.targets.append(
            target_row(f"Synthetic YSO {i:02d}", 66.0 + i + sky.rng.uniform(-0.2, 0.2), 24.0 + sky.rng.uniform(0, 2), ids=ids)
        )
    _jwst(sky)
    _spherex(sky)
    _sofia(sky)
    _heasarc(sky)
    return sky.holdings()


@dataclass
class _Sky:
    """Holdings in the making."""

    rng: np.random.Generator
    targets: list[Row] = field(default_factory=list)
    observations: list[Row] = field(default_factory=list)
    irsa: list[Row] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    bodies: dict[str, bytes | CubeSpec] = field(default_factory=dict)
    truth: dict[str, tuple[float, ...]] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)

    def holdings(self) -> Holdings:
        return Holdings(
            targets=tuple(self.targets),
            observations=tuple(self.observations),
            products=tuple(self.products),
            bodies=self.bodies,
            truth=self.truth,
            expected=self.expected,
            irsa=tuple(self.irsa),
            tables={name: tuple(rows) for name, rows in self.tables.items()},
        )

    def near(self, i: int, side: int, pixel_arcsec: float) -> Field:
        """Return a field about a star, turned by chance."""
        star = self.targets[i]
        return Field(star["ra"], star["dec"], side, side, pixel_arcsec, float(self.rng.integers(0, 360)))


def _jwst(sky: _Sky) -> None:
    for i, lines in enumerate(((25.988,), (25.988,), ())):
        star = sky.targets[i]
        spec = CubeSpec(
            name=f"jw09001-o{i + 1:03d}_t{i + 1:03d}_miri_ch4-long",
            target=star["main_id"],
            ra=star["ra"],
            dec=star["dec"],
            jets=tuple(Jet(line) for line in lines),
            noise=3.0,
            seed=i,
        )
        sky.observations.append(observation_row(spec, FIRST_OBSID + i))
        sky.products.append(product(spec))
        sky.bodies[spec.name] = spec
        sky.truth[spec.name] = lines
        sky.expected[spec.name] = "detected" if lines else "nothing"


def _spherex(sky: _Sky) -> None:
    plan = ((0, 1, 4, 20_000.0), (1, 1, 1, 20_000.0), (2, 2, 3, 0.0), (3, 2, 5, 0.0), (4, 3, 6, 0.0))
    specs = []
    for i, number, detector, flux in plan:
        star = sky.targets[i // 2]
        stars = (PointSource(star["main_id"], star["ra"], star["dec"], flux),) if flux else ()
        specs.append(FrameSpec(number, detector, sky.near(i // 2, 64, 6.15), sources=stars, psf_side=9))
    specs.append(FrameSpec(9, 2, Field(200.0, -40.0, 64, 64, 6.15), mjd=61040.5, psf_side=9))
    frames = []
    for i, spec in enumerate(specs):
        sky.bodies[spec.key] = make_frame(spec)
        row = sia_row(spec, 200_000, said=i != 4)
        frames.append((spec, row))
        sky.irsa.append(row)
        sky.products.append(spherex_product(spec.key, in_cloud=i != 3))
        sky.truth[row["obs_publisher_did"]] = tuple(star.flux_ujy for star in spec.sources)
    sky.tables.update(tap_rows(frames))


def _sofia(sky: _Sky) -> None:
    """Add cubes of three stars, the last without a footprint; and an image, and a cube of level 2."""
    plan = ((0, "cube", 3, CII_UM), (1, "cube", 3, 0.0), (2, "cube", 3, 0.0), (0, "image", 3, 0.0), (1, "cube", 2, 0.0))
    for i, (star, kind, level, line) in enumerate(plan):
        where = sky.near(star, 24, 3.0)
        name = f"F0500_FI_IFS_0600{i:02d}_RED_WXY_{100 + i}.fits"
        path = f"ibe/data/sofia/FIFI/L{level}/r{i:04d}/{name}"
        row = irsa_row(
            where.ra,
            where.dec,
            where.s_region(),
            facility_name="SOFIA",
            instrument_name="FIFI-LS",
            calib_level=level,
            dataproduct_type=kind,
            obs_id=name.removesuffix(".fits"),
            em_min=157.2e-6,
            em_max=158.4e-6,
            em_res_power=1150.0,
            access_url=f"{{origin}}/{path}",
            access_format="cube/fits" if kind == "cube" else "image/fits",
            access_estsize=200,
            obs_collection="sofia_fifi",
            target_name=sky.targets[star]["main_id"],
            obs_release_date="2020-01-01 00:00:00",
            t_min=58800.1,
            t_max=58800.2,
            obs_publisher_did=f"ivo://irsa.ipac/sofia_fifi?{name}",
            cloud_access="",
        )
        if i == 2:
            row["s_region"] = ""
        sky.irsa.append(row)
        sky.bodies[name] = make_fifi(where, 157.2, 0.05, 25, line, seed=i)
        sky.products.append(Product("", path.removeprefix("ibe/data/"), name, bucket=SPHEREX_BUCKET, in_cloud=False, path=path))
        sky.truth[row["obs_publisher_did"]] = (line,) if line else ()


def _heasarc(sky: _Sky) -> None:
    """Add Chandra observations of four stars, and ROSAT's of one."""
    for number, obsid in enumerate((1990, 15158, 7008, 4003), start=1):
        _chandra(sky, number, obsid)
    row = _catalog_row(sky, "rosmaster", 1, 99001)
    row["links"] = []
    sky.tables.setdefault("rosmaster", []).append(row)


def _chandra(sky: _Sky, number: int, obsid: int) -> None:
    row = _catalog_row(sky, "chanmaster", number, obsid)
    folder = f"chandra/data/byobsid/{obsid % 10}/{obsid}"
    where = Field(row["ra"], row["dec"], 64, 64, 0.492)
    counts = 300 if number <= 2 else 0
    links = [_link("directory", f"{{origin}}/FTP/{folder}/", "directory", 0, folder)]
    for part, label in (("cntr", "Center Image"), ("full", "Full Image")):
        name = f"acisf{obsid:05d}N004_{part}_img2.fits.gz"
        key = f"{folder}/primary/{name}"
        body = make_chandra(where, counts, seed=number)
        sky.bodies[name] = body
        sky.products.append(Product("", key, name, bucket=HEASARC_BUCKET, in_cloud=number != 3, path=f"FTP/{key}"))
        spelled = key.replace(f"/{obsid}/", f"//{obsid}/") if number == 2 else key
        links.append(_link(label, f"{{origin}}/FTP/{spelled}", "image/fits", len(body), key, part))
    row |= {"access_url": links[1]["access_url"], "SIA_reference": links[1]["access_url"], "cloud_access": links[1]["cloud_access"]}
    row["links"] = [] if number == 4 else links
    sky.tables.setdefault("chanmaster", []).append(row)
    sky.truth[str(obsid)] = (float(counts),) if counts else ()


def _catalog_row(sky: _Sky, catalog: str, number: int, obsid: int) -> Row:
    """Return a row of a catalog, which is also what SIA1 says of the observation's image."""
    star = sky.targets[number - 1]
    name, ra, dec = star["main_id"], star["ra"], star["dec"]
    return {
        "__row": number, "obsid": str(obsid), "status": "archived", "name": name, "ra": ra, "dec": dec, "time": 52000.5,
        "detector": "ACIS-S", "grating": "NONE", "exposure": 25000.0, "type": "GO", "pi": "Synthetic", "public_date": 52400,
        "datalink": f"{{origin}}/xamin/vo/datalink/{catalog}?ID={number}:chandra.obs.img", "t_min": 52000.5, "t_exptime": 25000.0,
        "s_ra": ra, "s_dec": dec, "access_estsize": 10, "access_url": "", "obs_id": str(obsid), "obs_collection": "CHANDRA",
        "target_name": name, "calib_level": 2, "access_format": "image/fits", "em_min": 1.24e-10, "em_max": 1.24e-8,
        "SIA_title": f"{name} {obsid}", "SIA_scale": "[-0.0001367 0.0001367]", "SIA_naxis": "[64 64]", "SIA_format": "image/fits",
        "SIA_reference": "", "cloud_access": "", "s_region": Field(ra, dec, 64, 64, 0.492).s_region(),
    }  # fmt: skip


def _link(description: str, url: str, kind: str, size: int, key: str, part: str = "") -> Row:
    cloud = {"aws": {"bucket_name": HEASARC_BUCKET, "region": "us-east-1", "access": "region", "key": f"/FTP/{key}"}}
    older = (
        f"http://localhost/xamin/vo/datalink#chandra.obs.img.{part}.fits"
        if part
        else "http://localhost/xamin/vo/datalink#chandra.obs"
    )
    return {
        "access_url": url,
        "description": description,
        "semantics": "#this",
        "older_semantics": older,
        "content_type": kind,
        "content_length": size,
        "cloud_access": json.dumps(cloud),
    }
