"""Any TAP service with ObsCore's columns."""

import pytest
from vo_answers import recorded, votable

from raysearch.archives.obstap import TapObscore
from raysearch.errors import ArchiveError, ConfigError
from raysearch.model import Archive
from raysearch.sky.footprint import contains, parse_s_region

ROW = {
    "obs_publisher_did": "ivo://archive.org/x?obs-1/a",
    "obs_id": "obs-1",
    "access_url": "https://archive.org/1.fits",
    "access_format": "image/fits",
    "s_ra": 10.0,
    "s_dec": 20.0,
    "s_region": "CIRCLE ICRS 10 20 1",
    "em_min": 500.0,
}


@pytest.fixture
def scripted(serve):
    """Return a function that starts a TAP service that gives these rows to whatever is asked, and these links."""

    def start(*rows, links="", units=None):
        def answer(asked):
            if asked.path != "/tap/sync":
                return serve.reply(links.replace("{origin}", service.url))
            counting = "COUNT(*)" in asked.form["QUERY"][0]
            text = votable([{"n": len(rows)}] if counting else rows, units=units)
            return serve.reply(text.replace("{origin}", service.url))

        service = serve(answer)
        return service

    return start


def test_a_condition_on_obscore(scripted, hasty):
    service = scripted(ROW, units={"em_min": "nm"})
    archive: Archive = TapObscore(service.url + "/tap/", condition="obs_collection = 'x'", patience=hasty)
    table, (query,) = archive.observations()
    asked = service.asked[0].form["QUERY"][0]
    assert asked == "SELECT * FROM ivoa.obscore WHERE obs_collection = 'x' ORDER BY obs_publisher_did"
    assert (query.service, query.url, query.rows, query.counted) == ("TAP", service.url + "/tap", 1, 1)
    assert table["obs_id"].to_pylist() == ["obs-1/a"]
    assert table["em_min"].to_pylist() == pytest.approx([5e-7])
    assert archive.locate(table) == ([("https://archive.org/1.fits",)], [])


def test_a_query_of_ones_own(scripted, hasty):
    service = scripted(ROW)
    adql = "SELECT o.* FROM ivoa.obscore AS o JOIN my.table AS t ON o.obs_id = t.id"
    table, (query,) = TapObscore(service.url + "/tap", adql=adql, patience=hasty).observations()
    assert service.asked[0].form["QUERY"] == [adql]
    assert query.text == adql
    assert table.num_rows == 1


@pytest.mark.parametrize("asked", [{}, {"adql": "SELECT 1", "condition": "a = 1"}, {"adql": " "}])
def test_either_a_query_or_a_condition(asked):
    with pytest.raises(ConfigError, match="either a whole query"):
        TapObscore("https://archive.org/tap", **asked)


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        (("obs_id", "obs_publisher_did"), "what names a product: obs_publisher_did, or obs_id. Let the query select it"),
        (("access_url",), "where it can be had: access_url"),
        (("s_region", "s_dec"), "where it lies: s_region, or s_ra and s_dec"),
        (("access_url", "s_region", "s_ra"), "where it can be had: access_url; nor where it lies"),
    ],
)
def test_missing_columns_are_told_with_the_cure(scripted, hasty, lacks, told):
    service = scripted({name: value for name, value in ROW.items() if name not in lacks})
    with pytest.raises(ArchiveError, match=f"{told}.*its columns are.*em_min"):
        TapObscore(service.url + "/tap", adql="SELECT * FROM x", patience=hasty).observations()


def test_a_centre_alone_is_the_smallest_footprint(scripted, hasty):
    service = scripted({name: value for name, value in ROW.items() if name != "s_region"})
    table, _ = TapObscore(service.url + "/tap", adql="SELECT * FROM x", patience=hasty).observations()
    assert contains(parse_s_region(table["s_region"][0].as_py()), [10.0, 10.1], [20.0, 20.0]).tolist() == [True, False]


def test_links_are_followed_to_the_file(scripted, hasty):
    links = [
        {"ID": "x", "access_url": "{origin}/preview.jpg", "semantics": "#preview", "content_type": "image/jpeg"},
        {"ID": "x", "access_url": "{origin}/x.fits", "semantics": "#this", "content_type": "application/fits"},
    ]
    datalink = ROW | {"access_url": "{origin}/links?ID=x", "access_format": "application/x-votable+xml;content=datalink"}
    service = scripted(datalink, {**ROW, "obs_id": "other"}, links=votable(links))
    archive = TapObscore(service.url + "/tap", adql="SELECT * FROM x", patience=hasty)
    places, queries = archive.locate(archive.observations()[0])
    assert set(places) == {(service.url + "/x.fits",), ("https://archive.org/1.fits",)}
    assert len(queries) == 1


def test_a_real_answer_of_cadc(serve, hasty):
    text = recorded("dal", "tests", "data", "tap", "obscore-image.xml")
    service = serve(lambda asked: serve.reply(votable([{"n": text.count("<TR>")}]) if "COUNT" in asked.form["QUERY"][0] else text))
    table, _ = TapObscore(service.url + "/tap", condition="1=1", patience=hasty).observations()
    assert table.num_rows == text.count("<TR>")
    assert len(set(table["obs_id"].to_pylist())) == table.num_rows
