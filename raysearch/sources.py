"""From a search to those whom it asks: targets, an archive, and answers that are kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from . import convert
from .archives import simbad
from .archives.answers import Answers, Mode, default_folder
from .archives.catalogue import Catalogue, open_catalogue
from .archives.cloud import places
from .archives.tables import read_observations, read_targets
from .config import SearchConfig
from .engine import EngineOptions
from .engine.folder.files import at_hand, place
from .engine.workers.spread import spreading
from .errors import ConfigError, TableError
from .model import Archive, Query, Target
from .sky.stream import match_stream


@dataclass(frozen=True, slots=True)
class Kept:
    """The answers that one search may reuse and keep."""

    answers: Answers
    folder_named: bool
    """Whether the search names the folder."""

    @classmethod
    def of(cls, config: SearchConfig, mode: Mode) -> Kept:
        """Return those in the folder that the search names, or in the user's cache folder."""
        folder = config.services.answers
        return cls(Answers(Path(folder) if folder else default_folder(), mode), bool(folder))

    def at(self, url: str) -> Answers | None:
        """Return the answers of a service; None where they are neither reused nor kept.

        What answers on this machine is another service tomorrow: its answers are kept only in a folder that the search names.
        """
        local = urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
        return None if local and not self.folder_named and self.answers.mode != "offline" else self.answers


def ask_targets(config: SearchConfig, kept: Kept) -> tuple[list[Target], list[Query], list[str]]:
    """Return the targets, what was asked, and sentences about what is odd.

    Raises
    ------
    ArchiveError, TableError, ConfigError
        If they cannot be had.
    """
    asked, url = config.targets, config.services.simbad
    if asked.simbad:
        targets, queries = simbad.query_targets(asked.simbad, url=url, redshift=asked.redshift, answers=kept.at(url))
        return targets, queries, []
    if asked.names:
        targets, unknown, queries = simbad.query_names(asked.names, url=url, redshift=asked.redshift, answers=kept.at(url))
        return targets, queries, [f"SIMBAD has no position for {', '.join(map(repr, unknown))}"] if unknown else []
    targets, notes = _own_targets(config)
    if not asked.simbad_radius or not targets:
        return targets, [], notes
    radius = asked.simbad_radius
    positions = [(target.ra, target.dec) for target in targets]
    found, queries = simbad.query_around(positions, radius / 3600.0, url=url, redshift=asked.redshift, answers=kept.at(url))
    notes.append(
        f"SIMBAD has {len(found):,} objects within {radius:g} arcsec of the {len(targets):,} positions, which they replace"
    )
    return found, queries, notes


def _own_targets(config: SearchConfig) -> tuple[list[Target], list[str]]:
    """Return the targets of the user's table, or positions, and what is odd about them."""
    asked = config.targets
    if asked.table:
        with at_hand(place(asked.table)) as path:
            read = read_targets(path, redshift=asked.redshift)
        return read.targets, [f"{asked.table}: {problem}" for problem in read.problems]
    return [Target(f"{ra:.6f} {dec:+.6f}", ra, dec, asked.redshift) for ra, dec in dict.fromkeys(asked.positions)], []


def large_catalogue(config: SearchConfig) -> Catalogue | None:
    """Return the table of targets if it is so large that it must stream.

    Raises
    ------
    TableError
        It has no columns of coordinates.
    ConfigError
        Observations are asked for around the targets only.
    """
    here = config.targets.table and isinstance(place(config.targets.table), Path)  # one in S3 is fetched, and held
    catalogue = open_catalogue(config.targets.table) if here else None
    if catalogue is not None and config.targets.simbad_radius:
        raise ConfigError(f"{config.targets.table} has {catalogue.rows:,} targets, too many for simbad_radius; give fewer")
    if catalogue is not None and (config.observations.near_targets or config.observations.archive == "heasarc"):
        raise ConfigError(
            f"{config.targets.table} has {catalogue.rows:,} targets, too many to ask an archive around each of them; "
            "set near_targets = false, or give fewer"
        )
    return catalogue


