"""Targets from SIMBAD."""

import pytest

from raysearch.archives.simbad import query_targets
from raysearch.errors import ArchiveError, ArchiveUnavailable, ConfigError
from raysearch.model import Target
from raysearch.testing import Faults, Holdings, LocalArchive, target_row

YOUNG = (
    target_row("V* T Tau", 65.4976, 19.5351, "TT*", rvz_redshift=6.4e-5),
    target_row("Haro 6-5", 65.0, 26.9, "Y*O"),
    target_row("nowhere", None, None, "Y*O"),
    target_row("odd z", 1.0, -2.0, "Y*?", rvz_redshift=-99.0),
    target_row("M 31", 10.6847, 41.2688, "G", rvz_redshift=-0.001),
)


@pytest.fixture(scope="module")
def archive():
    with LocalArchive(Holdings(targets=YOUNG)) as running:
        yield running


@pytest.fixture(autouse=True)
def _sound(archive):
    archive.reset()


def test_targets_sorted_with_simbads_redshift_or_the_default(archive):
    targets, queries = query_targets("otype='Y*O..'", url=archive.services["simbad"], redshift=0.5)
    assert targets == [
        Target("Haro 6-5", 65.0, 26.9, 0.5),
        Target("V* T Tau", 65.4976, 19.5351, 6.4e-5),
        Target("odd z", 1.0, -2.0, 0.5),
    ]
    assert [q.service for q in queries] == ["SIMBAD"]
    assert queries[0].rows == 4, "the object without coordinates is counted as a row"


def test_only_the_columns_needed_are_asked_for(archive):
    _, queries = query_targets("otype='G'", url=archive.services["simbad"])
    assert queries[0].text == "SELECT main_id, ra, dec, rvz_redshift FROM basic WHERE otype='G'"


def test_no_such_objects(archive):
    assert query_targets("otype='WD*'", url=archive.services["simbad"])[0] == []


def test_a_blueshift_is_kept(archive):
    assert query_targets("otype='G'", url=archive.services["simbad"])[0][0].redshift == -0.001


def test_simbads_own_limit_is_an_error(archive):
    archive.set_faults(Faults(simbad_limit=2))
    with pytest.raises(ArchiveError, match="2 of 4 rows, 2 are missing"):
        query_targets("otype='Y*O..'", url=archive.services["simbad"])


@pytest.mark.parametrize("fault", ["error", "truncated"])
def test_faults_are_told(archive, fault):
    archive.set_faults(Faults(simbad=fault))
    with pytest.raises(ArchiveError, match="SIMBAD"):
        query_targets("otype='Y*O..'", url=archive.services["simbad"])


@pytest.mark.parametrize("fault", ["503", "hang"])
def test_silence_and_overload_are_transient(archive, hasty, fault):
    archive.set_faults(Faults(simbad=fault))
    with pytest.raises(ArchiveUnavailable, match="SIMBAD gave no answer"):
        query_targets("otype='Y*O..'", url=archive.services["simbad"], patience=hasty)


def test_two_overloads_are_outlasted(archive, hasty):
    archive.set_faults(Faults(simbad="503", strikes=2))
    assert len(query_targets("otype='Y*O..'", url=archive.services["simbad"], patience=hasty)[0]) == 3


def test_conditions_that_cannot_be_one_send_nothing(archive):
    for condition in ("", "  ", "otype='Y*O.."):
        with pytest.raises(ConfigError, match="SIMBAD condition"):
            query_targets(condition, url=archive.services["simbad"])
    assert archive.log() == []


def test_another_service_at_the_address_is_told(serve, hasty):
    table = (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        '<INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="id" datatype="long"/>'
        "<DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    with pytest.raises(ArchiveError, match="lacks the columns dec, main_id, ra, rvz_redshift"):
        query_targets("1=1", url=serve(serve.reply(table)).url, patience=hasty)
