"""Small SPHEREx Level 2 frames: the extensions, names and cards of the real ones, with fewer pixels and a smaller PSF.

Real frames have planes of 2040 x 2040, a PSF of 121 x 101 x 101 and 71.6 MB (SPHEREx Explanatory Supplement, QR2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from raysearch.testing.cards import card, header, padded
from raysearch.testing.fields import Field

BANDS = {
    1: (7.4550e-07, 1.11670e-06, 39.1), 2: (1.10330e-06, 1.64990e-06, 41.4), 3: (1.63010e-06, 2.43460e-06, 40.6),
    4: (2.40270e-06, 3.84730e-06, 34.9), 5: (3.81130e-06, 4.43000e-06, 111.6), 6: (4.41150e-06, 5.00960e-06, 127.8),
}  # fmt: skip
"""Detector -> shortest and longest wavelength (metres), and resolving power, as IRSA's SIA2 gives them."""

SOURCE_BIT = 21
"""Of FLAGS: a known source maps to the pixel; true of about half of all pixels, and no defect."""
FLAG_BITS = {
    "TRANSIENT": 0,
    "OVERFLOW": 1,
    "SUR_ERROR": 2,
    "NONFUNC": 6,
    "HOT": 10,
    "COLD": 11,
    "OUTLIER": 19,
    "SOURCE": SOURCE_BIT,
}
MJD_EPOCH = datetime(1858, 11, 17)  # noqa: DTZ001 - cards name no zone; TIMESYS does
ZONES = 11
"""Of the PSF, in each direction."""


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """Everything that decides a frame: the same spec gives the same bytes."""

    number: int
    """Of the exposure within its period."""
    detector: int
    field: Field
    period: str = "2025W51_1A"
    version: str = "l2b-v21-2025-354"
    mjd: float = 61027.215
    """At its begin."""
    source: float = 0.0
    """Peak brightness of a source in the middle, MJy/sr; 0: none."""

    @property
    def obs_id(self) -> str:
        """As IRSA names it: several detectors share one."""
        return f"{self.period}_{self.number:04d}_1"

    @property
    def key(self) -> str:
        """Its key in the public bucket, which is also its path below `ibe/data/spherex`."""
        name = f"level2_{self.obs_id}D{self.detector}_spx_{self.version}.fits"
        return f"qr2/level2/{self.period}/{self.version}/{self.detector}/{name}"


def make_frame(spec: FrameSpec) -> bytes:
    """Return the bytes of the FITS file that a spec describes."""
    rng = np.random.default_rng((spec.number, spec.detector))
    shape = (spec.field.ny, spec.field.nx)
    zodi = np.full(shape, 0.3, np.float32)
    image = zodi + rng.normal(0.0, 0.02, shape).astype(np.float32) + spec.source * _spot(shape)
    flags = (rng.random(shape) < 0.55).astype(np.int32) << SOURCE_BIT
    psf = np.repeat(_spot((9, 9))[None], ZONES**2, axis=0)
    parts = [
        header([*card("SIMPLE", value=True), *card("BITPIX", 8), *card("NAXIS", 0), *card("EXTEND", value=True),
                *card("EXTNAME", "PRIMARY"), *card("VERSION", "6.5.4+psffix1")]),
        _image("IMAGE", image, "MJy / sr", _exposure_cards(spec)),
        _image("FLAGS", flags, "", [c for name, bit in FLAG_BITS.items() for c in _flag_card(name, bit)] + _sky_cards(spec)),
        _image("VARIANCE", np.full(shape, 4e-4, np.float32), "MJy2 / sr2", _sky_cards(spec)),
        _image("ZODI", zodi, "MJy / sr", _sky_cards(spec)),
        _image("PSF", psf, "", _zone_cards(spec)),
        _wave_table(spec),
    ]  # fmt: skip
    return b"".join(parts)