def targets_inside(
    config: SearchConfig, catalogue: Catalogue, regions: Sequence[str | None]
) -> tuple[list[Target], int, list[str]]:
    """Return the targets of a large catalogue that lie in any of the regions; how many there are in all; what is odd about them.

    The regions are `s_region` texts. A row without usable coordinates is no target.

    Raises
    ------
    TableError
        The catalogue cannot be read, or none of its rows has usable coordinates.
    """
    asked = config.run
    options = EngineOptions(
        engine=asked.engine,
        address=asked.address,
        object_store_bytes=min(2 * 2**30, asked.memory // 4) if asked.memory else 2 * 2**30,
    )
    with TemporaryDirectory(prefix="raysearch-match-") as scratch, spreading(options) as spread:
        found = match_stream(catalogue.pieces(), regions, scratch, radius_deg=config.match.radius / 3600.0, spread=spread)
        rows = np.unique(found.load().target)
    if not found.targets:
        raise TableError(
            f"{catalogue.path}: no row with usable coordinates in {catalogue.ra} and {catalogue.dec}, of {catalogue.rows:,}"
        )
    read = catalogue.targets(rows, config.targets.redshift)
    unusable = catalogue.rows - found.targets
    notes = [f"{unusable:,} of {catalogue.rows:,} rows left out: no usable coordinates"] if unusable else []
    return read.targets, found.targets, [f"{catalogue.path}: {problem}" for problem in (*notes, *read.problems)]


def open_archive(config: SearchConfig, targets: Sequence[Target], kept: Kept) -> tuple[Archive, list[str]]:
    """Return whom to ask for observations, and sentences about what is odd in a table of the user's own.

    Raises
    ------
    TableError
        The user's table cannot be used.
    ConfigError
        There is no target to ask around.
    """
    asked = config.observations
    if asked.table:
        read = read_observations(asked.table)
        problems = [f"{asked.table}: {problem}" for problem in read.problems]
        return OwnTable(read.table, config.services.mast, kept), problems
    if not targets and (asked.near_targets or asked.archive == "heasarc"):
        raise ConfigError("[targets] gave none, and observations are asked for around them only")
    openers = {"mast": _mast, "irsa": _irsa, "heasarc": _heasarc, "tap": _tap, "sia2": _sia2}
    return openers[asked.archive](config, targets, kept), []


class OwnTable:
    """A table of the user's own: an `Archive` that knows where its files are, but for names of MAST's."""

    def __init__(self, table: pa.Table, mast_url: str, kept: Kept) -> None:
        self.table = table
        self.mast_url = mast_url
        self.kept = kept

    def observations(self) -> tuple[pa.Table, list[Query]]:
        """Return the table, with the time at which files of this machine were last written."""
        if "file_modified" in self.table.column_names:
            return self.table, []
        times = [_modified(uri) for uri in self.table["uri"].to_pylist()]
        return self.table.append_column("file_modified", pa.array(times, pa.string())) if any(times) else self.table, []

    def locate(self, table: pa.Table) -> tuple[list[tuple[str, ...]], list[Query]]:
        """Return each row's own address; for a `mast:` name its place in the cloud, if it has one, and MAST's download.

        Raises
        ------
        ArchiveError
            MAST's lookup as a whole gave no answer.
        """
        uris = [uri or "" for uri in table["uri"].to_pylist()]
        names = [uri for uri in uris if uri.startswith("mast:")]
        found, queries = places(names, self.mast_url, answers=self.kept.at(self.mast_url))
        at_mast = dict(zip(names, found, strict=True))
        return [at_mast.get(uri, (uri,) if uri else ()) for uri in uris], queries


def _modified(uri: str | None) -> str | None:
    """Return when a file of this machine was last written, ISO 8601 UTC; None where it is elsewhere, or nowhere."""
    if not uri or "://" in uri or uri.startswith("mast:"):
        return None
    try:
        return datetime.fromtimestamp(os.stat(uri).st_mtime, UTC).isoformat()  # noqa: PTH116 - half a million of them
    except OSError:
        return None


def _around(config: SearchConfig, targets: Sequence[Target]) -> dict[str, Any]:
    """Return the positions and the radius to ask around, if only there."""
    return _near(config, targets) if config.observations.near_targets else {}


def _near(config: SearchConfig, targets: Sequence[Target]) -> dict[str, Any]:
    return {"positions": [(t.ra, t.dec) for t in targets], "radius_deg": config.match.radius / 3600.0}


def _span(config: SearchConfig) -> tuple[float, ...]:
    return tuple(convert.mjd(end) for end in config.observations.time)


def _mast(config: SearchConfig, targets: Sequence[Target], kept: Kept) -> Archive:
    from .archives.mast import Mast

    asked, url = config.observations, config.services.mast
    return Mast(
        url,
        collection=asked.collection,
        product_type=asked.product_type,
        calib_level=asked.calib_level,
        instrument=asked.instrument,
        filters=asked.filters,
        proposal=asked.proposal,
        wavelength_um=asked.wavelength,
        time=_span(config),
        public_only=asked.public_only,
        answers=kept.at(url),
        **_around(config, targets),
    )


def _sia(config: SearchConfig, targets: Sequence[Target]) -> dict[str, Any]:
    asked = config.observations
    return {
        "collection": asked.collection,
        "product_type": asked.product_type,
        "calib_level": asked.calib_level,
        "instrument": asked.instrument,
        "facility": asked.facility,
        "wavelength_um": asked.wavelength,
        "time": _span(config),
        **_around(config, targets),
    }


def _irsa(config: SearchConfig, targets: Sequence[Target], kept: Kept) -> Archive:
    from .archives.irsa import Irsa, IrsaSpherex

    asked, url = config.observations, config.services.irsa
    if not asked.spherex_release:
        return Irsa(url, answers=kept.at(url), **_sia(config, targets))
    return IrsaSpherex(
        url,
        bands=asked.filters or tuple(f"SPHEREx-{band}" for band in config.images.bands),
        wavelength_um=asked.wavelength,
        time=_span(config),
        release=asked.spherex_release,
        answers=kept.at(url),
        **_near(config, targets),
    )


def _heasarc(config: SearchConfig, targets: Sequence[Target], kept: Kept) -> Archive:
    from .archives.heasarc import Heasarc

    asked, url = config.observations, config.services.heasarc
    return Heasarc(
        url,
        config.services.registry,
        catalog=asked.catalog,
        keywords=asked.keywords,
        wavelength_um=asked.wavelength,
        time=_span(config),
        answers=kept.at(url),
        **_near(config, targets),
    )


def _tap(config: SearchConfig, targets: Sequence[Target], kept: Kept) -> Archive:  # noqa: ARG001 - as the others
    from .archives.obstap import TapObscore

    url = config.observations.url
    return TapObscore(url, adql=config.observations.adql, answers=kept.at(url))


def _sia2(config: SearchConfig, targets: Sequence[Target], kept: Kept) -> Archive:
    from .archives.sia import Sia2

    url = config.observations.url
    return Sia2(url, answers=kept.at(url), **_sia(config, targets))
