"""Data inside a page: JSON that no text can break out of, and the page's own policy of what may run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def script_json(value: Any) -> str:
    """Return a value as JSON that may stand in a <script>: without `<`, `>`, `&` and JavaScript's line ends.

    Raises
    ------
    ValueError
        If it holds a number that JSON has not.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def policy(scripts: Iterable[str], *, served: bool = False) -> str:
    """Return the content security policy of a page: these scripts and the files beside it, nothing from anywhere else.

    Parameters
    ----------
    scripts
        The text of each inline script that may run, as it stands between the tags.
    served
        Whether the page comes from a server of its own, which it asks for news.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    rules = [
        "default-src 'none'",
        f"script-src 'self' file: {hashes}",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "form-action 'none'",
        "base-uri 'none'",
        *(["connect-src 'self'"] if served else []),
    ]
    return "; ".join(rules)
