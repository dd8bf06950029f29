"""Whom a search asks, and which answers it reuses."""

import os

import pytest

from raysearch import config, sources
from raysearch.archives.heasarc import Heasarc
from raysearch.archives.irsa import Irsa, IrsaSpherex
from raysearch.archives.mast import Mast
from raysearch.archives.obstap import TapObscore
from raysearch.archives.sia import Sia2
from raysearch.errors import ConfigError
from raysearch.model import Target
from raysearch.sources import Kept, OwnTable, open_archive
from raysearch.testing import LocalArchive, demo_holdings

LINES = {"list": [{"name": "a", "wavelength": "5 um"}]}
TARGETS = {"positions": [[10.0, 20.0]]}
TARGET = Target("T", 10.0, 20.0)


def search(**sections):
    return config.from_dict({"lines": LINES, **sections})


def opened(observations, targets=(TARGET,), **sections):
    search_config = search(targets=TARGETS, observations=observations, **sections)
    return open_archive(search_config, targets, Kept.of(search_config, "reuse"))[0]


def test_the_users_cache_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = Kept.of(config.load("jets"), "reuse")
    assert kept.answers.folder == tmp_path / "raysearch" / "answers"
    assert kept.at("https://mast.stsci.edu") is kept.answers


def test_a_service_on_this_machine_is_another_one_tomorrow(tmp_path):
    for url in ("http://127.0.0.1:8000", "http://localhost:8000/tap", "http://[::1]:80"):
        assert Kept.of(config.load("jets"), "reuse").at(url) is None
        named = Kept.of(config.load("jets", {"services.answers": str(tmp_path)}), "reuse")
        assert named.at(url) is named.answers
        assert named.answers.folder == tmp_path


def test_offline_nobody_is_asked_wherever_it_is():
    kept = Kept.of(config.load("jets"), "offline")
    assert kept.at("http://127.0.0.1:8000") is kept.answers


@pytest.mark.parametrize(
    ("observations", "kind"),
    [
        ({"archive": "mast", "collection": "JWST"}, Mast),
        ({"archive": "irsa", "facility": "SOFIA"}, Irsa),
        ({"archive": "irsa", "collection": "spherex_qr2"}, Irsa),
        ({"archive": "irsa", "collection": "spherex_qr2", "near_targets": True}, IrsaSpherex),
        ({"archive": "irsa", "collection": "spherex_qr2_deep", "near_targets": True}, Irsa),
        ({"archive": "irsa", "collection": ["spherex_qr2", "wise"], "near_targets": True}, Irsa),
        ({"archive": "irsa", "collection": "spherex_qr2", "near_targets": True, "calib_level": [3]}, Irsa),
        ({"archive": "heasarc", "catalog": "chanmaster"}, Heasarc),
        ({"archive": "heasarc", "keywords": "chandra"}, Heasarc),
        ({"archive": "tap", "url": "https://x/tap", "adql": "SELECT 1"}, TapObscore),
        ({"archive": "sia2", "url": "https://x/sia", "collection": "c"}, Sia2),
    ],
)
def test_each_archive(observations, kind):
    assert type(opened(observations)) is kind


def test_mast_is_asked_what_the_search_says():
    asked = {
        "archive": "mast", "collection": ["JWST", "HST"], "product_type": "cube", "calib_level": [3], "instrument": "MIRI/*",
        "filters": ["CH1*", "CH4*"], "proposal": "1290", "wavelength": ["4.9 um", "28 um"], "time": ["2024-01-01", "2025-01-01"],
        "near_targets": True,
    }  # fmt: skip
    mast = opened(asked, match={"radius": "3600 arcsec"})
    assert mast.criteria == {
        "obs_collection": ["JWST", "HST"], "dataproduct_type": ["cube"], "calib_level": ["3"], "instrument_name": ["MIRI/*"],
        "filters": ["CH1*", "CH4*"], "proposal_id": ["1290"], "dataRights": ["PUBLIC"],
        "em_min": [0.0, 28_000.0], "em_max": [pytest.approx(4900.0), 1e15], "t_min": [-1e15, 60676.0], "t_max": [60310.0, 1e15],
    }  # fmt: skip
    assert (mast.positions, mast.radius_deg) == (((10.0, 20.0),), 1.0)


