"""Tables from files: CSV, TSV, text, ECSV, VOTable, FITS, Parquet, Arrow; all as one kind of sheet."""

import csv
import gzip
import io
import mmap
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as pacsv
from pyarrow import parquet

from raysearch.archives.obscore import from_astropy
from raysearch.archives.places import mend_csv
from raysearch.errors import TableError

NULL_TEXTS = ["", "nan", "NaN", "NAN", "null", "NULL", "N/A", "n/a", "NA", "--", "None"]
GZIP = b"\x1f\x8b"
CARD, BLOCK = 80, 2880
LONGEST_HEADER = 2**20
"""Bytes; the longest known have 0.2 MB."""
_HEADER = re.compile(rb"SIMPLE  =|XTENSION=")
_END = re.compile(rb"END {77}")
_TOO_MANY = re.compile(rb"(?:NAXIS   |TFIELDS )= *\+?\d{4,}")
"""A card of FITS that promises more than 999."""
_DELIMITERS = (",", "\t", ";", "|")
_RUNS_TOLD = 30
_FOREIGN_ERRORS = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, zlib.error),
    *(ExpatError, csv.Error, pa.ArrowException, Warning),  # astropy raises some of its warnings about VOTables
)
LARGEST_UNPACKED = 2 * 2**30
"""Bytes that a packed table may unpack to: a hundred kilobytes can unpack to as many megabytes, or without end."""


PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as its file gives it."""

    path: Path
    data: pa.Table
    """Columns of unique names; all text where the file is text, so that nothing is guessed. Missing values are null."""
    numbers: NDArray[np.int64]
    """The number of each row in its file, counting rows of data from 1."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Column -> unit as the file writes it; only of columns that have one."""
    problems: Sequence[str] = ()
    """Rows that could not be read at all."""


def load(path: Path) -> Sheet:
    """Return the table in a file, whose kind its name's ending tells.

    Raises
    ------
    TableError
        There is no such file, its ending is none of ours, or it cannot be read.
    """
    ending = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    loader = _LOADERS.get(ending)
    if loader is None:
        raise TableError(f"{path}: not a table we read; its name must end in one of {' '.join(_LOADERS)}")
    try:
        return loader(path)
    except FileNotFoundError as exc:
        raise TableError(f"{path}: there is no such file") from exc
    except MemoryError as exc:
        raise TableError(f"{path}: there is not enough memory for what it holds, or says that it holds") from exc
    except TableError:
        raise
    except _FOREIGN_ERRORS as exc:
        raise TableError(f"{path}: cannot be read as {ending} ({exc})") from exc


