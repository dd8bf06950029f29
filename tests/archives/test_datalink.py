"""DataLink documents: from a data set to its files."""

import pytest
from vo_answers import recorded, refusal, votable

from raysearch.archives.answers import Answers
from raysearch.archives.datalink import Link, files_of, is_datalink, locate, resolve
from raysearch.archives.products import as_products
from raysearch.errors import ArchiveError, ArchiveUnavailable

COLUMNS = ("ID", "access_url", "service_def", "error_message", "semantics", "content_type", "cloud_access")


def link(url, semantics="#this", content_type="image/fits", **columns):
    others = {"ID": "x", "description": "", "service_def": "", "error_message": "", "cloud_access": ""} | columns
    return Link(access_url=url, semantics=semantics, content_type=content_type, **others)


def listed(*links):
    return [found.access_url for found in files_of(links)]


CHANDRA = "http://www.ivoa.net/rdf/datalink/core#chandra.obs.img"


def test_the_data_set_itself_as_fits_images_first():
    assert listed(
        link("https://a.org/1.fits", content_type="application/fits"),
        link("https://a.org/2.fits", content_type="image/fits"),
        link("https://a.org/2.jpg", content_type="image/jpeg"),
        link("https://a.org/3.fits.gz", content_type="application/octet-stream"),
        link("https://a.org/4", content_type="application/pdf"),
    ) == ["https://a.org/2.fits", "https://a.org/1.fits", "https://a.org/3.fits.gz"]


def test_the_names_of_heasarcs_prototype():
    assert listed(
        link("https://a.org/c.fits", f"{CHANDRA}.cntr.fits"),
        link("https://a.org/c.jpg", f"{CHANDRA}.cntr.jpg", "image/jpeg"),
        link("https://a.org/f.fits", "#chandra.obs.img.full.fits"),
    ) == ["https://a.org/c.fits", "https://a.org/f.fits"]


@pytest.mark.parametrize(
    "semantics", ["#preview", "#calibration", "#progenitor", "#auxiliary", "#derivation", "#cutout", "#proc", ""]
)
def test_what_belongs_to_the_data_set_is_not_it(semantics):
    assert listed(link("https://a.org/1.fits", semantics)) == []


def test_services_faults_and_folders_are_no_files():
    assert (
        listed(
            link("", service_def="soda"),
            link("https://a.org/soda.fits", service_def="soda"),
            link("https://a.org/1.fits", error_message="NotFoundFault"),
            link("https://a.org/1.fits/", content_type="directory"),
            link("https://a.org/1.fits/", content_type="text/html"),
        )
        == []
    )


@pytest.mark.parametrize(
    ("kind", "is_one"),
    [
        ("application/x-votable+xml;content=datalink", True),
        ('application/x-votable+xml; content="datalink"', True),
        ("application/x-votable+xml", False),
        ("image/fits", False),
        (None, False),
    ],
)
def test_media_types(kind, is_one):
    assert is_datalink(kind) is is_one


@pytest.fixture
def scripted(serve):
    """Return a function that starts a DataLink service with a file for each ID, that takes so many IDs at a time."""

    def start(at_once=1000, status="OVERFLOW", absent=()):
        def answer(asked):
            ids = (asked.form or asked.query)["ID"]
            rows = [
                dict.fromkeys(COLUMNS, "") | {"ID": i, "access_url": f"https://a.org/{i}.fits", "semantics": "#this"} for i in ids
            ]
            rows = [row for row in rows if row["ID"] not in absent]
            return serve.reply(votable(rows[:at_once], status=status if len(rows) > at_once else "OK", names=COLUMNS))

        return serve(answer)

    return start


def urls_of(service, ids):
    return [f"{service.url}/links?runid=7&ID=ivo%3A%2F%2Fa.org%2F{i}" for i in ids]


def names(links):
    return sorted(found.access_url.rpartition("/")[2] for some in links.values() for found in some)


def test_many_data_sets_in_one_request(scripted, hasty):
    service = scripted()
    urls = urls_of(service, range(300))
    links, queries = resolve("TAP", urls, patience=hasty)
    assert list(links) == urls
    assert names(links) == sorted(f"{i}.fits" for i in range(300))
    assert [asked.method for asked in service.asked] == ["POST", "POST"]
    assert service.asked[0].path == "/links"
    assert service.asked[0].query == {"runid": ["7"]}
    assert [query.rows for query in queries] == [200, 100]


@pytest.mark.parametrize(("at_once", "status"), [(3, "OVERFLOW"), (1, "OVERFLOW"), (1, "OK")])
def test_a_service_that_takes_few_at_a_time_is_asked_again(scripted, hasty, at_once, status):
    links, _ = resolve("TAP", urls_of(scripted(at_once, status), range(10)), patience=hasty)
    assert names(links) == sorted(f"{i}.fits" for i in range(10))


