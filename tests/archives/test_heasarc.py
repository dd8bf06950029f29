"""HEASARC: a catalogue by TAP, image services by the registry; their files by DataLink."""

import pytest
from vo_answers import recorded, votable

from raysearch.archives.answers import Answers
from raysearch.archives.heasarc import Heasarc
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError
from raysearch.model import Archive
from raysearch.sky.footprint import contains, parse_s_region
from raysearch.testing import Faults

CHANDRA = "nasa-heasarc/chandra/data/byobsid"


@pytest.fixture
def heasarc(survey_archive, stars):
    """Return a function that makes a Heasarc of the local archive."""

    def make(**options):
        services = survey_archive.services
        return Heasarc(services["heasarc"], services["registry"], **({"positions": stars} | options))

    return make


@pytest.fixture(params=[{"catalog": "chanmaster"}, {"keywords": ["chandra heasarc"]}], ids=["catalog", "keywords"])
def way(request):
    return request.param


@pytest.mark.parametrize("older", [False, True])
def test_a_row_for_each_image(heasarc, survey_archive, stars, way, older):
    if older:
        survey_archive.set_faults(Faults(datalink="older"))
    archive: Archive = heasarc(**way)
    table, queries = archive.observations()
    ids = table["obs_id"].to_pylist()
    assert ids[:2] == ["15158 acisf15158N004_cntr_img2.fits.gz", "15158 acisf15158N004_full_img2.fits.gz"]
    assert len(set(ids)) == len(ids) == 7
    assert set(table["archive_obs_id"].to_pylist()) >= {"15158", "1990", "7008"}
    assert set(table["target_name"].to_pylist()) == {f"Synthetic YSO {i:02d}" for i in (1, 2, 3, 4)}
    assert set(table["t_min"].to_pylist()) == {52000.5}
    assert set(table["t_obs_release"].to_pylist()) == {52400.0}
    assert "grating" in table.column_names
    assert all(query.service in {"HEASARC", "VO registry"} for query in queries)
    for row in table.to_pylist():
        inside = contains(parse_s_region(row["s_region"]), *zip(*stars, strict=True))
        assert inside.tolist().count(True) == 1


def test_places_in_the_cloud_have_no_doubled_slashes(heasarc, survey_archive, way):
    archive = heasarc(**way)
    table, _ = archive.observations()
    places = dict(zip(table["obs_id"].to_pylist(), archive.locate(table)[0], strict=True))
    name = "acisf15158N004_cntr_img2.fits.gz"
    assert places[f"15158 {name}"] == (
        f"s3://{CHANDRA}/8/15158/primary/{name}",
        f"{survey_archive.url}/FTP/chandra/data/byobsid/8//15158/primary/{name}",
    )


def test_an_observation_without_files_is_a_row_without_a_place(heasarc):
    archive = heasarc(catalog="chanmaster")
    table, _ = archive.observations()
    row = table["obs_id"].to_pylist().index("4003")
    assert archive.locate(table)[0][row] == ()


def test_all_positions_and_all_links_in_one_request_each(heasarc, survey_archive):
    heasarc(catalog="chanmaster").observations()
    log = survey_archive.log()
    cones = [entry.form for entry in log if "chanmaster" in entry.form and "CONTAINS" in entry.form and "COUNT" not in entry.form]
    links = [entry for entry in log if "datalink" in entry.path]
    assert len(cones) == 1
    assert cones[0].count("CONTAINS") == 6
    assert [entry.form for entry in links] == ["ID=1&ID=2&ID=3&ID=4"]


def test_the_catalogues_own_radius_and_more(heasarc, survey_archive):
    heasarc(catalog="chanmaster", radius_deg=0.1).observations()
    assert any("0.44999" in entry.form or "0.45)" in entry.form for entry in survey_archive.log())  # 21 arcmin + 0.1 degrees


def test_only_what_reaches_into_the_ranges(heasarc, way):
    assert heasarc(**way, time=(52000.0, 52001.0)).observations()[0].num_rows == 7
    assert heasarc(**way, time=(52001.0, 53000.0)).observations()[0].num_rows == 0
    if "keywords" in way:  # the catalogue does not tell wavelengths
        assert heasarc(**way, wavelength_um=(4.0, 5.0)).observations()[0].num_rows == 0
        assert heasarc(**way, wavelength_um=(0.001, 5.0)).observations()[0].num_rows == 7


def test_nothing_around_a_position(heasarc, way):
    assert heasarc(**way, positions=[(200.0, -60.0)]).observations()[0].num_rows == 0


def test_kept(heasarc, survey_archive, way, tmp_path):
    first, _ = heasarc(**way, answers=Answers(tmp_path)).observations()
    survey_archive.reset()
    again, queries = heasarc(**way, answers=Answers(tmp_path, mode="offline")).observations()
    assert again.equals(first)
    assert not survey_archive.log()
    assert all(query.reused for query in queries)


