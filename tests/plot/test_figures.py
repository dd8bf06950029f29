"""What each figure shows, and that it looks as it did."""

import dataclasses
import gzip
import io
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MplFigure
from matplotlib.image import imread
from plot_fakes import ANGLE, PIXEL, Observed, header, observe, pair

from raysearch.model import Curve
from raysearch.plot import Mark, curve, line_map, line_spectrum, planes, style, triptych
from raysearch.plot.curves import curve_alt
from raysearch.plot.images import around, line_plane, planes_alt
from raysearch.plot.maps import Grid, LineMap, line_map_alt, target_place
from raysearch.plot.pairs import triptych_alt
from raysearch.plot.profiles import Profile
from raysearch.plot.svg import svg
from raysearch.plot.words import record_of

REFERENCES = Path(__file__).with_name("references")
NEAR = 8.0
"""Root mean square of the difference from a reference image, of 255: letters differ a little between versions of FreeType."""

CURVE = Curve(np.linspace(5.28, 5.42, 141), np.abs(np.sin(np.arange(141.0))) + 9 * (np.arange(141) == 60), "highest S/N", 5.0)
MARKS = [Mark("[Fe II] 5.340", 5.340, True), Mark("H2 S(8)", 5.35, False), Mark("beyond", 6.0, False)]


def raster(ax: Axes) -> bytes:
    """Return the axes' figure as a PNG."""
    out = io.BytesIO()
    FigureCanvasAgg(ax.get_figure(root=True)).print_png(out)
    return out.getvalue()


def drawings(observed: Observed) -> dict[str, tuple[tuple[float, ...], Callable[[Axes], Axes]]]:
    record, window = record_of(observed.candidates[0]), observed.pixels.windows[0]
    region = np.zeros(window.sci.shape[1:], dtype=bool)
    region[12:17, 13:18] = True
    shown, sources = pair()
    return {
        "planes": ((150.0, 0, 24, 0, 20), lambda ax: planes(record, window, ax, place=(15.0, 14.0), unit="MJy/sr")),
        "map": ((250.0, 0, 6, 130, 6), lambda ax: line_map(record, ax)),
        "spectrum": ((210.0, 58, 40, 14, 22), lambda ax: line_spectrum(record, window, region, ax, unit="MJy/sr")),
        "curve": ((226.0, 58, 40, 14, 38), lambda ax: curve(CURVE, MARKS, ax)),
        "triptych": ((160.0, 0, 24, 0, 20), lambda ax: triptych(shown, sources, ax)),
    }


@pytest.mark.parametrize("name", ["planes", "map", "spectrum", "curve", "triptych"])
def test_it_looks_as_it_did(observed: Observed, tmp_path: Path, name: str) -> None:
    box, draw = drawings(observed)[name]
    with style.look():
        ax = style.axes(*box)
        assert draw(ax) is ax
        (tmp_path / "now.png").write_bytes(raster(ax))
        ET.fromstring(svg(ax, name, "title", "alt"))
    now, then = imread(tmp_path / "now.png"), imread(REFERENCES / f"{name}.png")
    assert now.shape == then.shape
    flat = [image[..., :3] * image[..., 3:] + 1 - image[..., 3:] for image in (now, then)]
    assert 255 * math.sqrt(float(np.mean((flat[0] - flat[1]) ** 2))) < NEAR


@pytest.mark.parametrize("name", ["planes", "map", "spectrum", "curve", "triptych"])
def test_it_can_be_drawn_into_any_axes(observed: Observed, name: str) -> None:
    ax = MplFigure().add_axes((0.1, 0.1, 0.6, 0.8))
    assert drawings(observed)[name][1](ax) is ax


def test_the_line_image_is_the_brightest_plane_near_the_line(observed: Observed) -> None:
    window = observed.pixels.windows[0]
    record = {"wavelength_um": float(window.wavelength_um[48])}
    assert line_plane(record, window, (15.0, 14.0)) == 47
    assert line_plane({"wavelength_um": float(window.wavelength_um[60])}, window) in range(58, 63)


def test_planes_are_on_one_scale_and_those_beyond_the_cube_are_said_so(observed: Observed) -> None:
    window = observed.pixels.windows[0]
    record = {"wavelength_um": float(window.wavelength_um[1])}
    with style.look():
        ax = planes(record, window, style.axes(150.0))
        norms = [image.norm for image in ax.images]
        texts = [text.get_text() for text in ax.texts]
    assert norms[0] is norms[1] is norms[2]
    assert "beyond the cube" in texts
    assert "unknown, 10 planes after" in planes_alt(record, window)


def test_large_planes_are_cut_around_the_candidate() -> None:
    assert around((24, 28), (3.0, 5.0)) == (slice(0, 24), slice(0, 28))
    assert around((300, 200), (199.0, 150.0)) == (slice(102, 198), slice(104, 200))


@pytest.mark.parametrize("dec", [0.0, 66.5, 89.95])
def test_the_grid_knows_north_and_east_and_where_things_are(dec: float) -> None:
    card = fits.Header.fromstring(header((24, 28)))
    card["CRVAL2"] = dec
    wcs = WCS(card, naxis=2)
    grid = Grid.of(card.tostring(), (24, 28))
    assert grid is not None
    assert grid.pixel_arcsec == pytest.approx(PIXEL, rel=1e-6)
    for x, y in ((0, 0), (27, 3), (14, 20)):
        ra, dec_ = wcs.wcs_pix2world(x, y, 0)
        assert grid.pixel(float(ra), float(dec_)) == pytest.approx((x, y), abs=0.01)
    assert grid.direction(0.0) == pytest.approx((math.sin(math.radians(ANGLE)), math.cos(math.radians(ANGLE))), abs=1e-4)
    assert grid.direction(90.0) == pytest.approx((-math.cos(math.radians(ANGLE)), math.sin(math.radians(ANGLE))), abs=1e-4)