def _spot(shape: tuple[int, int]) -> NDArray[np.float32]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    squared = (x - shape[1] // 2) ** 2 + (y - shape[0] // 2) ** 2
    spot: NDArray[np.float32] = np.exp(-squared / 2.0).astype(np.float32)
    return spot


def _image(name: str, array: NDArray[np.generic], unit: str, cards: list[str]) -> bytes:
    integer = array.dtype.kind == "i"
    sizes = [c for axis, size in enumerate(reversed(array.shape), start=1) for c in card(f"NAXIS{axis}", size)]
    head = [
        *card("XTENSION", "IMAGE"),
        *card("BITPIX", 32 if integer else -32),
        *card("NAXIS", array.ndim),
        *sizes,
        *card("PCOUNT", 0),
        *card("GCOUNT", 1),
        *card("EXTNAME", name),
        *card("BUNIT", unit),
        *cards,
    ]
    return header(head) + padded(array.astype(">i4" if integer else ">f4").tobytes())


def _flag_card(name: str, bit: int) -> list[str]:
    keyword = f"MP_{name}"
    return card(keyword, bit) if len(keyword) <= 8 else [f"HIERARCH {keyword} = {bit}".ljust(80)]


def _exposure_cards(spec: FrameSpec) -> list[str]:
    cards = [*card("OBSID", spec.obs_id), *card("DETECTOR", spec.detector), *card("DETCOORD", "sky")]
    middle, end = spec.mjd + 0.000683, spec.mjd + 0.001367
    for name, mjd in (("OBS", spec.mjd), ("BEG", spec.mjd), ("AVG", middle), ("END", end)):
        cards += card(f"MJD-{name}", mjd) + card(
            f"DATE-{name}", (MJD_EPOCH + timedelta(days=mjd)).isoformat(timespec="milliseconds")
        )
    return [*cards, *card("XPOSURE", 113.5826), *card("TIMESYS", "UTC"), *card("L2DQAFLG", "Pass"), *_sky_cards(spec)]


def _sky_cards(spec: FrameSpec) -> list[str]:
    """Return the celestial WCS with its distortion (SIP), and the alternates A (pixels) and W (wavelengths)."""
    cards = [*spec.field.cards("TAN-SIP"), *card("LONPOLE", 180.0), *card("LATPOLE", spec.field.dec)]
    for name in "AB":
        cards += card(f"{name}_ORDER", 2) + card(f"{name}_0_2", 1.0e-7) + card(f"{name}_1_1", -2.0e-7) + card(f"{name}_2_0", 1.5e-7)
    cards += card("WCSAXESA", 2) + card("WCSNAMEA", "0-based active pixel coordinates")
    cards += card("WCSAXESW", 2) + card("WCSNAMEW", "Approximated per-pixel wavelength and bandwidth")
    for axis in (1, 2):
        cards += (
            card(f"CTYPE{axis}A", "LINEAR") + card(f"CRPIX{axis}A", 1.0) + card(f"CRVAL{axis}A", 0.0) + card(f"CDELT{axis}A", 1.0)
        )
        cards += card(f"CTYPE{axis}W", "WAVE-TAB") + card(f"CUNIT{axis}W", "um") + card(f"CRPIX{axis}W", 1.0)
        cards += card(f"CRVAL{axis}W", 1.0) + card(f"CDELT{axis}W", 1.0)
        cards += card(f"PS{axis}_0W", "WCS-WAVE") + card(f"PS{axis}_1W", "VALUES")
    return [*cards, *card("PS1_2W", "X"), *card("PS2_2W", "Y"), *card("PV1_3W", 1), *card("PV2_3W", 2)]


def _zone_cards(spec: FrameSpec) -> list[str]:
    """Return where the PSF's zones lie on the frame: x runs fastest."""
    wide, high = spec.field.nx / ZONES, spec.field.ny / ZONES
    cards = card("OVERSAMP", 10)
    for i in range(ZONES**2):
        ix, iy = i % ZONES, i // ZONES
        cards += card(f"XCTR_{i + 1}", wide * (ix + 0.5) - 0.5, f"Center of x zone ({ix}, {iy})")
        cards += card(f"YCTR_{i + 1}", high * (iy + 0.5) - 0.5, f"Center of y zone ({ix}, {iy})")
        cards += card(f"XWID_{i + 1}", wide, f"Width of x zone ({ix}, {iy})")
        cards += card(f"YWID_{i + 1}", high, f"Width of y zone ({ix}, {iy})")
    return cards


def _wave_table(spec: FrameSpec) -> bytes:
    """Return the table of wavelengths and bandwidths on a coarse grid; the wavelength falls with y."""
    shortest, longest, power = BANDS[spec.detector]
    nodes = 5
    x = np.linspace(1, spec.field.nx, nodes).astype(">i4")
    y = np.linspace(1, spec.field.ny, nodes).astype(">i4")
    wave = np.linspace(longest * 1e6, shortest * 1e6, nodes)
    values = np.empty((nodes, nodes, 2), ">f4")
    values[..., 0] = wave[:, None]
    values[..., 1] = (wave / power)[:, None]
    data = x.tobytes() + y.tobytes() + values.tobytes()
    cards = [*card("XTENSION", "BINTABLE"), *card("BITPIX", 8), *card("NAXIS", 2), *card("NAXIS1", len(data)), *card("NAXIS2", 1)]
    cards += [*card("PCOUNT", 0), *card("GCOUNT", 1), *card("TFIELDS", 3), *card("EXTNAME", "WCS-WAVE")]
    forms = (("X", f"{nodes}J", f"({nodes})"), ("Y", f"{nodes}J", f"({nodes})"))
    for i, (name, form, dim) in enumerate((*forms, ("VALUES", f"{2 * nodes**2}E", f"(2,{nodes},{nodes})")), start=1):
        cards += card(f"TTYPE{i}", name) + card(f"TFORM{i}", form) + card(f"TDIM{i}", dim)
    return header(cards) + padded(data)