def test_everything_that_is_given_reaches_the_archive():
    """A key that was read and then forgotten would silently widen the question."""
    spherex = opened(
        {
            "archive": "irsa",
            "collection": "spherex_qr3",
            "filters": "SPHEREx-D3",
            "near_targets": True,
            "time": ["2025-01-01", "2026-01-01"],
            "wavelength": ["1 um", "2 um"],
        }
    )
    said = " ".join(spherex.conditions)
    assert all(part in said for part in ("spherex/qr3/", "'SPHEREx-D3'", "energy_bounds", "time_bounds"))
    sofia = opened(
        {
            "archive": "irsa",
            "facility": "SOFIA",
            "instrument": "FIFI-LS",
            "collection": "c",
            "product_type": "cube",
            "calib_level": [3],
            "near_targets": True,
        }
    )
    request = sofia._request
    assert dict(request.words) == {"facility": ("SOFIA",), "instrument": ("FIFI-LS",), "collection": ("c",), "data_type": ("cube",)}
    assert (request.calib_level, sofia.positions) == ((3,), [(10.0, 20.0)])
    chandra = opened(
        {"archive": "heasarc", "catalog": "chanmaster", "time": ["2024-01-01", "2025-01-01"]}, match={"radius": "36 arcsec"}
    )
    assert (chandra.catalog, chandra.positions, chandra.radius_deg) == ("chanmaster", [(10.0, 20.0)], 0.01)
    assert tuple(chandra.spans["t_min", "t_max"]) == (60310.0, 60676.0)


def test_without_targets_nothing_is_asked_around_them():
    """No positions would mean everything."""
    with pytest.raises(ConfigError, match="around them only"):
        opened({"archive": "mast", "collection": "JWST", "near_targets": True}, targets=())


def test_files_of_this_machine_say_when_they_were_written(tmp_path):
    (tmp_path / "a.fits").touch()
    os.utime(tmp_path / "a.fits", (0, 86_400))
    (tmp_path / "t.csv").write_text("uri\na.fits\nmissing.fits\nhttps://h/b.fits\n")
    table, queries = opened({"table": str(tmp_path / "t.csv")}).observations()
    assert queries == []
    times = dict(zip(table["obs_id"].to_pylist(), table["file_modified"].to_pylist(), strict=True))
    assert times == {"a": "1970-01-02T00:00:00+00:00", "missing": None, "b": None}


def test_a_table_without_files_of_this_machine_stays_as_it_is(tmp_path):
    (tmp_path / "t.csv").write_text("uri\nhttps://h/b.fits\n")
    own = opened({"table": str(tmp_path / "t.csv")})
    assert isinstance(own, OwnTable)
    assert "file_modified" not in own.observations()[0].column_names


def test_odd_cells_of_a_table_are_told_with_its_name(tmp_path):
    (tmp_path / "t.csv").write_text("uri,em_min\na.fits,short\n")
    search_config = search(observations={"table": str(tmp_path / "t.csv")})
    _, problems = open_archive(search_config, [], Kept.of(search_config, "reuse"))
    assert problems == [f"{tmp_path}/t.csv: em_min left empty in row 1: not a number, for example 'short'"]


def test_names_that_simbad_does_not_know_are_told(monkeypatch):
    def query_names(names, **_):
        return [TARGET], list(names[1:]), []

    monkeypatch.setattr(sources.simbad, "query_names", query_names)
    asked = search(targets={"names": ["TMC1A", "Nobody 1"]}, observations={"table": "x"})
    targets, _, notes = sources.ask_targets(asked, Kept.of(asked, "reuse"))
    assert targets == [TARGET]
    assert notes == ["SIMBAD has no position for 'Nobody 1'"]


def test_objects_of_simbad_take_the_place_of_positions_near_them(tmp_path):
    holdings = demo_holdings()
    star, other = (row for row in holdings.targets[:2])
    with LocalArchive(holdings) as archive:
        positions = [[star["ra"], star["dec"] + 1 / 3600], [200.0, -45.0]]
        asked = search(
            targets={"positions": positions, "simbad_radius": "2 arcsec"},
            observations={"table": "x"},
            services={"simbad": archive.services["simbad"]},
        )
        targets, queries, notes = sources.ask_targets(asked, Kept.of(asked, "off"))
    assert [(t.name, t.ra, t.dec) for t in targets] == [(star["main_id"], star["ra"], star["dec"])]
    assert targets[0].redshift == star["rvz_redshift"]
    assert other["main_id"] not in {t.name for t in targets}
    assert "TAP_UPLOAD" in queries[0].text
    assert notes == ["SIMBAD has 1 objects within 2 arcsec of the 2 positions, which they replace"]


def test_a_radius_around_nothing_of_the_users_is_refused():
    with pytest.raises(ConfigError, match=r"\[targets\] simbad_radius is for a table or positions"):
        search(targets={"simbad": "otype = 'Y*O'", "simbad_radius": "2 arcsec"}, observations={"table": "x"})
