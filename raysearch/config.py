"""A search file (TOML) becomes a validated, typed `SearchConfig`; the effective search, every default written out; and its hash.

The sections `targets`, `observations`, `match`, `lines` and `detector` say *what* is searched and make the hash. `run` and
`services` say how and from where, and do not: the same search on a laptop, a cluster or a mirror has the same hash and the
same records.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

from . import convert
from .convert import Convert
from .errors import ConfigError
from .model import Line

ARCHIVES = ("mast", "irsa", "heasarc", "tap", "sia2")
_SIA2 = frozenset({"collection", "product_type", "calib_level", "instrument", "facility", "wavelength", "time", "near_targets"})
_TOLD_TO: dict[str, frozenset[str]] = {
    "mast": (_SIA2 - {"facility"}) | {"filters", "proposal", "public_only"},
    "irsa": _SIA2 | {"filters"},
    "heasarc": frozenset({"catalog", "keywords", "wavelength", "time", "near_targets"}),
    "tap": frozenset({"url", "adql"}),
    "sia2": _SIA2 | {"url"},
    "": frozenset(),
}
"""Which keys of [observations] each archive is told; `exclude` is for all."""
_NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "mast": (("collection",),),
    "irsa": (("collection", "facility", "near_targets"),),
    "heasarc": (("catalog", "keywords"),),
    "tap": (("url",), ("adql",)),
    "sia2": (("url",), ("collection", "facility", "near_targets")),
}
"""Of each group, an archive needs one key at least: nobody wants all of MAST."""


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
    """`[lines]`: what is looked for."""

    list: tuple[Line, ...] = _option((), convert.lines, "a shipped list's name, or [{ name, wavelength }, ...] (vacuum)")
    min_lines: int = _option(3, convert.positive, "distinct lines that make a target notable")


@dataclass(frozen=True, slots=True)
class Detector:
    """`[detector]`: how it is looked for. Keys other than `name` go to the detector."""

    name: str = _option(
        "lines", convert.detector, "lines, published, published-as-printed, or the user's own: module.Class or file.py:Class"
    )
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """`[run]`: where and how fast; no influence on the records."""

    engine: Literal["ray", "inline"] = _option("ray", convert.choice("ray", "inline"), "ray, or inline (one process)")
    address: str = _option("local", convert.text, "local, auto (the cluster this runs on), or a Ray address")
    concurrency: int = _option(32, convert.positive, "products read at the same time by each loader")
    loaders: int = _option(1, convert.positive, "loader actors")
    detectors: int = _option(0, convert.count, "detector actors; 0: one for each core")


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


_WHAT = ("targets", "observations", "match", "lines", "detector")
_UNITS = {
    ("targets", "merge_radius"): "arcsec",
    ("targets", "simbad_radius"): "arcsec",
    ("observations", "wavelength"): "um",
    ("match", "radius"): "arcsec",
    ("services", "timeout"): "s",
}


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """A whole search, checked."""

    name: str = "search"
    targets: Targets = field(default_factory=Targets)
    observations: Observations = field(default_factory=Observations)
    match: Match = field(default_factory=Match)
    lines: Lines = field(default_factory=Lines)
    detector: Detector = field(default_factory=Detector)
    run: Run = field(default_factory=Run)
    services: Services = field(default_factory=Services)

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of what is searched, every default written out."""
        effective = self.to_dict()
        what = {section: effective[section] for section in _WHAT}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def method(self) -> dict[str, Any]:
        """What decides what `nothing` means: the lines, the range of redshifts and the detector, every default written out."""
        effective = self.to_dict()
        return {
            "lines.list": effective["lines"]["list"],
            "targets.redshift_range": effective["targets"]["redshift_range"],
            "detector": effective["detector"],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the effective search as TOML holds it."""
        document: dict[str, Any] = {"name": self.name}
        for section in _SECTIONS:
            document[section] = _section_to_dict(section, getattr(self, section))
        return document

    def to_toml(self) -> str:
        """Return the effective search as TOML text, every default written out."""
        document = self.to_dict()
        blocks = [f"name = {_toml(document.pop('name'))}\n"]
        for section, values in document.items():
            blocks.append(f"[{section}]\n" + "".join(f"{_toml_key(key)} = {_toml(value)}\n" for key, value in values.items()))
        return "\n".join(blocks)


_SECTIONS: dict[str, type] = {f.name: cast("type", f.default_factory) for f in fields(SearchConfig) if f.name != "name"}


def _section_to_dict(section: str, values: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for f in fields(values):
        value = getattr(values, f.name)
        if f.name == "options":
            result.update(value)
        elif f.name == "list":
            result["list"] = [{"name": line.name, "wavelength": f"{line.rest_um!r} um"} for line in value]
        elif (section, f.name) in _UNITS:
            unit = _UNITS[section, f.name]
            result[f.name] = [f"{v!r} {unit}" for v in value] if isinstance(value, tuple) else f"{value!r} {unit}"
        else:
            result[f.name] = [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, tuple) else value
    return result


def _toml(value: Any) -> str:
    """Return a value as TOML: JSON's text and numbers are TOML's too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_key(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and isinstance(value[0], Mapping):
            return "[\n" + "".join(f"    {_toml(v)},\n" for v in value) + "]"
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _section_from_dict(section: str, values: Any, folder: Path, source: str) -> Any:
    kind = _SECTIONS[section]
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: {section} is a section: write [{section}] and its keys beneath")
    known = {f.name: f for f in fields(kind) if f.metadata}
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key in known:
            try:
                read[key] = known[key].metadata["convert"](value, folder)
            except ValueError as error:
                raise ConfigError(f"{source}: [{section}] {key} {error}") from None
        elif section == "detector":
            if not _plain(value):
                raise ConfigError(
                    f"{source}: [detector] {key} wants text, a number, true or false, or lists of these, not {value!r}"
                )
            read.setdefault("options", {})[key] = value
        else:
            raise ConfigError(f"{source}: [{section}] has no key {key!r}{convert.nearest(key, list(known))}")
    return kind(**read)


def _plain(value: Any) -> bool:
    """Return whether a value is one that TOML and JSON both hold."""
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))


