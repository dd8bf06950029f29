"""Whether `search.toml` has the shape in which the report reads it: a hand may have been in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def check_search(search: Mapping[str, Any]) -> None:
    """Raise ValueError that names the key, if one that the report reads has a value of another kind."""
    for section, keys in _KINDS.items():
        table = search.get(section, {})
        if not isinstance(table, Mapping):
            raise ValueError(f"{section} is no table")
        for key, right in keys.items():
            if key in table and not right(table[key]):
                raise ValueError(f"{section}.{key} has a value of another kind")


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _text_or_texts(value: object) -> bool:
    return _text(value) or _texts(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _two(right: Callable[[object], bool]) -> Callable[[Any], bool]:
    return lambda value: not value or (isinstance(value, list) and len(value) == 2 and all(map(right, value)))


def _line(value: object) -> bool:
    if not isinstance(value, Mapping) or not (_text(value.get("name")) and _text(value.get("wavelength"))):
        return False
    try:
        return float(value["wavelength"].split()[0]) > 0
    except (IndexError, ValueError):
        return False


_KINDS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "targets": {
        "simbad": _text,
        "names": _texts,
        "table": _text,
        "positions": lambda value: isinstance(value, list),
        "simbad_radius": lambda value: _text(value) and bool(value.strip()),
        "redshift_range": _two(_number),
    },
    "observations": {
        "archive": _text,
        "table": _text,
        "catalog": _text,
        **dict.fromkeys(("collection", "facility", "instrument", "product_type"), _text_or_texts),
        **dict.fromkeys(("filters", "proposal", "calib_level", "exclude"), lambda value: isinstance(value, list)),
        "wavelength": _two(_text),
        "time": _two(_text),
    },
    "match": {"radius": lambda value: _text(value) and bool(value.strip())},
    "lines": {"list": lambda value: isinstance(value, list) and all(map(_line, value)), "min_lines": _number},
    "images": {"size": _text, "bands": _texts},
    "detector": {"name": _text},
}
"""Section -> key -> whether a value is of the kind that is read."""
