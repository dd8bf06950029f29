"""Small pictures of what the tables hold: a stamp for each cutout, and a spectrum for each source."""

from __future__ import annotations

import base64
import gzip
import math
import struct
import zlib
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raysearch.model import FIGURE_SCHEMA
from raysearch.report.cutouts import cutout_batches
from raysearch.report.mef import CONTENT

MOST_SPECTRA = 1000
"""Sources whose spectra are drawn, the most significant first: each takes a twentieth of a second."""

SHOWN = (1.0, 99.0)
"""Percentiles of the pixels between which a stamp's scale runs."""

_LEVELS = 255
_DRAWN = ("obs_id", "target", "x", "y", "shape", "image", "central_wavelength_um", "bandwidth_um", "good_fraction")


def stamps(candidates: pa.Table) -> pa.Table:
    """Return a figure `cutout` of each candidate that has one, north and east as on the detector, the target marked.

    Raises
    ------
    FormatError
        A cutout is no FITS file.
    """
    if CONTENT not in candidates.column_names:
        return FIGURE_SCHEMA.empty_table()
    names = zip(candidates["obs_id"].to_pylist(), candidates["target"].to_pylist(), strict=True)
    number = dict(zip(names, numbers(candidates).tolist(), strict=True))
    rows = []
    for batch in cutout_batches(candidates):
        held = [name for name in _DRAWN if name in batch.schema.names]
        rows += [_figure(record, number[record["obs_id"], record["target"]]) for record in batch.select(held).to_pylist()]
    return pa.Table.from_pylist(rows, FIGURE_SCHEMA)


def line_maps(candidates: pa.Table, obs_ids: Set[str]) -> pa.Table:
    """Return a figure `stamp` of each candidate of these observations that has a `map`: the line's flux.

    Parameters
    ----------
    candidates
        The whole table.
    obs_ids
        Observations of which there are no other figures.
    """
    if "map" not in candidates.column_names or not obs_ids:
        return FIGURE_SCHEMA.empty_table()
    number = pa.array(numbers(candidates), pa.int32())
    asked = candidates.select(["obs_id", "map"]).append_column("number", number)
    asked = asked.filter(pc.is_in(asked["obs_id"], pa.array(sorted(obs_ids))))
    rows = []
    for batch in asked.to_batches(max_chunksize=100):
        rows += [_stamp(record) for record in batch.to_pylist()]
    return pa.Table.from_pylist(rows, FIGURE_SCHEMA)


def _stamp(record: Mapping[str, Any]) -> dict[str, Any]:
    from raysearch.plot.maps import LineMap

    try:
        shown = LineMap.read(record["map"])
    except (OSError, KeyError, ValueError) as exc:
        return _row(record["obs_id"], record["number"], "stamp", b"", f"the map cannot be read: {exc}")
    ny, nx = shown.flux.shape
    finite = shown.snr[np.isfinite(shown.snr)]
    best = f", the best pixel at S/N {finite.max():.3g}" if finite.size else ""
    told = f"Map of the line's flux, {nx} by {ny} pixels{best}; as on the detector"
    return _row(record["obs_id"], record["number"], "stamp", _svg(shown.flux.astype(np.float64)), told)


def _figure(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    if record["image"] is None:
        return _row(record["obs_id"], number, "cutout", b"", "this cutout has no image")
    image = np.array(record["image"], dtype=np.float64).reshape(record["shape"])
    return _row(record["obs_id"], number, "cutout", _svg(image, (record["x"], record["y"])), _alt(record, image))


def _row(obs_id: str, candidate: int, name: str, svg: bytes, alt: str) -> dict[str, Any]:
    """Return a row of `FIGURE_SCHEMA`."""
    packed = gzip.compress(svg, mtime=0) if svg else b""
    return {"obs_id": obs_id, "candidate": candidate, "name": name, "svg": packed, "alt": alt}


def _svg(image: NDArray[np.float64], place: tuple[float, float] | None = None) -> bytes:
    """Return the image as an SVG, its first row at the bottom, from its dimmest to its brightest hundredth on a root scale.

    A target's place, x and y, is pointed at.
    """
    from matplotlib import colormaps

    from raysearch.plot.style import IMAGES

    ny, nx = image.shape
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, SHOWN) if finite.size else (0.0, 1.0)
    scaled = np.sqrt(np.clip((np.nan_to_num(image, nan=low) - low) / (high - low if high > low else 1.0), 0.0, 1.0))
    levels = np.where(np.isfinite(image), np.round(scaled * (_LEVELS - 1)), _LEVELS).astype(np.uint8)
    palette = (np.asarray(colormaps[IMAGES](np.linspace(0, 1, _LEVELS)))[:, :3] * 255).round().astype(np.uint8)
    picture = base64.b64encode(_png(levels[::-1], palette)).decode()
    strokes = _strokes(place[0] + 0.5, ny - place[1] - 0.5, max(nx, ny)) if place else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {nx} {ny}">'
        f'<image width="{nx}" height="{ny}" preserveAspectRatio="none" style="image-rendering: pixelated" '
        f'href="data:image/png;base64,{picture}"/>{strokes}</svg>'
    ).encode()


