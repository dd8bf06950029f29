"""The line detector on real cubes, against maps made here by other means: from the archive's file to the candidate's row."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import label, uniform_filter

from raysearch import Search

C = 299_792.458
SHORT, LONG, STAR = "ngc7469_Level3_ch4-short_s3d", "ngc7469_Level3_ch4-long_s3d", "16CygB_Level3_ch4-short_s3d"
LINES = {"[Fe II] 17.936": 17.936, "[Fe II] 25.988": 25.988}
REDSHIFT = 0.0163
pytestmark = pytest.mark.real


BESIDE = {18.228: (-21, -13, 6, 14), 26.411: (-11, -4, 5, 12)}
"""Planes without lines on both sides, counted from the line's: [P III] 17.885 lies 8 planes below [Fe II] 17.936."""


def line_map(path, wavelength_um):
    """Integrated flux of each spaxel in 7 planes above a straight line through those beside it, W m^-2; its S/N; the WCS."""
    with fits.open(path) as hdus:
        header, cube = hdus["SCI"].header, hdus["SCI"].data.astype(float)
    wave = header["CRVAL3"] + (np.arange(len(cube)) + 1 - header["CRPIX3"]) * header["CDELT3"]
    factor = 1e-20 * 2.99792458e14 * header["CDELT3"] / wavelength_um**2 * header["PIXAR_SR"]
    low, below, above, high = BESIDE[wavelength_um]

    def seven(middle):
        beside, inside = np.r_[low:below, above:high], np.arange(-3, 4)
        slope, level = np.polyfit(beside, cube[middle + beside].reshape(len(beside), -1), 1)
        continuum = (level + np.outer(inside, slope)).reshape(7, *cube.shape[1:])
        return factor * (cube[middle + inside] - continuum).sum(axis=0)

    middle = int(np.abs(wave - wavelength_um).argmin())
    live = np.isfinite(cube[middle - 25 : middle + 90]).all(axis=0)
    cube[:, ~live] = 0
    elsewhere = np.array([seven(middle + step) for step in range(22, 76, 4)])  # no lines there
    noise = 1.4826 * np.median(np.abs(elsewhere), axis=0)
    flux = seven(middle)
    return flux, np.where(live, flux / np.where(live, noise, 1), 0), WCS(_celestial(header))


def _celestial(header):
    cards = ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT")
    kept = {f"{card}{axis}": header[f"{card}{axis}"] for card in cards for axis in (1, 2)}
    return fits.Header(kept | {f"PC{i}_{j}": header[f"PC{i}_{j}"] for i in (1, 2) for j in (1, 2)})


def emission(path, wavelength_um):
    """The flux map, where it is emission (the largest connected part above 3 sigma in a mean of 3 by 3), and the WCS."""
    flux, snr, wcs = line_map(path, wavelength_um)
    parts, _ = label(uniform_filter(snr, 3) > 3)
    return flux, parts == np.bincount(parts.ravel())[1:].argmax() + 1, wcs


@pytest.fixture(scope="module")
def searched(real_data, tmp_path_factory):
    """The run folder's tables of a search of the three cubes at their redshifts, and of NGC 7469 as if it had none."""
    folder = tmp_path_factory.mktemp("real")
    for name in (SHORT, LONG, STAR):
        (folder / f"{name}.fits").write_bytes(gzip.decompress((real_data / "jwst" / f"{name}.fits.gz").read_bytes()))
    (folder / f"{SHORT}-z0.fits").symlink_to(folder / f"{SHORT}.fits")
    rows = [(SHORT, "NGC 7469", REDSHIFT), (LONG, "NGC 7469", REDSHIFT), (STAR, "16 Cyg B", 0.0), (f"{SHORT}-z0", "NGC 7469", 0.0)]
    (folder / "cubes.csv").write_text("\n".join(["uri,target_name,redshift", *(f"{n}.fits,{t},{z}" for n, t, z in rows)]) + "\n")
    document = {
        "observations": {"table": str(folder / "cubes.csv")},
        "lines": {"list": [{"name": name, "wavelength": f"{um} um"} for name, um in LINES.items()]},
        "detector": {"name": "lines"},
        "run": {"engine": "inline"},
    }
    result = Search.from_dict(document).run(folder / "run")
    candidates, outcomes = (result.arrow(table).to_pylist() for table in ("candidates", "outcomes"))
    return folder, candidates, {row["obs_id"]: row for row in outcomes}


@pytest.mark.parametrize(("cube", "line", "wavelength_um"), [(SHORT, "[Fe II] 17.936", 18.228), (LONG, "[Fe II] 25.988", 26.411)])
def test_extended_iron_of_ngc_7469(searched, cube, line, wavelength_um):
    folder, candidates, _ = searched
    found = [row for row in candidates if row["obs_id"] == cube and row["line"] == line]
    assert found
    best = max(found, key=lambda row: row["snr"])
    assert best["wavelength_um"] == pytest.approx(wavelength_um, abs=0.006)
    assert abs(best["velocity_kms"]) < 150
    assert best["false_alarm"] < 0.01
    assert best["extended"]
    flux, lit, wcs = emission(folder / f"{cube}.fits", wavelength_um)
    x, y = wcs.world_to_pixel_values(best["peak_ra"], best["peak_dec"])
    assert lit[round(float(y)), round(float(x))]
    centre = wcs.pixel_to_world_values(*np.average(np.argwhere(lit)[:, ::-1], axis=0, weights=np.clip(flux[lit], 0, None)))
    apart = 3600 * np.hypot((best["ra"] - centre[0] % 360) * np.cos(np.radians(centre[1])), best["dec"] - centre[1])
    assert apart < 1.0
    total = sum(row["flux_w_m2"] for row in found)
    assert 0.8 * flux[lit].sum() < total < 1.2 * np.nansum(flux)


def test_no_iron_where_there_is_none(searched):
    _, candidates, outcomes = searched
    assert not [row for row in candidates if row["obs_id"] in (STAR, f"{SHORT}-z0")]
    for name in (STAR, f"{SHORT}-z0"):
        assert outcomes[name]["status"] == "nothing"


def test_what_was_not_found_has_a_limit(searched):
    _, candidates, outcomes = searched
    faintest = min(row["flux_w_m2"] for row in candidates)
    for name in (STAR, f"{SHORT}-z0"):
        (limit,) = outcomes[name]["limits"]
        assert limit["line"] == "[Fe II] 17.936"
        assert 0 < limit["flux"] < 3 * faintest
