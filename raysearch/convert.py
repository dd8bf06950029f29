"""Converters of a search file's values: each takes a value as TOML gives it and the folder of the file, and returns the typed one.

What a value cannot be is a ValueError whose message goes on from the key's name: `wants a number, not 'x'`.
"""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from .model import HIGHEST_REDSHIFT, Line

Convert = Callable[[Any, Path], Any]


def text(value: Any, _: Path) -> str:
    """Return a text as it stands."""
    if not isinstance(value, str):
        raise ValueError(f"wants text in quotes, not {value!r}")
    return value


def flag(value: Any, _: Path) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"wants true or false, not {value!r}")
    return value


def number(value: Any, _: Path) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"wants a number, not {value!r}")
    try:
        finite = float(value)
    except OverflowError:
        finite = math.inf
    if not math.isfinite(finite):
        raise ValueError("wants a finite number")
    return finite


def share(value: Any, folder: Path) -> float:
    """Return a part of a whole: 0 to 1."""
    given = number(value, folder)
    if not 0 <= given <= 1:
        raise ValueError(f"wants a number from 0 to 1, not {value!r}")
    return given


def count(value: Any, _: Path) -> int:
    """Return a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"wants a whole number, 0 or more, not {value!r}")
    return value


def positive(value: Any, folder: Path) -> int:
    """Return a whole number, 1 or more."""
    if count(value, folder) == 0:
        raise ValueError("wants a whole number, 1 or more, not 0")
    return cast("int", value)


_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:(?:([kMGT])(i?))?B(?:ytes?)?)?\s*", re.IGNORECASE)


def memory(value: Any, _: Path) -> int:
    """Return bytes: of "4 GB" (powers of 1000), "512 MiB" (of 1024), a whole number; an empty text is none."""
    given = "0" if value == "" else str(value)
    found = None if isinstance(value, (bool, float)) else _MEMORY.fullmatch(given)
    if found is None:
        raise ValueError(f'wants a number of bytes, such as "4 GB" or "512 MiB", not {value!r}')
    number_, prefix, binary = found.groups()
    nbytes: float = float(number_) * (1024 if binary else 1000) ** " kmgt".index((prefix or " ").lower())
    if not nbytes < 2**63:
        raise ValueError("wants a number of bytes that a machine can have")
    return round(nbytes)


def counts(value: Any, folder: Path) -> tuple[int, ...]:
    """Return a list of whole numbers, 0 or more."""
    return tuple(count(v, folder) for v in _array(value))


def texts(value: Any, folder: Path) -> tuple[str, ...]:
    """Return a list of texts; one text alone is a list of one, an empty one of none."""
    return tuple(filter(None, [value])) if isinstance(value, str) else tuple(text(v, folder) for v in _array(value))


def _array(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"wants a list in [ ], not {value!r}")
    return list(value)


def path(value: Any, folder: Path) -> str:
    """Return an absolute path (relative ones start at the search file's folder), or an address as it stands."""
    given = text(value, folder)
    if not given or "://" in given:
        return given
    return str((folder / Path(given).expanduser()).resolve()) + ("/" if given.endswith("/") else "")


def address(value: Any, folder: Path) -> str:
    """Return the address of a service, without blanks around it; an empty one stays empty."""
    given = text(value, folder).strip()
    try:
        parts = urlsplit(given)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0  # a wrong port is a ValueError
    except ValueError:
        usable = False
    if given and not usable:
        raise ValueError(f"wants an address that begins with https:// or http://, not {value!r}")
    return given


def host(value: str) -> str:
    """Return the host that an address names; empty where it names none."""
    try:
        return (urlsplit(value).hostname or "").rstrip(".") if "://" in value else ""
    except ValueError:
        return ""


def detector(value: Any, folder: Path) -> str:
    """Return a detector's name; that of a class in a file with the file's whole path."""
    file, colon, name = text(value, folder).rpartition(":")
    return f"{path(file, folder)}:{name}" if colon else name


def positions(value: Any, folder: Path) -> tuple[tuple[float, float], ...]:
    """Return [ra, dec] pairs in degrees, 0 <= ra < 360."""
    pairs = []
    for pair in _array(value):
        numbers = [number(v, folder) for v in _array(pair)]
        if len(numbers) != 2 or not -90 <= numbers[1] <= 90:
            raise ValueError(f"wants [ra, dec] pairs in degrees, not {pair!r}")
        pairs.append((numbers[0] % 360.0 % 360.0, numbers[1]))  # a tiny negative number gives 360.0 at first
    return tuple(pairs)


def redshift(value: Any, folder: Path) -> float:
    """Return a redshift that may be."""
    given = number(value, folder)
    if not -1 < given <= HIGHEST_REDSHIFT:
        raise ValueError(f"wants a redshift above -1 and up to {HIGHEST_REDSHIFT:g}, no velocity, not {value!r}")
    return given


def redshifts(value: Any, folder: Path) -> tuple[float, ...]:
    """Return the lowest and the highest redshift of a range; nothing for an empty one."""
    ends = tuple(redshift(v, folder) for v in _array(value))
    return _range(ends, "two redshifts, such as [0.0, 0.1], the lower first", value)


def choice(*allowed: str) -> Convert:
    """Return a converter of texts that are one of these."""

    def convert(value: Any, folder: Path) -> str:
        if text(value, folder) not in allowed:
            known = [name for name in allowed if name]
            raise ValueError(f"wants one of {', '.join(map(repr, known))}, not {value!r}{nearest(value, known, tell_all=False)}")
        return cast("str", value)

    return convert


def quantity(unit: str, *, low: float, high: float = math.inf) -> Convert:
    """Return a converter of texts such as "3 arcsec" to a number of `unit`."""

    def convert(value: Any, folder: Path) -> float:
        from astropy import units

        try:
            amount = float(units.Quantity(text(value, folder)).to_value(unit))
        except units.UnitConversionError:
            raise ValueError(f"wants a number with a unit that converts to {unit}, such as '1 {unit}', not {value!r}") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be read as a number with a unit, such as '1 {unit}': {error}") from None
        if not low <= amount < math.inf:
            raise ValueError(f"wants at least {low:g} {unit}, not {value!r}")
        if amount > high:
            raise ValueError(f"wants at most {high:g} {unit}, not {value!r}")
        return amount

    return convert


separation = quantity("arcsec", low=0.0, high=180.0 * 3600.0)
"""Converts a distance on the sky to arcseconds; no two places are farther apart than half a turn."""
size = quantity("deg", low=0.0, high=4.0)
"""Converts the side of a box to degrees; no image searched is wider (a SPHEREx detector sees 3.5 degrees)."""
_wavelength_um = quantity("um", low=1e-9)


def wavelengths(value: Any, folder: Path) -> tuple[float, ...]:
    """Return the two ends of a range of wavelengths, micrometres; an empty list is no range."""
    ends = tuple(_wavelength_um(v, folder) for v in _array(value))
    return _range(ends, 'two wavelengths, such as ["4.9 um", "28 um"], the shorter first', value)


def times(value: Any, folder: Path) -> tuple[str, ...]:
    """Return the two ends of a span of time, ISO 8601 (UTC); an empty list is no span."""
    wanted = 'two times, such as ["2024-01-01", "2025-01-01"], the earlier first'
    ends = [v.isoformat() if isinstance(v, dt.date) else text(v, folder) for v in _array(value)]
    try:
        moments = [dt.datetime.fromisoformat(end) for end in ends]
    except ValueError:
        raise ValueError(f"wants {wanted}, not {value!r}") from None
    _range(tuple(_as_utc(moment) for moment in moments), wanted, value)
    return tuple(ends)


def mjd(time: str) -> float:
    """Return the modified Julian date of an ISO 8601 time; one without a zone is UTC."""
    since = _as_utc(dt.datetime.fromisoformat(time)) - dt.datetime(1858, 11, 17, tzinfo=dt.UTC)
    return since / dt.timedelta(days=1)


def _as_utc(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _range(ends: tuple[Any, ...], wanted: str, value: Any) -> tuple[Any, ...]:
    if ends and (len(ends) != 2 or not ends[0] < ends[1]):
        raise ValueError(f"wants {wanted}, not {value!r}")
    return ends


_EXTENSIONS = ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF", "SOLID_ANGLE")
"""Of a SPHEREx image, what can be asked for; SOLID_ANGLE comes from its calibration product."""


def extensions(value: Any, folder: Path) -> tuple[str, ...]:
    """Return names of extensions of a SPHEREx image, in the order of the file."""
    given = texts(value, folder)
    unknown = [name for name in given if name not in (*_EXTENSIONS, "WCS-WAVE")]
    if unknown:
        raise ValueError(f"has {unknown[0]!r}, which is none of {', '.join(_EXTENSIONS)}")
    if "IMAGE" not in given:
        raise ValueError("leaves out IMAGE, without which there is no cutout")
    return tuple(name for name in _EXTENSIONS if name in given)


def bands(value: Any, folder: Path) -> tuple[str, ...]:
    """Return two detectors of SPHEREx, the one of shorter wavelengths first; nothing for an empty list."""
    given = sorted({name.upper().removeprefix("SPHEREX-") for name in texts(value, folder)})
    if given and (len(given) != 2 or not set(given) <= {f"D{number}" for number in range(1, 7)}):
        raise ValueError(f'wants two different detectors of D1 to D6, such as ["D2", "D4"], not {value!r}')
    return tuple(given)


def radii(value: Any, folder: Path) -> tuple[float, ...]:
    """Return one or more radii in pixels, increasing."""
    given = tuple(number(v, folder) for v in _array(value))
    if not given or given[0] <= 0.0 or list(given) != sorted(set(given)):
        raise ValueError(f"wants one or more radii in pixels, increasing, such as [3, 4, 5], not {value!r}")
    return given


def annulus(value: Any, folder: Path) -> tuple[float, ...]:
    """Return the inner and the outer radius of an annulus in pixels."""
    given = radii(value, folder)
    if len(given) != 2:
        raise ValueError(f"wants an inner and an outer radius in pixels, such as [7, 16], not {value!r}")
    return given


def lines(value: Any, folder: Path) -> tuple[Line, ...]:
    """Return the lines of a shipped list (by name) or of an array of `{name, wavelength}`."""
    if isinstance(value, str):
        value = _shipped_lines(value)
    read = []
    for entry in _array(value):
        if not isinstance(entry, Mapping) or set(entry) != {"name", "wavelength"}:
            raise ValueError(f'wants {{ name = "...", wavelength = "5.340 um" }}, not {entry!r}')
        try:
            read.append(Line(text(entry["name"], folder), _wavelength_um(entry["wavelength"], folder)))
        except ValueError as error:
            raise ValueError(f"{entry['name']!r}: wavelength {error}") from None
    names = [line.name for line in read]
    if len(set(names)) != len(names):
        raise ValueError(
            f"names a line twice: {next(n for n in names if names.count(n) > 1)!r}; every line needs a name of its own"
        )
    return tuple(read)


def _shipped_lines(name: str) -> Any:
    folder = resources.files("raysearch.searches") / "lines"
    known = sorted(f.name.removesuffix(".toml") for f in folder.iterdir())
    if name not in known:
        raise ValueError(f"no line list {name!r} is shipped (known: {', '.join(known)}); or give a list in [ ]")
    return tomllib.loads((folder / f"{name}.toml").read_text())["lines"]


def nearest(name: Any, known: Sequence[str], *, tell_all: bool = True) -> str:
    """Return the end of a message about an unknown name: the one it may mean, whatever its capitals, or all there are."""
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    all_there_are = f" (known: {', '.join(known)})" if tell_all else ""
    return f"; did you mean {near[0]!r}?" if near else all_there_are
