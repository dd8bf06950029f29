"""`Result`: what a run folder holds, as tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import config, exports, products
from .engine import Totals, read_candidates, read_outcomes, read_run, read_work, status
from .engine.folder.files import Place, place, read_arrow
from .engine.folder.ledger import SEARCH, candidate_tables, candidates_schema, outcome_tables
from .engine.folder.parts import parts
from .errors import RunFolderError
from .model import OUTCOME_SCHEMA, Kind
from .report import tables
from .report.cutouts import cutouts_table
from .report.maps import write_maps
from .report.notebook import result_html
from .report.stream import Stream

if TYPE_CHECKING:
    from astropy.table import Table

TARGETS = "targets.arrow"
"""In a run folder: what was searched and found, by target."""


class Result:
    """A run folder, finished or not, as tables."""

    def __init__(self, folder: str | Place) -> None:
        self.folder = place(folder)

    def arrow(self, name: str) -> pa.Table:
        """Return one of the folder's tables: candidates, outcomes, limits, targets, observations, cutouts, sources or spectra.

        Raises
        ------
        RunFolderError
            If the folder is no run folder, or has no such table.
        ConfigError
            If cutouts are asked for and the search makes none.
        """
        read: dict[str, Callable[[Place], pa.Table]] = {
            "candidates": read_candidates,
            "outcomes": read_outcomes,
            "limits": lambda folder: tables.limits_table(read_outcomes(folder)),
            "observations": read_work,
            "targets": lambda folder: _read_table(folder, TARGETS, "when the run is finished"),
            "cutouts": lambda folder: cutouts_table(read_candidates(folder)),
            "sources": lambda folder: _read_table(folder, products.SOURCES, "when a search of pairs of images is finished"),
            "spectra": lambda folder: _read_table(
                folder, products.SPECTRA_TABLE, "when a search of pairs of images with [spectra] is finished"
            ),
        }
        read_run(self.folder)  # a folder without run.json is no run folder, whatever else it holds
        return read[name](self.folder)

    def stream(self, name: str) -> Stream:
        """Return one of the folder's tables to be read piece by piece, of a run under way as it is now; raises as `arrow` does."""
        about, now = read_run(self.folder), parts(self.folder)
        streams: dict[str, Stream] = {
            "candidates": Stream(candidates_schema(about), lambda: candidate_tables(self.folder, now)),
            "outcomes": Stream(OUTCOME_SCHEMA, lambda: outcome_tables(self.folder, now)),
            "limits": Stream(tables.LIMITS_SCHEMA, lambda: map(tables.limits_table, outcome_tables(self.folder, now))),
        }
        return streams.get(name) or Stream.of(self.arrow(name))

    @property
    def kind(self) -> Kind:
        """What was searched: `lines`, `images` or `pairs`."""
        return config.load(self.folder / SEARCH).kind

    @property
    def candidates(self) -> Table:
        """The detector's candidates, without columns of bytes (`export_maps` writes those as files)."""
        return tables.to_table(self.arrow("candidates"))

    @property
    def outcomes(self) -> Table:
        """One row for each observation that has ended."""
        return tables.to_table(self.arrow("outcomes"))

    @property
    def limits(self) -> Table:
        """One row for each searched line without a candidate, with the flux (W m^-2) it cannot exceed; from detectors that tell."""
        return tables.to_table(self.arrow("limits"), "limits")

    @property
    def targets(self) -> Table:
        """For each matched target, the distinct lines detected over all its observations; for each target of images, how many."""
        return tables.to_table(self.arrow("targets"), "targets")

    @property
    def cutouts(self) -> Table:
        """One row for each cutout, as the files in `cutouts` number them; `arrow("cutouts")` has its pixels as arrays, too."""
        read_run(self.folder)
        return tables.to_table(products.cutouts(read_candidates(self.folder)), "cutouts")

    @property
    def sources(self) -> Table:
        """The sources that differ between the two bands, merged over the pairs."""
        return tables.to_table(self.arrow("sources"))

    @property
    def spectra(self) -> Table:
        """One row for each source, image and aperture: the flux at the wavelength of the image there."""
        return tables.to_table(self.arrow("spectra"))

    @property
    def observations(self) -> Table:
        """The work list."""
        return tables.to_table(self.arrow("observations"))

    @property
    def totals(self) -> Totals:
        """Observations by outcome, bytes and requests, counted from the part files."""
        return status(self.folder)

    @property
    def about(self) -> dict[str, Any]:
        """What run.json says."""
        return read_run(self.folder)

    def export(self, path: str | Path, table: str = "candidates") -> str:
        """Write what the file's ending names, and return what that is, in words.

        `.ecsv`, `.vot`, `.fits`, `.parquet` and `.csv` are a table, `.reg` its rows as regions of DS9, `.moc.fits` and `.moc.json`
        the sky that was searched, `.txt` what to acknowledge and to cite.
        """
        return exports.export(self.folder, Path(path), table, self.stream)

    def export_maps(self, folder: str | Path) -> list[Path]:
        """Write the line map of each candidate that has one into a folder, as FITS, and return the files."""
        return write_maps(self.arrow("candidates"), Path(folder))

    def report(self, *, single_file: bool = False) -> Place:
        """Write the page that people look at, `report/index.html` or, with everything in it, `report.html`, and return its path."""
        from . import pages

        return pages.write_one_file(self.folder) if single_file else pages.write(self.folder)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.totals.by_status.items())
        return f"<raysearch.Result {str(self.folder)!r}: {counts}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how the observations ended, the candidates, and the targets once the run is finished."""
        shown = ["candidates", *(["targets"] if (self.folder / TARGETS).exists() else [])]
        return result_html(self.about, self.totals.by_status, {name: self.arrow(name) for name in shown})


def _read_table(folder: Place, name: str, when: str) -> pa.Table:
    if not (folder / name).exists():
        raise RunFolderError(f"{folder} has no {name}: it is written {when}")
    return read_arrow(folder / name)