def test_a_grid_of_galactic_coordinates_is_turned_to_north() -> None:
    card = fits.Header.fromstring(header((24, 28)))
    galactic = card.copy()
    galactic["CTYPE1"], galactic["CTYPE2"], galactic["CRVAL1"], galactic["CRVAL2"] = "GLON-TAN", "GLAT-TAN", 173.0, -20.0
    one, other = (Grid.of(one.tostring(), (24, 28)) for one in (card, galactic))
    assert one is not None
    assert other is not None
    assert abs(other.direction(0.0)[0] - one.direction(0.0)[0]) > 0.1
    place = WCS(galactic, naxis=2).pixel_to_world(5, 6).icrs
    assert other.pixel(place.ra.deg, place.dec.deg) == pytest.approx((5, 6), abs=0.01)


def test_the_target_is_marked_where_it_is(observed: Observed) -> None:
    record = record_of(observed.candidates[0])
    shown = LineMap.read(record["map"])
    assert shown.grid is not None
    place = target_place(record, shown.grid)
    corner = [(28 + 1) / 2 - shown.reference[0], (24 + 1) / 2 - shown.reference[1]]
    assert place is not None
    assert np.add(place, corner) == pytest.approx([13.5, 11.5], abs=0.02)


def test_a_map_without_a_place_has_no_compass(observed: Observed) -> None:
    record = record_of(observed.candidates[0])
    content = gzip.decompress(record["map"])
    for name in (b"CTYPE1", b"CTYPE2"):
        content = content.replace(name, b"XTYPE1")
    with style.look():
        ax = line_map(record | {"map": content}, style.axes(250.0))
        assert not {"N", "E"} & {text.get_text() for text in ax.texts}


def test_words_say_what_is_seen(observed: Observed) -> None:
    record = record_of(observed.candidates[0])
    assert "27 by 24 pixels of 0.2″" in line_map_alt(record)
    assert "from the target" in line_map_alt(record)
    assert curve_alt(CURVE, MARKS) == (
        "highest S/N against wavelength: the highest, 9.3, at 5.3400 µm; threshold 5; detected: [Fe II] 5.340 at 5.3400 µm; "
        "not detected: H2 S(8) at 5.3500 µm."
    )
    empty = dataclasses.replace(CURVE, value=np.full(141, np.nan))
    assert curve_alt(empty, []) == "highest S/N against wavelength: nothing is known of it."
    shown, sources = pair()
    assert "brighter in the short band by 90.0 ± 1.4 µJy; D2, 1.30 µm: 1.0 ± 1.0 µJy" in triptych_alt(shown, sources, zoom=True)
    assert triptych_alt(shown, sources).endswith("marked: 1 red and 1 blue sources.")


def test_names_of_lines_do_not_overlap_or_leave_the_figure() -> None:
    names = [("[Fe II] 1.600", 190.0), ("[Fe II] 1.644", 200.0), ("H2", 205.0), ("[O IV] 25.890", 399.0), ("[Ne V]", 0.0)]
    placed = style.arranged(names, 400.0)
    spans = [(start, start + style.width(name), row) for (name, _), (start, row) in zip(names, placed, strict=True)]
    assert all(start >= 0 and end <= 400 for start, end, _ in spans)
    for n, (start, end, row) in enumerate(spans):
        assert not any(row == other[2] and start < other[1] and other[0] < end for other in spans[n + 1 :])


def test_the_fit_follows_the_line_and_the_continuum(observed: Observed) -> None:
    window = observed.pixels.windows[0]
    waves = window.wavelength_um
    fwhm_um = 0.004
    line = 5 + 3 * np.exp(-0.5 * ((waves - 5.3405) / (fwhm_um / 2.3548)) ** 2) + 0.2 * (waves - 5.34) / 0.0013
    cube = np.repeat(line, 4).reshape(-1, 2, 2).astype("f4")
    cube[20, 0, 0] = np.nan
    made = dataclasses.replace(window, planes={"SCI": cube})
    record = {"wavelength_um": 5.3405, "fwhm_kms": fwhm_um / 5.3405 * 299_792.458}
    shown = Profile.of(record, made, np.ones((2, 2), dtype=bool))
    assert shown.fit is not None
    assert np.abs(shown.fit - shown.value).max() < 0.02
    assert shown.pixels == 4
    nothing = Profile.of(record, dataclasses.replace(window, planes={"SCI": cube * np.nan}), np.ones((2, 2), dtype=bool))
    assert nothing.fit is None


def test_a_pairs_bands_share_a_scale_and_the_difference_has_zero_in_its_middle() -> None:
    shown, sources = pair()
    with style.look():
        ax = triptych(shown, sources, style.axes(160.0))
        a, b, difference = ax.images
        assert a.norm is b.norm
        assert difference.norm.vmin == -difference.norm.vmax
        marks = [(float(x), float(line.get_ydata()[0])) for line in ax.lines for x in line.get_xdata()[:1]]
    assert marks == [pytest.approx((12, 10), abs=0.01), pytest.approx((30, 25), abs=0.01)]


def write_references(observed: Observed) -> None:
    """Write the reference images anew: `python tests/plot/test_figures.py`. Look at them before you keep them."""
    REFERENCES.mkdir(exist_ok=True)
    for name, (box, draw) in drawings(observed).items():
        with style.look():
            (REFERENCES / f"{name}.png").write_bytes(raster(draw(style.axes(*box))))


if __name__ == "__main__":
    write_references(observe("lines"))
