"""Targets from SIMBAD."""

import logging
import math

from raysearch.archives.http import DEFAULT_PATIENCE, Patience
from raysearch.archives.tap import select
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import Query, Target

logger = logging.getLogger(__name__)

SIMBAD_URL = "https://simbad.cds.unistra.fr/simbad/sim-tap"
_COLUMNS = ("main_id", "ra", "dec", "rvz_redshift")


def query_targets(
    condition: str, *, url: str = SIMBAD_URL, redshift: float = 0.0, patience: Patience = DEFAULT_PATIENCE
) -> tuple[list[Target], list[Query]]:
    """Return the objects of `basic` for which an ADQL condition holds, sorted by name, and what was asked.

    An object's redshift is SIMBAD's, or `redshift` where SIMBAD knows none. Objects without coordinates are left out:
    they are the difference between the query's rows and the targets.

    Raises
    ------
    ConfigError
        The condition cannot be one.
    ArchiveError
        SIMBAD refused it, or did not give all rows.
    """
    if not condition.strip():
        raise ConfigError("the SIMBAD condition is empty; write an ADQL condition on `basic`, for example otype = 'Y*O..'")
    if condition.count("'") % 2:
        raise ConfigError(f"the SIMBAD condition has a quote that is not closed: {condition}")
    table, query = select("SIMBAD", url, _COLUMNS, "basic", condition.strip(), patience=patience)
    if missing := set(_COLUMNS) - set(table.column_names):
        raise ArchiveError(f"SIMBAD's answer lacks the columns {', '.join(sorted(missing))}; is {url} SIMBAD's TAP service?")
    rows = table.select(_COLUMNS).to_pylist()
    targets: dict[str, Target] = {}
    for row in rows:
        if row["ra"] is not None and row["dec"] is not None:
            name = row["main_id"].strip()
            targets.setdefault(name, Target(name, row["ra"], row["dec"], _redshift(row["rvz_redshift"], redshift)))
    logger.info("SIMBAD: %d rows, %d targets with coordinates", len(rows), len(targets))
    return sorted(targets.values(), key=lambda target: target.name), [query]


def _redshift(value: float | None, default: float) -> float:
    return default if value is None or not math.isfinite(value) or value <= -1.0 else value
