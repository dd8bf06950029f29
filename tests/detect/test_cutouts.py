"""Cutouts: every box becomes a record with a file of its own, and nothing stands in for pixels that are not there."""

import gzip
import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from raysearch.detect import open_detector
from raysearch.detect.cutouts import Cutouts
from raysearch.engine.records import candidate_schema, checked
from raysearch.errors import DetectorError, NothingToSearch
from raysearch.model import Pixels, Target
from raysearch.testing.boxes import boxes_of
from raysearch.testing.fields import Field
from raysearch.testing.spherex import FrameSpec, make_frame

FIELD = Field(10.0, 41.0, 64, 64, 6.15)
TARGETS = (Target("HL Tau", 10.0, 41.0), Target("at the edge", *FIELD.sky(62.0, 30.0)))


@pytest.fixture(scope="module")
def frame():
    return make_frame(FrameSpec(7, 3, FIELD))


@pytest.fixture
def pixels(frame):
    return boxes_of(frame, TARGETS, 15, "one", ("IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF"))


def with_planes(pixels, number, **planes):
    image = pixels.images[0]
    boxes = list(image.cutouts)
    boxes[number] = replace(boxes[number], planes={**boxes[number].planes, **planes})
    return replace(pixels, images=(replace(image, cutouts=tuple(boxes)),))


def opened(record):
    return fits.open(io.BytesIO(gzip.decompress(record.values["cutout"])))


def test_it_is_the_detector_of_images():
    assert isinstance(open_detector("cutouts", {}, "images"), Cutouts)
    assert candidate_schema(Cutouts.columns, lines=False).names[-1] == "cutout"


def test_a_record_for_each_box(pixels):
    records = Cutouts().detect(pixels)
    assert len(checked(records, Cutouts.columns, lines=False)) == 2
    inside, edge = (record.values for record in records)
    assert [record.target for record in records] == ["HL Tau", "at the edge"]
    assert (inside["band"], inside["nx"], inside["ny"], inside["clipped"], inside["note"]) == ("SPHEREx-D3", 15, 15, False, "")
    assert inside["mjd"] == pytest.approx(61027.2157, abs=1e-3)
    assert (inside["ra"], inside["dec"]) == (10.0, 41.0)
    assert (edge["clipped"], edge["nx"], edge["note"]) == (True, 9, "the image ends inside the box")
    for values, box in zip((inside, edge), pixels.images[0].cutouts, strict=True):
        assert (values["x"] + values["x0"], values["y"] + values["y0"]) == pytest.approx((box.x, box.y))
        assert 0 <= values["x"] < values["nx"]
        assert values["central_wavelength_um"] == box.wavelength_um


def test_the_file_has_the_pixels_and_the_archives_cards(pixels, frame):
    record = Cutouts().detect(pixels)[1]
    box = pixels.images[0].cutouts[1]
    with opened(record) as file, fits.open(io.BytesIO(frame)) as parent:
        file.verify("exception")
        assert [hdu.name for hdu in file] == ["PRIMARY", "IMAGE", "FLAGS", "VARIANCE", "ZODI", "PSF", "WCS-WAVE"]
        assert file[0].header["VERSION"] == "6.5.4+psffix1"
        for name, plane in box.planes.items():
            np.testing.assert_array_equal(file[name].data, plane)
            assert file[name].data.dtype.itemsize == plane.dtype.itemsize
            left_out = {"NAXIS1", "NAXIS2", "CRPIX1", "CRPIX2", "CRPIX1A", "CRPIX2A", "CRPIX1W", "CRPIX2W"}
            ours, theirs = ({k: v for k, v in h[name].header.items() if k not in left_out} for h in (file, parent))
            assert ours == theirs
        np.testing.assert_array_equal(file["PSF"].data, box.psf)
        assert file["PSF"].header["OVERSAMP"] == 10
        assert file["IMAGE"].header["CRPIX1W"] == 1 - box.x0
        place, wavelengths = WCS(file["IMAGE"].header), WCS(file["IMAGE"].header, fobj=file, key="W")
        wavelengths.sip = None
        assert place.all_world2pix(box.target.ra, box.target.dec, 0) == pytest.approx([box.x - box.x0, box.y - box.y0], abs=1e-6)
        assert wavelengths.all_pix2world(box.x - box.x0, box.y - box.y0, 0)[0] == pytest.approx(box.wavelength_um, abs=1e-9)


