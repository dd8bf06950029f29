"""SPHEREx Level 2 frames as files: the extensions, cards and blocks of the real ones, of any size.

With 2040 x 2040 pixels a frame of the second release has the bytes of a real one: 71,637,120, or 71,634,240 with the shorter IMAGE
header (SPHEREx Explanatory Supplement, QR2; sizes of real headers). Smaller frames have headers of the same length, and a smaller
PSF. In the third release FLAGS is packed and spells its names otherwise, and a table of effective PSFs stands in place of the cube
(its columns as hbahk/spherex-retrieval reads them).
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysearch.testing.cards import BLOCK, Value, card, header, padded
from raysearch.testing.spherex_optics import (
    EPSF_OVERSAMPLING,
    EPSF_SIDE,
    ORDER,
    OVERSAMPLING,
    ZONES,
    Optics,
    Sip,
    WaveTable,
    epsf_cube,
    psf_cube,
)
from raysearch.testing.spherex_pixels import Injected, injected, make_planes
from raysearch.testing.spherex_spec import BANDS, FLAG_BITS, PIXEL_ARCSEC, SIDE, Blemish, FrameSpec, PointSource

__all__ = [
    "BANDS",
    "FLAG_BITS",
    "PIXEL_ARCSEC",
    "SIDE",
    "Blemish",
    "FrameSpec",
    "Injected",
    "PointSource",
    "card_of",
    "image_hdu",
    "injected",
    "make_frame",
    "sky_cards",
    "wave_hdu",
]

BLOCKS = {"FLAGS": 5, "VARIANCE": 4, "ZODI": 4, "PSF": 15}
"""Extension -> blocks of its header in a real frame; IMAGE has 7 or 8."""
PACKED_BLOCKS = 6
"""Of the header of FLAGS in the third release."""
UNITS = {"IMAGE": "MJy / sr", "FLAGS": "", "VARIANCE": "MJy2 / sr2", "ZODI": "MJy / sr", "PSF": ""}
EPSF_COLUMNS = {
    "BINX": ">i4", "BINY": ">i4", "XCENTER": ">f4", "YCENTER": ">f4", "XWIDTH": ">f4", "YWIDTH": ">f4", "NSTAR": ">i4",
    "NEFF_MEAN": ">f4", "CWAVE": ">f4", "CBAND": ">f4",
}  # fmt: skip
"""Column of EPSF -> its type; the PSF itself follows."""
MJD_EPOCH = datetime(1858, 11, 17)  # noqa: DTZ001 - cards name no zone; TIMESYS does


def make_frame(spec: FrameSpec) -> bytes:
    """Return the bytes of the FITS file that a spec describes."""
    optics, planes = Optics.of(spec), make_planes(spec)
    sky = sky_cards(optics)
    later = spec.release == "qr3"
    primary = [*card("SIMPLE", value=True), *card("BITPIX", 8), *card("NAXIS", 0), *card("EXTEND", value=True)]
    own = {"IMAGE": _exposure_cards(spec), "FLAGS": _flag_cards(spec)}
    parts = {"PRIMARY": header([*primary, *card("EXTNAME", "PRIMARY"), *card("VERSION", spec.pipeline)])}
    for name, plane in planes.items():
        cards = [*own.get(name, []), *sky]
        if name == "IMAGE":
            cards = _with_real_cards(cards, spec.real) if spec.real is not None else [*cards, *_history(spec)]
        pack = later and name == "FLAGS"
        blocks = spec.image_blocks if name == "IMAGE" else BLOCKS[name]
        parts[name] = _packed(name, plane, cards) if pack else image_hdu(name, plane, cards, UNITS[name], blocks)
    if later:
        parts["EPSF"] = _epsf(spec, optics)
    else:
        side = spec.psf_side or (101 if min(spec.shape) >= SIDE else 41)
        parts["PSF"] = image_hdu("PSF", psf_cube(side), _zone_cards(spec), UNITS["PSF"], BLOCKS["PSF"])
    parts["WCS-WAVE"] = wave_hdu(optics.waves)
    return b"".join(part for name, part in parts.items() if name not in spec.without)


def image_hdu(name: str, array: NDArray[np.generic], cards: Sequence[str], unit: str, blocks: int) -> bytes:
    """Return an image extension whose header has so many blocks, or more if its cards need them."""
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
    return header(head, at_least=blocks * BLOCK // 80 - 1) + padded(array.astype(">i4" if integer else ">f4").tobytes())


def card_of(keyword: str, value: Value, comment: str = "") -> list[str]:
    """Return a card; a keyword of more than eight characters is one of HIERARCH."""
    if len(keyword) <= 8:
        return card(keyword, value, comment)
    text = f"'{value:<8}'" if isinstance(value, str) else str(value)
    return [f"HIERARCH {keyword} = {text}{f' / {comment}' if comment else ''}"[:80].ljust(80)]


def sky_cards(optics: Optics) -> list[str]:
    """Return the celestial WCS with its distortion (SIP), and the alternates A (pixels) and W (wavelengths)."""
    field = optics.field
    cards = [*field.cards("TAN-SIP"), *card("LONPOLE", 180.0), *card("LATPOLE", field.dec)]
    for name, terms in zip(("A", "B", "AP", "BP"), (*optics.sip, *optics.inverse()), strict=True):
        cards += _sip_cards(name, terms)
    cards += card("WCSAXESA", 2) + card("WCSNAMEA", "0-based active pixel coordinates")
    cards += card("WCSAXESW", 2) + card("WCSNAMEW", "Approximated per-pixel wavelength and bandwidth")
    cards += card("CNAME1W", "Wavelength") + card("CNAME2W", "Bandwidth")
    for axis in (1, 2):
        cards += card(f"CTYPE{axis}A", "LINEAR") + card(f"CUNIT{axis}A", "pixel") + card(f"CRPIX{axis}A", 1.0)
        cards += card(f"CRVAL{axis}A", 0.0) + card(f"CDELT{axis}A", 1.0)
        cards += card(f"CTYPE{axis}W", "WAVE-TAB") + card(f"CUNIT{axis}W", "um") + card(f"CRPIX{axis}W", 1.0)
        cards += card(f"CRVAL{axis}W", 1) + card(f"CDELT{axis}W", 1)
        cards += card(f"PS{axis}_0W", "WCS-WAVE") + card(f"PS{axis}_1W", "VALUES")
    return [*cards, *card("PS1_2W", "X"), *card("PS2_2W", "Y"), *card("PV1_3W", 1), *card("PV2_3W", 2)]


def wave_hdu(table: WaveTable) -> bytes:
    """Return the table of wavelengths and bandwidths, WCS-WAVE."""
    nx, ny = len(table.x), len(table.y)
    data = table.x.astype(">i4").tobytes() + table.y.astype(">i4").tobytes() + table.values.astype(">f4").tobytes()
    cards = [*card("XTENSION", "BINTABLE"), *card("BITPIX", 8), *card("NAXIS", 2), *card("NAXIS1", len(data)), *card("NAXIS2", 1)]
    cards += [*card("PCOUNT", 0), *card("GCOUNT", 1), *card("TFIELDS", 3), *card("EXTNAME", "WCS-WAVE")]
    forms = (("X", f"{nx}J", f"({nx})"), ("Y", f"{ny}J", f"({ny})"), ("VALUES", f"{2 * nx * ny}E", f"(2,{nx},{ny})"))
    for i, (name, form, dim) in enumerate(forms, start=1):
        cards += card(f"TTYPE{i}", name) + card(f"TFORM{i}", form) + card(f"TDIM{i}", dim)
    return header(cards) + padded(data)


def _sip_cards(name: str, terms: Sip) -> list[str]:
    return card(f"{name}_ORDER", ORDER) + [c for (p, q), value in terms.items() for c in card(f"{name}_{p}_{q}", value)]


def _exposure_cards(spec: FrameSpec) -> list[str]:
    cards = [*card("EXTTYPE", "IMAGE"), *card("DETECTOR", spec.detector), *card("OBSID", spec.obs_id)]
    cards += [*card("EXPIDN", _exposure_number(spec)), *card("DETCOORD", "sky"), *card("L1DQAFLG", "Pass")]
    middle, end = spec.mjd + 0.000666, spec.mjd + 0.001332
    for name, mjd in (("OBS", spec.mjd), ("BEG", spec.mjd), ("AVG", middle), ("END", end)):
        cards += card(f"MJD-{name}", mjd) + card(
            f"DATE-{name}", (MJD_EPOCH + timedelta(days=mjd)).isoformat(timespec="milliseconds")
        )
    cards += [*card("XPOSURE", 113.5826), *card("TELAPSE", 118.1873), *card("TIMESYS", "UTC"), *card("MJDREF", 0.0)]
    cards += card_of("OBS_IN_SBAND", "False") + card_of("OMEGA_MEDIAN", 37.861739642774666) + card_of("L2 N_PERSIST", 8406)
    return [*cards, *card("PSF_FWHM", 5.222648214064271), *card("FINAST", 0), *card("L2DQAFLG", "Pass")]


def _history(spec: FrameSpec) -> list[str]:
    """Return which spectral calibration went into the frame, twice, as level 1 and level 2 of the pipeline write it.

    Its identity is made up: one for each release, detector and size, as the table WCS-WAVE is one for each of these.
    """
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"spectral_wcs {spec.release} D{spec.detector} {spec.field.nx}x{spec.field.ny}")
    return [f"HISTORY [CALIB] spectral_wcs {identity}".ljust(80)] * 2


def _exposure_number(spec: FrameSpec) -> int:
    """Return EXPIDN: year, week, part of it and its letter's place in the alphabet, then large slew, small slew and detector."""
    week, part = spec.period.split("_")
    year, number = week.split("W")
    return int(f"{year}{number}{part[0]}{ord(part[1]) - ord('A') + 1:02d}{spec.number:04d}1{spec.detector}")


