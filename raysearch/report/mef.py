"""Cutouts as multi-extension FITS files, one for each target, laid out as those of IRSA's SPHEREx tutorial.

After the primary header and the table CUTOUT_INFO come, for each cutout n from the oldest on, IMAGEn, FLAGSn, VARIANCEn, ZODIn,
PSFn, ... as far as they were read, and WCS-WAVEn. Unlike in the published files the wavelengths still work: what in a header names
a table of wavelengths (`PSi_0W`) follows it to its new name, and every WCS's reference pixel counts from the box's first pixel.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysearch.errors import ConfigError, FormatError
from raysearch.report import columns, tables
from raysearch.report.hdus import Hdu, number_card, split, text_card
from raysearch.report.provenance import creator

CONTENT = "cutout"
"""The candidates' column with the files."""

INFO: Mapping[str, str] = {
    "observation_date": "mjd",
    "central_wavelength": "central_wavelength_um",
    "bandwidth": "bandwidth_um",
    "access_url": "uri",
    **{name: name for name in ("obs_id", "band", "x", "y", "x0", "y0", "nx", "ny", "clipped", "good_fraction", "note")},
}
"""A column of CUTOUT_INFO, by the published name where it has one -> that of the candidates; first comes `cutout_index`, from 1."""

TABLES = r"PS\d+_0[A-Z]?"
"""Keywords that name the extension with a coordinate's table (FITS WCS paper III, section 6.1.2)."""

AT_ONCE = 50_000
"""Cutouts whose tables are made at once: about 20 MB."""
MOST_LETTERS = 30
"""Of a target's name in a header: with escapes and quotes doubled it still fits a card."""
HASHED = re.compile(r"-[0-9a-f]{8}")
LONGEST = 60


def write_cutouts(candidates: pa.Table, folder: Path, extensions: Sequence[str] = ()) -> list[Path]:
    """Write the cutouts of each target into a file of its own, and return the files, in the order of the targets' names.

    One cutout at a time is unpacked; cutouts without a pixel that has a value have no file in the candidate table, and none here.

    Parameters
    ----------
    candidates
        The candidate table of the detector `cutouts`.
    folder
        Where they are written, made if need be: `<target>.fits`, a target's letters that do not belong in a file's name as `_`.
    extensions
        Those that are wanted, such as `IMAGE` and `FLAGS`; empty: all. WCS-WAVE always comes.

    Raises
    ------
    ConfigError
        The candidates have no cutouts, or none of them has such an extension.
    OSError
        A file cannot be written.
    """
    rows = oldest_first(candidates)
    if extensions and rows:
        _check(candidates, next(iter(rows.values()))[0], extensions)
    folder.mkdir(parents=True, exist_ok=True)
    names = file_names(list(rows))
    return [
        _write(candidates, rows[target], folder / f"{names[target]}.fits", begin, extensions)
        for group in _groups(rows)
        for target, begin in _begins(candidates, {target: rows[target] for target in group})
    ]


def oldest_first(candidates: pa.Table) -> dict[str, list[int]]:
    """Return for each target, in the order of their names, the rows of its cutouts, the oldest first.

    Raises
    ------
    ConfigError
        The candidates have no cutouts.
    """
    if CONTENT not in candidates.column_names or "mjd" not in candidates.column_names:
        raise ConfigError("the candidates hold no cutouts: these are made by the detector 'cutouts' of a search of images")
    import pyarrow.compute as pc

    order = candidates.select(["target", "mjd", "obs_id"]).append_column("row", pa.array(range(candidates.num_rows), pa.int64()))
    order = order.filter(pc.greater(pc.binary_length(candidates[CONTENT]), 0))
    order = order.sort_by([("target", "ascending"), ("mjd", "ascending"), ("obs_id", "ascending"), ("row", "ascending")])
    rows: dict[str, list[int]] = {}
    for target, row in zip(order["target"].to_pylist(), order["row"].to_pylist(), strict=True):
        rows.setdefault(target, []).append(row)
    return rows


def unpacked(candidates: pa.Table, row: int) -> list[Hdu]:
    """Return the HDUs of one cutout, the primary one first.

    Raises
    ------
    FormatError
        It is no FITS file.
    """
    try:
        return list(split(gzip.decompress(candidates[CONTENT][row].as_buffer())))
    except (OSError, EOFError) as exc:
        raise FormatError(f"the cutout of row {row} is no gzip file: {exc}") from exc


def file_names(targets: Sequence[str]) -> dict[str, str]:
    """Return for each target the name of its file, without an ending: ASCII letters, digits, `.`, `+`, `-` and `_`, and unique.

    Where two targets would share a name, be it but for capitals, or nothing is left of one, a part of its hash goes with it.
    """
    safe = {target: re.sub(r"[^A-Za-z0-9.+-]+", "_", target).strip("._-")[:LONGEST] for target in targets}
    shared = Counter(name.casefold() for name in safe.values())
    return {
        target: name
        if name and shared[name.casefold()] == 1 and not HASHED.fullmatch(name[-9:])
        else f"{name or 'target'}-{hashlib.sha256(target.encode()).hexdigest()[:8]}"
        for target, name in safe.items()
    }


