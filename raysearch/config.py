"""A search file (TOML) becomes a validated, typed `SearchConfig`; the effective search, every default written out; and its hash.

A search is of lines in spectral cubes (`[lines] list`), of images (`[images] size`), or of pairs of images (`[images] bands` too),
and has only the sections of its kind. `targets`, `observations`, `match`, `detector` and `lines`, or `images` and `spectra`, say
*what* is searched and make the hash. `report`, `run` and `services` say how and from where, and do not: the same search on a
laptop, a cluster or a mirror has the same hash and the same records.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol, cast

from . import convert
from .errors import ConfigError
from .model import Kind
from .sections import ARCHIVES, Detector, Images, Lines, Match, Observations, Report, Run, Services, Spectra, Targets

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

_WHAT: dict[Kind, tuple[str, ...]] = {
    "lines": ("targets", "observations", "match", "lines", "detector"),
    "images": ("targets", "observations", "match", "images", "detector"),
    "pairs": ("targets", "observations", "match", "images", "spectra", "detector"),
}
"""The sections that say what a search of each kind looks for."""
_HOW = ("report", "run", "services")
_DETECTORS: dict[Kind, str] = {"lines": "lines", "images": "cutouts", "pairs": "difference"}
"""The detector of each kind of search that names none."""
_DETECTORS_OF_SPHEREX = [f"SPHEREx-D{number}" for number in range(1, 7)]
_PIXEL_DEG = 6.15 / 3600.0
"""The side of a SPHEREx pixel (Explanatory Supplement)."""
_UNITS = {
    ("targets", "merge_radius"): "arcsec",
    ("targets", "simbad_radius"): "arcsec",
    ("observations", "wavelength"): "um",
    ("match", "radius"): "arcsec",
    ("images", "size"): "deg",
    ("spectra", "size"): "deg",
    ("run", "time_limit"): "s",
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
    images: Images = field(default_factory=Images)
    spectra: Spectra = field(default_factory=Spectra)
    detector: Detector = field(default_factory=Detector)
    report: Report = field(default_factory=Report)
    run: Run = field(default_factory=Run)
    services: Services = field(default_factory=Services)

    @property
    def kind(self) -> Kind:
        """What is searched: `lines` of cubes, `images`, or `pairs` of images."""
        if self.lines.list:
            return "lines"
        return "pairs" if self.images.bands else "images"

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of what is searched, every default written out."""
        effective = self.to_dict()
        what = {section: effective[section] for section in _WHAT[self.kind]}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of every address that the search gives: the only ones of the user's own network that an archive may name."""
        services = [getattr(self.services, f.name) for f in fields(self.services)]
        given = [self.observations.url, self.images.solid_angles, self.images.wavelengths, *services]
        found = [convert.host(value) for value in given if isinstance(value, str)]
        return tuple(sorted({host for host in found if host}))

    @property
    def method(self) -> dict[str, Any]:
        """What decides what `nothing` means, with every default: the detector, and the lines, or what is read of the images."""
        effective = self.to_dict()
        if self.kind != "lines":
            return {f"images.{key}": value for key, value in effective["images"].items()} | {"detector": effective["detector"]}
        return {
            "lines.list": effective["lines"]["list"],
            "targets.redshift_range": effective["targets"]["redshift_range"],
            "detector": effective["detector"],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the effective search as TOML holds it."""
        document: dict[str, Any] = {"name": self.name}
        for section in (*_WHAT[self.kind], *_HOW):
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
        raise ConfigError(f"{source}: [observations] near_targets has no [targets] to ask around; {_GIVE_TARGETS}")
    if observations.archive == "heasarc" and not targets.given:
        raise ConfigError(f"{source}: HEASARC is asked around targets only; {_GIVE_TARGETS}")
    _check_kind(config, source)
    return config if config.detector.name else replace(config, detector=replace(config.detector, name=_DETECTORS[config.kind]))


def _check_kind(config: SearchConfig, source: str) -> None:
    """Raise ConfigError where it cannot be told what kind of search this is, or a key is for another kind."""
    if not config.lines.list and not config.images.size:
        if _given(config.images):
            raise ConfigError(f'{source}: [images] size is missing; give the side of the box about each target, such as "0.1 deg"')
        raise ConfigError(
            f'{source}: [lines] list is missing; give a shipped list, such as "feii-jwst", or your own; or, to search images, '
            '[images] size, such as "0.1 deg"'
        )
    elsewhere = {
        "lines": {"images": _given(config.images), "spectra": _given(config.spectra)},
        "images": {"lines": _given(config.lines), "spectra": _given(config.spectra), "images": _given(config.images) & {"pairs"}},
        "pairs": {"lines": _given(config.lines), "observations": _given(config.observations) & {"filters"}},
    }[config.kind]
    if config.kind != "lines":
        elsewhere["targets"] = _given(config.targets) & {"redshift", "redshift_range"}
    for section, keys in elsewhere.items():
        if keys:
            raise ConfigError(f"{source}: [{section}] {min(keys)} {_ELSEWHERE[config.kind, section]}")
    if config.kind == "pairs" and not config.targets.given:
        raise ConfigError(f"{source}: pairs of images are chosen around [targets], and there are none; {_GIVE_TARGETS}")
    for key in ("solid_angles", "wavelengths"):
        address = getattr(config.images, key)
        if config.kind == "pairs" and address and "{detector}" not in address:
            raise ConfigError(f"{source}: [images] {key} names one file for two bands; write {{detector}} where the number stands")
    if config.kind == "pairs" and config.spectra.size < 2.0 * config.spectra.annulus_px[1] * _PIXEL_DEG:
        outer = config.spectra.annulus_px[1]
        needed = f"{2.0 * outer * _PIXEL_DEG:.2g} deg"
        raise ConfigError(f"{source}: [spectra] size has no room for an annulus of {outer:g} pixels; make it {needed} or more")


_GIVE_TARGETS = """give some, such as --set targets.names='["M 31"]' or --set targets.table=mine.csv"""
_FOR_LINES = "is for searches of lines, and this one is of images; leave it out"
_FOR_PAIRS = 'is for pairs of images; leave it out, or give [images] bands = ["D2", "D4"]'
_FOR_IMAGES = "is for searches of images, and this one is of lines; leave it out, or leave out [lines]"
_ELSEWHERE: dict[tuple[Kind, str], str] = {
    ("lines", "images"): _FOR_IMAGES,
    ("lines", "spectra"): _FOR_IMAGES,
    ("images", "lines"): _FOR_LINES,
    ("images", "targets"): _FOR_LINES,
    ("images", "spectra"): _FOR_PAIRS,
    ("images", "images"): _FOR_PAIRS,
    ("pairs", "lines"): _FOR_LINES,
    ("pairs", "targets"): _FOR_LINES,
    ("pairs", "observations"): "is said by [images] bands; leave it out",
}
"""Why a section's keys have no place in a search of a kind, and what to do."""


def _given(section: Any) -> set[str]:
    """Return the keys whose values are not their defaults."""
    default = type(section)()
    return {f.name for f in fields(section) if getattr(section, f.name) != getattr(default, f.name)}


def _check_archive(observations: Observations, source: str) -> None:
    """Raise ConfigError where a key is for another archive, or one that this archive needs is missing."""
    archive, given = observations.archive, _given(observations)
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
    if unknown := [name for name in observations.filters if observations.spherex_release and name not in _DETECTORS_OF_SPHEREX]:
        near = convert.nearest(unknown[0], _DETECTORS_OF_SPHEREX)
        raise ConfigError(f"{source}: [observations] filters has {unknown[0]!r}, which is no detector of SPHEREx{near}")


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


class TextFile(Protocol):
    """A file that is no `Path`, such as one in S3."""

    def read_text(self, encoding: str) -> str:
        """Return what it holds."""
        ...


def load(search: str | Path | TextFile, overrides: Mapping[str, Any] | None = None) -> SearchConfig:
    """Return the checked search of a shipped name or a TOML file.

    Parameters
    ----------
    search : str, Path or file
        A shipped search's name, or the path of a TOML file; or another file, in which paths are absolute.
    overrides : mapping, optional
        `section.key` -> value, set over what the file says.

    Raises
    ------
    ConfigError
        If there is no such search, it is no TOML, or a key or value is wrong.
    """
    path = Path(str(search))
    if not isinstance(search, str | Path):
        text, folder = _read(search), Path.cwd()
    elif str(search) in shipped():
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


def _read(path: TextFile) -> str:
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
        from_here = _FROM_HERE.get(key)
        if from_here and isinstance(value, str) and folder != Path.cwd():
            value = from_here(value, Path.cwd())  # noqa: PLW2901
        document[section][key] = value
    return document


_FROM_HERE = {
    "table": convert.path,
    "answers": convert.path,
    "solid_angles": convert.path,
    "wavelengths": convert.path,
    "name": convert.detector,
}
"""Keys that hold paths."""


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
