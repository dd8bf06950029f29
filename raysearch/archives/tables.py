"""Targets and observations from tables of the user's own."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysearch.archives.coordinates import Angles, pair_of, plain, read_angles
from raysearch.archives.files import Sheet, counted, counted_numbers, load
from raysearch.archives.obscore import OBSCORE, conform
from raysearch.archives.redshifts import read_redshifts
from raysearch.errors import TableError
from raysearch.masking import masked
from raysearch.model import Target

NAMES = (
    *("name", "main_id", "target_name", "targname", "target", "source_name", "source", "object_name", "object", "designation"),
    *("id", "source_id", "object_id", "ident"),
)
"""Spellings of the column of names, the likeliest first."""
ADDRESSES = ("uri", "access_url", "url", "dataURI", "dataURL", "path")
"""Spellings of the column that says where an observation's file is."""
OBSERVED = ("obs_id", "uri", "s_region", "em_min", "em_max")
"""The columns every table of observations has in the end."""

_SAME_PLACE_DEG = 0.1 / 3600.0
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_FITS = re.compile(r"\.(fits|fit|fts)(\.gz|\.fz)?$", re.IGNORECASE)
_ENDINGS = re.compile(r"(\.fits|\.fit)?(\.gz|\.fz)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TargetTable:
    """What a table of targets holds."""

    targets: list[Target]
    """In the table's order, each name once."""
    problems: list[str] = field(default_factory=list)
    """Sentences about the rows that were left out, mended, or renamed, with their numbers (rows of data, from 1)."""


def read_targets(path: str | Path, *, redshift: float = 0.0) -> TargetTable:
    """Return the targets in a CSV, TSV, text, ECSV, VOTable, FITS, Parquet or Arrow file.

    Coordinates are degrees, or sexagesimal, or in the unit that the file gives. A target without a name is named after its
    position (`J153927.75-344617.5`), one with neither a redshift nor a radial velocity (see `redshifts`) has the given redshift.

    Raises
    ------
    TableError
        The file cannot be read, has no columns of coordinates, or no row with usable ones.
    """
    return targets_of(load(Path(path)), redshift)


def targets_of(sheet: Sheet, redshift: float) -> TargetTable:
    """Return the targets of a sheet; see `read_targets`."""
    pair = pair_of(sheet.path, sheet.data.column_names)
    ra, dec = _angles(sheet, pair[0], hours=True), _angles(sheet, pair[1], hours=False)
    problems = [*sheet.problems, *_damage(sheet, ra), *_damage(sheet, dec), *_mended(sheet, ra, dec)]
    usable = np.flatnonzero(np.isfinite(ra.degrees) & np.isfinite(dec.degrees))
    if not usable.size:
        raise TableError(f"{sheet.path}: no row with usable coordinates; {'; '.join(problems) or 'the table is empty'}")
    lon, lat = ra.degrees[usable], dec.degrees[usable]
    redshifts, odd = read_redshifts(sheet, usable, lon, lat, redshift)
    problems += odd
    drafts = [
        Target(name or designation(a, d), a, d, z)
        for name, a, d, z in zip(_names(sheet, usable), lon.tolist(), lat.tolist(), redshifts.tolist(), strict=True)
    ]
    return TargetTable(_named_apart(drafts, sheet.numbers[usable].tolist(), problems), problems)


@dataclass(frozen=True, slots=True)
class ObservationTable:
    """What a table of observations holds."""

    table: pa.Table
    """`OBSERVED`, then the file's other columns; sorted by obs_id, one row for each file."""
    problems: list[str] = field(default_factory=list)
    """Sentences about cells that were left empty because they cannot be what their column holds."""


def designation(ra: float, dec: float) -> str:
    """Return a position's name as the IAU recommends, truncated, not rounded: `J153927.75-344617.5`."""
    # a millionth of the last place, lest 27.75 s be cut to 27.74
    centiseconds = math.floor(ra / 15.0 * 360_000.0 + 1e-6) % 8_640_000
    tenths = math.floor(abs(dec) * 36_000.0 + 1e-6)
    hours, minutes, seconds = centiseconds // 360_000, centiseconds // 6_000 % 60, centiseconds % 6_000 / 100
    degrees, arcmin, arcsec = tenths // 36_000, tenths // 600 % 60, tenths % 600 / 10
    sign = "-" if dec < 0 else "+"
    return f"J{hours:02d}{minutes:02d}{seconds:05.2f}{sign}{degrees:02d}{arcmin:02d}{arcsec:04.1f}"


def read_observations(path: str | Path) -> ObservationTable:
    """Return the observations in a table file, or the FITS files of a folder.

    `uri` is an `s3://` or `https://` address, a `mast:` name or an absolute path; it is null where the table has none. An obs_id
    that the table does not give is the file's name.

    Raises
    ------
    TableError
        The file cannot be read, has no column of addresses, or gives one obs_id to different files.
    """
    path = Path(path)
    if path.is_dir():
        return ObservationTable(_folder(path))
    sheet = load(path)
    if sheet.problems:
        raise TableError(f"{path}: {'; '.join(sheet.problems)}; mend these rows, for an observation must not get lost")
    sheet = _known_names(sheet)
    data, problems = _typed(sheet, _addressed(sheet))
    table = conform(_in_metres(sheet, data), OBSERVED)
    return ObservationTable(_one_row_each(path, table), [*problems, *_repeated(sheet, table)])


def _told(sheet: Sheet) -> str:
    return ", ".join(sheet.data.column_names)


def _column(sheet: Sheet, spellings: Iterable[str]) -> str | None:
    """Return the name of the column with the likeliest spelling."""
    by_plain = {plain(name): name for name in reversed(sheet.data.column_names)}
    return next((by_plain[plain(s)] for s in spellings if plain(s) in by_plain), None)


def _angles(sheet: Sheet, name: str, *, hours: bool) -> Angles:
    try:
        return read_angles(sheet.data[name], name, sheet.units.get(name, ""), hours=hours)
    except ValueError as exc:
        raise TableError(f"{sheet.path}: {exc}") from exc


def _damage(sheet: Sheet, angles: Angles) -> list[str]:
    return [f"{counted(sheet, rows)} left out: {what}" for what, rows in angles.damage.items()]


def _mended(sheet: Sheet, ra: Angles, dec: Angles) -> list[str]:
    rows = sorted({*ra.mended, *dec.mended})
    return [f"{counted(sheet, rows)} read after removing a spreadsheet's leading '='"] if rows else []


def _names(sheet: Sheet, rows: NDArray[np.intp]) -> list[str]:
    """Return the name of each row, empty where it has none."""
    column = _column(sheet, NAMES)
    if column is None:
        return [""] * rows.size
    return [_text(name).strip() for name in sheet.data[column].take(pa.array(rows)).to_pylist()]


def _text(cell: object) -> str:
    """Return a cell that names something as text, empty where it is missing."""
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else "" if cell is None else str(cell)


def _named_apart(drafts: Sequence[Target], numbers: Sequence[int], problems: list[str]) -> list[Target]:
    """Return the targets with each name once: repeated rows are taken once, other positions of a name are numbered."""
    kept: dict[str, Target] = {}
    namesakes: dict[str, list[Target]] = {}
    repeated, renamed = [], []
    for draft, number in zip(drafts, numbers, strict=True):
        others = namesakes.setdefault(draft.name, [])
        if any(_same(draft, other) for other in others):
            repeated.append(number)
            continue
        others.append(draft)
        name, count = draft.name, len(others)
        while name in kept:
            count += name != draft.name
            name = f"{draft.name} ({max(count, 2)})"
        if name != draft.name:
            renamed.append(number)
        kept[name] = Target(name, draft.ra, draft.dec, draft.redshift)
    if repeated:
        problems.append(f"{counted_numbers(repeated)} taken once: the name and position of an earlier row")
    if renamed:
        problems.append(
            f"{counted_numbers(renamed)} renamed with a number: the name of an earlier row at another position or redshift"
        )
    return list(kept.values())


def _same(one: Target, other: Target) -> bool:
    east = (one.ra - other.ra + 180.0) % 360.0 - 180.0
    apart = math.hypot(east * math.cos(math.radians(one.dec)), one.dec - other.dec)
    return apart < _SAME_PLACE_DEG and one.redshift == other.redshift


def _folder(folder: Path) -> pa.Table:
    """Return a row for each FITS file, packed ones too: they will fail with the reason, which is better than never being named."""
    files = sorted(file for file in folder.absolute().iterdir() if _FITS.search(file.name) and not file.is_dir())
    if not files:
        raise TableError(f"{folder}: no FITS file (*.fits, *.fit, *.fts, packed or not) in this folder")
    for file in files:
        try:
            str(file).encode()
        except UnicodeEncodeError as exc:
            raise TableError(f"{str(file)!r}: its name is not UTF-8; rename it") from exc
    stems = Counter(file.stem for file in files)
    names = [file.stem if stems[file.stem] == 1 else file.name for file in files]
    return conform(pa.table({"obs_id": names, "uri": [str(file) for file in files]}), OBSERVED).sort_by("obs_id")


def _known_names(sheet: Sheet) -> Sheet:
    """Return the sheet with ObsCore's columns in ObsCore's letters: FITS tables often have capitals."""
    known = {name.lower(): name for name in OBSCORE.names}
    given = set(sheet.data.column_names)
    names = {name: name if known.get(name.lower(), name) in given else known[name.lower()] for name in sheet.data.column_names}
    units = {names[name]: unit for name, unit in sheet.units.items()}
    return replace(sheet, data=sheet.data.rename_columns(list(names.values())), units=units)


def _addressed(sheet: Sheet) -> pa.Table:
    """Return the sheet's columns with `uri` absolute and `obs_id` given."""
    column = _column(sheet, ADDRESSES)
    if column is None:
        raise TableError(
            f"{sheet.path}: no column says where the files are; name it `uri` (s3://, https://, or a path). Columns: {_told(sheet)}"
        )
    try:
        texts = sheet.data[column].cast(pa.string()).to_pylist()
    except pa.ArrowException as exc:
        raise TableError(f"{sheet.path}: the column {column} holds no text ({exc}); give one address a row") from exc
    uris = [_address(sheet.path, uri) for uri in texts]
    given = sheet.data["obs_id"].to_pylist() if "obs_id" in sheet.data.column_names else [None] * len(uris)
    ids = [_text(obs_id) or file_stem(uri) for obs_id, uri in zip(given, uris, strict=True)]
    if nameless := [number for number, obs_id in zip(sheet.numbers.tolist(), ids, strict=True) if not obs_id]:
        raise TableError(f"{sheet.path}: {counted_numbers(nameless)} with neither an obs_id nor an address")
    others = [name for name in sheet.data.column_names if name not in {"obs_id", "uri"}]
    return pa.table({"obs_id": ids, "uri": uris, **{name: sheet.data[name] for name in others}})


def _address(table: Path, uri: str | None) -> str | None:
    """Return an address as a store takes it: a relative path begins at the table's folder, a `mast:` name stays one."""
    uri = (uri or "").strip()
    if not uri:
        return None
    scheme = _SCHEME.match(uri)
    if scheme is None or (scheme[1].lower() != "mast" and not uri.startswith(scheme[0] + "//")):
        uri = os.path.expanduser(uri)  # noqa: PTH111 - as below
        return os.path.abspath(table.parent / uri)  # noqa: PTH100 - resolve() would follow links, and lose the user's names
    if scheme[1].lower() in {"mast", "s3", "https", "http", "file"}:
        return scheme[1].lower() + uri[len(scheme[1]) :]
    raise TableError(f"{table}: {uri} is no address we can read; write s3://, https://, file://, or a path")


def file_stem(uri: str | None) -> str:
    """Return the name of the file at an address, without `.fits` and `.gz`, and without a query that signs it."""
    if uri and masked(uri) != uri:
        uri = uri.partition("?")[0]
    return _ENDINGS.sub("", PurePosixPath(uri or "").name)


_KINDS = {pa.string(): "text", pa.float64(): "a number", pa.int64(): "a whole number"}


def _typed(sheet: Sheet, data: pa.Table) -> tuple[pa.Table, list[str]]:
    """Return the table with the known columns in their types, cells that do not fit left empty; and sentences about these."""
    problems = []
    for name in set(OBSCORE.names) & set(data.column_names):
        kind = OBSCORE.field(name).type
        column, misfits = _cast(data[name], kind)
        if misfits:
            example = data[name][misfits[0]].as_py()
            problems.append(f"{name} left empty in {counted(sheet, misfits)}: not {_KINDS[kind]}, for example {example!r}")
        data = data.set_column(data.column_names.index(name), name, column)
    return data, sorted(problems)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[pa.ChunkedArray, list[int]]:
    """Return a column in another type, and the rows where that cannot be, which are null."""
    try:
        return column.cast(kind), []
    except pa.ArrowException:
        cells = [_cast_cell(cell, kind) for cell in column]
    misfits = [row for row, (cell, value) in enumerate(zip(column, cells, strict=True)) if cell.is_valid and value is None]
    return pa.chunked_array([pa.array(cells, kind)]), misfits


def _cast_cell(cell: pa.Scalar, kind: pa.DataType) -> object:
    try:
        return cell.cast(kind).as_py()
    except pa.ArrowException:
        return None


def _in_metres(sheet: Sheet, data: pa.Table) -> pa.Table:
    """Return the table with em_min and em_max in metres, where the file gives them another unit."""
    for name in ("em_min", "em_max"):
        unit = sheet.units.get(name, "m")
        if unit != "m":
            data = data.set_column(
                data.column_names.index(name), name, pc.multiply(data[name].cast(pa.float64()), _metres(sheet, unit))
            )
    return data


def _metres(sheet: Sheet, unit: str) -> float:
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.m))
    except (ValueError, units.UnitConversionError) as exc:
        raise TableError(f"{sheet.path}: em_min and em_max are in {unit!r}, which is no length; give them in metres") from exc


