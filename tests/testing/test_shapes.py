"""Answers beside recorded ones of real services, which pyvo carries for its own tests: names, types, UCDs, where INFO stands."""

import io
import warnings
import xml.etree.ElementTree as ET
from importlib.resources import files

import pytest
import requests
from astropy.io.votable import parse

from raysearch.testing import Faults

REGTAP = (
    "SELECT {plain}, "
    "ivo_string_agg(COALESCE(access_url, ''), ':::py VO sep:::') AS access_urls, "
    "ivo_string_agg(COALESCE(standard_id, ''), ':::py VO sep:::') AS standard_ids, "
    "ivo_string_agg(COALESCE(intf_type, ''), ':::py VO sep:::') AS intf_types, "
    "ivo_string_agg(COALESCE(intf_role, ''), ':::py VO sep:::') AS intf_roles, "
    "ivo_string_agg(COALESCE(cap_description, ''), ':::py VO sep:::') AS cap_descriptions "
    "FROM rr.resource NATURAL LEFT OUTER JOIN rr.capability NATURAL LEFT OUTER JOIN rr.interface "
    "GROUP BY {plain}"
)
PLAIN = (
    "ivoid, res_type, short_name, res_title, content_level, res_description, reference_url, creator_seq, created, updated, "
    "rights, content_type, source_format, source_value, region_of_regard, waveband"
)


def recorded(package, name):
    file = files(package) / "tests" / "data" / name
    if not file.is_file():
        pytest.skip(f"this {package} carries no {name}")
    return file.read_bytes()


def fields(content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the recorded ones have flaws
        table = parse(io.BytesIO(content)).get_first_table()
    return {f.name: f for f in table.fields}


def family(field):
    return "number" if field.datatype in {"int", "long", "short", "float", "double"} else field.datatype


def test_sia2(survey_archive):
    ours = fields(requests.get(survey_archive.url + "/SIA2/query?COLLECTION=spherex_qr2", timeout=10).content)
    real = fields(recorded("pyvo.dal", "sia2/dataset.xml"))
    common = ours.keys() & real.keys()
    assert {"s_ra", "s_dec", "s_region", "em_min", "em_max", "t_min", "access_url", "obs_id", "calib_level"} <= common
    for name in common:
        assert family(ours[name]) == family(real[name]), name
        assert (ours[name].ucd or real[name].ucd) == real[name].ucd, name


def test_sia1(survey_archive, surveys):
    star = surveys.targets[0]
    address = f"{survey_archive.url}/xamin/vo/sia?table=chanmaster&POS={star['ra']},{star['dec']}&SIZE=0.1"
    ours = {f.ucd: family(f) for f in fields(requests.get(address, timeout=10).content).values() if f.ucd}
    real = {f.ucd: family(f) for f in fields(recorded("pyvo.dal", "sia/dataset.xml")).values() if f.ucd}
    needed = {"VOX:Image_AccessReference", "VOX:Image_Format", "VOX:Image_Title", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"}
    assert needed <= ours.keys() & real.keys()
    for ucd in needed:
        assert ours[ucd] == real[ucd]


def test_datalink(survey_archive):
    ours = fields(requests.get(survey_archive.url + "/xamin/vo/datalink/chanmaster?ID=1", timeout=10).content)
    for name, field in fields(recorded("pyvo.dal", "datalink/datalink.xml")).items():
        assert (family(ours[name]), ours[name].ucd or field.ucd) == (family(field), field.ucd)


def test_registry(survey_archive):
    answer = requests.post(survey_archive.services["registry"] + "/sync", data={"QUERY": REGTAP.format(plain=PLAIN)}, timeout=10)
    ours, real = fields(answer.content), fields(recorded("pyvo.registry", "regtap.xml"))
    assert len(ours) == 21
    for name, field in ours.items():
        # a recorded text may be an array of Unicode
        assert family(field) == family(real[name]).replace("unicodeChar", "char"), name


def test_where_the_status_stands(survey_archive):
    """Of several QUERY_STATUS in the results' RESOURCE the last counts: OVERFLOW follows the table."""
    address = survey_archive.services["simbad"] + "/sync"

    def outline(content):
        resource = next(e for e in ET.fromstring(content).iter() if e.tag.endswith("RESOURCE"))
        return [(e.tag.rpartition("}")[2], e.get("value")) for e in resource if e.get("name") in {"QUERY_STATUS", None}]

    ours = outline(requests.get(address, params={"QUERY": "SELECT oid FROM basic", "MAXREC": 1}, timeout=10).content)
    assert ours == [("INFO", "OK"), ("TABLE", None), ("INFO", "OVERFLOW")]
    assert [part for part in outline(recorded("pyvo.dal", "query/overflowstatus.xml")) if part[0] == "INFO"][-1][1] == "OVERFLOW"
    survey_archive.set_faults(Faults(simbad="error"))
    assert outline(requests.get(address, timeout=10).content) == [("INFO", "ERROR")]
    assert ("INFO", "ERROR") in outline(recorded("pyvo.dal", "query/errorstatus.xml"))


def test_sia2_capabilities(survey_archive):
    def standards(content):
        return {e.get("standardID") for e in ET.fromstring(content).iter() if e.get("standardID")}

    ours = standards(requests.get(survey_archive.url + "/SIA/capabilities", timeout=10).content)
    assert ours <= standards(recorded("pyvo.dal", "sia2/capabilities.xml"))
    assert "ivo://ivoa.net/std/SIA#query-2.0" in ours


def test_tap_capabilities(survey_archive):
    def tags(content):
        return {e.tag.rpartition("}")[2] for e in ET.fromstring(content).iter()}

    ours = tags(requests.get(survey_archive.services["simbad"] + "/capabilities", timeout=10).content)
    real = tags(recorded("pyvo.registry", "capabilities.xml")) | tags(recorded("pyvo.dal", "tap/capabilities.xml"))
    assert ours <= real
