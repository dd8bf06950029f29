import datetime as dt
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch import config, convert
from raysearch.config import SearchConfig
from raysearch.errors import ConfigError
from raysearch.model import Line

MINIMAL = {"observations": {"table": "cubes"}, "lines": {"list": "feii-jwst"}}


def minimal(**sections) -> SearchConfig:
    return config.from_dict({**MINIMAL, **sections})


M31 = {"targets.names": ["M 31"]}
IMAGES = {"targets": {"positions": [[10.68, 41.27]]}, "observations": {"table": "images.csv"}, "images": {"size": "0.1 deg"}}


def images(**sections) -> SearchConfig:
    return config.from_dict({key: {**IMAGES.get(key, {}), **sections.get(key, {})} for key in IMAGES.keys() | sections.keys()})


def test_every_shipped_search_loads():
    assert config.shipped() == ["jets", "spherex-cutouts", "spherex-sources"]
    for name in config.shipped():
        assert config.load(name, M31 if name.startswith("spherex") else {}).name == name


@pytest.mark.parametrize("name", ["spherex-cutouts", "spherex-sources"])
def test_a_search_around_targets_that_has_none_says_how_to_give_some(name):
    with pytest.raises(ConfigError) as caught:
        config.load(name)
    assert str(caught.value).startswith(f"{name}: [observations] near_targets has no [targets]")
    said = str(caught.value).partition("--set ")[2].partition(" or ")[0]
    assert config.load(name, dict([config.parse_setting(said.replace("'", ""))])).targets.names == ("M 31",)


def test_the_kinds_of_search_have_their_own_sections_and_detectors():
    lines, cutouts, sources = config.load("jets"), config.load("spherex-cutouts", M31), config.load("spherex-sources", M31)
    assert [search.kind for search in (lines, cutouts, sources)] == ["lines", "images", "pairs"]
    shared = {"name", "targets", "observations", "match", "detector", "report", "run", "services"}
    own = [search.to_dict().keys() - shared for search in (lines, cutouts, sources)]
    assert own == [{"lines"}, {"images"}, {"images", "spectra"}]
    assert minimal().detector.name == "lines"
    assert images().detector.name == "cutouts"
    assert images(images={"bands": ["D4", "SPHEREx-D2"]}).detector.name == "difference"


def test_lines_searched_before_there_were_images_keep_their_hash():
    """A run folder of the first version can be continued."""
    assert config.load("jets").hash == "2858d15b62a12bf0"


@pytest.mark.parametrize("name", ["spherex-cutouts", "spherex-sources"])
def test_an_effective_search_of_images_reads_back_as_itself(name):
    first = config.load(name, M31 | {"images.size": "5 arcmin", "images.extensions": ["PSF", "IMAGE"]})
    assert (first.images.size, first.images.extensions) == (pytest.approx(1 / 12), ("IMAGE", "PSF"))
    again = config.from_dict(tomllib.loads(first.to_toml()))
    assert again == first
    assert again.hash == first.hash


