"""Targets from SIMBAD: by a condition, by name, around positions."""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from raysearch.archives.answers import Answers
from raysearch.archives.http import DEFAULT_PATIENCE, Patience
from raysearch.archives.tap import MINE, UPLOADED, match_upload, select, select_uploaded
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import LIGHT_KM_S, Query, Target

logger = logging.getLogger(__name__)

SIMBAD_URL = "https://simbad.cds.unistra.fr/simbad/sim-tap"
_SERVICE = "SIMBAD"
_KEY = "oid"
_COLUMNS = ("main_id", _KEY, "ra", "dec", "rvz_redshift", "rvz_radvel", "rvz_type")
_Row = dict[str, Any]


def query_targets(
    condition: str,
    *,
    url: str = SIMBAD_URL,
    redshift: float = 0.0,
    patience: Patience = DEFAULT_PATIENCE,
    answers: Answers | None = None,
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
    table, query = select(_SERVICE, url, _COLUMNS, "basic", condition.strip(), key=_KEY, patience=patience, answers=answers)
    rows = _rows(table, url)
    targets = _targets(rows, redshift)
    logger.info("SIMBAD: %d rows, %d targets with coordinates", len(rows), len(targets))
    return targets, [query]


def query_names(
    names: Sequence[str],
    *,
    url: str = SIMBAD_URL,
    redshift: float = 0.0,
    patience: Patience = DEFAULT_PATIENCE,
    answers: Answers | None = None,
) -> tuple[list[Target], list[str], list[Query]]:
    """Return the objects of these names, sorted by their main names; the names SIMBAD has no position for; and what was asked.

    A name is any identifier in any spelling that SIMBAD understands. Names of one object give one target. The names are uploaded
    and joined with `ident`: the way astroquery's `query_objects` takes, where SIMBAD treats spellings as it does in its own forms.

    Raises
    ------
    ArchiveError
        SIMBAD refused, or did not give all rows.
    """
    wanted = [name for name in dict.fromkeys(name.strip() for name in names) if name]
    if not wanted:
        return [], [], []
    source = f"{MINE} AS mine JOIN ident ON mine.mine_name = ident.id JOIN basic ON basic.{_KEY} = ident.oidref"
    own = [f"basic.{column}" for column in _COLUMNS]
    mine = pa.table({"mine_name": pa.array(wanted, pa.string())})
    table, queries = select_uploaded(_SERVICE, url, own, source, mine, patience=patience, answers=answers)
    rows = _rows(table, url)
    known = {wanted[number] for number, row in zip(table[UPLOADED].to_pylist(), rows, strict=True) if _is_placed(row)}
    return _targets(rows, redshift), [name for name in wanted if name not in known], queries


def query_around(
    positions: Sequence[tuple[float, float]],
    radius_deg: float,
    *,
    url: str = SIMBAD_URL,
    redshift: float = 0.0,
    patience: Patience = DEFAULT_PATIENCE,
    answers: Answers | None = None,
) -> tuple[list[Target], list[Query]]:
    """Return the objects within a radius of any of the positions (ra, dec in degrees, ICRS), sorted by name, and what was asked.

    Raises
    ------
    ArchiveError
        SIMBAD refused, or did not give all rows.
    """
    if not positions:
        return [], []
    table, queries = match_upload(_SERVICE, url, _COLUMNS, "basic", positions, radius_deg, patience=patience, answers=answers)
    return _targets(_rows(table, url), redshift), queries


def _rows(table: pa.Table, url: str) -> list[_Row]:
    if missing := set(_COLUMNS) - set(table.column_names):
        raise ArchiveError(f"SIMBAD's answer lacks the columns {', '.join(sorted(missing))}; is {url} SIMBAD's TAP service?")
    rows: list[_Row] = table.select(_COLUMNS).to_pylist()
    return rows


def _targets(rows: Iterable[_Row], default: float) -> list[Target]:
    """Return the objects that have coordinates, each once, sorted by name."""
    targets: dict[str, Target] = {}
    for row in filter(_is_placed, rows):
        name = row["main_id"].strip()
        targets.setdefault(name, Target(name, row["ra"], row["dec"], _redshift(row, default)))
    return sorted(targets.values(), key=lambda target: target.name)


def _is_placed(row: _Row) -> bool:
    return row["ra"] is not None and row["dec"] is not None


def _redshift(row: _Row, default: float) -> float:
    """Return an object's redshift, or the default where SIMBAD tells neither a redshift nor a velocity that can be one.

    `rvz_redshift` is the redshift, "eventually translated from a radial velocity", and `rvz_radvel` the radial velocity in km/s,
    "eventually translated from a redshift" (SIMBAD's field descriptions, sim-help?Page=sim-fscript); `rvz_type` is what was
    measured: v, a velocity; z, a redshift; c, cz. The translation is the relativistic Doppler formula: M 31 is listed with
    V = -300, z = -0.001000, cz = -299.85 km/s.
    """
    redshift = row["rvz_redshift"]
    if redshift is not None and math.isfinite(redshift) and redshift > -1.0:
        return float(redshift)
    velocity = row["rvz_radvel"]
    if velocity is None:
        return default
    beta = velocity / LIGHT_KM_S
    if (row["rvz_type"] or "").strip() == "c":
        return beta if beta > -1.0 else default
    return math.sqrt((1.0 + beta) / (1.0 - beta)) - 1.0 if abs(beta) < 1.0 else default
