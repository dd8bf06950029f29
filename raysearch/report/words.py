"""The search in words: what its file says, as a person would tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysearch.report.folder import Run

_ARCHIVES = {"mast": "MAST", "irsa": "IRSA", "heasarc": "HEASARC", "tap": "a TAP service", "sia2": "an SIA2 service"}


def in_words(run: Run) -> list[tuple[str, str]]:
    """Return what was looked for, around what, where and how: (heading, sentence) pairs."""
    search = run.search
    told = [
        ("Looked for", _what(search, run.kind)),
        ("Around", _targets(search.get("targets", {}), search.get("match", {}))),
        ("In", _observations(search.get("observations", {}))),
        ("With", _detector(search.get("detector", {}))),
    ]
    return [(heading, text) for heading, text in told if text]


def _what(search: Mapping[str, Any], kind: str) -> str:
    if kind == "lines":
        lines = search.get("lines", {}).get("list", ())
        names = [str(line["name"]) for line in lines]
        shown = _listed(names if len(names) <= 8 else [*names[:7], f"{len(names) - 7} more"])
        at_least = search.get("lines", {}).get("min_lines")
        notable = f"; a target with {at_least} or more of them is notable" if at_least else ""
        return f"{len(lines)} spectral line{'s' if len(lines) != 1 else ''}: {shown}{notable}."
    images = search.get("images", {})
    size = f" of {images['size']}" if images.get("size") else ""
    if kind == "pairs":
        return f"sources that differ between the bands {_listed(images['bands'])}, in boxes{size} around each target."
    return f"boxes{size} around each target, cut out of every image that holds it."


def _targets(targets: Mapping[str, Any], match: Mapping[str, Any]) -> str:
    if targets.get("simbad"):
        what = f"the objects for which SIMBAD has {targets['simbad']}"
    elif targets.get("names"):
        what = _some(targets["names"], "objects")
    elif targets.get("table"):
        what = f"the targets of the table {targets['table']}"
    elif targets.get("positions"):
        what = f"{len(targets['positions']):,} positions given"
    else:
        return "the centre of every observation: no targets were given."
    if not _zero(targets.get("simbad_radius")):
        what = f"SIMBAD's objects within {targets['simbad_radius']} of {what}"
    beyond = "" if _zero(match.get("radius")) else f", or up to {match['radius']} outside a footprint"
    shifts = targets.get("redshift_range")
    redshifts = f"; redshifts from {shifts[0]:g} to {shifts[1]:g} were searched" if shifts else ""
    return f"{what}{beyond}{redshifts}."


def _observations(asked: Mapping[str, Any]) -> str:
    if asked.get("table"):
        return f"the observations of {asked['table']}."
    names = (("collection", ""), ("facility", ""), ("instrument", ""), ("product_type", ""), ("catalog", ""))
    words = [_listed([str(v) for v in _several(asked[key])]) for key, _ in names if asked.get(key)]
    if asked.get("calib_level"):
        words.append(f"calibration level {_listed([str(v) for v in asked['calib_level']], 'or')}")
    for key, label in (("filters", "filter"), ("proposal", "proposal")):
        if asked.get(key):
            words.append(f"{label} {_listed([str(v) for v in asked[key]], 'or')}")
    if asked.get("wavelength"):
        words.append(f"reaching into {asked['wavelength'][0]} to {asked['wavelength'][1]}")
    if asked.get("time"):
        words.append(f"taken between {asked['time'][0]} and {asked['time'][1]}")
    where = _ARCHIVES.get(asked.get("archive", ""), "the archive")
    public = ", public" if asked.get("archive") == "mast" and asked.get("public_only") else ""
    left = f"; not those named {_listed(asked['exclude'], 'or')}" if asked.get("exclude") else ""
    return f"{where}: {', '.join(words) or 'everything'}{public}{left}."


def _detector(detector: Mapping[str, Any]) -> str:
    told = {key: value for key, value in detector.items() if key != "name" and value not in ("", [], {}, 0)}
    options = ", ".join(f"{key} {_plain(value)}" for key, value in told.items())
    return f"the detector {detector.get('name', '')}" + (f": {options}" if options else "") + "."


def _plain(value: Any) -> str:
    """Return an option's value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _some(names: Sequence[str], what: str) -> str:
    return _listed(list(names)) if len(names) <= 5 else f"{len(names):,} {what} by name: {', '.join(names[:3])} and others"


def _several(value: Any) -> Sequence[Any]:
    return [value] if isinstance(value, str) else value


def _listed(words: Sequence[str], last: str = "and") -> str:
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def _zero(value: Any) -> bool:
    """Return whether a quantity, such as `0.0 arcsec`, is none."""
    return not value or (isinstance(value, str) and value.split()[0] in ("0", "0.0"))