def _repeated(sheet: Sheet, table: pa.Table) -> list[str]:
    """Return a sentence about the rows that are left out, although they say something else than an earlier one of their file."""
    first: dict[tuple[str, str | None], int] = {}
    pairs = zip(table["obs_id"].to_pylist(), table["uri"].to_pylist(), strict=True)
    again = [(row, stands) for row, pair in enumerate(pairs) if (stands := first.setdefault(pair, row)) != row]
    left_out, kept = (table.take(pa.array(rows, pa.int64())).to_pylist() for rows in (list(zip(*again, strict=True)) or ((), ())))
    rows = [row for (row, _), one, other in zip(again, left_out, kept, strict=True) if repr(one) != repr(other)]
    cure = "the file and obs_id of an earlier row; give it an obs_id of its own to search the file for another target too"
    return [f"{counted(sheet, rows)} left out: {cure}"] if rows else []


def _one_row_each(path: Path, table: pa.Table) -> pa.Table:
    """Return the first of the rows that agree in obs_id and uri, sorted by obs_id."""
    pairs = list(zip(table["obs_id"].to_pylist(), table["uri"].to_pylist(), strict=True))
    first = {pair: row for row, pair in reversed(list(enumerate(pairs)))}
    count = Counter(obs_id for obs_id, _ in first)
    if shared := sorted(obs_id for obs_id, times in count.items() if times > 1):
        files = [uri for obs_id, uri in sorted(first, key=lambda pair: first[pair]) if obs_id == shared[0]]
        raise TableError(
            f"{path}: {len(shared):,} obs_ids stand for more than one file each, for example {shared[0]} for {files[0]} and "
            f"{files[1]}; give every file an obs_id of its own in the column obs_id (where that is left out, each is named "
            "after its file)"
        )
    return table.take(pa.array(sorted(first.values()), pa.int64())).sort_by("obs_id")