def rows_told(numbers: Sequence[int]) -> str:
    """Return row numbers for a message, runs folded: `row 3`, `rows 3, 7-9`; a long list is cut, and says so."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs[:_RUNS_TOLD])
    told += ", and more" if len(runs) > _RUNS_TOLD else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {told}"


def counted(sheet: Sheet, rows: Sequence[int] | NDArray[np.intp]) -> str:
    """Return rows of a sheet, given by their indices, for a message: how many, and their numbers."""
    return counted_numbers(sheet.numbers[np.asarray(rows, dtype=np.intp)].tolist())


def counted_numbers(numbers: Sequence[int]) -> str:
    """Return row numbers for a message, with their count where there are several."""
    return rows_told(numbers) if len(numbers) == 1 else f"{len(numbers)} rows ({rows_told(numbers)})"


def _sheet(path: Path, data: pa.Table, units: Mapping[str, str] | None = None) -> Sheet:
    return Sheet(path, data, np.arange(1, data.num_rows + 1), units or {})


def _load_parquet(path: Path) -> Sheet:
    return _sheet(path, _valid(parquet.read_table(path)))


def _load_arrow(path: Path) -> Sheet:
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_stream(source)
        return _sheet(path, _valid(reader.read_all()))


def _valid(table: pa.Table) -> pa.Table:
    """Return a table if its texts are texts, and where its offsets say: Arrow itself looks at neither."""
    table.validate(full=True)
    return table


def _load_astropy(kind: str) -> Callable[[Path], Sheet]:
    def load_it(path: Path) -> Sheet:
        from astropy.io.fits import VerifyError
        from astropy.table import Table
        from astropy.table.meta import YamlParseError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units and forms off the standard: what matters of them is checked by who uses it
            unpacked = _unpacked(path) if _is_packed(path) else None
            if kind == "fits":
                _refuse_endless(path, unpacked)
            try:
                table = Table.read(path if unpacked is None else unpacked, format=kind)
            except (YamlParseError, VerifyError, AssertionError) as exc:
                raise TableError(f"{path}: the description of its columns is damaged ({str(exc) or exc.__cause__})") from exc
            units = {name: str(table[name].unit) for name in table.colnames if getattr(table[name], "unit", None) is not None}
            return _sheet(path, from_astropy(table), units)

    return load_it


def _refuse_endless(path: Path, unpacked: io.BytesIO | None) -> None:
    """Raise TableError where a header does not end, or promises more axes or columns than FITS has: astropy reads on and on."""
    if unpacked is not None:
        told = _endless(unpacked.getbuffer())
    elif path.stat().st_size:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            told = _endless(content)
    else:
        told = ""  # nothing cannot be mapped
    if told:
        raise TableError(f"{path}: {told}: it is damaged")


def _endless(content: mmap.mmap | memoryview) -> str:
    cards = (match[0].decode() for match in _TOO_MANY.finditer(content) if match.start() % CARD == 0)
    if card := next(cards, ""):
        return f"a header says {' '.join(card.split())}"
    starts = (match.start() for match in _HEADER.finditer(content) if match.start() % BLOCK == 0)
    long = (start for start in starts if len(content) - start > LONGEST_HEADER)
    endless = (start for start in long if not _END.search(content, start, start + LONGEST_HEADER))
    return next((f"the header at byte {start:,} has no END within {LONGEST_HEADER:,} bytes" for start in endless), "")


def _is_packed(path: Path) -> bool:
    """Return whether a file is one of gzip: astropy looks at its first bytes, too, whatever its name, and unpacks without end."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _unpacked(path: Path) -> io.BytesIO:
    content = io.BytesIO()
    with gzip.open(path) as file:
        while piece := file.read(PIECE):  # room for all that it may unpack to would be made before the first byte
            content.write(piece)
            if content.tell() > LARGEST_UNPACKED:
                raise TableError(
                    f"{path}: unpacks to more than {LARGEST_UNPACKED:,} bytes; unpack it yourself if it is what it should be, "
                    "or give a Parquet file, which is read piece by piece"
                )
    content.seek(0)
    return content


def _load_text(path: Path) -> Sheet:
    """Return a delimited table, or one of columns apart by blanks; without a header only `ra dec` is known."""
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if raw.startswith(b"# %ECSV"):
        return _load_astropy("ascii.ecsv")(path)
    text = _decoded(raw)
    first, comment, rest = _head(text)
    if first is None:
        raise TableError(f"{path}: the table is empty")
    delimiter = _delimiter(path, first)
    names = _fields(first, delimiter)
    body = rest
    if all(_is_number(name) for name in names):
        body = f"{first}\n{rest}"
        names = _names_without_header(path, names, _fields(comment, delimiter))
    if not body.strip():
        raise TableError(f"{path}: the table has a line of column names ({', '.join(names)}) and no rows beneath")
    if "cloud_access" in names:
        body = mend_csv(body)
    if delimiter == " ":
        body = "\n".join(" ".join(line.split()) for line in body.splitlines())
    return _parse(path, body, delimiter, _unique(names))