def test_the_same_box_gives_the_same_bytes(pixels):
    first, again = (Cutouts().detect(pixels)[0].values["cutout"] for _ in range(2))
    assert first == again


def test_headers_of_compressed_extensions_become_those_of_images(pixels):
    image = pixels.images[0]
    storage = "".join(
        text.ljust(80)
        for text in (
            "XTENSION= 'BINTABLE'", "BITPIX  =                    8", "NAXIS   =                    2",
            "NAXIS1  =                    8", "NAXIS2  =                 2040",
            "PCOUNT  =             12000000", "GCOUNT  =                    1",
            "TFIELDS =                    1", "TTYPE1  = 'COMPRESSED_DATA'", "TFORM1  = '1PB(4000)'",
            "ZIMAGE  =                    T", "ZCMPTYPE= 'RICE_1  '", "ZNAXIS1 =                 2040",
            "ZTILE1  =                 2040",
            "ZNAME1  = 'BLOCKSIZE'", "EXTNAME = 'FLAGS   '", "ZONE    =                    3", "TIMESYS = 'UTC     '",
        )
    )  # fmt: skip
    packed = replace(pixels, images=(replace(image, headers={**image.headers, "FLAGS": storage}),))
    with opened(Cutouts().detect(packed)[0]) as file:
        file.verify("exception")
        header = file["FLAGS"].header
        assert isinstance(file["FLAGS"], fits.ImageHDU)
        assert (header["BITPIX"], header["NAXIS1"], header["ZONE"], header["TIMESYS"]) == (32, 15, 3, "UTC")
        assert not {"ZIMAGE", "TFIELDS", "ZCMPTYPE", "TFORM1", "ZNAME1"} & set(header)


def test_a_plane_without_a_header_of_its_own(pixels):
    area = np.full((15, 15), 37.86, np.float32)
    with opened(Cutouts().detect(with_planes(pixels, 0, SOLID_ANGLE=area))[0]) as file:
        np.testing.assert_array_equal(file["SOLID_ANGLE"].data, area)


def test_flagged_pixels_are_counted_but_known_sources_are_no_flaw(pixels):
    flags = np.full((15, 15), 1 << 21, np.int32)
    flags[0] = 1 << 10  # HOT
    image = pixels.images[0].cutouts[0].planes["IMAGE"].copy()
    image[1, :5] = np.nan
    values = Cutouts().detect(with_planes(pixels, 0, FLAGS=flags, IMAGE=image))[0].values
    assert values["good_fraction"] == pytest.approx((225 - 15 - 5) / 225, abs=1e-6)
    flagged = Cutouts().detect(with_planes(pixels, 0, FLAGS=np.full((15, 15), 1, np.int32)))[0].values
    assert (flagged["good_fraction"], flagged["note"]) == (0.0, "every pixel with a value is flagged")
    assert flagged["cutout"]


def test_a_target_beside_the_image_is_said_to_be_there():
    """Its wavelength is NaN, and nobody said why."""
    beside = Target("beside", *FIELD.sky(-3.0, 30.0))
    record = Cutouts().detect(boxes_of(make_frame(FrameSpec(7, 3, FIELD)), (beside,), 15, "one", ("IMAGE",)))[0]
    assert record.values["note"] == "the image ends inside the box; the target lies beside the image"


def test_a_box_without_a_value_among_others_says_so_and_has_no_file(pixels):
    empty, edge = Cutouts().detect(with_planes(pixels, 0, IMAGE=np.full((15, 15), np.nan, np.float32)))
    assert (empty.values["cutout"], empty.values["note"], empty.values["good_fraction"]) == (b"", "no pixel has a value", 0.0)
    assert edge.values["cutout"]


def test_an_image_without_a_value_in_any_box_is_skipped_with_the_reason(pixels):
    nothing = with_planes(pixels, 0, IMAGE=np.full((15, 15), np.nan, np.float32))
    nothing = with_planes(nothing, 1, IMAGE=np.full((15, 9), np.nan, np.float32))
    with pytest.raises(NothingToSearch, match="no pixel around HL Tau or at the edge has a value"):
        Cutouts().detect(nothing)


def test_what_it_cannot_take_is_told(pixels):
    with pytest.raises(DetectorError, match="needs images"):
        Cutouts().detect(Pixels("cube", "cube.fits"))
    with pytest.raises(DetectorError, match="FLAGS holds uint32"):
        Cutouts().detect(with_planes(pixels, 0, FLAGS=np.zeros((15, 15), np.uint32)))
