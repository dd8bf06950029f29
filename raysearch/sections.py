"""The sections of a search file, typed: what each key means, and what it is where nobody gave it.

Each field's metadata says how its value is read (`convert`) and what it is (`doc`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from . import convert
from .convert import Convert
from .model import Line

ARCHIVES = ("mast", "irsa", "heasarc", "tap", "sia2")


def _option(default: Any, to: Convert, doc: str) -> Any:
    return field(default=default, metadata={"convert": to, "doc": doc})


@dataclass(frozen=True, slots=True)
class Targets:
    """`[targets]`: whose neighbourhood is searched. None of simbad, names, table, positions: every observation is searched."""

    simbad: str = _option("", convert.text, "an ADQL condition on SIMBAD's table `basic`")
    names: tuple[str, ...] = _option((), convert.texts, "objects by any name that SIMBAD knows")
    table: str = _option("", convert.path, "a file: CSV, ECSV, VOTable, FITS, Parquet, Arrow")
    positions: tuple[tuple[float, float], ...] = _option((), convert.positions, "[[ra, dec], ...] in degrees, ICRS")
    simbad_radius: float = _option(
        0.0, convert.separation, "SIMBAD's objects this near to the table's or the positions, in their place"
    )
    redshift: float = _option(0.0, convert.redshift, "where a target has none of its own")
    merge_radius: float = _option(0.0, convert.separation, "targets closer than this are one; 0: none are")
    redshift_range: tuple[float, ...] = _option((), convert.redshifts, "[lowest, highest]: searched instead of the targets' own")

    @property
    def sources(self) -> list[str]:
        """The keys that say whose neighbourhood, of those given."""
        return [key for key in ("simbad", "names", "table", "positions") if getattr(self, key)]

    @property
    def given(self) -> bool:
        """Whether any targets are asked for."""
        return bool(self.sources)


@dataclass(frozen=True, slots=True)
class Observations:
    """`[observations]`: which products may be searched."""

    archive: str = _option("", convert.choice("", *ARCHIVES), "where they are asked for: " + ", ".join(ARCHIVES))
    table: str = _option("", convert.path, "or a file of ObsCore-like rows, or a folder of FITS files")
    url: str = _option("", convert.address, "tap, sia2: the service's address")
    adql: str = _option("", convert.text, "tap: the whole query")
    catalog: str = _option("", convert.text, "heasarc: the catalogue, such as chanmaster")
    keywords: tuple[str, ...] = _option((), convert.texts, "heasarc: or words by which the registry finds image services")
    collection: tuple[str, ...] = _option((), convert.texts, "mast, irsa, sia2: any of these, such as JWST")
    product_type: tuple[str, ...] = _option((), convert.texts, "mast, irsa, sia2: any of these, such as cube")
    calib_level: tuple[int, ...] = _option((), convert.counts, "mast, irsa, sia2: any of these")
    instrument: tuple[str, ...] = _option((), convert.texts, "mast, irsa, sia2: any of these, such as MIRI/IFU")
    facility: tuple[str, ...] = _option((), convert.texts, "irsa, sia2: any of these, such as SOFIA")
    filters: tuple[str, ...] = _option((), convert.texts, "mast, irsa (SPHEREx near targets): any of these")
    proposal: tuple[str, ...] = _option((), convert.texts, "mast: any of these numbers")
    wavelength: tuple[float, ...] = _option((), convert.wavelengths, "a range that the observation reaches into")
    time: tuple[str, ...] = _option((), convert.times, "a span, ISO 8601 (UTC), that the observation reaches into")
    near_targets: bool = _option(False, convert.flag, "ask only around the targets")
    public_only: bool = _option(True, convert.flag, "mast: leave out what is not public")
    exclude: tuple[str, ...] = _option((), convert.texts, "obs_id patterns (* and ?) that are skipped")

    @property
    def spherex_release(self) -> str:
        """The release of SPHEREx whose images around the targets are asked for, such as `qr2`; empty for anything else."""
        told = self.product_type or self.calib_level or self.instrument or self.facility
        if self.archive != "irsa" or not self.near_targets or told or len(self.collection) != 1:
            return ""
        found = re.fullmatch(r"spherex_(qr\d+)", self.collection[0])
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Match:
    """`[match]`: when a target belongs to an observation."""

    radius: float = _option(0.0, convert.separation, "how far outside the footprint a target may lie")


@dataclass(frozen=True, slots=True)
class Lines:
    """`[lines]`: what a search of spectral cubes looks for."""

    list: tuple[Line, ...] = _option((), convert.lines, "a shipped list's name, or [{ name, wavelength }, ...] (vacuum)")
    min_lines: int = _option(3, convert.positive, "distinct lines that make a target notable")


@dataclass(frozen=True, slots=True)
class Images:
    """`[images]`: what a search of images reads of each, about each target. With two bands it is a search of pairs."""

    size: float = _option(0.0, convert.size, "side of the box about each target; deg")
    extensions: tuple[str, ...] = _option(
        ("IMAGE", "FLAGS", "VARIANCE", "ZODI"), convert.extensions, "which of the file's; PSF too; WCS-WAVE always comes"
    )
    through: Literal["ranges", "cutouts"] = _option(
        "ranges", convert.choice("ranges", "cutouts"), "byte ranges of the image, or the archive's cutout service"
    )
    bands: tuple[str, ...] = _option((), convert.bands, "two SPHEREx detectors, such as D2 and D4, whose images are compared")
    pairs: int = _option(1, convert.count, "pairs of images for each target; 0: each image of the first band with its best partner")
    solid_angles: str = _option("", convert.path, "maps of pixel solid angles, {detector} replaced; empty: the public ones")
    wavelengths: str = _option("", convert.path, "maps of wavelengths, {detector} replaced; empty: the image's own WCS-WAVE")


@dataclass(frozen=True, slots=True)
class Spectra:
    """`[spectra]`: of a search of pairs, whose spectra are measured afterwards on the images of all bands, and how."""

    sources: Literal["none", "all", "red", "blue"] = _option(
        "none", convert.choice("none", "all", "red", "blue"), "which of the sources found"
    )
    snr: float = _option(5.0, convert.number, "of these, those at least this significant")
    size: float = _option(0.06, convert.size, "side of the box about each source; deg")
    apertures_px: tuple[float, ...] = _option((3.0, 4.0, 5.0), convert.radii, "radii of the apertures, pixels")
    annulus_px: tuple[float, ...] = _option((7.0, 16.0), convert.annulus, "inner and outer radius of the background's, pixels")
    psf: bool = _option(True, convert.flag, "also by fitting the point spread function")


@dataclass(frozen=True, slots=True)
class Detector:
    """`[detector]`: how it is looked for. Keys other than `name` go to the detector."""

    name: str = _option(
        "", convert.detector, "a shipped one's, or the user's own: module.Class or file.py:Class; empty: that of the kind of search"
    )
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """`[report]`: the page that people look at; no influence on the records."""

    figures: bool = _option(True, convert.flag, "draw pictures while the pixels are at hand")
    share: float = _option(0.1, convert.share, "part of the run's time that drawing may take; 1: draw everything")
    page: bool = _option(True, convert.flag, "write report/index.html at the end of a run")


@dataclass(frozen=True, slots=True)
class Run:
    """`[run]`: where and how fast; no influence on the records."""

    engine: Literal["ray", "inline"] = _option("ray", convert.choice("ray", "inline"), "ray, or inline (one process)")
    address: str = _option("local", convert.text, "local, auto (the cluster this runs on), or a Ray address")
    concurrency: int = _option(32, convert.positive, "products read at the same time by each loader")
    loaders: int = _option(1, convert.positive, "loader actors")
    detectors: int = _option(0, convert.count, "detector actors; 0: one for each core")
    time_limit: float = _option(
        600.0, convert.quantity("s", low=0.1), "how long an observation may take to be read, and again to be detected in"
    )
    memory: int = _option(0, convert.memory, 'of all processes on a node together, such as "4 GB"; 0: no bound')


@dataclass(frozen=True, slots=True)
class Services:
    """`[services]`: base addresses, for mirrors and for the embedded archive."""

    simbad: str = _option("https://simbad.cds.unistra.fr/simbad/sim-tap", convert.address, "SIMBAD's TAP service")
    mast: str = _option("https://mast.stsci.edu", convert.address, "MAST")
    irsa: str = _option("https://irsa.ipac.caltech.edu", convert.address, "IRSA")
    heasarc: str = _option("https://heasarc.gsfc.nasa.gov", convert.address, "HEASARC")
    registry: str = _option("https://reg.g-vo.org/tap", convert.address, "the registry of the Virtual Observatory")
    answers: str = _option("", convert.path, "folder of kept answers; empty: the user's cache folder")
    s3: str = _option("", convert.address, "S3 endpoint; empty: Amazon's, or what AWS_ENDPOINT_URL says")
    s3_region: str = _option("us-east-1", convert.text, "where the buckets lie")
    s3_client: Literal["obstore", "s3fs"] = _option("obstore", convert.choice("obstore", "s3fs"), "which client reads s3://")
    s3_signed: bool = _option(False, convert.flag, "sign requests with your own AWS credentials")
    timeout: float = _option(30.0, convert.quantity("s", low=0.1), "how long a store may stay silent")
