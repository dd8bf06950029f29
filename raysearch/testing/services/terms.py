"""Operands and conditions of ADQL, in SQLite's words: the part of the parser that knows functions, columns and their kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from raysearch.testing.services.votable import Column
from raysearch.testing.services.words import RESERVED, Words

COMPARISONS = ("IN", "LIKE", "ILIKE", "BETWEEN", "=", "<>", "!=", "<", ">", "<=", ">=")
AGGREGATES = {"COUNT": "count", "MIN": "min", "MAX": "max", "SUM": "sum", "AVG": "avg", "IVO_STRING_AGG": "group_concat"}
SCALARS = {
    "ABS": "abs", "FLOOR": "floor", "CEILING": "ceil", "ROUND": "round", "MOD": "mod", "SQRT": "sqrt", "POWER": "pow", "EXP": "exp",
    "LOG": "ln", "LOG10": "log10", "PI": "pi", "SIN": "sin", "COS": "cos", "TAN": "tan", "ASIN": "asin", "ACOS": "acos",
    "ATAN": "atan", "ATAN2": "atan2", "DEGREES": "degrees", "RADIANS": "radians", "COALESCE": "coalesce", "LOWER": "lower",
    "UPPER": "upper", "SPLIT_PART": "split_part", "IVO_HASWORD": "ivo_hasword",
}  # fmt: skip
"""Function of ADQL -> SQLite's (whose `log` is decimal), or one that the database registers."""
GEOMETRY = frozenset({"POINT", "CIRCLE", "POLYGON", "BOX", "CONTAINS", "INTERSECTS", "DISTANCE"})
TEXTS = frozenset({"LOWER", "UPPER", "SPLIT_PART", "IVO_STRING_AGG"})
FRAMES = frozenset({"'ICRS'", "''"})
TYPES = {
    "INTEGER": "INTEGER", "BIGINT": "INTEGER", "SMALLINT": "INTEGER", "DOUBLE": "REAL", "REAL": "REAL", "DECIMAL": "REAL",
    "FLOAT": "REAL", "VARCHAR": "TEXT", "CHAR": "TEXT",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """A piece of a query, translated."""

    sql: str
    kind: str = ""
    """`number`, `text`, or empty where it cannot be told."""
    column: Column | None = None
    """Set for a column as it is."""
    aggregate: bool = False
    shape: tuple[str, ...] = ()
    """Of a POINT or CIRCLE given by numbers: its coordinates and radius."""


@dataclass(slots=True)
class Scope:
    """The tables of one SELECT, and those of the ones around it."""

    tables: dict[str, Mapping[str, Column]] = field(default_factory=dict)
    """Alias, in lower case -> columns."""
    merged: set[str] = field(default_factory=set)
    """Columns, in lower case, that NATURAL or USING makes one of several tables'."""
    outer: Scope | None = None


@dataclass(frozen=True, slots=True)
class Translated:
    """A query in SQLite's words."""

    sql: str
    columns: tuple[Column, ...]
    """Of the result."""


class Conditions(Words):
    """Reads conditions and operands; SELECTs within them are read by the whole parser."""

    def __init__(self, query: str, hierarchy: Mapping[str, str] | None) -> None:
        super().__init__(query)
        self.hierarchy = hierarchy
        self.scope = Scope()
        self.aliases: set[str] = set()

    def _query(self) -> Translated:
        raise NotImplementedError

    def _condition(self) -> Term:
        term = self._all_of()
        while self._take("OR"):
            other = self._all_of()
            term = Term(f"{term.sql} OR {other.sql}", aggregate=term.aggregate or other.aggregate)
        return term

    def _all_of(self) -> Term:
        term = self._negated()
        while self._take("AND"):
            other = self._negated()
            term = Term(f"{term.sql} AND {other.sql}", aggregate=term.aggregate or other.aggregate)
        return term

    def _negated(self) -> Term:
        if self._take("NOT"):
            term = self._negated()
            return Term(f"NOT {term.sql}", aggregate=term.aggregate)
        if self._take("EXISTS"):
            self._need("(")
            inner = self._query()
            self._need(")")
            return Term(f"EXISTS ({inner.sql})")
        return self._predicate()

    def _predicate(self) -> Term:
        if self._peek() == "(" and self._is_condition():
            self._need("(")
            term = self._condition()
            self._need(")")
            return Term(f"({term.sql})", aggregate=term.aggregate)
        left = self._operand()
        if self._take("IS"):
            word = "NOT NULL" if self._take("NOT") else "NULL"
            self._need("NULL")
            return Term(f"{left.sql} IS {word}", aggregate=left.aggregate)
        negation = "NOT " if self._take("NOT") else ""
        word = self._need(*(COMPARISONS[:4] if negation else COMPARISONS))
        right = self._ilike(left, negation) if word == "ILIKE" else f"{left.sql} {negation}{self._compared(left, word)}"
        return Term(right, aggregate=left.aggregate)

    def _compared(self, left: Term, word: str) -> str:
        """Return the right side of a comparison with its operator."""
        if word == "IN":
            return f"IN ({self._listed(left)})"
        right = self._operand()
        if word == "=" and left.column and left.column.name.lower() == "otype" and right.sql.endswith("..'") and self.hierarchy:
            return f"IN ({', '.join(_below(right.sql[1:-3], self.hierarchy))})"
        if word == "LIKE":
            return f"LIKE {right.sql}"
        _check_kinds(left, right)
        if word == "BETWEEN":
            self._need("AND")
            upper = self._operand()
            _check_kinds(left, upper)
            return f"BETWEEN {right.sql} AND {upper.sql}"
        return f"{word} {right.sql}"

    def _ilike(self, left: Term, negation: str) -> str:
        return f"lower({left.sql}) {negation}LIKE lower({self._operand().sql})"

    def _listed(self, left: Term) -> str:
        self._need("(")
        if self._peek() == "SELECT":
            inner = self._query()
            if len(inner.columns) != 1:
                raise ValueError("IN takes a SELECT of one column")
            self._need(")")
            return inner.sql
        terms = [self._operand()]
        while self._take(","):
            terms.append(self._operand())
        self._need(")")
        for term in terms:
            _check_kinds(left, term)
        return ", ".join(term.sql for term in terms)

    def _is_condition(self) -> bool:
        """Return whether the parenthesis that opens here holds a condition, not an operand."""
        if self._peek(1) == "SELECT":
            return False
        depth = 0
        for ahead in range(len(self.tokens) - self.at):
            word = self._peek(ahead)
            depth += {"(": 1, ")": -1}.get(word, 0)
            if depth == 0:
                after = self._peek(ahead + 1)
                return after in {"", ")", "AND", "OR", "GROUP", "ORDER", "HAVING", "UNION", "JOIN"}
            if depth == 1 and word in {"AND", "OR", "NOT", "EXISTS", "IS", *COMPARISONS}:
                return True
        return False

    def _without_aggregates(self, term: Term) -> str:
        if term.aggregate:
            raise ValueError("aggregate functions are not allowed in WHERE")
        return term.sql

    def _operand(self) -> Term:
        term = self._product()
        while sign := self._take("+", "-", "||"):
            other = self._product()
            kind = "text" if sign == "||" else "number"
            term = Term(f"{term.sql} {sign} {other.sql}", kind, aggregate=term.aggregate or other.aggregate)
        return term

    def _product(self) -> Term:
        term = self._factor()
        while sign := self._take("*", "/"):
            other = self._factor()
            term = Term(f"{term.sql} {sign} {other.sql}", "number", aggregate=term.aggregate or other.aggregate)
        return term

    def _factor(self) -> Term:
        if sign := self._take("-", "+"):
            term = self._factor()
            return Term(f"{sign} {term.sql}", "number", aggregate=term.aggregate)
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if kind in {"number", "text"}:
            self.at += 1
            return Term(text, kind)
        if self._take("("):
            if self._peek() == "SELECT":
                inner = self._query()
                self._need(")")
                return Term(f"({inner.sql})")
            term = self._operand()
            self._need(")")
            return Term(f"({term.sql})", term.kind, aggregate=term.aggregate)
        if self._take("NULL"):
            return Term("NULL")
        if self._peek() == "CAST" and self._peek(1) == "(":
            return self._cast()
        if kind == "word" and self._peek(1) == "(" and self._peek() not in RESERVED:
            return self._function()
        return self._column()

    def _cast(self) -> Term:
        self.at += 2
        term = self._operand()
        self._need("AS")
        name = self._name().upper()
        if name not in TYPES:
            raise ValueError(f"CAST to {name} is not understood")
        if self._take("("):
            self._number()
            self._need(")")
        self._need(")")
        return Term(f"CAST({term.sql} AS {TYPES[name]})", "text" if TYPES[name] == "TEXT" else "number", aggregate=term.aggregate)

    def _function(self) -> Term:
        name = self._name().upper()
        self._need("(")
        if name == "COUNT" and self._take("*"):
            self._need(")")
            return Term("count(*)", "number", aggregate=True)
        distinct = "DISTINCT " if name in AGGREGATES and self._take("DISTINCT") else ""
        arguments = [] if self._peek() == ")" else [self._operand()]
        while self._take(","):
            arguments.append(self._operand())
        self._need(")")
        if name in GEOMETRY:
            return _geometry(name, arguments)
        aggregate = name in AGGREGATES or any(a.aggregate for a in arguments)
        written = AGGREGATES.get(name) or SCALARS.get(name)
        if written is None:
            raise ValueError(f"unknown function: {name}")
        if name in AGGREGATES and len(arguments) != (2 if name == "IVO_STRING_AGG" else 1):
            raise ValueError(f"{name} takes another number of arguments")
        sql = f"{written}({distinct}{', '.join(a.sql for a in arguments)})"
        kind = "text" if name in TEXTS else arguments[0].kind if name in {"MIN", "MAX", "COALESCE"} and arguments else "number"
        return Term(sql, kind, aggregate=aggregate)

    def _column(self) -> Term:
        parts = [self._name()]
        while self._take("."):
            parts.append(self._name())
        name, table = parts[-1].lower(), parts[-2].lower() if len(parts) > 1 else ""
        scope: Scope | None = self.scope
        while scope is not None:
            found = [alias for alias, columns in scope.tables.items() if name in columns and table in {"", alias}]
            if len(found) > 1 and name not in scope.merged:
                raise ValueError(f"ambiguous column: {name}")
            if found:
                column = scope.tables[found[0]][name]
                # with its table, always: SQLite has an `oid` of its own in every table
                return Term(f"[{found[0]}].[{column.name}]", column.family, column.named(parts[-1]))
            scope = scope.outer
        if not table and name in self.aliases:
            return Term(f"[{parts[-1]}]")
        raise ValueError(f"unknown column: {'.'.join(parts)}")


def _geometry(name: str, arguments: list[Term]) -> Term:
    """Return a function of shapes; their coordinate system is ICRS, said or not."""
    if name in {"POINT", "CIRCLE", "POLYGON", "BOX"} and arguments and arguments[0].kind == "text" and not arguments[0].column:
        frame = arguments.pop(0).sql.upper()
        if frame not in FRAMES:
            raise ValueError(f"the coordinate system {frame} is not understood, only ICRS")
    counts = {"POINT": {2}, "CIRCLE": {2, 3}, "BOX": {4}, "CONTAINS": {2}, "INTERSECTS": {2}, "DISTANCE": {2, 4}}
    if len(arguments) not in counts.get(name, range(6, 1000, 2)):
        raise ValueError(f"{name} takes another number of arguments")
    sql = f"adql_{name.lower()}({', '.join(a.sql for a in arguments)})"
    if name == "CONTAINS":
        return Term(_unless_far(sql, arguments[0].shape, arguments[1].shape), "number")
    if name in {"INTERSECTS", "DISTANCE"}:
        return Term(sql, "number")
    return Term(sql, "region", shape=tuple(a.sql for a in arguments) if name in {"POINT", "CIRCLE"} else ())


def _unless_far(sql: str, point: tuple[str, ...], circle: tuple[str, ...]) -> str:
    """Return whether a circle holds a point, told by the declinations alone where they suffice: a hundred times as fast."""
    if len(point) != 2 or len(circle) != 3:
        return sql
    far = f"abs({point[1]} - ({circle[1]})) > {circle[2]} + 1e-9"
    return f"CASE WHEN abs({point[1]}) <= 90 AND abs({circle[1]}) <= 90 AND {far} THEN 0 ELSE {sql} END"


def _below(root: str, hierarchy: Mapping[str, str]) -> list[str]:
    """Return a type and all below it, as literals."""
    types = [root] if root in hierarchy else []
    for one in types:
        types += [child for child, parent in hierarchy.items() if parent == one]
    return [f"'{one}'" for one in types]


def _check_kinds(left: Term, right: Term) -> None:
    """Refuse to compare numbers with words, which SQLite would do."""
    kinds = {left.kind, right.kind}
    if "region" in kinds or kinds == {"number", "text"}:
        literals = [t.sql for t in (left, right) if t.kind == "text" and t.sql.startswith("'")]
        if not literals or not re.fullmatch(r"'\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*'", literals[0]) or "region" in kinds:
            raise ValueError(f"cannot compare {left.sql} with {right.sql}")