def _check(config: SearchConfig, source: str) -> SearchConfig:
    targets, observations = config.targets, config.observations
    if len(targets.sources) > 1:
        raise ConfigError(f"{source}: [targets] has {' and '.join(targets.sources)}; keep one")
    if targets.simbad_radius and not (targets.table or targets.positions):
        raise ConfigError(f"{source}: [targets] simbad_radius is for a table or positions; leave it out")
    if bool(observations.archive) == bool(observations.table):
        raise ConfigError(
            f"{source}: [observations] needs one of archive and table, not {'both' if observations.table else 'neither'}"
        )
    _check_archive(observations, source)
    if observations.near_targets and not targets.given:
        raise ConfigError(f"{source}: [observations] near_targets has no [targets] to ask around")
    if observations.archive == "heasarc" and not targets.given:
        raise ConfigError(f"{source}: HEASARC is asked around targets only; give [targets] some")
    if not config.lines.list:
        raise ConfigError(f'{source}: [lines] list is missing; give a shipped list, such as "feii-jwst", or your own')
    return config


def _check_archive(observations: Observations, source: str) -> None:
    """Raise ConfigError where a key is for another archive, or one that this archive needs is missing."""
    archive, default = observations.archive, Observations()
    given = {f.name for f in fields(Observations) if getattr(observations, f.name) != getattr(default, f.name)}
    where = archive or "a table"
    for key in sorted(given - _TOLD_TO[archive] - {"archive", "table", "exclude"}):
        others = [name for name in ARCHIVES if key in _TOLD_TO[name]]
        raise ConfigError(f"{source}: [observations] {key} is a key of {' and '.join(others)}, not of {where}; leave it out")
    for keys in _NEEDED.get(archive, ()):
        if not given & {*keys}:
            raise ConfigError(f'{source}: [observations] archive = "{archive}" needs {" or ".join(keys)}')
    if {"catalog", "keywords"} <= given:
        raise ConfigError(f"{source}: [observations] has catalog and keywords; keep one")
    if archive == "irsa" and "filters" in given and not observations.spherex_release:
        raise ConfigError(
            f'{source}: [observations] filters are asked of IRSA only for collection = "spherex_qr2" (or another release) with '
            "near_targets = true; use wavelength"
        )


