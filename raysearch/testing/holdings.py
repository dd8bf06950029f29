"""What the local archive holds: objects of SIMBAD, observations of MAST, IRSA and HEASARC, and the files behind them.

The process that starts an archive writes its holdings into a folder (`holdings.json` and one `bodies.bin` with every distinct
file, so that a thousand keys may share eight bodies); the server process maps that folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raysearch.testing.spherex import FrameSpec, make_frame
from raysearch.testing.synthetic import CubeSpec, make_cube

BUCKET = "stpubdata"

Row = dict[str, Any]
"""One record of a service, in that service's own column names."""


@dataclass(frozen=True, slots=True)
class Product:
    """One file, and who knows of it."""

    uri: str
    """As MAST names it, `mast:JWST/product/...`; empty for an object that only S3 knows."""
    key: str
    """Its key in the bucket."""
    body: str
    """Which of the holdings' bodies it has; many products may share one."""
    bucket: str = BUCKET
    located: bool = True
    """Whether path_lookup knows it."""
    in_cloud: bool = True
    """Whether S3 has it."""
    downloadable: bool = True
    """Whether its archive's own server has it: Download/file, or `path`."""
    path: str = ""
    """Its path at IRSA or HEASARC, `ibe/data/...` or `FTP/...`; empty for one of MAST."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """The content of a local archive."""

    targets: tuple[Row, ...] = ()
    """SIMBAD's `basic`; see `target_row`."""
    observations: tuple[Row, ...] = ()
    """MAST's observations, em_min and em_max in nanometres as there; see `observation_row`."""
    products: tuple[Product, ...] = ()
    bodies: Mapping[str, bytes | CubeSpec | FrameSpec] = field(default_factory=dict)
    """Name -> content; a cube or frame is made when the holdings are written, one after the other: they may exceed the memory."""
    truth: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """obs_id -> rest wavelengths (micrometres) of the jets in its file; an empty tuple for a field known to be empty."""
    expected: Mapping[str, str] = field(default_factory=dict)
    """obs_id -> how the shipped `jets` search ends for it: a Status, or `unmatched` where no target lies in the footprint."""
    irsa: tuple[Row, ...] = ()
    """What IRSA's SIA2 finds, em_min and em_max in metres; `{origin}` in an address is where the archive answers."""
    tables: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    """Table of IRSA's TAP (`spherex.plane`, `spherex.artifact`) or HEASARC's (`chanmaster`) -> its rows."""
    writable: tuple[str, ...] = ()
    """Buckets, empty at first, that take what is put into them; it is gone with the archive."""

    def write(self, folder: Path) -> None:
        """Write the holdings where a server process finds them."""
        bodies: dict[str, Row] = {}
        offset = 0
        with (folder / "bodies.bin").open("wb") as out:
            for name, body in self.bodies.items():
                content = _made(body)
                out.write(content)
                etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
                bodies[name] = {"offset": offset, "size": len(content), "etag": etag}
                offset += len(content)
        missing = {p.body for p in self.products} - bodies.keys()
        if missing:
            raise ValueError(f"products name bodies that the holdings lack: {', '.join(sorted(missing))}")
        tables = {
            "targets": list(self.targets),
            "observations": list(self.observations),
            "irsa": list(self.irsa),
            "tables": {name: list(rows) for name, rows in self.tables.items()},
            "products": [asdict(p) for p in self.products],
            "writable": list(self.writable),
            "bodies": bodies,
        }
        (folder / "holdings.json").write_text(json.dumps(tables), encoding="utf-8")


def _made(body: bytes | CubeSpec | FrameSpec) -> bytes:
    if isinstance(body, CubeSpec):
        return make_cube(body)
    return make_frame(body) if isinstance(body, FrameSpec) else body


def target_row(name: str, ra: float | None, dec: float | None, otype: str = "Y*O", **columns: Any) -> Row:
    """Return a row of SIMBAD's `basic`: degrees ICRS; any other of its columns by name (`rvz_redshift=5e-5`), the rest null."""
    return {"main_id": name, "ra": ra, "dec": dec, "otype": otype, **columns}


def observation_row(spec: CubeSpec, obsid: int, **columns: Any) -> Row:
    """Return the row that MAST has for a cube; columns given by name replace its own."""
    wave = spec.wavelength_um()
    miri = spec.instrument == "MIRI"
    return {
        "intentType": "science",
        "obs_collection": "JWST",
        "provenance_name": "CALJWST",
        "instrument_name": f"{spec.instrument}/IFU",
        "project": "JWST",
        "filters": f"CH{spec.channel}-{spec.band}" if miri else f"{spec.band};{spec.channel}",
        "wavelength_region": "INFRARED",
        "target_name": spec.target,
        "target_classification": "Star; Young stellar objects",
        "obs_id": spec.name,
        "s_ra": spec.ra % 360,
        "s_dec": spec.dec,
        "dataproduct_type": "cube",
        "proposal_pi": "Synthetic, Investigator",
        "calib_level": 3,
        "t_min": 60539.5,
        "t_max": 60539.6,
        "t_exptime": 2031.328,
        "em_min": float(wave[0]) * 1000,
        "em_max": float(wave[-1]) * 1000,
        "obs_title": "Synthetic cubes",
        "t_obs_release": 60904.9,
        "proposal_id": str(int(spec.name[2:7])),
        "proposal_type": "GO",
        "s_region": spec.s_region(),
        "jpegURL": None,
        "dataURL": product_uri(spec),
        "dataRights": "PUBLIC",
        "mtFlag": False,
        "srcDen": None,
        "obsid": obsid,
        "objID": obsid + 500_000_000,
        **columns,
    }


def product_uri(spec: CubeSpec) -> str:
    """Return the name of a cube's file at MAST."""
    return f"mast:JWST/product/{spec.filename}"


def cloud_key(filename: str) -> str:
    """Return the key of a level-3 JWST product in the public bucket: programme, then observation, then the file."""
    found = re.match(r"(jw\d{5})-([a-z]\d+)_", filename)
    if found is None:
        raise ValueError(f"{filename}: not the name of a level-3 JWST product, such as jw01373-o031_t007_miri_ch1-short_s3d.fits")
    return f"jwst/public/{found.group(1)}/L3/t/{found.group(2)}/{filename}"


def product(spec: CubeSpec, body: str = "") -> Product:
    """Return the product of a cube, by default with a body of the cube's own name."""
    return Product(uri=product_uri(spec), key=cloud_key(spec.filename), body=body or spec.name)
