"""A search file (TOML) becomes a validated, typed `SearchConfig`; the effective search, every default written out; and its hash.

The sections `targets`, `observations`, `match`, `lines` and `detector` say *what* is searched and make the hash. `run` and
`services` say how and from where, and do not: the same search on a laptop, a cluster or a mirror has the same hash and the
same records.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

from .errors import ConfigError
from .model import Line

Convert = Callable[[Any, Path], Any]

MAST_URL = "https://mast.stsci.edu"
SIMBAD_URL = "https://simbad.cds.unistra.fr/simbad/sim-tap"


# Converters: each takes the value as TOML gives it and the folder of the search file; it returns the typed value, or raises
# ValueError.


def _text(value: Any, _: Path) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wants text in quotes, not {value!r}")
    return value


def _flag(value: Any, _: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"wants true or false, not {value!r}")
    return value


def _number(value: Any, _: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"wants a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("wants a finite number")
    return number


def _count(value: Any, _: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"wants a whole number, 0 or more, not {value!r}")
    return value


def _positive(value: Any, folder: Path) -> int:
    if _count(value, folder) == 0:
        raise ValueError("wants a whole number, 1 or more, not 0")
    return cast("int", value)


def _counts(value: Any, folder: Path) -> tuple[int, ...]:
    return tuple(_count(v, folder) for v in _array(value))


def _texts(value: Any, folder: Path) -> tuple[str, ...]:
    return tuple(_text(v, folder) for v in _array(value))


def _array(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"wants a list in [ ], not {value!r}")
    return list(value)


def _path(value: Any, folder: Path) -> str:
    """Return an absolute path (relative ones start at the search file's folder), or an address as it stands."""
    text = _text(value, folder)
    if not text or "://" in text:
        return text
    return str((folder / Path(text).expanduser()).resolve()) + ("/" if text.endswith("/") else "")


def _detector(value: Any, folder: Path) -> str:
    """Return a detector's name; that of a class in a file with the file's whole path."""
    file, colon, name = _text(value, folder).rpartition(":")
    return f"{_path(file, folder)}:{name}" if colon else name


def _positions(value: Any, folder: Path) -> tuple[tuple[float, float], ...]:
    pairs = []
    for pair in _array(value):
        numbers = [_number(v, folder) for v in _array(pair)]
        if len(numbers) != 2 or not -90 <= numbers[1] <= 90:
            raise ValueError(f"wants [ra, dec] pairs in degrees, not {pair!r}")
        pairs.append((numbers[0] % 360.0 % 360.0, numbers[1]))  # a tiny negative number gives 360.0 at first
    return tuple(pairs)


def _choice(*allowed: str) -> Convert:
    def convert(value: Any, folder: Path) -> str:
        if _text(value, folder) not in allowed:
            raise ValueError(f"wants one of {', '.join(map(repr, allowed))}, not {value!r}{_nearest(value, allowed)}")
        return cast("str", value)

    return convert


def _quantity(unit: str, *, low: float) -> Convert:
    """Return a converter of texts such as "3 arcsec" to a number of `unit`."""

    def convert(value: Any, folder: Path) -> float:
        from astropy import units

        try:
            number = float(units.Quantity(_text(value, folder)).to_value(unit))
        except units.UnitConversionError:
            raise ValueError(f"wants a number with a unit that converts to {unit}, such as '1 {unit}', not {value!r}") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be read as a number with a unit, such as '1 {unit}': {error}") from None
        if not low <= number < float("inf"):
            raise ValueError(f"wants at least {low:g} {unit}, not {value!r}")
        return number

    return convert


_wavelength_um = _quantity("um", low=1e-9)


def _lines(value: Any, folder: Path) -> tuple[Line, ...]:
    """Return the lines of a shipped list (by name) or of an array of `{name, wavelength}`."""
    if isinstance(value, str):
        value = _shipped_lines(value)
    lines = []
    for entry in _array(value):
        if not isinstance(entry, Mapping) or set(entry) != {"name", "wavelength"}:
            raise ValueError(f'wants {{ name = "...", wavelength = "5.340 um" }}, not {entry!r}')
        try:
            lines.append(Line(_text(entry["name"], folder), _wavelength_um(entry["wavelength"], folder)))
        except ValueError as error:
            raise ValueError(f"{entry['name']!r}: wavelength {error}") from None
    names = [line.name for line in lines]
    if len(set(names)) != len(names):
        raise ValueError(
            f"names a line twice: {next(n for n in names if names.count(n) > 1)!r}; every line needs a name of its own"
        )
    return tuple(lines)


def _shipped_lines(name: str) -> Any:
    folder = resources.files("raysearch.searches") / "lines"
    known = sorted(f.name.removesuffix(".toml") for f in folder.iterdir())
    if name not in known:
        raise ValueError(f"no line list {name!r} is shipped (known: {', '.join(known)}); or give a list in [ ]")
    return tomllib.loads((folder / f"{name}.toml").read_text())["lines"]


def _option(default: Any, convert: Convert, doc: str) -> Any:
    return field(default=default, metadata={"convert": convert, "doc": doc})


@dataclass(frozen=True, slots=True)
class Targets:
    """`[targets]`: whose neighbourhood is searched. None of simbad, table, positions: every observation is searched."""

    simbad: str = _option("", _text, "an ADQL condition on SIMBAD's table `basic`")
    table: str = _option("", _path, "a file: CSV, ECSV, VOTable, FITS, Parquet, Arrow")
    positions: tuple[tuple[float, float], ...] = _option((), _positions, "[[ra, dec], ...] in degrees, ICRS")
    redshift: float = _option(0.0, _number, "where a target has none of its own")

    @property
    def given(self) -> bool:
        """Whether any targets are asked for."""
        return bool(self.simbad or self.table or self.positions)


@dataclass(frozen=True, slots=True)
class Observations:
    """`[observations]`: which products may be searched."""

    archive: str = _option("", _choice("", "mast"), "where they are asked for: mast")
    table: str = _option("", _path, "or a file of ObsCore-like rows, or a folder of FITS files")
    collection: str = _option("JWST", _text, "MAST obs_collection")
    product_type: str = _option("cube", _text, "MAST dataproduct_type")
    calib_level: tuple[int, ...] = _option((0, 1, 2, 3, 4), _counts, "MAST calib_level, any of these")
    public_only: bool = _option(True, _flag, "leave out what is not public")
    exclude: tuple[str, ...] = _option((), _texts, "obs_id patterns (* and ?) that are skipped")


@dataclass(frozen=True, slots=True)
class Match:
    """`[match]`: when a target belongs to an observation."""

    radius: float = _option(0.0, _quantity("arcsec", low=0.0), "how far outside the footprint a target may lie")


@dataclass(frozen=True, slots=True)
class Lines:
    """`[lines]`: what is looked for."""

    list: tuple[Line, ...] = _option((), _lines, "a shipped list's name, or [{ name, wavelength }, ...] (vacuum)")
    min_lines: int = _option(3, _positive, "distinct lines that make a target notable")


@dataclass(frozen=True, slots=True)
class Detector:
    """`[detector]`: how it is looked for. Keys other than `name` go to the detector."""

    name: str = _option("published", _detector, "published, published-as-printed, or the user's own: module.Class or file.py:Class")
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """`[run]`: where and how fast; no influence on the records."""

    engine: Literal["ray", "inline"] = _option("ray", _choice("ray", "inline"), "ray, or inline (one process)")
    address: str = _option("local", _text, "local, auto (the cluster this runs on), or a Ray address")
    concurrency: int = _option(32, _positive, "products read at the same time by each loader")
    loaders: int = _option(1, _positive, "loader actors")
    detectors: int = _option(0, _count, "detector actors; 0: one for each core")


@dataclass(frozen=True, slots=True)
class Services:
    """`[services]`: base addresses, for mirrors and for the embedded archive."""

    simbad: str = _option(SIMBAD_URL, _text, "SIMBAD's TAP service")
    mast: str = _option(MAST_URL, _text, "MAST")
    s3: str = _option("", _text, "S3 endpoint; empty: Amazon's, or what AWS_ENDPOINT_URL says")
    s3_region: str = _option("us-east-1", _text, "where the buckets lie")
    s3_client: Literal["obstore", "s3fs"] = _option("obstore", _choice("obstore", "s3fs"), "which client reads s3://")
    s3_signed: bool = _option(False, _flag, "sign requests with your own AWS credentials")
    timeout: float = _option(30.0, _quantity("s", low=0.1), "how long a store may stay silent")


_WHAT = ("targets", "observations", "match", "lines", "detector")
_UNITS = {("match", "radius"): "arcsec", ("services", "timeout"): "s"}


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
            result[f.name] = f"{value!r} {_UNITS[section, f.name]}"
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


def _nearest(name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(k for k in known if k)})"


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
            raise ConfigError(f"{source}: [{section}] has no key {key!r}{_nearest(key, list(known))}")
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
    given = [key for key in ("simbad", "table", "positions") if getattr(targets, key)]
    if len(given) > 1:
        raise ConfigError(f"{source}: [targets] has {' and '.join(given)}; keep one")
    if bool(observations.archive) == bool(observations.table):
        raise ConfigError(
            f"{source}: [observations] needs one of archive and table, not {'both' if observations.table else 'neither'}"
        )
    if not config.lines.list:
        raise ConfigError(f'{source}: [lines] list is missing; give a shipped list, such as "feii-jwst", or your own')
    if targets.redshift <= -1:
        raise ConfigError(f"{source}: [targets] redshift must be above -1, not {targets.redshift}")
    return config


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
                config = replace(config, name=_text(value, folder))
            except ValueError as error:
                raise ConfigError(f"{source}: name {error}") from None
        elif key in _SECTIONS:
            config = replace(config, **{key: _section_from_dict(key, value, folder, source)})
        else:
            raise ConfigError(f"{source}: no section {key!r}{_nearest(key, [*_SECTIONS, 'name'])}")
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
        raise ConfigError(f"no search {str(search)!r}: neither a file nor a shipped search{_nearest(search, shipped())}")
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
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        if not key:
            document[section] = value
            continue
        if not isinstance(document.setdefault(section, {}), dict):
            raise ConfigError(f"--set {dotted}: {section} is not a section")
        from_here = {"table": _path, "name": _detector}.get(key)
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
