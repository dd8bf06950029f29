"""What may be written of an address or a text: everything but passwords, tokens and signatures.

Run folders, reports, logs and messages are handed on; the addresses in them may have been signed for one person alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MASK = "***"
_PART = r"[^=&;?#\s]{0,80}"
"""Of a parameter's name; bounded, so that the time goes with a text's length, whoever wrote it."""
_NAMES = (
    f"{_PART}(?:signature|token|credential|secret|passw|pwd|api_?key|access_?key|authori[sz]ation|jwt){_PART}|(?:{_PART}[-_])?sig"
)
"""Names of parameters that open doors: of signed addresses of Amazon, Google and Azure, and those that services invent."""
_VALUE = f"([?&;](?:{_NAMES})=)[^&;#\\s\"'<>()]+"
_USER = "(://)[^/?#@\\s\"'<>]{1,1000}@"
SECRET = f"(?i){_VALUE}|{_USER}"
"""As a regular expression, in Python's spelling and in Arrow's (RE2); a mask is one too."""
_SECRET = re.compile(SECRET)


def masked(text: str) -> str:
    """Return a text, such as an address or a message, with the values of secret parameters masked, and without users' names."""
    if "=" not in text and "@" not in text:
        return text
    return _SECRET.sub(lambda found: found[1] + MASK if found[1] else found[2], text)


def masked_values(value: Any) -> Any:
    """Return a value of JSON with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_values(inner) for key, inner in value.items()}
    return [masked_values(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def masked_table(table: pa.Table) -> pa.Table:
    """Return a table with every text in it masked, those in lists too; the same one where there is nothing to mask."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        chunks = table.column(place).chunks
        clean = [_masked_array(chunk) for chunk in chunks]
        if any(one is not other for one, other in zip(clean, chunks, strict=True)):
            table = table.set_column(place, field, pa.chunked_array(clean, field.type))
    return table


def holds_secret(column: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether any text of an Arrow column has something to mask."""
    import pyarrow.compute as pc

    # The expression takes 10 microseconds for a text, and a work list may have millions without either letter.
    suspects = column.filter(pc.or_(pc.match_substring(column, "="), pc.match_substring(column, "@")))
    return bool(pc.any(pc.match_substring_regex(suspects, SECRET)).as_py())


def _masked_array(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_string(array.type):
        return pa.array(masked_values(array.to_pylist()), array.type) if holds_secret(array) else array
    if pa.types.is_list(array.type) and pa.types.is_string(array.type.value_type) and holds_secret(array.flatten()):
        return pa.array(masked_values(array.to_pylist()), array.type)
    return array
