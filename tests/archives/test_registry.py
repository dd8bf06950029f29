"""The registry of the Virtual Observatory."""

import pytest
from vo_answers import recorded

from raysearch.archives.answers import Answers
from raysearch.archives.registry import find_services
from raysearch.errors import ArchiveError, ArchiveUnavailable
from raysearch.testing import Faults


def test_services_by_type_and_words(survey_archive):
    url = survey_archive.services["registry"]
    services, query = find_services("sia", ["chandra heasarc"], url=url)
    assert [(s.ivoid, s.access_url) for s in services] == [
        ("ivo://nasa.heasarc/chanmaster", f"{survey_archive.url}/xamin/vo/sia?table=chanmaster&")
    ]
    assert (query.service, query.rows) == ("VO registry", 1)
    assert "ivo_hasword" in query.text
    assert len(find_services("sia", ["heasarc"], url=url)[0]) == 2
    assert [s.access_url for s in find_services("tap", ["simbad"], url=url)[0]] == [survey_archive.services["simbad"]]
    assert find_services("sia", ["nothing of the kind"], url=url)[0] == []


def test_pyvos_own_registry_stays_as_it_is(survey_archive):
    from pyvo.registry import get_RegTAP_service_url

    before = get_RegTAP_service_url()
    find_services("sia", ["heasarc"], url=survey_archive.services["registry"])
    assert get_RegTAP_service_url() == before


def test_kept(survey_archive, tmp_path):
    url = survey_archive.services["registry"]
    first, _ = find_services("sia", ["heasarc"], url=url, answers=Answers(tmp_path))
    survey_archive.reset()
    again, query = find_services("sia", ["heasarc"], url=url, answers=Answers(tmp_path, mode="offline"))
    assert again == first
    assert query.reused
    assert not survey_archive.log()


@pytest.mark.parametrize("fault", ["error", "html", "truncated", "half", "503"])
def test_faults(survey_archive, hasty, fault):
    survey_archive.set_faults(Faults(registry=fault))
    with pytest.raises(ArchiveError, match="VO registry"):
        find_services("sia", ["heasarc"], url=survey_archive.services["registry"], patience=hasty)


def test_silence_is_told_as_silence(serve, hasty):
    with pytest.raises(ArchiveUnavailable, match="VO registry gave no answer"):
        find_services("sia", ["heasarc"], url=serve(serve.reply("", 503)).url, patience=hasty)


def test_a_real_answer(serve, hasty):
    answer, capabilities = (recorded("registry", "tests", "data", f"{name}.xml") for name in ("regtap", "capabilities"))
    service = serve(lambda asked: serve.reply(capabilities if asked.path.endswith("capabilities") else answer))
    services, _ = find_services("tap", ["pulsar"], url=service.url, patience=hasty)
    assert services
    assert all(s.ivoid.startswith("ivo://") and s.access_url.startswith("http") for s in services)


def test_a_real_resource_with_interfaces_of_several_kinds(serve, hasty):
    answer, capabilities = (recorded("registry", "tests", "data", f"{name}.xml") for name in ("multi-interface", "capabilities"))
    service = serve(lambda asked: serve.reply(capabilities if asked.path.endswith("capabilities") else answer))
    found = {kind: find_services(kind, ["x"], url=service.url, patience=hasty)[0] for kind in ("tap", "ssa", "conesearch")}
    assert [s.access_url for s in found["tap"]] == ["http://dc.zah.uni-heidelberg.de/tap"]
    assert len(found["ssa"]) == 1
    assert found["conesearch"] == []
