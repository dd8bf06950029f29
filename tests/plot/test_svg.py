"""SVG documents: themed by the page, alone and beside each other, and the same however often they are drawn."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from raysearch.plot import style
from raysearch.plot.svg import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def document(name: str = "obs-1/0/x", text: str = "text", height: float = 120.0) -> str:
    with style.look():
        ax = style.axes(height, 40, 30, 10, 10)
        ax.plot([0, 1, 2], [0.0, 2.0, 1.0], color=style.INK, marker="o")
        ax.plot([0, 5], [0.0, 1.0], color=style.RED)
        ax.set(xlim=(0, 2), ylabel="value")
        ax.imshow([[0.0, 1.0]], interpolation="none", extent=(0, 1, 0, 1), aspect="auto")
        style.say(ax, 1.0, 1.0, text)
        return svg(ax, name, "a title", "an alternative").decode()


def test_it_has_a_viewbox_and_no_size_and_says_what_it_shows() -> None:
    root = ET.fromstring(document())
    assert root.tag == f"{NAMESPACE}svg"
    assert root.get("viewBox") == "0 0 400 120"
    assert root.get("width") is None
    assert root.get("height") is None
    told = {child.tag: child for child in root}
    assert told[f"{NAMESPACE}title"].text == "a title"
    assert told[f"{NAMESPACE}desc"].text == "an alternative"
    assert root.get("role") == "img"
    assert (root.get("aria-labelledby") or "").split() == [told[f"{NAMESPACE}{tag}"].get("id") for tag in ("title", "desc")]


def test_text_and_axes_take_the_colour_and_the_font_of_the_page_and_data_do_not() -> None:
    text = document()
    assert style.INK not in text
    assert "fill: currentColor" in text
    assert "stroke: currentColor" in text
    assert style.RED in text
    assert "DejaVu" not in text
    assert "font-family: sans-serif" in text


def test_nothing_spreads_over_the_page_and_nothing_comes_from_outside() -> None:
    text = document()
    assert not re.search(r"<style|<script|<metadata|<!--|<\?xml|<!DOCTYPE", text)
    addresses = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', text)
    assert addresses
    assert all((one or other).startswith(("#", "data:image/png;base64,")) for one, other in addresses)


def test_ids_are_the_figures_own_and_all_that_is_referred_to_is_there() -> None:
    names = []
    for name in ("obs-1/0/x", "obs-1/1/x"):
        text = document(name)
        ids = re.findall(r'\sid="([^"]*)"', text)
        assert len(set(ids)) == len(ids)
        assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)) <= {(one, "") for one in ids} | {("", one) for one in ids}
        names.append(set(ids))
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '" onload="x', f'{style.INK} id="x" url(#y) href="#z"', "$x^2$ & \\frac", "Å µ 你"]
)
def test_text_is_shown_as_it_is(text: str) -> None:
    written = document(text=text)
    shown = [element.text for element in ET.fromstring(written).iter(f"{NAMESPACE}text")]
    assert text in shown
    assert "<script" not in written


def test_what_xml_cannot_hold_is_left_out() -> None:
    shown = [element.text for element in ET.fromstring(document(text="a\x00\x1b\ud800b\ufffe")).iter(f"{NAMESPACE}text")]
    assert "ab" in shown


def test_the_same_bytes_whatever_was_drawn_before() -> None:
    first = document()
    with style.look():
        ax = style.axes(120.0, 40, 30, 10, 10)
        ax.plot([-50, 900], [1e5, -3.0])
        ax.contour([[0.0, 1.0], [2.0, 3.0]])
        ax.axvspan(0, 1)
        ax.set(aspect="equal", xlabel="other", xlim=(-1, 7), anchor="W")
        ax.set_axis_off()
        svg(ax, "other", "t", "a")
    assert document() == first
    program = (
        f"import sys; sys.path.insert(0, {str(__file__.rpartition('/')[0])!r}); import test_svg; "
        "sys.stdout.buffer.write(test_svg.document().encode())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert other.stdout.decode() == first


def test_drawing_leaves_pyplot_and_its_settings_alone() -> None:
    program = (
        "import sys, matplotlib, raysearch.plot, raysearch.plot.illustrators; before = matplotlib.rcParams.copy()\n"
        "from raysearch.plot import style; from raysearch.plot.svg import svg\n"
        "with style.look(): svg(style.axes(50.0), 'a', 'b', 'c')\n"
        "assert matplotlib.rcParams.copy() == before and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_power_of_ten_that_all_numbers_share_stands_at_the_name_of_the_axis() -> None:
    with style.look():
        ax = style.axes(120.0, 40, 30, 10, 10)
        ax.plot([0, 1], [0.0, 4e-19])
        ax.set(xlabel="wavelength", ylabel="flux")
        root = ET.fromstring(svg(ax, "a", "b", "c"))
    texts = [element.text for element in root.iter(f"{NAMESPACE}text")]
    assert "flux × 10⁻¹⁹" in texts
    assert {"0", "4", "wavelength"} <= set(texts)
