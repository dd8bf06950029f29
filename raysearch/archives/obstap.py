"""Observations from any TAP service that has an ObsCore table (IVOA ObsCore 1.1), or that an ADQL query makes look like one."""

import pyarrow as pa

from raysearch.archives.answers import Answers
from raysearch.archives.datalink import locate
from raysearch.archives.http import DEFAULT_PATIENCE, Patience
from raysearch.archives.products import as_products
from raysearch.archives.sia import POINT_DEG
from raysearch.archives.tap import query, select
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import Query


class TapObscore:
    """The observations that an ADQL query, or a condition on `ivoa.obscore`, selects at a TAP service: an `Archive`."""

    name = "TAP"

    def __init__(
        self,
        url: str,
        *,
        adql: str = "",
        condition: str = "",
        key: str = "",
        answers: Answers | None = None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Take either the whole query or the condition; `key`, a column of the query's answer, lets one that is cut be read on."""
        if bool(adql.strip()) == bool(condition.strip()):
            raise ConfigError("a TAP service is asked either a whole query (adql) or a condition on ivoa.obscore")
        self.url = url.rstrip("/")
        self.adql = adql
        self.condition = condition
        self.key = key
        self.answers = answers
        self.patience = patience

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return every row of the answer as a product, sorted by `obs_id`, and what was asked.

        Raises
        ------
        ArchiveError
            The service refused, did not give all rows, or its answer lacks a column that a search needs.
        ArchiveUnavailable
            It did not answer in time.
        """
        if self.adql:
            table, asked = query(self.name, self.url, self.adql, key=self.key, patience=self.patience, answers=self.answers)
        else:
            table, asked = select(
                self.name,
                self.url,
                ("*",),
                "ivoa.obscore",
                self.condition,
                key=self.key or "obs_publisher_did",
                patience=self.patience,
                answers=self.answers,
            )
        return as_products(self.name, _with_points(self._checked(table))), [asked]

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return for each row where its product can be had, the cloud first (empty: nowhere), and what was asked."""
        return locate(self.name, self.url, table, answers=self.answers, patience=self.patience)

    def _checked(self, table: pa.Table) -> pa.Table:
        names = set(table.column_names)
        lacking = []
        if not names & {"obs_id", "obs_publisher_did"}:
            lacking.append("what names a product: obs_publisher_did, or obs_id")
        if "access_url" not in names:
            lacking.append("where it can be had: access_url")
        if "s_region" not in names and not names >= {"s_ra", "s_dec"}:
            lacking.append("where it lies: s_region, or s_ra and s_dec")
        if lacking:
            raise ArchiveError(
                f"the answer of {self.url} does not say {'; nor '.join(lacking)}. "
                f"Let the query select it, if need be renamed by AS; its columns are {', '.join(table.column_names)}"
            )
        return table


def _with_points(table: pa.Table) -> pa.Table:
    """Return the table with `s_region`: where there is no such column, a circle around the centre, as small as one can be."""
    if "s_region" in table.column_names or "s_fov" in table.column_names:
        return table
    centres = zip(table["s_ra"].to_pylist(), table["s_dec"].to_pylist(), strict=True)
    points = [None if None in {ra, dec} else f"CIRCLE ICRS {ra!r} {dec!r} {POINT_DEG!r}" for ra, dec in centres]
    return table.append_column("s_region", pa.array(points, pa.string()))
