"""The words of an ADQL query, one by one (ADQL 2.0, section 2.1)."""

from __future__ import annotations

import re

TOKENS = re.compile(
    r"""(?P<space>(?:\s|--[^\n]*)+)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![A-Za-z_])
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign><>|!=|<=|>=|\|\||[-+*/=<>(),.])""",
    re.VERBOSE | re.ASCII,
)

RESERVED = frozenset({
    "ALL", "AND", "AS", "ASC", "BETWEEN", "BY", "CASE", "CAST", "CROSS", "DESC", "DISTINCT", "ELSE", "END", "EXCEPT", "EXISTS",
    "FROM", "FULL", "GROUP", "HAVING", "ILIKE", "IN", "INNER", "INTERSECT", "IS", "JOIN", "LEFT", "LIKE", "LIMIT", "NATURAL",
    "NOT", "NULL", "OFFSET", "ON", "OR", "ORDER", "OUTER", "RIGHT", "SELECT", "THEN", "TOP", "UNION", "USING", "WHEN", "WHERE",
})  # fmt: skip


class Words:
    """A query's tokens, and how far they have been read."""

    def __init__(self, query: str) -> None:
        self.tokens = _split(query)
        self.at = 0

    def _peek(self, ahead: int = 0) -> str:
        """Return a token; words in upper case."""
        if self.at + ahead >= len(self.tokens):
            return ""
        kind, text = self.tokens[self.at + ahead]
        return text.upper() if kind == "word" else text

    def _take(self, *wanted: str) -> str:
        """Return the next token and go on, if it is one of those; else an empty string."""
        token = self._peek()
        if token and token in wanted and self.tokens[self.at][0] in {"word", "sign"}:
            self.at += 1
            return token
        return ""

    def _need(self, *wanted: str) -> str:
        token = self._take(*wanted)
        if not token:
            raise ValueError(f"syntax error: {' or '.join(wanted)} expected, not {self._peek() or 'the end'!r}")
        return token

    def _kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def _name(self, *, any_word: bool = False) -> str:
        """Return an identifier; after AS, any word is one."""
        kind = self._kind()
        if kind == "quoted" or (kind == "word" and (any_word or self._peek() not in RESERVED)):
            text = self.tokens[self.at][1]
            self.at += 1
            name = text[1:-1].replace('""', '"') if kind == "quoted" else text
            if "]" in name or "[" in name:
                raise ValueError(f"not a name: {name}")
            return name
        raise ValueError(f"syntax error: a name expected, not {self._peek() or 'the end'!r}")

    def _number(self) -> str:
        if self._kind() != "number" or not self._peek().isdigit():
            raise ValueError(f"syntax error: a whole number expected, not {self._peek()!r}")
        self.at += 1
        return self.tokens[self.at - 1][1]


def _split(query: str) -> list[tuple[str, str]]:
    """Return the query's tokens, each with its kind."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(query):
        found = TOKENS.match(query, at)
        if found is None:
            raise ValueError(f"syntax error at {query[at : at + 20]!r}")
        kind = str(found.lastgroup)
        if kind != "space":
            tokens.append((kind, found.group()))
        at = found.end()
    return tokens
