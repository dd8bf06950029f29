"""Candidates and footprints as regions for SAOImage DS9.

The text of a region file is what DS9's reference manual says of its own format ("Regions", DS9 v8): one shape a line, positions in
degrees, sizes in arcsec, `text={...}` as its label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from raysearch.errors import ConfigError
from raysearch.model import Circle, Footprint
from raysearch.report.stream import Stream
from raysearch.report.tables import whole

COLOURS: Mapping[str, str] = {"candidates": "red", "targets": "green", "observations": "cyan"}
HEAD = "# Region file format: DS9 version 4.1\nglobal color={colour} width=1 select=1 edit=1 move=0 delete=1\nicrs\n"

WORDS = ("source", "target", "line", "kind")
"""Columns that make a candidate's label, as far as there are."""
PLACE = ("ra", "dec", "extent_along_arcsec", "extent_across_arcsec", "position_angle")
"""Columns that make its shape, likewise."""


def write_regions(stream: Stream, path: Path, name: str, footprint: Callable[[str], Footprint]) -> tuple[int, int]:
    """Write a table as a DS9 region file; return how many of its rows are in it, and how many are not: they have no position.

    Parameters
    ----------
    stream
        Candidates, sources, cutouts or targets: each a point, or an ellipse where its extent is known. Observations: their
        footprints.
    path
        The file.
    name
        Which table it is.
    footprint
        Returns the footprint of an observation, of its `s_region`; one without shapes where it cannot be read.

    Raises
    ------
    ConfigError
        The table has no positions.
    OSError
        The file cannot be written.
    """
    observations = name == "observations"
    if not observations and not {"ra", "dec"} <= set(stream.schema.names):
        raise ConfigError(f"the {name} have no positions (ra, dec) to make regions of")
    wanted = ("obs_id", "s_region") if observations else (*WORDS, *PLACE)
    kept = [column for column in wanted if column in stream.schema.names]
    shown = missing = 0
    with whole(path) as torn, torn.open("w", encoding="utf-8") as file:
        file.write(HEAD.format(colour=COLOURS.get(name, "red")))
        for piece in stream.pieces():
            rows = piece.select(kept).to_pylist()
            lines = [_of_footprint(row, footprint) for row in rows] if observations else [_of_record(row) for row in rows]
            file.writelines(lines)
            missing += lines.count("")
            shown += len(lines) - lines.count("")
    return shown, missing


def _of_record(row: Mapping[str, Any]) -> str:
    ra, dec = row["ra"], row["dec"]
    if ra is None or dec is None or not (math.isfinite(ra) and math.isfinite(dec)):
        return ""
    text = _label(" ".join(str(row[word]) for word in WORDS if row.get(word)))
    along, across = row.get("extent_along_arcsec"), row.get("extent_across_arcsec")
    angle = row.get("position_angle")
    if along and across and angle is not None and math.isfinite(along + across + angle):
        # The second radius lies along north where the angle is 0, and turns to the east: as position angles do.
        return f'ellipse({ra:.7f},{dec:.7f},{across / 2:.3f}",{along / 2:.3f}",{angle:.2f}) # text={{{text}}}\n'
    return f"point({ra:.7f},{dec:.7f}) # point=cross text={{{text}}}\n"


def _of_footprint(row: Mapping[str, Any], footprint: Callable[[str], Footprint]) -> str:
    return "".join(_shapes(footprint(row["s_region"]), _label(row["obs_id"])))


def _shapes(footprint: Footprint, text: str) -> Iterable[str]:
    for shape in footprint.shapes:
        if isinstance(shape, Circle):
            yield f'circle({shape.ra:.7f},{shape.dec:.7f},{shape.radius * 3600:.3f}") # text={{{text}}}\n'
        else:
            places = ",".join(f"{ra:.7f},{dec:.7f}" for ra, dec in zip(shape.ra, shape.dec, strict=True))
            yield f"polygon({places}) # text={{{text}}}\n"


def _label(text: str) -> str:
    """Return text that cannot end its braces, its line or its command."""
    plain = text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
    return plain.translate({ord("{"): "(", ord("}"): ")", ord(";"): ","})
