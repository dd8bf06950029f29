"""Axes as SVG documents that a page takes in.

matplotlib's own writer asks installed fonts how wide a text is, and writes styles and names that would spread over the page. This
one writes text as text in the reader's font, and nothing that a page would not want. It is also several times as quick.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from raysearch.plot import style

ANCHORS = {"left": ("start", 0.0), "center": ("middle", 0.5), "right": ("end", 1.0)}
"""Horizontal alignment -> SVG's word, and the part of the text before the anchor."""

ASCENT, DESCENT = 0.76, 0.22
"""Of a line of text above and below its base, in sizes of the type: about those of every sans-serif font."""

HELD = str.maketrans('#"', "\ue000\ue001")
"""What stands in a text for what the changes to the document look for, until they are done."""

_CLUTTER = re.compile(r"<metadata>.*?</metadata>\s*|<style type=\"text/css\">.*?</style>\s*|<!--.*?-->\s*", re.DOTALL)
_ROOT = re.compile(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>")


def svg(ax: Axes, name: str, title: str, alt: str) -> bytes:
    """Return the axes' figure as an SVG document; to be called inside `style.look()`. The same bytes for the same figure and name.

    It has a viewBox and no size, a title and a description, and needs nothing from outside. Its ids begin with a hash of `name`, so
    that several documents can stand in one page; ink is `currentColor`, the page's.
    """
    prefix = "f" + hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:10]
    figure = figure_of(ax)
    width, height = (72.0 * inches for inches in figure.get_size_inches())
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": prefix}):
        renderer = _Renderer(width, height, out, image_dpi=72, metadata={"Date": None})
        figure.draw(renderer)
        renderer.finalize()
    text = out.getvalue()
    text = _CLUTTER.sub("", text[text.index("<svg ") :])
    for mark in (' id="', 'href="#', "url(#"):
        text = text.replace(mark, f"{mark}{prefix}-")
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{0}" role="img" '
        'aria-labelledby="{1}-title {1}-desc" style="stroke-linejoin: round; stroke-linecap: butt; font-family: sans-serif">'
        '<title id="{1}-title">{2}</title><desc id="{1}-desc">{3}</desc>'
    )
    box = _ROOT.match(text)
    assert box is not None, "matplotlib writes another root than it did"
    written = head.format(box[1], prefix, escape(style.plain(title)), escape(style.plain(alt)))
    text = written + text[box.end() :].replace(style.INK, "currentColor")
    return text.replace("\ue000", "&#35;").replace("\ue001", "&quot;").encode()


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure that the axes belong to."""
    found = ax.get_figure(root=True)
    assert found is not None, "axes on their own"
    return found


class _Renderer(RendererSVG):  # type: ignore[misc]
    """Writes text in a generic font, anchored by its alignment, and no groups."""

    def open_group(self, s: str, gid: str | None = None) -> None: ...

    def close_group(self, s: str) -> None: ...

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:  # noqa: ARG002
        """Return about how large text is, points: no font is asked, for the reader's is another."""
        size = prop.get_size_in_points()
        return style.width(s, size), (ASCENT + DESCENT) * size, DESCENT * size

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,  # noqa: ARG002
        mtext: Any = None,
    ) -> None:
        """Write text; `x`, `y` are the left end of its base."""
        size = prop.get_size_in_points()
        word, before = ANCHORS[mtext.get_horizontalalignment() if mtext is not None else "left"]
        long, turned = style.width(s, size) * before, math.radians(angle)
        x, y = x + long * math.cos(turned), y - long * math.sin(turned)
        place = {"transform": f"translate({x:.2f} {y:.2f}) rotate({-angle:g})"} if angle else {"x": f"{x:.2f}", "y": f"{y:.2f}"}
        look = f"font-size: {size:g}px; text-anchor: {word}; fill: {to_hex(gc.get_rgb())}"
        self.writer.element("text", style.plain(s).translate(HELD), attrib={"style": look, **place})
