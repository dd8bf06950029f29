"""The published practice with SPHEREx's images, in our own words: cutouts from the service, differences of whole frames.

After IRSA's tutorials (Caltech-IPAC/irsa-tutorials, `spherex_cutouts` and `spherex_source_discovery`), with the same calls, threads
and order. Two things differ, both in their favour. The service refuses a fifth cutout at a time (503): as printed such a cutout is
left out; with `ask_again` it is asked for until it comes. And each cutout is asked for once, not three times.
"""

from __future__ import annotations

import http.client
import json
import logging
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

THREADS = 10
PAUSE_SECONDS = 0.05


def urls(irsa: str, ra: float, dec: float, size_deg: float, band: str = "") -> list[str]:
    """Return the addresses of all cutouts around a position, the oldest first: one query of TAP."""
    import pyvo

    which = f"AND p.energy_bandpassname = '{band}'" if band else ""
    query = f"""
        SELECT a.uri, p.time_bounds_lower FROM spherex.artifact AS a JOIN spherex.plane AS p ON a.planeid = p.planeid
        WHERE 1 = CONTAINS(POINT('ICRS', {ra}, {dec}), p.poly) {which} ORDER BY p.time_bounds_lower"""
    table = pyvo.dal.TAPService(f"{irsa}/TAP").search(query).to_table()
    return [f"{irsa}/{uri}?center={ra},{dec}d&size={size_deg}" for uri in table["uri"]]


def cutout(url: str, ra: float, dec: float, *, ask_again: bool):
    """Return the HDUs of a cutout, and the wavelength at the position; None where it was refused."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from astropy.wcs import WCS

    while True:
        try:
            with fits.open(url, cache=False) as file:
                header = file[1].header
                x, y = WCS(header).world_to_pixel(SkyCoord(ra=ra, dec=dec, unit="deg", frame="icrs"))
                spectral = WCS(header, fobj=file, key="W")
                spectral.sip = None
                wavelength, _ = spectral.pixel_to_world(x, y)
                return [hdu.copy() for hdu in file[1:]], wavelength.to(u.micrometer).value
        except (urllib.error.HTTPError, http.client.IncompleteRead) as exc:
            if not ask_again:
                return None
            if isinstance(exc, urllib.error.HTTPError):
                exc.close()
            time.sleep(PAUSE_SECONDS)


def cutouts(request: dict) -> dict:
    """Write the cutouts around a position as one file; return how many, and which."""
    from astropy.io import fits

    asked = urls(request["irsa"], *request["position"], request["size_deg"])[: request["limit"]]
    with ThreadPoolExecutor(THREADS) as pool:
        came = list(pool.map(lambda url: cutout(url, *request["position"], ask_again=request["ask_again"]), asked))
    info, hdus = [], []
    for index, (url, one) in enumerate(zip(asked, came, strict=True), start=1):
        if one is None:
            continue
        for hdu in one[0]:
            hdu.header["EXTNAME"] = f"{hdu.header['EXTNAME']}{index}"
        hdus += one[0]
        info.append((index, one[1], url))
    columns = [
        fits.Column("cutout_index", "J", array=[row[0] for row in info]),
        fits.Column("central_wavelength", "D", unit="um", array=[row[1] for row in info]),
        fits.Column("access_url", "A300", array=[row[2] for row in info]),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="CUTOUT_INFO")
    fits.HDUList([fits.PrimaryHDU(), table, *hdus]).writeto(request["out"], overwrite=True)
    return {"units": len(info), "asked": len(asked)}


def difference(request: dict) -> dict:
    """Write the difference D2 - D4 of 150 x 150 pixels, made of whole frames; return how long reading and reprojection took."""
    import astropy.units as u
    import sep
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from astropy.nddata import Cutout2D
    from astropy.units import Unit
    from astropy.wcs import WCS
    from reproject import reproject_exact, reproject_interp

    started = time.monotonic()
    planes = {}
    for band, (key, solid_angles) in request["keys"].items():
        with fits.open(f"s3://{key}", fsspec_kwargs={"anon": True}) as file:
            image, header, flags = file["IMAGE"].data, file["IMAGE"].header, file["FLAGS"].data
        with fits.open(f"s3://{solid_angles}", fsspec_kwargs={"anon": True}) as file:
            omega, unit = file["IMAGE"].data, file["IMAGE"].header["BUNIT"]
        flux = ((image * Unit(header["BUNIT"])).to(u.uJy / u.arcsec**2) * (omega * Unit(unit))).value
        flux = np.ascontiguousarray(flux, dtype=np.float32)
        flux -= sep.Background(flux, mask=~np.isfinite(flux), bw=64, bh=64, fw=11, fh=11).back()
        planes[band] = flux, header, np.where((flags == 2097152) | (flags == 2) | (flags == 0), 1.0, np.nan)
    read = time.monotonic()
    (short, short_header, short_mask), (long, long_header, long_mask) = planes["D2"], planes["D4"]
    moved, footprint = reproject_exact((short, short_header), long_header)
    footprint[footprint == 0] = np.nan
    mask, _ = reproject_interp((short_mask, short_header), long_header)
    centre, wcs = SkyCoord(*request["position"], unit="deg"), WCS(long_header)
    cut = [Cutout2D(plane, centre, (150, 150), wcs=wcs) for plane in (moved, long * footprint, mask, long_mask)]
    made = cut[0].data - cut[1].data
    fits.PrimaryHDU(made, cut[0].wcs.to_header()).writeto(request["out"], overwrite=True)
    used = float(np.mean(np.isfinite(made * cut[2].data * cut[3].data)))
    return {"units": 1, "read_s": read - started, "reproject_s": time.monotonic() - read, "usable": used}


def photometry(request: dict) -> dict:
    """Measure sources one after the other: all cutouts of each, then apertures of 3, 4, 5 pixels over the annulus' median."""
    from astropy.stats import sigma_clipped_stats
    from astropy.wcs import WCS
    from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry

    rows = 0
    for ra, dec in request["positions"]:
        asked = urls(request["irsa"], ra, dec, 0.1)[: request["limit"]]
        with ThreadPoolExecutor(8) as pool:
            came = list(pool.map(lambda url, at=(ra, dec): cutout(url, *at, ask_again=True), asked))
        for hdus, _ in came:
            image = hdus[0].data
            place = [float(v) for v in WCS(hdus[0].header).all_world2pix(ra, dec, 0)]
            if not CircularAperture(place, 5.0).to_mask().get_overlap_slices(image.shape)[0]:
                continue
            around = CircularAnnulus(place, 7.0, 16.0).to_mask(method="center").get_values(image)
            background = sigma_clipped_stats(around[np.isfinite(around)], sigma=3, maxiters=5)[1]
            for radius in (3.0, 4.0, 5.0):
                found = aperture_photometry(image, CircularAperture(place, radius), mask=~np.isfinite(image), method="subpixel")
                rows += bool(np.isfinite(found["aperture_sum"][0] - background))
    return {"units": len(request["positions"]), "rows": rows}


PRACTICES = {"cutouts": cutouts, "difference": difference, "photometry": photometry}


def child(task: str) -> None:
    """Do what a task's file says, in this process, and write what came of it."""
    from astropy.utils.data import conf

    conf.remote_timeout = 120
    logging.getLogger("astropy").setLevel(logging.ERROR)
    request = json.loads(Path(task).read_text())
    Path(request["answer"]).write_text(json.dumps(PRACTICES[request["part"]](request)))