def test_a_data_set_without_links_is_asked_for_once(scripted, hasty):
    service = scripted(absent={"ivo://a.org/2"})
    urls = urls_of(service, range(4))
    links, _ = resolve("TAP", urls, patience=hasty)
    assert links[urls[2]] == []
    assert len(service.asked) == 1


def test_addresses_without_an_id_are_asked_one_by_one(scripted, serve, hasty):
    service = serve(
        lambda asked: serve.reply(votable([{"ID": "x", "access_url": f"https://a.org{asked.path}.fits", "semantics": "#this"}]))
    )
    links, queries = resolve("TAP", [f"{service.url}/a", f"{service.url}/b", f"{service.url}/a"], patience=hasty)
    assert names(links) == ["a.fits", "b.fits"]
    assert len(queries) == 2


def test_one_bad_document_costs_no_other(serve, hasty, caplog):
    def answer(asked):
        return (
            serve.reply("<html/>", 404) if asked.path == "/bad" else serve.reply(votable([{"access_url": "https://a.org/1.fits"}]))
        )

    service = serve(answer)
    links, _ = resolve("TAP", [f"{service.url}/bad", f"{service.url}/good"], patience=hasty)
    assert links[f"{service.url}/bad"] == []
    assert len(links[f"{service.url}/good"]) == 1
    assert f"no links from {service.url}/bad" in caplog.text


def test_a_service_that_refuses_everything_is_an_error(serve, hasty):
    service = serve(serve.reply(refusal("UsageFault: no such set"), 400))
    with pytest.raises(ArchiveError, match="no such set"):
        resolve("TAP", urls_of(service, range(3)), patience=hasty)


def test_a_silent_service_is_not_waited_for_again_and_again(serve, hasty):
    service = serve(serve.reply("", 503))
    with pytest.raises(ArchiveUnavailable):
        resolve("TAP", [f"{service.url}/{i}" for i in range(50)], patience=hasty)
    assert len(service.asked) == hasty.attempts


def test_links_are_kept(scripted, hasty, tmp_path):
    service = scripted()
    first, _ = resolve("TAP", urls_of(service, range(3)), answers=Answers(tmp_path), patience=hasty)
    before = len(service.asked)
    again, _ = resolve("TAP", urls_of(service, range(3)), answers=Answers(tmp_path, mode="offline"), patience=hasty)
    assert (again, len(service.asked)) == (first, before)


def observed(*rows):
    import pyarrow as pa

    return as_products("TAP", pa.Table.from_pylist(list(rows)))


DATALINK = "application/x-votable+xml;content=datalink"


def test_places_behind_documents(serve, hasty):
    cloud = '{"aws": {"bucket_name": "bucket", "key": "1.fits"}}'
    text = votable([{"ID": "1", "access_url": "https://a.org/1.fits", "semantics": "#this", "cloud_access": cloud}])
    service = serve(lambda asked: serve.reply(text) if asked.path == "/good" else serve.reply("", 404))
    table = observed(
        {"obs_id": "a", "access_url": f"{service.url}/good", "access_format": DATALINK},
        {"obs_id": "b", "access_url": f"{service.url}/bad", "access_format": DATALINK},
        {"obs_id": "c", "access_url": "https://a.org/c.fits", "access_format": "image/fits"},
        {"obs_id": "d", "access_url": None, "access_format": DATALINK},
    )
    places, queries = locate("TAP", service.url, table, patience=hasty)
    assert places == [("s3://bucket/1.fits", "https://a.org/1.fits"), (f"{service.url}/bad",), ("https://a.org/c.fits",), ()]
    assert len(queries) == 1


def test_documents_of_this_machine_are_asked_for_by_nobody_else(serve, hasty):
    service = serve(serve.reply("", 500))
    table = observed({"obs_id": "a", "access_url": f"{service.url}/links?ID=1", "access_format": DATALINK})
    assert locate("TAP", "https://archive.org/tap", table, patience=hasty) == ([()], [])
    assert not service.asked


def test_real_documents(serve, hasty):
    text = recorded("dal", "tests", "data", "datalink", "datalink.xml")
    service = serve(serve.reply(text))
    links, _ = resolve("TAP", [f"{service.url}/links"], patience=hasty)
    (found,) = links.values()
    assert len(found) == text.count("<TR>")
    assert found[0].semantics == "#progenitor"
    assert found[0].is_document
    assert all(one.is_data for one in files_of(found))
