"""Figures of several tables stand beside each other."""

import gzip

import numpy as np
import pyarrow as pa

from raysearch.model import FIGURE_SCHEMA
from raysearch.report.pictures import Pictures


def table(*rows):
    records = [
        {"obs_id": obs_id, "candidate": number, "name": name, "svg": gzip.compress(b"<svg/>"), "alt": name}
        for obs_id, number, name in rows
    ]
    return pa.Table.from_pylist(records, FIGURE_SCHEMA)


def test_a_candidate_has_the_figures_of_all_tables():
    drawn, spectra = table(("o1", 0, "triptych"), ("o1", -1, "region 1"), ("gone", 0, "map")), table(("o1", 0, "spectra"))
    pictures = Pictures([drawn, spectra], lambda names: np.array([{"o1": 3}.get(name, -1) for name in names.to_pylist()]))
    assert [record["name"] for record in pictures.records((3, 0))] == ["triptych", "spectra"]
    assert set(pictures) == {(3, 0), (3, -1)}