def _check(candidates: pa.Table, row: int, extensions: Sequence[str]) -> None:
    there = [hdu.name for hdu in unpacked(candidates, row)[1:]]
    if absent := [name for name in extensions if name not in there]:
        raise ConfigError(f"the cutouts have no extension {', '.join(absent)}; theirs are {', '.join(there)}")


def _write(candidates: pa.Table, rows: Sequence[int], path: Path, begin: bytes, extensions: Sequence[str]) -> Path:
    """Write one target's file: beside its place, then moved into it."""
    with tables.whole(path) as torn, torn.open("wb") as file:
        file.write(begin)
        for index, row in enumerate(rows, start=1):
            for hdu in _numbered(unpacked(candidates, row)[1:], index, extensions):
                file.write(hdu.with_checksums())
    return path


def _numbered(hdus: Sequence[Hdu], index: int, extensions: Sequence[str]) -> Iterator[Hdu]:
    """Yield the wanted extensions of a cutout, and the tables that they name, with its number after their names."""
    named = [hdu.texts(TABLES) for hdu in hdus]
    names = {hdu.name for hdu in hdus}
    wanted = {name for texts in named for name in texts.values()} | {*(extensions or names)}
    for hdu, texts in zip(hdus, named, strict=True):
        if hdu.name in wanted:
            follow = {keyword: f"{name}{index}" for keyword, name in texts.items() if name in names}
            yield hdu.with_texts({**follow, "EXTNAME": f"{hdu.name}{index}"})


def _groups(rows: Mapping[str, Sequence[int]]) -> Iterator[list[str]]:
    """Yield the targets, in groups of at most `AT_ONCE` cutouts, or of one target."""
    group: list[str] = []
    size = 0
    for target, of_target in rows.items():
        if group and size + len(of_target) > AT_ONCE:
            yield group
            group, size = [], 0
        group.append(target)
        size += len(of_target)
    if group:
        yield group


def _begins(candidates: pa.Table, rows: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, bytes]]:
    """Yield each target with the bytes of its primary HDU and of its CUTOUT_INFO.

    The tables are made as one and then cut by rows, so that a column of text is as wide in each as in the widest: making one takes
    about as long as making thousands.
    """
    order = [row for of_target in rows.values() for row in of_target]
    chosen = candidates.select([*dict.fromkeys([*INFO.values(), "target", "ra", "dec", "config_hash"])]).take(pa.array(order))
    index = [number for of_target in rows.values() for number in range(1, len(of_target) + 1)]
    whole = _info(chosen, index)
    width, start = len(whole.data) // len(order), 0
    for target, of_target in rows.items():
        stop = start + len(of_target)
        info = Hdu(whole.header, whole.data[start * width : stop * width]).with_rows(len(of_target))
        yield target, _primary(chosen.slice(start, 1).to_pylist()[0], len(of_target)).with_checksums() + info.with_checksums()
        start = stop


def _info(chosen: pa.Table, index: Sequence[int]) -> Hdu:
    """Return CUTOUT_INFO of the cutouts of many targets."""
    from astropy.io import fits

    table = chosen.select(list(INFO.values())).rename_columns(list(INFO))
    table = table.add_column(0, "cutout_index", pa.array(index, pa.int32()))
    known = [columns.describe(INFO.get(name, name), "cutouts") for name in table.column_names]
    buffer = io.BytesIO()
    made = tables.fits_table(tables.to_table(table, ascii_only=True), known, "CUTOUT_INFO")
    fits.HDUList([fits.PrimaryHDU(), made]).writeto(buffer)
    _, info = split(buffer.getvalue())
    return info


def _primary(first: Mapping[str, Any], cutouts: int) -> Hdu:
    """Return the primary HDU of a target, of whose cutouts the first is given."""
    cards = [
        *(number_card(keyword, value) for keyword, value in (("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", "T"))),
        text_card("OBJECT", columns.in_card(first["target"])[:MOST_LETTERS], "target, as its catalogue names it"),
        number_card("RA", first["ra"], "[deg] of the target, ICRS"),
        number_card("DEC", first["dec"], "[deg] of the target, ICRS"),
        text_card("RADESYS", "ICRS"),
        number_card("NCUTOUTS", cutouts, "cutouts in this file, the oldest first"),
        text_card("CREATOR", creator(), "software that wrote this file"),
        text_card("CFGHASH", first["config_hash"], "hash of the search that read the cutouts"),
    ]
    return Hdu("".join(cards), b"")