def test_what_is_read_of_images_makes_the_hash_and_the_report_does_not():
    first = config.load("spherex-sources", M31)
    assert config.load("spherex-sources", M31 | {"report.figures": False, "report.page": False}).hash == first.hash
    for change in ({"images.size": "0.2 deg"}, {"images.pairs": 2}, {"spectra.snr": 6.0}, {"images.through": "cutouts"}):
        assert config.load("spherex-sources", M31 | change).hash != first.hash
    assert config.load("spherex-sources", M31 | {"images.size": "0.2 deg"}).method != first.method
    assert config.load("spherex-sources", {"targets.names": ["M 33"]}).method == first.method


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"images": {"size": ""}}, "cannot be read as a number with a unit"),
        (
            {"images": {"size": "0 deg"}},
            '[lines] list is missing; give a shipped list, such as "feii-jwst", or your own; or, to search',
        ),
        ({"images": {"size": "0 deg", "bands": ["D2", "D4"]}}, "[images] size is missing"),
        ({"images": {"size": "5 deg"}}, "[images] size wants at most 4 deg"),
        ({"images": {"size": "5 um"}}, "converts to deg"),
        ({"images": {"bands": ["D2"]}}, 'wants two different detectors of D1 to D6, such as ["D2", "D4"]'),
        ({"images": {"bands": ["D2", "SPHEREx-D2"]}}, "wants two different detectors"),
        ({"images": {"bands": ["D2", "D7"]}}, "wants two different detectors"),
        ({"images": {"extensions": ["IMAGE", "VARIENCE"]}}, "has 'VARIENCE', which is none of IMAGE, FLAGS, VARIANCE"),
        ({"images": {"extensions": ["FLAGS"]}}, "leaves out IMAGE"),
        ({"images": {"pairs": 3}}, "[images] pairs is for pairs of images; leave it out, or give [images] bands"),
        ({"images": {"through": "wget"}}, "wants one of 'ranges', 'cutouts'"),
        ({"spectra": {"sources": "all"}}, "[spectra] sources is for pairs of images"),
        ({"lines": {"min_lines": 1}}, "[lines] min_lines is for searches of lines, and this one is of images; leave it out"),
        (
            {"lines": {"list": "feii-jwst"}},
            "[images] size is for searches of images, and this one is of lines; leave it out, or leave",
        ),
        ({"targets": {"redshift": 0.1}}, "[targets] redshift is for searches of lines"),
        ({"images": {"bands": ["D2", "D4"]}, "targets": {"positions": []}}, "pairs of images are chosen around [targets]"),
        (
            {"images": {"bands": ["D2", "D4"]}, "spectra": {"size": "0.01 deg"}},
            "no room for an annulus of 16 pixels; make it 0.055 deg",
        ),
        ({"images": {"bands": ["D2", "D4"]}, "spectra": {"sources": "some"}}, "wants one of 'none', 'all', 'red', 'blue'"),
        ({"images": {"bands": ["D2", "D4"]}, "spectra": {"apertures_px": [3, 3]}}, "wants one or more radii in pixels, increasing"),
        ({"images": {"bands": ["D2", "D4"]}, "spectra": {"apertures_px": [0, 3]}}, "wants one or more radii in pixels, increasing"),
        ({"images": {"bands": ["D2", "D4"]}, "spectra": {"annulus_px": [7]}}, "wants an inner and an outer radius"),
    ],
)
def test_a_wrong_search_of_images_is_told_what_is_wrong_and_how_to_mend_it(sections, said):
    with pytest.raises(ConfigError) as caught:
        images(**sections)
    assert said in str(caught.value)


def test_one_calibration_file_for_two_bands_is_refused():
    """Both bands were measured by the solid angles of one."""
    with pytest.raises(ConfigError, match=r"solid_angles names one file for two bands; write \{detector\}"):
        config.load("spherex-sources", M31 | {"images.solid_angles": "maps/1.fits"})
    assert config.load("spherex-cutouts", M31 | {"images.solid_angles": "maps/1.fits"}).images.solid_angles


def test_pairs_say_their_bands_themselves():
    with pytest.raises(ConfigError, match=r"\[observations\] filters is said by \[images\] bands; leave it out"):
        config.load("spherex-sources", M31 | {"observations.filters": "SPHEREx-D2"})


def test_jets_asks_what_the_published_search_asks():
    jets = config.load("jets")
    assert jets.targets.simbad == "otype = 'Y*O..'"
    assert jets.observations.calib_level == (0, 1, 2, 3, 4)
    assert [line.rest_um for line in jets.lines.list] == [25.988, 24.519, 17.936, 5.340, 1.644, 1.600, 1.257]
    assert jets.lines.min_lines == 3