def _flag_cards(spec: FrameSpec) -> list[str]:
    kind = card("EXTTYPE", "MASK")
    if spec.release == "qr3":
        return kind + [c for name, bit in spec.flag_bits.items() for c in card(f"MSKN{bit:04d}", name)]
    return kind + [c for name, bit in spec.flag_bits.items() for c in card_of(f"MP_{name}", bit)]


def _zone_cards(spec: FrameSpec) -> list[str]:
    """Return where the PSF's zones lie on the frame: x runs fastest, but by the headers of older pipelines y does.

    See IRSA's page on the PSF header error: the planes are right, the cards of VERSION up to 6.5.5 without `+psffix1` are not.
    """
    from packaging.version import Version

    version, _, fix = spec.pipeline.partition("+")
    wrong = Version(version) <= Version("6.5.5") and "psffix1" not in fix
    wide, high = spec.field.nx / ZONES, spec.field.ny / ZONES
    cards = card("OVERSAMP", OVERSAMPLING)
    for i in range(ZONES**2):
        ix, iy = (i // ZONES, i % ZONES) if wrong else (i % ZONES, i // ZONES)
        cards += card(f"XCTR_{i + 1}", wide * (ix + 0.5) - 0.5, f"Center of x zone ({ix}, {iy})")
        cards += card(f"YCTR_{i + 1}", high * (iy + 0.5) - 0.5, f"Center of y zone ({ix}, {iy})")
        cards += card(f"XWID_{i + 1}", wide, f"Width of x zone ({ix}, {iy})")
        cards += card(f"YWID_{i + 1}", high, f"Width of y zone ({ix}, {iy})")
    return cards


def _packed(name: str, array: NDArray[np.generic], cards: Sequence[str]) -> bytes:
    """Return an image as astropy packs it (RICE_1, each row a tile), its header as long as that of a real frame."""
    from astropy.io import fits

    head = fits.Header.fromstring("".join(cards))
    rows = fits.CompImageHDU(array, head, name=name, compression_type="RICE_1", tile_shape=(1, array.shape[1]))
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), rows]).writeto(out)
    hdu = out.getvalue()[BLOCK:]
    end = hdu.index(b"END".ljust(80))
    text = [hdu[at : at + 80].decode("ascii") for at in range(0, end, 80)]
    return header(text, at_least=PACKED_BLOCKS * BLOCK // 80 - 1) + hdu[-(-(end + 80) // BLOCK) * BLOCK :]


def _epsf(spec: FrameSpec, optics: Optics) -> bytes:
    """Return the third release's table of effective PSFs: a row for each zone, x fastest."""
    columns, rows = optics.lattice
    row = np.dtype([*EPSF_COLUMNS.items(), ("EPSF", ">f8", (EPSF_SIDE**2,))])
    data = np.zeros(rows * columns, row)
    data["BINX"], data["BINY"] = np.arange(len(data)) % columns, np.arange(len(data)) // columns
    data["XWIDTH"], data["YWIDTH"] = spec.field.nx / columns, spec.field.ny / rows
    data["XCENTER"], data["YCENTER"] = ((data[f"BIN{axis}"] + 0.5) * data[f"{axis}WIDTH"] - 0.5 for axis in "XY")
    data["CWAVE"], data["CBAND"] = optics.waves.at(data["XCENTER"], data["YCENTER"])
    data["NSTAR"], data["NEFF_MEAN"] = 500, 3.4
    data["EPSF"] = epsf_cube(optics.lattice).reshape(len(data), -1)
    cards = [*card("XTENSION", "BINTABLE"), *card("BITPIX", 8), *card("NAXIS", 2), *card("NAXIS1", row.itemsize)]
    cards += [*card("NAXIS2", len(data)), *card("PCOUNT", 0), *card("GCOUNT", 1), *card("TFIELDS", len(row.names or ()))]
    cards += [*card("EXTNAME", "EPSF"), *card("DETECTOR", str(spec.detector)), *card("DETCOORD", "sky")]
    cards += [*card("OVSMPX", EPSF_OVERSAMPLING), *card("OVSMPY", EPSF_OVERSAMPLING), *card("ORDERING", "x-fast then y")]
    forms = {name: "J" if form == ">i4" else "E" for name, form in EPSF_COLUMNS.items()} | {"EPSF": f"{EPSF_SIDE**2}D"}
    for i, (name, form) in enumerate(forms.items(), start=1):
        cards += card(f"TTYPE{i}", name) + card(f"TFORM{i}", form)
    return header(cards, at_least=2 * BLOCK // 80 - 1) + padded(data.tobytes())


def _with_real_cards(cards: list[str], folder: Path) -> list[str]:
    """Return the cards, and after them those of a real IMAGE header that they lack: telemetry, statistics, HISTORY."""
    text = (folder / "qr2_cutout_IMAGE_header.txt").read_text(encoding="ascii")
    known = {_keyword(c) for c in cards} | {
        "XTENSION",
        "BITPIX",
        "NAXIS",
        "NAXIS1",
        "NAXIS2",
        "PCOUNT",
        "GCOUNT",
        "EXTNAME",
        "BUNIT",
    }
    return cards + [c[:80].ljust(80) for c in text.splitlines() if c.strip() != "END" and _keyword(c) not in known]


def _keyword(text: str) -> str:
    return text.partition("=")[0].strip() if "=" in text and not text.startswith(("HISTORY", "COMMENT")) else text