@pytest.mark.parametrize("fault", ["error", "html", "truncated", "half", "503"])
def test_faults(heasarc, survey_archive, hasty, way, fault):
    survey_archive.set_faults(Faults(heasarc=fault))
    with pytest.raises(ArchiveError, match="HEASARC"):
        heasarc(**way, patience=hasty).observations()


def test_a_cut_answer_of_sia1_is_an_error(heasarc, survey_archive):
    survey_archive.set_faults(Faults(heasarc_limit=1))
    with pytest.raises(ArchiveError, match="has more: lessen match"):
        heasarc(keywords=["chandra heasarc"], radius_deg=3.0).observations()


def test_a_cut_answer_of_the_catalogue_is_read_on(heasarc, survey_archive):
    survey_archive.set_faults(Faults(heasarc_limit=2))
    assert heasarc(catalog="chanmaster").observations()[0].num_rows == 7


@pytest.mark.parametrize(("fault", "error"), [("503", ArchiveUnavailable), ("error", ArchiveError)])
def test_without_any_links_the_search_cannot_be_made(heasarc, survey_archive, hasty, way, fault, error):
    survey_archive.set_faults(Faults(datalink=fault))
    with pytest.raises(error, match="HEASARC"):
        heasarc(**way, patience=hasty).observations()


def test_empty_links_leave_the_image_that_the_service_names(heasarc, survey_archive):
    survey_archive.set_faults(Faults(datalink="empty"))
    archive = heasarc(keywords=["chandra heasarc"])
    table, _ = archive.observations()
    assert table["obs_id"].to_pylist() == ["15158", "1990", "4003", "7008"]
    assert all(len(places) == 2 for places in archive.locate(table)[0])


@pytest.mark.parametrize("wrong", [{}, {"catalog": "chanmaster", "keywords": ["chandra"]}, {"catalog": "a; DROP"}])
def test_either_a_catalogue_or_keywords(wrong):
    with pytest.raises(ConfigError, match="either for a catalogue"):
        Heasarc(positions=[], **wrong)


def test_unknown_names(heasarc):
    with pytest.raises(ArchiveError, match="has no catalogue nothing"):
        heasarc(catalog="nothing").observations()
    with pytest.raises(ArchiveError, match="with the keywords nothing, such: the registry knows none"):
        heasarc(keywords=["nothing", "such"]).observations()


def test_documents_behind_documents(serve, hasty):
    """As the catalogue's links lead to those of one kind of product, and these to its files."""
    kind = "application/x-votable+xml;content=datalink"

    def answer(asked):
        query = asked.form.get("QUERY", [""])[0]
        if asked.path.endswith("/datalink/chanmaster"):
            row_id = (asked.form or asked.query)["ID"][0]
            if row_id == "7":
                folder = {
                    "ID": "7",
                    "access_url": f"{service.url}/FTP/chandra/7/",
                    "semantics": "#this",
                    "content_type": "text/html",
                }
                further = {
                    "ID": "7",
                    "access_url": f"{service.url}{asked.path}?ID=7:img",
                    "semantics": "#this",
                    "content_type": kind,
                }
                return serve.reply(votable([folder, further]))
            url = f"{service.url}/FTP/chandra/7//x.fits.gz"
            return serve.reply(votable([{"ID": row_id, "access_url": url, "semantics": "#this", "content_type": "image/fits"}]))
        if "COUNT" in query:
            return serve.reply(votable([{"n": 1}]))
        if "metainfo" in query:
            return serve.reply(votable([{"value": "21"}]))
        return serve.reply(votable([{"__row": 7, "obsid": 18244, "ra": 10.0, "dec": 20.0, "time": 52000.5}], units={"time": "d"}))

    service = serve(answer)
    archive = Heasarc(service.url, catalog="chanmaster", positions=[(10.1, 20.1)], patience=hasty)
    table, _ = archive.observations()
    assert table["obs_id"].to_pylist() == ["18244 x.fits.gz"]
    assert table["folder"].to_pylist() == [f"{service.url}/FTP/chandra/7/"]
    assert archive.locate(table)[0] == [("s3://nasa-heasarc/chandra/7/x.fits.gz", f"{service.url}/FTP/chandra/7//x.fits.gz")]


def test_a_real_answer_of_sia1_whose_columns_are_known_by_their_ucds(serve, hasty):
    text = recorded("dal", "tests", "data", "sia", "dataset.xml")
    service = serve(serve.reply(text.replace("http://example.com", "https://example.com")))
    archive = Heasarc(service.url, keywords=["x"], positions=[(288.0, 15.0)], patience=hasty)
    table, query = archive._images(None, service.url + "/sia?", (288.0, 15.0))
    assert table["access_url"].to_pylist() == ["https://example.com/querydata/image.fits"] * 2
    assert table["s_ra"].to_pylist() == pytest.approx([288.95078924817] * 2)
    assert sorted(query.text.split("&")) == ["FORMAT=image%2Ffits", "MAXREC=1000000", "POS=288.0%2C15.0", "SIZE=0.1", "VERB=2"]
