"""Where a table came from, for the files that carry it away: the search, the software, what the archives were asked, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from raysearch.report.columns import in_card


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def creator() -> str:
    """Return the name and version of this software."""
    return f"raysearch {version('raysearch')}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a table came from."""

    search: str = ""
    """The search's name."""
    config_hash: str = ""
    started: str = ""
    """When the run began, ISO 8601, UTC."""
    finished: str = ""
    """When it ended; empty where it has not."""
    searched_with: str = ""
    """The version of raysearch that searched, which may be another than that which writes."""
    queries: Sequence[Mapping[str, Any]] = ()
    """What the archives were asked, as run.json keeps it."""
    written: str = field(default_factory=_now)
    """When the file was made, ISO 8601, UTC."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Provenance:
        """Return what a run.json tells."""
        return cls(
            search=about.get("name") or "",
            config_hash=about.get("config_hash") or "",
            started=about.get("started") or "",
            finished=about.get("finished") or "",
            searched_with=str((about.get("versions") or {}).get("raysearch", "")),
            queries=tuple(about.get("queries") or ()),
        )

    def facts(self, table: str) -> dict[str, str]:
        """Return all but the queries, by name; what is not known is left out."""
        facts = {
            "table": table,
            "search": self.search,
            "config_hash": self.config_hash,
            "started": self.started,
            "finished": self.finished,
            "searched_with": f"raysearch {self.searched_with}" if self.searched_with else "",
            "creator": creator(),
            "date": self.written,
        }
        return {name: value for name, value in facts.items() if value}

    def asked(self) -> Iterator[tuple[str, str]]:
        """Yield each query as a sentence on what was asked of whom, and its text."""
        for query in self.queries:
            rows = f"{query.get('rows', 0):,} rows"
            yield f"{query.get('service', '')}, {query.get('url', '')}: {rows}", str(query.get("text", ""))

    def as_dict(self, table: str) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**self.facts(table), **({"queries": [dict(query) for query in self.queries]} if self.queries else {})}

    def as_json(self, table: str) -> str:
        """Return everything as JSON."""
        return json.dumps(self.as_dict(table), ensure_ascii=False)

    def cards(self) -> Iterator[tuple[str, str, str]]:
        """Yield keyword, value and comment of the cards of a FITS header."""
        keywords = {
            "CREATOR": (creator(), "software that wrote this file"),
            "DATE": (self.written[:19], "when it was written, UTC"),
            "SEARCH": (self.search, "name of the search"),
            "CFGHASH": (self.config_hash, "hash of the search"),
            "RUNBEG": (self.started, "when the run began"),
            "RUNEND": (self.finished, "when the run ended"),
            "RUNVER": (self.searched_with, "version of raysearch that searched"),
        }
        return ((keyword, in_card(value), comment) for keyword, (value, comment) in keywords.items() if value)

    def history(self) -> Iterator[str]:
        """Yield lines for HISTORY cards: what the archives were asked."""
        for sentence, text in self.asked():
            yield in_card(sentence)
            yield in_card(" ".join(text.split()))


NOTHING = Provenance(written="")
"""Of a table of which nothing is known."""