def test_the_effective_search_reads_back_as_itself():
    jets = config.load("jets", {"match.radius": "1.5 arcsec", "targets.redshift": 0.0163})
    again = config.from_dict(tomllib.loads(jets.to_toml()))
    assert again == jets
    assert again.hash == jets.hash


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@given(
    name=texts,
    simbad=texts,
    redshift=st.floats(-0.99, 20),
    radius=st.floats(0, 1e4),
    exclude=st.lists(texts, max_size=3),
    names=st.lists(texts, min_size=1, max_size=4, unique=True),
    wavelength=st.floats(1e-3, 1e3),
    um=st.floats(1e-3, 1e4),
)
def test_any_search_reads_back_as_itself(name, simbad, redshift, radius, exclude, names, wavelength, um):
    first = config.from_dict(
        {
            "name": name,
            "targets": {"simbad": simbad, "redshift": redshift},
            "observations": {"archive": "mast", "collection": "JWST", "exclude": exclude, "wavelength": [f"{um!r} um", "2e4 um"]},
            "match": {"radius": f"{radius!r} arcsec"},
            "lines": {"list": [{"name": n, "wavelength": f"{wavelength!r} um"} for n in names]},
            "detector": {"name": "published", "option": name},
        }
    )
    again = config.from_dict(tomllib.loads(first.to_toml()))
    assert again == first
    assert again.hash == first.hash


