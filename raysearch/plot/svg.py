"""Axes as SVG documents that a page takes in.

matplotlib's own writer asks installed fonts how wide a text is, and writes styles and names that would spread over the page. This
one writes text as text in the reader's font, and nothing that a page would not want. Texts and ticks it places itself: most of
matplotlib's time goes to these.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.spines import Spine
from matplotlib.text import Annotation, Text

from raysearch.plot import style
from raysearch.plot.words import raised

ANCHORS = {"left": ("start", 0.0), "center": ("middle", 0.5), "right": ("end", 1.0)}
"""Horizontal alignment -> SVG's word, and the part of the text before the anchor."""

ASCENT, DESCENT = 0.76, 0.22
"""Of a line of text above and below its base, in sizes of the type: about those of every sans-serif font."""

SHIFTS = {"top": -ASCENT, "center": (DESCENT - ASCENT) / 2, "center_baseline": -ASCENT / 2, "baseline": 0.0, "bottom": DESCENT}
"""Vertical alignment -> from the anchor up to the base of the text, in sizes of the type."""

TICK, PAD = 3.5, 3.5
"""Length of a tick, and from there to its label, points."""

HELD = str.maketrans('#"', "\ue000\ue001")
"""What stands in a text for what the changes to the document look for, until they are done."""

_CLUTTER = re.compile(r"<metadata>.*?</metadata>\s*|<style type=\"text/css\">.*?</style>\s*|<!--.*?-->\s*", re.DOTALL)
_ROOT = re.compile(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>")


def svg(ax: Axes, name: str, title: str, alt: str) -> bytes:
    """Return axes that `style.axes` made as an SVG document, the same bytes for the same axes and name.

    To be called inside `style.look()`. It has a viewBox and no size, a title and a description, and needs nothing from outside. Its
    ids begin with a hash of `name`, so that several documents can stand in one page; ink is `currentColor`, the page's.
    """
    prefix = "f" + hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:10]
    figure = figure_of(ax)
    width, height = (72.0 * inches for inches in figure.get_size_inches())
    out = io.StringIO()
    renderer = _Renderer(width, height, out, image_dpi=72, metadata={"Date": None})
    _draw(ax, renderer)
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


def _draw(ax: Axes, renderer: _Renderer) -> None:
    """Draw all that is in axes, from below to above."""
    ax.apply_aspect()
    hidden = () if ax.axison else (Axis, Spine)
    shown = [artist for artist in ax.get_children() if artist.get_visible() and artist is not ax.patch]
    for artist in sorted(shown, key=lambda artist: artist.get_zorder()):
        if isinstance(artist, hidden):
            continue
        if isinstance(artist, Axis):
            _draw_axis(artist, renderer)
        elif isinstance(artist, Text) and not isinstance(artist, Annotation):
            _draw_text(artist, artist.get_text(), renderer)
        else:
            artist.draw(renderer)


def _draw_text(text: Text, words: str, renderer: _Renderer) -> None:
    """Write words where and as a text of matplotlib would stand."""
    x, y = text.get_transform().transform(text.get_unitless_position())
    size, turned = float(text.get_fontsize()), math.radians(text.get_rotation())
    up = SHIFTS[text.get_verticalalignment()] * size
    x, y = x - up * math.sin(turned), y + up * math.cos(turned)
    renderer.write(words, x, y, size, text.get_horizontalalignment(), to_hex(text.get_color()), text.get_rotation())


def _draw_axis(axis: Axis, renderer: _Renderer) -> None:
    """Draw ticks, their numbers, and the name of an axis; a power of ten common to all numbers goes to the name."""
    ax, formatter = axis.axes, axis.get_major_formatter()
    values = axis.get_majorticklocs()
    numbers = formatter.format_ticks(list(values))
    upright, box = axis is ax.yaxis, ax.bbox
    across = np.column_stack([np.zeros(len(values)), values] if upright else [values, np.zeros(len(values))])
    at = (ax.get_yaxis_transform() if upright else ax.get_xaxis_transform()).transform(across)[:, int(upright)]
    first, last = (box.y0, box.y1) if upright else (box.x0, box.x1)
    size, strokes = style.SIZE - 1, []
    for place, number in zip(at, numbers, strict=True):
        if not first - 0.5 <= place <= last + 0.5:
            continue
        if upright:
            strokes.append(f"M{box.x0:.2f} {renderer.height - place:.2f}h{-TICK}")
            left, base = box.x0 - TICK - PAD, place + SHIFTS["center_baseline"] * size
            renderer.write(number, left, base, size, "right", style.INK)
        else:
            strokes.append(f"M{place:.2f} {renderer.height - box.y0:.2f}v{TICK}")
            renderer.write(number, place, box.y0 - TICK - PAD + SHIFTS["top"] * size, size, "center", style.INK)
    renderer.writer.element("path", d="".join(strokes), style=f"fill: none; stroke: {style.INK}; stroke-width: 0.8")
    power = formatter.get_offset().partition("e")[2]
    name = axis.label.get_text()
    _draw_text(axis.label, f"{name} × 10{raised(power)}" if power else name, renderer)


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
        align = mtext.get_horizontalalignment() if mtext is not None else "left"
        long, turned = style.width(s, size) * ANCHORS[align][1], math.radians(angle)
        x, y = x + long * math.cos(turned), self.height - y + long * math.sin(turned)
        self.write(s, x, y, size, align, to_hex(gc.get_rgb()), angle)

    def write(self, text: str, x: float, y: float, size: float, align: str, colour: str, angle: float = 0.0) -> None:
        """Write text; `x`, `y` are its anchor on its base, points from the left and from below."""
        if not text:
            return
        y = self.height - y
        place = {"transform": f"translate({x:.2f} {y:.2f}) rotate({-angle:g})"} if angle else {"x": f"{x:.2f}", "y": f"{y:.2f}"}
        look = f"font-size: {size:g}px; text-anchor: {ANCHORS[align][0]}; fill: {colour}"
        self.writer.element("text", style.plain(text).translate(HELD), attrib={"style": look, **place})