def _strokes(x: float, y: float, side: int) -> str:
    """Return two strokes that point at a place, and leave its light to be seen."""
    from raysearch.plot.style import RED

    near, far = 0.05 * side, 0.13 * side
    strokes = f"M{x + near:.2f} {y:.2f}H{x + far:.2f}M{x:.2f} {y - near:.2f}V{y - far:.2f}"
    return (
        f'<path d="{strokes}" fill="none" stroke="#fff" stroke-width="{side / 45:.2f}"/>'
        f'<path d="{strokes}" fill="none" stroke="{RED}" stroke-width="{side / 90:.2f}"/>'
    )


def _png(levels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Return an indexed PNG (W3C PNG, third edition); the index after the palette's last is transparent."""
    height, width = levels.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = np.concatenate([np.zeros((height, 1), np.uint8), levels], axis=1)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", palette.tobytes() + b"\0\0\0"),
            chunk(b"tRNS", b"\xff" * len(palette) + b"\0"),
            chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)),
            chunk(b"IEND", b""),
        ]
    )


def _alt(record: Mapping[str, Any], image: NDArray[np.float64]) -> str:
    ny, nx = image.shape
    finite = image[np.isfinite(image)]
    wavelength = record.get("central_wavelength_um")
    told = f"{nx} by {ny} pixels" + (f" at {wavelength:.3f} µm" if wavelength is not None and math.isfinite(wavelength) else "")
    if not finite.size:
        return f"{told}: no pixel has a value"
    good = record.get("good_fraction")
    flagged = f"; {100 * good:.0f} % of the pixels are good" if good is not None else ""
    return f"{told}: median {np.median(finite):.4g}, brightest {finite.max():.4g} MJy/sr{flagged}; two strokes point at the target"


def spectra(sources: pa.Table, measured: pa.Table, candidates: pa.Table) -> pa.Table:
    """Return a figure `spectra` for the most significant sources, of the candidate that stands for each.

    Parameters
    ----------
    sources
        The merged sources: `source`, `obs_id`, `ra`, `dec` and `snr`.
    measured
        Their photometry: the same `source`, one row for each image and aperture.
    candidates
        The records of which the sources are some.
    """
    from raysearch.plot import spectrum, style
    from raysearch.plot.svg import svg

    place = standing(sources, candidates)
    number = numbers(candidates)
    rows = []
    with style.look():
        for source in sources.sort_by([("snr", "descending")]).slice(0, MOST_SPECTRA).to_pylist():
            mine = measured.filter(pc.equal(measured["source"], source["source"]))
            row = place.get(source["source"])
            if not mine.num_rows or row is None:
                continue
            ax = style.axes(240, 64, 43, 8, 14)
            alt = _told(source["source"], mine)
            document = svg(spectrum(mine, ax), f"{source['source']}/spectra", source["source"], alt)
            rows.append(_row(source["obs_id"], int(number[row]), "spectra", document, alt))
    return pa.Table.from_pylist(rows, FIGURE_SCHEMA)


def standing(sources: pa.Table, candidates: pa.Table) -> dict[str, int]:
    """Return for each merged source the row of the candidate that stands for it."""
    keys = [name for name in ("obs_id", "target", "kind", "ra", "dec", "snr") if name in candidates.column_names]
    found: dict[tuple[Any, ...], int] = {}
    merged = candidates["catalogue"].to_pylist() if "catalogue" in candidates.column_names else ["difference"] * candidates.num_rows
    for row, key in enumerate(zip(*(candidates[name].to_pylist() for name in keys), strict=True)):
        if merged[row] == "difference":
            found.setdefault(key, row)
    each = zip(sources["source"].to_pylist(), zip(*(sources[name].to_pylist() for name in keys), strict=True), strict=True)
    return {name: found[key] for name, key in each if key in found}


def numbers(candidates: pa.Table) -> NDArray[np.int64]:
    """Return for each candidate which of its observation's it is, counted from 0."""
    of = np.asarray(pc.dictionary_encode(candidates["obs_id"].combine_chunks()).indices)
    order = np.argsort(of, kind="stable")
    begins = np.flatnonzero(np.diff(of[order], prepend=-1))
    counted = np.empty(len(of), np.int64)
    counted[order] = np.arange(len(of)) - np.repeat(begins, np.diff(begins, append=len(of)))
    return counted


def _told(name: str, measured: pa.Table) -> str:
    """Return in words what a spectrum shows."""
    from raysearch.plot.spectra import drawn

    rows = drawn(measured)
    if not rows.num_rows:
        return f"{name}: no flux could be measured"
    flux, wavelength = rows["flux_ujy"].to_numpy(), rows["central_wavelength_um"].to_numpy()
    fraction = rows["good_fraction"].to_numpy()
    flagged = int(np.where(np.isfinite(fraction), fraction < 0.99, rows["n_bad"].to_numpy() > 0).sum())
    return (
        f"{name}: {len(flux)} flux densities from {wavelength.min():.2f} to {wavelength.max():.2f} µm, "
        f"median {np.median(flux):.4g} µJy, from {flux.min():.4g} to {flux.max():.4g}; {flagged} partly on bad pixels"
    )