def test_the_hash_says_what_is_searched_and_not_where():
    first = config.load("jets")
    assert config.load("jets", {"run.engine": "inline", "services.mast": "http://127.0.0.1:1"}).hash == first.hash
    assert config.load("jets", {"match.radius": "1 arcsec"}).hash != first.hash
    assert config.load("jets", {"detector.name": "published-as-printed"}).hash != first.hash


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"match.radios": "1 arcsec"}, "[match] has no key 'radios'; did you mean 'radius'?"),
        ({"observation.archive": "mast"}, "no section 'observation'; did you mean 'observations'?"),
        ({"match.radius": "3 lightyear"}, "converts to arcsec"),
        ({"match.radius": "3 arcsecs per"}, "cannot be read as a number with a unit"),
        ({"match.radius": 3}, "wants text in quotes"),
        ({"match.radius": "-1 arcsec"}, "wants at least 0 arcsec"),
        ({"match.radius": "nan arcsec"}, "wants at least 0 arcsec"),
        ({"match.radius": "181 deg"}, "[match] radius wants at most 648000 arcsec, not '181 deg'"),
        ({"lines.list": "feii"}, "no line list 'feii' is shipped (known: feii-jwst)"),
        ({"lines.list": []}, "[lines] list is missing"),
        ({"lines.list": [{"name": "a", "wavelength": "5 Jy"}]}, "'a': wavelength wants a number with a unit that converts to um"),
        ({"lines.list": [{"name": "a", "wavelenth": "5 um"}]}, "wavelength = "),
        ({"lines.list": [{"name": "a", "wavelength": "5 um"}] * 2}, "names a line twice: 'a'"),
        ({"targets.positions": [[1, 2]]}, "[targets] has simbad and positions; keep one"),
        ({"targets.simbad": "", "targets.positions": [[1, 91]]}, "[ra, dec] pairs in degrees"),
        ({"targets.redshift": -2.0}, "[targets] redshift wants a redshift above -1 and up to 30, no velocity, not -2.0"),
        ({"targets.redshift": 17000}, "no velocity, not 17000"),
        ({"targets.redshift": float("nan")}, "wants a finite number"),
        ({"targets.redshift_range": 0.1}, "wants a list in [ ]"),
        ({"targets.redshift_range": [0.1]}, "wants two redshifts, such as [0.0, 0.1], the lower first"),
        ({"targets.redshift_range": [0.2, 0.1]}, "the lower first"),
        ({"targets.redshift_range": [0.1, 0.1]}, "the lower first"),
        ({"targets.redshift_range": [-1.0, 0.1]}, "wants a redshift above -1 and up to 30, no velocity, not -1.0"),
        ({"targets.redshift_range": [-500, 500]}, "no velocity"),
        ({"targets.redshift_range": [0.0, 3000.0]}, "no velocity"),
        ({"observations.table": "x.csv"}, "needs one of archive and table, not both"),
        ({"observations.archive": ""}, "needs one of archive and table, not neither"),
        ({"observations.archive": "mats"}, "did you mean 'mast'?"),
        (
            {"observations.archive": "MAST"},
            "wants one of 'mast', 'irsa', 'heasarc', 'tap', 'sia2', not 'MAST'; did you mean 'mast'?",
        ),
        ({"services.mast": "mast.stsci.edu"}, "[services] mast wants an address that begins with https:// or http://"),
        ({"services.simbad": "http://[::1"}, "[services] simbad wants an address"),
        ({"services.irsa": "https://irsa:99999"}, "[services] irsa wants an address"),
        ({"observations.collection": ""}, 'archive = "mast" needs collection'),
        ({"observations.facility": "SOFIA"}, "facility is a key of irsa and sia2, not of mast; leave it out"),
        ({"observations.catalog": "chanmaster"}, "catalog is a key of heasarc, not of mast"),
        ({"observations.wavelength": ["5 um"]}, 'wants two wavelengths, such as ["4.9 um", "28 um"], the shorter first'),
        ({"observations.wavelength": ["5 um", "4900 nm"]}, "the shorter first"),
        ({"observations.wavelength": ["5 um", "6 GHz"]}, "wants a number with a unit that converts to um"),
        ({"observations.wavelength": "5 um"}, "wants a list in [ ]"),
        ({"observations.time": ["2024-01-01", "2023"]}, 'wants two times, such as ["2024-01-01", "2025-01-01"], the earlier first'),
        ({"observations.time": ["2024-02-30", "2025-01-01"]}, "wants two times"),
        ({"observations.time": [60000, 60001]}, "wants text in quotes"),
        ({"observations.filters": [3]}, "wants text in quotes"),
        ({"targets.names": ["HH 1"]}, "[targets] has simbad and names; keep one"),
        ({"targets.merge_radius": "1 s"}, "converts to arcsec"),
        ({"targets.simbad": "", "observations.near_targets": True}, "near_targets has no [targets] to ask around"),
        ({"observations.calib_level": [1, "2"]}, "wants a whole number"),
        ({"observations.public_only": "yes"}, "wants true or false"),
        ({"detector.since": dt.date(2024, 1, 1)}, "[detector] since wants text, a number"),
        ({"targets.redshift": 10**400}, "wants a finite number"),
        ({"run.engine": "dask"}, "wants one of 'ray', 'inline', not 'dask'"),
        ({"run.loaders": 0}, "1 or more"),
        ({"run.memory": "4 apples"}, """[run] memory wants a number of bytes, such as "4 GB" or "512 MiB", not '4 apples'"""),
        ({"run.memory": "-4 GB"}, "wants a number of bytes"),
        ({"run.memory": "4 G"}, "wants a number of bytes"),
        ({"run.memory": 1.5}, "wants a number of bytes"),
        ({"run.memory": "9" * 400 + " TB"}, "that a machine can have"),
        ({"run": 3}, "run is a section"),
        ({"name": 3}, "name wants text"),
    ],
)
def test_a_wrong_search_is_told_what_is_wrong_and_how_to_mend_it(settings, said):
    with pytest.raises(ConfigError) as caught:
        config.load("jets", settings)
    assert said in str(caught.value)
    assert str(caught.value).startswith("jets: ")