def _decoded(raw: bytes) -> str:
    """Return the text of a file, with the ends of lines of its age and of the spreadsheet that wrote it."""
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = raw.decode("utf-16" if wide else "utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text if "\n" in text else text.replace("\r", "\n")  # of old Macs


def _head(text: str) -> tuple[str | None, str, str]:
    """Return the first line that says something, the comment before it, and the text after it."""
    comment = ""
    while text:
        line, _, text = text.partition("\n")
        line = line.rstrip("\r")
        if line.startswith("#"):
            comment = line.lstrip("# ")
        elif line.strip():
            return line, comment, text
    return None, comment, ""


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() in {".tsv", ".tab"}:
        return "\t"
    found = max(_DELIMITERS, key=header.count)
    return found if header.count(found) else " "


def _fields(line: str, delimiter: str) -> list[str]:
    line = " ".join(line.split()) if delimiter == " " else line
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _names_without_header(path: Path, values: list[str], comment: list[str]) -> list[str]:
    if len(comment) == len(values):
        return comment
    if len(values) == 2:
        return ["ra", "dec"]
    raise TableError(
        f"{path}: no line of column names, and {len(values)} columns; give it a first line such as "
        f"name,ra,dec (without one, only two columns, ra and dec in degrees, are understood)"
    )


def _unique(names: list[str]) -> list[str]:
    """Return the names with those of nameless and repeated columns made up: `column 3`, `flux 7`."""
    count = Counter(names)
    return [name if name and count[name] == 1 else f"{name or 'column'} {i}" for i, name in enumerate(names, start=1)]


def _parse(path: Path, body: str, delimiter: str, names: list[str]) -> Sheet:
    body, unclosed = _without_unclosed(body, delimiter)
    odd: dict[int, int] = {}

    def set_aside(row: pacsv.InvalidRow) -> str:
        odd[row.number] = row.actual_columns
        return "skip"

    data = pacsv.read_csv(
        pa.py_buffer(body.encode() or b"\n"),  # of nothing Arrow makes an error
        # one thread, because only then the number of an odd row is known
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False),
        parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=set_aside),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=NULL_TEXTS, strings_can_be_null=True
        ),
    )
    in_file = np.setdiff1d(np.arange(1, data.num_rows + len(odd) + len(unclosed) + 1), unclosed)
    problems = [f"{rows_told([row])} left out: a quote is opened there and not closed" for row in unclosed]
    problems += [f"row {in_file[row - 1]} left out: it has {fields} fields, not {len(names)}" for row, fields in odd.items()]
    return Sheet(path, data, np.delete(in_file, [row - 1 for row in odd]), {}, problems)


def _without_unclosed(body: str, delimiter: str) -> tuple[str, list[int]]:
    """Return the text without the lines that open a quote and do not close it, and the numbers of these rows.

    Such a quote would swallow the rows after it, up to the next quote, which is then followed by neither a delimiter nor the end
    of a line (RFC 4180, section 2).
    """
    if '"' not in body:
        return body, []
    mark = re.escape(delimiter)
    value = rf'(?:"(?:[^"]++|"")*+"|[^"{mark}\r\n][^{mark}\r\n]*+|)'
    row = re.compile(rf"{value}(?:{mark}{value})*+(?:\r?\n|\Z)")
    kept: list[str] = []
    unclosed: list[int] = []
    at = 0
    while at < len(body):
        whole = row.match(body, at)
        end = body.find("\n", at) + 1 or len(body)
        text = whole[0] if whole else body[at:end]
        at += len(text)
        if not text.strip():
            continue
        if whole or text.count('"') % 2 == 0:
            kept.append(text)
        else:
            unclosed.append(len(kept) + len(unclosed) + 1)
    return "".join(kept), unclosed


_LOADERS: dict[str, Callable[[Path], Sheet]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt", ".dat"), _load_text),
    ".ecsv": _load_astropy("ascii.ecsv"),
    **dict.fromkeys((".vot", ".votable", ".xml"), _load_astropy("votable")),
    **dict.fromkeys((".fits", ".fit", ".fits.gz"), _load_astropy("fits")),
    **dict.fromkeys((".parquet", ".pq"), _load_parquet),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), _load_arrow),
}