def from_dict(document: Mapping[str, Any], *, folder: Path | None = None, source: str = "search") -> SearchConfig:
    """Return the checked search that a TOML document (as nested dicts) describes.

    Parameters
    ----------
    document : mapping
        As `tomllib` reads it.
    folder : Path, optional
        Where relative paths start; the current folder if not given.
    source : str, optional
        What messages call the document.

    Raises
    ------
    ConfigError
        Naming the section, the key, what is wrong, and the nearest known key.
    """
    folder = folder or Path.cwd()
    config = SearchConfig()
    for key, value in document.items():
        if key == "name":
            try:
                config = replace(config, name=convert.text(value, folder))
            except ValueError as error:
                raise ConfigError(f"{source}: name {error}") from None
        elif key in _SECTIONS:
            config = replace(config, **{key: _section_from_dict(key, value, folder, source)})
        else:
            raise ConfigError(f"{source}: no section {key!r}{convert.nearest(key, [*_SECTIONS, 'name'])}")
    return _check(config, source)


def shipped() -> list[str]:
    """Return the names of the searches that come with raysearch."""
    return sorted(f.name.removesuffix(".toml") for f in resources.files("raysearch.searches").iterdir() if f.name.endswith(".toml"))


def load(search: str | Path, overrides: Mapping[str, Any] | None = None) -> SearchConfig:
    """Return the checked search of a shipped name or a TOML file.

    Parameters
    ----------
    search : str or Path
        A shipped search's name, or the path of a TOML file.
    overrides : mapping, optional
        `section.key` -> value, set over what the file says.

    Raises
    ------
    ConfigError
        If there is no such search, it is no TOML, or a key or value is wrong.
    """
    path = Path(search)
    if str(search) in shipped():
        text, folder = (resources.files("raysearch.searches") / f"{search}.toml").read_text(), Path.cwd()
    elif _is_file(path):
        text, folder = _read(path), path.parent
    else:
        raise ConfigError(f"no search {str(search)!r}: neither a file nor a shipped search{convert.nearest(search, shipped())}")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and brackets without end
        raise ConfigError(f"{search}: not TOML: {error}") from None
    document.setdefault("name", path.stem)
    return from_dict(_override(document, overrides or {}, folder), folder=folder, source=str(search))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no name that a file can have
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; a search file is UTF-8 text") from None


def _override(document: dict[str, Any], overrides: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the document with `section.key` values set; paths among them start at the current folder, not at the file's."""
    detector = document.get("detector")
    if isinstance(detector, dict) and overrides.get("detector.name", detector.get("name")) != detector.get("name"):
        document["detector"] = {}  # its other keys are options of a detector that is not asked for
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        if not key:
            document[section] = value
            continue
        if not isinstance(document.setdefault(section, {}), dict):
            raise ConfigError(f"--set {dotted}: {section} is not a section")
        from_here = {"table": convert.path, "answers": convert.path, "name": convert.detector}.get(key)
        if from_here and isinstance(value, str) and folder != Path.cwd():
            value = from_here(value, Path.cwd())  # noqa: PLW2901
        document[section][key] = value
    return document


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the key and value of a `key=value` setting; the value is read as TOML, and as plain text where it is none.

    Raises
    ------
    ConfigError
        If there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: wants key=value, such as --set match.radius='2 arcsec'")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key.strip(), value.strip()
