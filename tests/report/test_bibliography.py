import pyarrow as pa
import pytest

from raysearch.report.bibliography import ARCHIVES, MISSIONS, SOFTWARE, bibliography
from raysearch.report.stream import Stream

QUERIES = [{"service": name, "url": "", "text": "", "rows": 1} for name in ("SIMBAD", "MAST", "IRSA")]
ABOUT = {"name": "jets", "config_hash": "cafe", "started": "2026-11-21", "queries": QUERIES}


def text_of(about, work, *kind):
    """As of a work list that is read piece by piece."""
    pieces = [work.slice(row, 1) for row in range(work.num_rows)]
    return "\n".join(bibliography(about, Stream(work.schema, lambda: pieces), *kind))


def searched(**columns):
    return pa.table({"obs_id": [f"o{n}" for n in range(len(next(iter(columns.values()))))], **columns})


def test_missions_and_archives_of_what_was_searched():
    work = searched(
        obs_collection=["JWST", "spherex_qr2", "JWST"],
        proposal_id=["1282", None, "1282"],
        obs_publisher_did=[None, "ivo://irsa.ipac/spherex_qr2?2025W51/D3", None],
    )
    text = text_of(ABOUT, work)
    assert "NAS 5-03127" in text
    assert "program(s) 1282." in text.replace("\n ", "")
    assert "NNA17BF53C" not in text  # SOFIA's
    assert "JWST: 2 observations\n  o0  program 1282\n  o2  program 1282\n" in text
    assert "Ices Explorer" in text
    assert "SIMBAD database" in text
    assert "NASA/IPAC Infrared Science Archive" in text
    assert "HEASARC" not in text
    assert "spherex_qr2: 1 observations\n  o1  ivo://irsa.ipac/spherex_qr2?2025W51/D3" in text
    assert "'jets' (cafe)" in text
    assert max(map(len, text.splitlines())) < 140


def test_a_mission_may_be_told_by_an_address_alone():
    work = searched(uris=[["s3://stpubdata/jwst/public/jw01.fits"], ["/data/own.fits"]])
    text = text_of({}, work)
    assert "James Webb" in text
    assert "program(s) ____" in text.replace("\n ", "")
    assert "without a collection: 2 observations" in text


def test_words_inside_others_are_no_mission():
    work = searched(uris=[["/home/sofiaplus/notjwst.fits"]])
    assert not any(credit.name in text_of({}, work) for credit in MISSIONS.values())


def test_services_without_a_text_are_named():
    about = {**ABOUT, "queries": [{"service": "VizieR", "rows": 0}]}
    assert "No text is known here for: VizieR" in text_of(about, searched(uris=[[]]))


def test_texts_that_were_not_read_at_their_source_are_marked():
    work = searched(obs_collection=["JWST", "SOFIA"])
    lines = text_of(ABOUT, work).splitlines()
    assert "James Webb Space Telescope *" in lines
    assert "SOFIA" in lines


@pytest.mark.parametrize("credit", [*MISSIONS.values(), *ARCHIVES.values(), *SOFTWARE.values()], ids=lambda credit: credit.name)
def test_every_credit_says_where_it_is_from(credit):
    assert credit.source
    assert credit.text or credit.cite


@pytest.mark.parametrize(("kind", "cited"), [("lines", ""), ("images", "photutils"), ("pairs", "Barbary")])
def test_the_software_of_the_search(kind, cited):
    text = text_of(ABOUT, searched(uris=[[]]), kind)
    assert "Moritz et al. 2018" in text
    assert cited in text
