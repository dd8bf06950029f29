"""A parser of ADQL that says it in SQLite's words (ADQL 2.0, with the parts of 2.1 and of the archives' own that clients send).

Whatever is not understood is refused: every word, function, table and column must be known, so that SQLite never gives an
answer of its own invention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from raysearch.testing.services.terms import Conditions, Scope, Term, Translated
from raysearch.testing.services.votable import Column
from raysearch.testing.services.words import RESERVED

Tables = Mapping[str, Mapping[str, Column]]
"""Name of a table, in lower case with its schema -> its columns by name in lower case."""


def translate(query: str, tables: Tables, hierarchy: Mapping[str, str] | None = None) -> Translated:
    """Return a query in SQLite's words.

    With a `hierarchy` (object type -> its parent), `otype = 'X..'` finds X and all types below it, SIMBAD's own extension.

    Raises
    ------
    ValueError
        It is no query, or one that is not understood.
    """
    parser = _Parser(query, tables, hierarchy)
    return parser.whole()


class _Parser(Conditions):
    """Recursive descent over a query's words."""

    def __init__(self, query: str, tables: Tables, hierarchy: Mapping[str, str] | None) -> None:
        super().__init__(query, hierarchy)
        self.tables = tables

    def whole(self) -> Translated:
        if self._peek() != "SELECT":
            raise ValueError("only SELECT is understood")
        done = self._query()
        if self.at < len(self.tokens):
            raise ValueError(f"syntax error at {self.tokens[self.at][1]!r}")
        return done

    def _query(self) -> Translated:
        """Return SELECTs joined by UNION, with the order of the whole."""
        first = self._select(alone=True)
        sql = first.sql
        joined = False
        while self._take("UNION"):
            joined = True
            every = " ALL" if self._take("ALL") else ""
            other = self._select(alone=False)
            if len(other.columns) != len(first.columns):
                raise ValueError("the sides of UNION have different numbers of columns")
            sql += f" UNION{every} {other.sql}"
        if joined:
            sql += self._order([c.name for c in first.columns])
        return Translated(sql, first.columns)

    def _select(self, *, alone: bool) -> Translated:
        """Return one SELECT; the order belongs to it where it stands alone."""
        self._need("SELECT")
        distinct = self._take("DISTINCT", "ALL")
        top = self._number() if self._take("TOP") else ""
        outer, self.scope = self.scope, Scope(outer=self.scope)
        items = self.at
        self._skip_to_from()
        self._need("FROM")
        sources = self._sources()
        after_sources, self.at = self.at, items
        chosen = self._items()
        if self._peek() != "FROM":
            raise ValueError(f"syntax error at {self._peek()!r}")
        self.at = after_sources
        sql = f"SELECT {distinct} {', '.join(t.sql for t in chosen)} FROM {sources}"  # noqa: S608 - every word of it is known
        if self._take("WHERE"):
            sql += f" WHERE {self._without_aggregates(self._condition())}"
        sql += self._grouping(chosen)
        if alone:
            sql += self._order([t.column.name for t in chosen if t.column])
        if alone and self._take("OFFSET"):
            sql += f" LIMIT {top or -1} OFFSET {self._number()}"
        elif top:
            sql += f" LIMIT {top}"
        self.scope = outer
        if self._peek() == "UNION" or not alone:
            sql = f"SELECT * FROM ({sql})"  # noqa: S608 - SQLite takes a LIMIT beside another SELECT only so
        return Translated(sql, tuple(t.column for t in chosen if t.column))

    def _skip_to_from(self) -> None:
        depth = 0
        while self.at < len(self.tokens):
            word = self._peek()
            depth += {"(": 1, ")": -1}.get(word, 0)
            if word == "FROM" and depth == 0 and self._kind() == "word":
                return
            self.at += 1
        raise ValueError("syntax error: FROM expected, not the end")

    def _items(self) -> list[Term]:
        """Return what is selected: each term's column is the one of the result."""
        chosen: list[Term] = []
        while True:
            chosen += self._item(len(chosen))
            if not self._take(","):
                return chosen

    def _item(self, number: int) -> list[Term]:
        if self._take("*"):
            return self._all_columns()
        if alias := self._starred_table():
            if alias not in self.scope.tables:
                raise ValueError(f"unknown table: {alias}")
            return [self._starred(alias, column) for column in self.scope.tables[alias].values()]
        start = self.at
        term = self._operand()
        if self._take("AS"):
            name = self._name(any_word=True)
        elif self._kind() == "quoted" or (self._kind() == "word" and self._peek() not in RESERVED):
            name = self._name()
        elif term.column:
            name = term.column.name
        else:
            function = self._peek(start - self.at).lower() if term.sql.endswith(")") else "column"
            name = "count_all" if term.sql == "count(*)" else f"{re.sub(r'[^a-z0-9]', '', function)}_{number + 1}"
        self.aliases.add(name.lower())
        shown = term.column or Column("", {"number": "", "text": "VARCHAR"}.get(term.kind, ""))
        return [Term(f"{term.sql} AS [{name}]", term.kind, shown.named(name), term.aggregate)]

    def _starred_table(self) -> str:
        """Return the alias of `table.*` or `schema.table.*`, read; an empty string where neither comes."""
        for dots in (1, 2):
            ends = [self._peek(2 * i + 1) for i in range(dots)]
            if set(ends) == {"."} and self._peek(2 * dots) == "*" and self._kind() in {"word", "quoted"}:
                for _ in ends:
                    alias = self._name().lower()
                    self._need(".")
                self._need("*")
                return alias
        return ""

    def _all_columns(self) -> list[Term]:
        """Return every column of every table, those that a join merges once."""
        chosen, seen = [], set()
        for alias, columns in self.scope.tables.items():
            for name, column in columns.items():
                if name not in seen:
                    chosen.append(self._starred(alias, column))
                if name in self.scope.merged:
                    seen.add(name)
        return chosen

    def _starred(self, alias: str, column: Column) -> Term:
        return Term(f"[{alias}].[{column.name}] AS [{column.name}]", column.kind, column)

    def _grouping(self, chosen: list[Term]) -> str:
        """Return GROUP BY and HAVING; a column that is neither grouped by nor aggregated has no one value."""
        grouped: list[str] = []
        sql = ""
        if self._take("GROUP"):
            self._need("BY")
            grouped.append(self._operand().sql)
            while self._take(","):
                grouped.append(self._operand().sql)
            sql = f" GROUP BY {', '.join(grouped)}"
            if self._take("HAVING"):
                sql += f" HAVING {self._condition().sql}"
        if grouped or any(t.aggregate for t in chosen):
            for term in chosen:
                if not term.aggregate and term.sql.rsplit(" AS ", 1)[0] not in grouped:
                    raise ValueError(f"{term.column and term.column.name} must appear in GROUP BY or in an aggregate function")
        return sql

    def _order(self, names: list[str]) -> str:
        if not self._take("ORDER"):
            return ""
        self._need("BY")
        known = {name.lower() for name in names}
        keys = [self._order_key(known)]
        while self._take(","):
            keys.append(self._order_key(known))
        return f" ORDER BY {', '.join(keys)}"

    def _order_key(self, known: set[str]) -> str:
        if self._kind() in {"word", "quoted"} and self._peek(1) not in {".", "("} and self._peek().strip('"').lower() in known:
            key = f"[{self._name(any_word=True)}]"
        elif self._kind() == "number":
            key = self._number()
        else:
            key = self._operand().sql
        return f"{key} {self._take('ASC', 'DESC')}".strip()

    def _sources(self) -> str:
        sql = self._source()
        while True:
            if self._take(","):
                sql += f", {self._source()}"
                continue
            natural = bool(self._take("NATURAL"))
            side = self._take("INNER", "LEFT", "CROSS")
            if side == "LEFT":
                self._take("OUTER")
            if not self._take("JOIN"):
                if natural or side:
                    raise ValueError(f"syntax error: JOIN expected, not {self._peek() or 'the end'!r}")
                return sql
            sql += f" {'NATURAL ' if natural else ''}{side} JOIN {self._source(natural=natural)}"
            if not natural and side != "CROSS":
                sql += self._join_condition()

    def _join_condition(self) -> str:
        if self._need("ON", "USING") == "ON":
            return f" ON {self._condition().sql}"
        self._need("(")
        names = [self._name()]
        while self._take(","):
            names.append(self._name())
        self._need(")")
        self.scope.merged |= {name.lower() for name in names}
        return f" USING ({', '.join(f'[{name}]' for name in names)})"

    def _source(self, *, natural: bool = False) -> str:
        if self._take("("):
            inner = self._query()
            self._need(")")
            self._take("AS")
            return f"({inner.sql}) AS [{self._enter(self._name(), {c.name.lower(): c for c in inner.columns}, natural)}]"
        parts = [self._name()]
        while self._take("."):
            parts.append(self._name())
        full = ".".join(parts).lower()
        if full not in self.tables:
            raise ValueError(f"unknown table: {'.'.join(parts)}")
        aliased = self._take("AS") or (self._kind() in {"word", "quoted"} and self._peek() not in RESERVED)
        alias = self._name() if aliased else parts[-1]
        return f"[{full}] AS [{self._enter(alias, self.tables[full], natural)}]"

    def _enter(self, alias: str, columns: Mapping[str, Column], natural: bool) -> str:
        alias = alias.lower()
        if alias in self.scope.tables:
            raise ValueError(f"two tables are called {alias}")
        if natural:
            self.scope.merged |= {name for others in self.scope.tables.values() for name in others if name in columns}
        self.scope.tables[alias] = columns
        return alias