def test_another_detector_has_no_options_of_the_files_own(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[observations]\ntable = "c"\n[lines]\nlist = "feii-jwst"\n[detector]\nname = "a.B"\nlevel = 3\n')
    assert config.load(path, {"detector.name": "a.B"}).detector.options == {"level": 3}
    assert config.load(path, {"detector.name": "a.C", "detector.depth": 1}).detector.options == {"depth": 1}


def test_an_unknown_search_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'jets'"):
        config.load("jest")


@pytest.mark.parametrize(
    ("observations", "said"),
    [
        ({"table": "x.csv", "near_targets": True}, "not of a table; leave it out"),
        ({"table": "x.csv", "public_only": False}, "public_only is a key of mast, not of a table"),
        ({"archive": "irsa"}, 'archive = "irsa" needs collection or facility or near_targets'),
        ({"archive": "irsa", "facility": "SOFIA", "url": "https://x"}, "url is a key of tap and sia2, not of irsa"),
        ({"archive": "heasarc"}, 'archive = "heasarc" needs catalog or keywords'),
        ({"archive": "heasarc", "catalog": "chanmaster", "keywords": ["chandra"]}, "has catalog and keywords; keep one"),
        ({"archive": "irsa", "collection": "spherex_qr2", "filters": "SPHEREx-D3"}, "filters are asked of IRSA only for"),
        ({"archive": "heasarc", "catalog": "chanmaster"}, "HEASARC is asked around targets only"),
        (
            {"archive": "irsa", "collection": "spherex_qr2", "near_targets": True, "filters": ["SPHEREx-D3", "D3"]},
            "filters has 'D3', which is no detector of SPHEREx (known: SPHEREx-D1, ",
        ),
        ({"archive": "tap", "url": "https://x"}, 'archive = "tap" needs adql'),
        ({"archive": "sia2", "collection": "c"}, 'archive = "sia2" needs url'),
        ({"archive": "sia2", "collection": "c", "url": "ftp://x"}, "url wants an address that begins with https:// or http://"),
    ],
)
def test_each_archive_has_its_own_keys(observations, said):
    with pytest.raises(ConfigError) as caught:
        minimal(observations=observations)
    assert said in str(caught.value)


def test_one_text_is_a_list_of_one_and_dates_may_be_tomls_own():
    first = minimal(
        observations={"archive": "mast", "collection": "JWST", "filters": "CH1-SHORT", "time": [dt.date(2024, 1, 1), "2025-01-01"]}
    )
    assert (first.observations.collection, first.observations.filters) == (("JWST",), ("CH1-SHORT",))
    assert first.observations.time == ("2024-01-01", "2025-01-01")
    assert config.from_dict(tomllib.loads(first.to_toml())) == first


@pytest.mark.parametrize(
    ("time", "mjd"),
    [("1858-11-17", 0.0), ("2000-01-01T12:00:00", 51544.5), ("2000-01-01T13:00:00+01:00", 51544.5), ("2024-01-01", 60310.0)],
)
def test_modified_julian_dates(time, mjd):
    assert convert.mjd(time) == mjd


def test_what_nothing_means_depends_on_the_lines_and_the_detector():
    jets = config.load("jets")
    assert (
        config.load("jets", {"match.radius": "1 arcsec", "targets.simbad": "otype = 'T Tauri'", "lines.min_lines": 1}).method
        == jets.method
    )
    for key, value in {"detector.name": "published-as-printed", "lines.list": [{"name": "a", "wavelength": "5 um"}]}.items():
        assert config.load("jets", {key: value}).method != jets.method


def test_a_file_that_is_no_toml(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[targets\n")
    with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
        config.load(file)


def test_a_search_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "notepad.toml"
    file.write_bytes(b"\xef\xbb\xbf" + config.load("jets").to_toml().encode())
    assert config.load(file) == config.load("jets")


@pytest.mark.parametrize("content", [b"\xff\xfename", b'name = "caf\xe9"', b"x = " + b"[" * 100_000, b"x = " + b"9" * 5000])
def test_what_is_no_search_file_is_one_sentence(tmp_path, content):
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.toml: (not TOML|cannot be read)"):
        config.load(file)


def test_a_name_that_no_file_can_have():
    with pytest.raises(ConfigError, match="no search"):
        config.load("x" * 300)


def test_paths_start_at_the_search_file(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "mine.toml"
    file.write_text('[observations]\ntable = "cubes/"\n[lines]\nlist = "feii-jwst"\n[detector]\nname = "mine.py:Mine"\n')
    monkeypatch.chdir(tmp_path)
    maps = {"images.solid_angles": "maps/{detector}.fits", "images.wavelengths": "s3://b/{detector}.fits"}
    asked = config.load("spherex-cutouts", M31 | maps).images
    assert (asked.solid_angles, asked.wavelengths) == (f"{tmp_path}/maps/{{detector}}.fits", "s3://b/{detector}.fits")
    search = config.load(file)
    assert search.observations.table == f"{tmp_path}/sub/cubes/"
    assert search.detector.name == f"{tmp_path}/sub/mine.py:Mine"
    assert config.load(file, {"detector.name": "here.py:Mine"}).detector.name == f"{tmp_path}/here.py:Mine"
    assert config.load(file, {"observations.table": "here.csv"}).observations.table == f"{tmp_path}/here.csv"
    assert config.load(file, {"observations.table": "s3://b/t.csv"}).observations.table == "s3://b/t.csv"


def test_the_detectors_own_keys_are_passed_on():
    assert minimal(detector={"name": "published", "threshold": 3.5}).detector.options == {"threshold": 3.5}


def test_right_ascensions_come_round_to_less_than_360():
    first = minimal(targets={"positions": [[-1e-15, 5], [-10, 5], [360, 5]]})
    assert [ra for ra, _ in first.targets.positions] == [0.0, 350.0, 0.0]
    assert config.from_dict(tomllib.loads(first.to_toml())).hash == first.hash


def test_lines_take_any_length_unit():
    lines = minimal(lines={"list": [{"name": "a", "wavelength": "12570 Angstrom"}, {"name": "b", "wavelength": "5 um"}]}).lines.list
    assert lines == (Line("a", pytest.approx(1.257)), Line("b", 5.0))


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("match.radius='2 arcsec'", ("match.radius", "2 arcsec")),
        ("match.radius=2 arcsec", ("match.radius", "2 arcsec")),
        ("run.loaders=2", ("run.loaders", 2)),
        ("observations.calib_level=[3]", ("observations.calib_level", [3])),
        ("targets.simbad=otype = 'Y*O..'", ("targets.simbad", "otype = 'Y*O..'")),
    ],
)
def test_settings_are_toml_or_plain_text(text, pair):
    assert config.parse_setting(text) == pair


@pytest.mark.parametrize(
    ("given", "nbytes"),
    [("4 GB", 4 * 10**9), ("512 MiB", 2**29), ("1.5gb", 15 * 10**8), ("7 bytes", 7), ("12", 12), (10**9, 10**9), ("", 0), (0, 0)],
)
def test_memory_in_any_unit_makes_no_part_of_the_hash(given, nbytes):
    found = config.load("jets", {"run.memory": given})
    assert found.run.memory == nbytes
    assert found.hash == config.load("jets").hash
    assert config.from_dict(tomllib.loads(found.to_toml())) == found


def test_a_setting_without_a_value():
    with pytest.raises(ConfigError, match="wants key=value"):
        config.parse_setting("run.engine")


def test_every_option_is_told_in_the_docs():
    text = (Path(__file__).parents[1] / "docs" / "search-file.md").read_text()
    jets = config.load("jets", {"detector.name": "published"}).to_dict()  # detectors have a page of their own
    document = config.load("spherex-sources", M31).to_dict() | jets
    missing = [
        f"{section}.{key}" for section, keys in document.items() if section != "name" for key in keys if f"`{key}`" not in text
    ]
    assert not missing
