"""Cutouts leave as files whose wavelengths work, whatever their targets are called."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from astropy.wcs import WCS

from raysearch.detect.cutouts import Cutouts
from raysearch.engine.records import candidate_schema
from raysearch.errors import ConfigError, FormatError
from raysearch.model import Target
from raysearch.report.hdus import split
from raysearch.report.mef import file_names, write_cutouts
from raysearch.testing.boxes import boxes_of
from raysearch.testing.fields import Field
from raysearch.testing.spherex import FrameSpec, make_frame

FIELD = Field(10.0, 41.0, 64, 64, 6.15)
TARGETS = (Target("HL Tau", 10.0, 41.0), Target("../α/β", *FIELD.sky(62.0, 30.0)))
PLANES = ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF")


def table_of(observations):
    rows = [
        {"obs_id": pixels.obs_id, "target": record.target, "uri": pixels.uri, "config_hash": "cafe", **record.values}
        for pixels in observations
        for record in Cutouts().detect(pixels)
    ]
    return pa.Table.from_pylist(rows, schema=candidate_schema(Cutouts.columns, lines=False))


@pytest.fixture(scope="module")
def frames():
    """Two detectors, the newer image first."""
    return [make_frame(FrameSpec(n, detector, FIELD, mjd=mjd)) for n, detector, mjd in ((1, 5, 61100.0), (2, 2, 61000.0))]


@pytest.fixture(scope="module")
def candidates(frames):
    return table_of([boxes_of(frame, TARGETS, 15, name, PLANES) for frame, name in zip(frames, "ab", strict=True)])


@pytest.fixture
def written(candidates, tmp_path):
    return write_cutouts(candidates, tmp_path / "cutouts")


def test_a_file_for_each_target(written, tmp_path):
    assert {path.parent for path in written} == {tmp_path / "cutouts"}
    assert sorted(path.name for path in (tmp_path / "cutouts").iterdir()) == sorted(path.name for path in written)
    assert written[1].name == "HL_Tau.fits"
    assert re.fullmatch(r"target-[0-9a-f]{8}\.fits", written[0].name)


def test_the_layout_is_the_published_one(written):
    with fits.open(written[1], checksum=True) as file:
        file.verify("exception")
        of_one = ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF", "WCS-WAVE")
        assert [hdu.name for hdu in file] == ["PRIMARY", "CUTOUT_INFO", *(f"{name}{n}" for n in (1, 2) for name in of_one)]
        assert all(hdu.verify_datasum() == hdu.verify_checksum() == 1 for hdu in file)
        assert (file[0].header["OBJECT"], file[0].header["RA"], file[0].header["NCUTOUTS"]) == ("HL Tau", 10.0, 2)
        assert [file[f"IMAGE{n}"].header["DETECTOR"] for n in (1, 2)] == [2, 5]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_tables_made_together_are_each_targets_own(candidates, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("raysearch.report.mef.AT_ONCE", at_once)
    texts = pa.array(["short", "a much longer note", "", "x"][: candidates.num_rows])
    noted = candidates.set_column(candidates.column_names.index("note"), "note", texts)
    for path in write_cutouts(noted, tmp_path):
        with fits.open(path, checksum=True) as file:
            mine = [row for row in noted.to_pylist() if (row["target"] == "HL Tau") == (path.name == "HL_Tau.fits")]
            info = Table.read(file["CUTOUT_INFO"])
            assert dict(zip(info["obs_id"], info["note"], strict=True)) == {row["obs_id"]: row["note"] for row in mine}
            assert list(info["cutout_index"]) == [1, 2]


def test_the_table_says_what_each_cutout_is(written):
    info = Table.read(written[1], hdu="CUTOUT_INFO")
    assert info.colnames[:6] == [
        "cutout_index", "observation_date", "central_wavelength", "bandwidth", "access_url", "obs_id",
    ]  # fmt: skip
    assert list(info["cutout_index"]) == [1, 2]
    assert list(info["obs_id"]) == ["b", "a"]
    assert list(info["access_url"]) == ["s3://frames/b.fits", "s3://frames/a.fits"]
    assert np.all(np.diff(info["observation_date"]) > 99)
    assert (str(info["observation_date"].unit), str(info["central_wavelength"].unit)) == ("d", "um")
    assert info["central_wavelength"][0] < 1.7
    assert info["central_wavelength"][1] > 3.8
    header = fits.getheader(written[1], "CUTOUT_INFO")
    assert header["TCOMM2"] == "Middle of the exposure, MJD, UTC"
    assert all(check_ucd(header[f"TUCD{n}"], check_controlled_vocabulary=True) for n in range(1, header["TFIELDS"] + 1))


def wavelength(file, extension, x, y):
    wcs = WCS(file[extension].header, fobj=file, key="W")
    wcs.sip = None
    return [float(value) for value in wcs.all_pix2world(x, y, 0)]


@pytest.mark.parametrize("target", [0, 1])
def test_the_wavelengths_are_those_of_the_whole_image(written, candidates, frames, target):
    named = TARGETS[target]
    with fits.open(written[1 - target]) as file:
        for row in candidates.to_pylist():
            if row["target"] != named.name:
                continue
            index = 1 if row["obs_id"] == "b" else 2
            with fits.open(io.BytesIO(frames["ab".index(row["obs_id"])])) as parent:
                for x, y in ((0.0, 0.0), (row["x"], row["y"]), (row["nx"] - 1, row["ny"] - 1)):
                    true = wavelength(parent, "IMAGE", x + row["x0"], y + row["y0"])
                    for name in ("IMAGE", "FLAGS", "VARIANCE", "ZODI"):
                        assert wavelength(file, f"{name}{index}", x, y) == pytest.approx(true, abs=1e-9)
                assert wavelength(file, f"IMAGE{index}", row["x"], row["y"])[0] == pytest.approx(
                    row["central_wavelength_um"], abs=1e-9
                )
            place = WCS(file[f"IMAGE{index}"].header).all_world2pix(named.ra, named.dec, 0)
            np.testing.assert_allclose(place, [row["x"], row["y"]], atol=1e-6)
            assert file[f"IMAGE{index}"].header["CRPIX1A"] == 1 - row["x0"]


def test_the_tables_of_wavelengths_are_not_mixed_up(written):
    """Two detectors in one file: each header names its own table."""
    with fits.open(written[1]) as file:
        assert [file[f"IMAGE{n}"].header["PS1_0W"] for n in (1, 2)] == ["WCS-WAVE1", "WCS-WAVE2"]
        assert [file[f"FLAGS{n}"].header["PS2_0W"] for n in (1, 2)] == ["WCS-WAVE1", "WCS-WAVE2"]


def test_any_selection_of_extensions_and_the_wavelengths(candidates, tmp_path):
    for path in write_cutouts(candidates, tmp_path, ["IMAGE", "VARIANCE"]):
        with fits.open(path) as file:
            assert [hdu.name for hdu in file][2:5] == ["IMAGE1", "VARIANCE1", "WCS-WAVE1"]
            assert np.isfinite(wavelength(file, "VARIANCE2", 1, 1)).all()
    with pytest.raises(ConfigError, match="no extension EPSF; theirs are IMAGE, FLAGS, VARIANCE, ZODI, PSF, WCS-WAVE"):
        write_cutouts(candidates, tmp_path, ["EPSF"])


def test_no_torn_file_is_left_where_a_cutout_is_damaged(candidates, tmp_path):
    row = candidates.slice(0, 1).to_pylist()[0]
    damaged = pa.Table.from_pylist([{**row, "cutout": row["cutout"][:900]}], schema=candidates.schema)
    with pytest.raises(FormatError):
        write_cutouts(damaged, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cutouts_without_pixels_are_left_out(candidates, tmp_path):
    rows = candidates.to_pylist()
    rows[0]["cutout"] = b""
    [_, path] = write_cutouts(pa.Table.from_pylist(rows, schema=candidates.schema), tmp_path)
    assert list(Table.read(path, hdu="CUTOUT_INFO")["obs_id"]) == ["b"]
    assert write_cutouts(candidates.slice(0, 0), tmp_path / "none") == []


def test_other_candidates_have_no_cutouts(tmp_path):
    with pytest.raises(ConfigError, match="hold no cutouts"):
        write_cutouts(pa.table({"obs_id": ["a"]}), tmp_path)


def test_names_of_files_are_safe_and_unique():
    odd = [
        "M31",
        "m31",
        "HL Tau",
        "HL_Tau",
        "..",
        "../../etc/passwd",
        "a/b",
        "",
        "α",
        "β",
        "-rf",
        ".hidden",
        "x" * 300,
        "x" * 301,
        "\0",
        "N-deadbeef",
    ]
    names = file_names(odd)
    assert list(names) == odd
    assert len({name.casefold() for name in names.values()}) == len(odd)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+_-]*", name) and len(name) < 80 for name in names.values())
    assert file_names(["HL Tau", "M31"]) == {"HL Tau": "HL_Tau", "M31": "M31"}
    assert names["N-deadbeef"] != "N-deadbeef"  # it looks like the name of another


def test_a_file_without_end_is_told():
    with pytest.raises(FormatError, match="without END"):
        list(split(b"SIMPLE  =                    T".ljust(2880)))


@pytest.mark.real
@pytest.mark.parametrize("detector", range(1, 7))
def test_real_headers_and_tables_of_every_detector(real_data, tmp_path, detector):
    frame = real_frame(real_data / "spherex", detector)
    with fits.open(io.BytesIO(frame)) as parent:
        ra, dec = WCS(parent["IMAGE"].header).all_pix2world(1300.3, 1890.7, 0)
        pixels = boxes_of(frame, [Target("M31", float(ra), float(dec))], 59, "real", ("IMAGE",))
        [path] = write_cutouts(table_of([pixels]), tmp_path)
        box = pixels.images[0].cutouts[0]
        with fits.open(path, checksum=True) as file:
            file.verify("exception")
            for x, y in ((0, 0), (29.3, 31.8), (58, 58)):
                ours, true = wavelength(file, "IMAGE1", x, y), wavelength(parent, "IMAGE", x + box.x0, y + box.y0)
                assert ours == pytest.approx(true, abs=1e-6)
            assert file["IMAGE1"].header["OMEGA_MEDIAN"] == 37.861739642774666


def real_frame(folder, detector):
    """A frame of a constant image with a real header and the real table of the detector's wavelengths."""
    found = json.loads((folder / "qr2_wcs_wave_tables.json").read_text())["tables"][f"D{detector}"]
    text = (folder / "qr2_cutout_IMAGE_header.txt").read_text()
    header = fits.Header.fromstring(text, sep="\n")
    header.update({"NAXIS1": 2040, "NAXIS2": 2040, "CRPIX1": 1020.5, "CRPIX2": 1020.5, "DETECTOR": detector})
    header.update({f"CRPIX{axis}{key}": 1 for axis in (1, 2) for key in "AW"})
    x, y = np.array(found["x"]), np.array(found["y"])
    values = np.stack([found["wavelength_um"], found["bandwidth_um"]], axis=-1)
    row = np.zeros(1, [("X", ">i4", x.shape), ("Y", ">i4", y.shape), ("VALUES", ">f4", values.shape)])
    row["X"], row["Y"], row["VALUES"] = x, y, values
    image = fits.ImageHDU(np.ones((2040, 2040), np.float32), header, name="IMAGE")
    flags = fits.ImageHDU(np.zeros((1, 1), np.int32), name="FLAGS")
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), image, flags, fits.BinTableHDU(row, name="WCS-WAVE")]).writeto(buffer)
    return buffer.getvalue()
