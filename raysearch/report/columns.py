"""What every column of every table means: its unit, its UCD, and a sentence. The one place that says so.

UCDs are words of the IVOA's list UCD1+ 1.6; those of ObsCore's columns are the standard's own (ObsCore 1.1, table 1). A column that
is none of these, such as one of a user's own detector, tells its unit by the end of its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astropy.io import fits


@dataclass(frozen=True, slots=True)
class Column:
    """What is known of a column."""

    description: str = ""
    ucd: str = ""
    """Empty: none fits."""
    unit: str = ""
    """As astropy spells it; empty: it has none."""


SUFFIXES: Mapping[str, str] = {
    "_um": "um",
    "_deg": "deg",
    "_arcsec": "arcsec",
    "_arcsec2": "arcsec2",
    "_bytes": "byte",
    "_s": "s",
    "_kms": "km / s",
    "_w_m2": "W / m2",
    "_mjy_sr": "MJy / sr",
    "_ujy": "uJy",
    "_px": "pix",
}
"""What a column's last part says about its unit; `_err` after it changes nothing."""

FLUX, LINE_FLUX, SURFACE = "phot.flux.density", "phot.flux;spect.line", "phot.flux.density.sb"

OF_ALL: Mapping[str, Column] = {
    "obs_id": Column("Observation, as its archive names it", "meta.id;obs"),
    "target": Column("The nearest target that the record is about", "meta.id;src"),
    "uri": Column("Where the pixels were read from", "meta.ref.uri"),
    "config_hash": Column("Hash of the search that made the record", "meta.checksum"),
    "ra": Column("Right ascension, ICRS", "pos.eq.ra;meta.main", "deg"),
    "dec": Column("Declination, ICRS", "pos.eq.dec;meta.main", "deg"),
    "redshift": Column("Redshift z", "src.redshift"),
    "snr": Column("Height above the noise, in standard deviations", "stat.snr"),
    "false_alarm": Column("False candidates expected at this height or above", "stat.falsePositive"),
    "note": Column("What a reader of the numbers should know", "meta.note"),
    "notes": Column("What a reader of the numbers should know", "meta.note"),
}

OF_LINES: Mapping[str, Column] = {
    "line": Column("Spectral line", "meta.id;spect.line"),
    "rest_um": Column("Rest wavelength in vacuum", "em.wl;spect.line", "um"),
    "wavelength_um": Column("Wavelength at which it was found or expected, in vacuum", "em.wl;spect.line", "um"),
    "targets": Column("Every target that it concerns, the nearest first", "meta.id.assoc;src"),
    "velocity_kms": Column("Velocity of the line's centre from the target's redshift", "spect.dopplerVeloc", "km / s"),
    "velocity_err_kms": Column("Error of the line's centre", "stat.error;spect.dopplerVeloc", "km / s"),
    "fwhm_kms": Column("Full width at half maximum, instrument included", "spect.line.width", "km / s"),
    "fwhm_err_kms": Column("Error of the width", "stat.error;spect.line.width", "km / s"),
    "flux_w_m2": Column("Integrated flux of the line", LINE_FLUX, "W / m2"),
    "flux_err_w_m2": Column("Error of the flux", f"stat.error;{LINE_FLUX}", "W / m2"),
    "position_err_arcsec": Column("Error of each coordinate", "stat.error;pos.eq", "arcsec"),
    "peak_ra": Column("Right ascension of the brightest spaxel, ICRS", "pos.eq.ra;stat.max", "deg"),
    "peak_dec": Column("Declination of the brightest spaxel, ICRS", "pos.eq.dec;stat.max", "deg"),
    "offset_arcsec": Column("Distance from the target", "pos.angDistance", "arcsec"),
    "direction": Column("Direction from the target, from north to east", "pos.posAng", "deg"),
    "spaxels": Column("Spaxels of the region", "meta.number;instr.pixel"),
    "area_arcsec2": Column("Area of the region", "phys.angArea", "arcsec2"),
    "extent_along_arcsec": Column("Full width at half maximum along the region", "phys.angSize.smajAxis", "arcsec"),
    "extent_across_arcsec": Column("Full width at half maximum across the region", "phys.angSize.sminAxis", "arcsec"),
    "position_angle": Column("Direction of the region's length, from north to east", "pos.posAng", "deg"),
    "extended": Column("Whether it is longer than the point-spread function", "meta.code.class"),
    "continuum_mjy_sr": Column("Mean continuum beneath the line", f"{SURFACE};spect.continuum", "MJy / sr"),
    "map": Column("FITS file with flux, S/N and velocity around it"),
    "plane": Column("The peak's plane in the cube, counted from 0", "meta.number"),
    "value": Column("Part of the good pixels that the largest bright region covers", "stat.value"),
    "prominence": Column("By how much the peak stands out", "stat.value"),
    "threshold": Column("By how much it had to", "stat.value;stat.min"),
    "flux": Column("Flux that would have been found with a probability of 95 %", f"{LINE_FLUX};stat.max", "W / m2"),
}

OF_IMAGES: Mapping[str, Column] = {
    "band": Column("Band of the image", "meta.id;instr.bandpass"),
    "mjd": Column("Middle of the exposure, MJD, UTC", "time.epoch;obs.exposure", "d"),
    "central_wavelength_um": Column("Wavelength at the target", "em.wl.central", "um"),
    "bandwidth_um": Column("Full width of the band at the target", "instr.bandwidth", "um"),
    "x": Column("Place along the rows, counted from 0", "pos.cartesian.x;instr.pixel", "pix"),
    "y": Column("Place along the columns, counted from 0", "pos.cartesian.y;instr.pixel", "pix"),
    "x0": Column("Whole image's column that is the cutout's first, counted from 0", "pos.cartesian.x;instr.pixel", "pix"),
    "y0": Column("Whole image's row that is the cutout's first, counted from 0", "pos.cartesian.y;instr.pixel", "pix"),
    "nx": Column("Columns of the cutout", "meta.number;instr.pixel", "pix"),
    "ny": Column("Rows of the cutout", "meta.number;instr.pixel", "pix"),
    "clipped": Column("Whether the image ends inside the cutout that was asked for", "meta.code"),
    "good_fraction": Column("Part of the pixels that have a value and no bad flag", "stat.value;instr.pixel"),
    "cutout": Column("FITS file with the cutout"),
    "cutout_index": Column("Number of the cutout, as in IMAGE1", "meta.record"),
    "shape": Column("Rows and columns of each plane", "meta.number;instr.pixel"),
    "psf_shape": Column("Rows and columns of the point-spread function", "meta.number"),
    "image": Column("Surface brightness, row by row, zodiacal light included", SURFACE, "MJy / sr"),
    "flags": Column("Flags, the sum of their values", "meta.code.qual"),
    "variance": Column("Variance of the surface brightness, row by row", f"stat.variance;{SURFACE}", "MJy2 / sr2"),
    "zodi": Column("Zodiacal light as modelled, row by row", f"{SURFACE};meta.modelled", "MJy / sr"),
    "solid_angle": Column("Solid angle of each pixel, row by row", "phys.angArea;instr.pixel", "arcsec2"),
    "psf": Column("Point-spread function at the target, row by row", "instr.det.psf"),
}

OF_SOURCES: Mapping[str, Column] = {
    "kind": Column("red: brighter at the longer wavelength; blue: at the shorter", "meta.code.class;phot.color"),
    "catalogue": Column("Where it was found: difference, or band a or b alone", "meta.code"),
    "flux_a_ujy": Column("Flux density in band a, the shorter wavelength", FLUX, "uJy"),
    "flux_a_err_ujy": Column("Error of the flux density in band a", f"stat.error;{FLUX}", "uJy"),
    "flux_b_ujy": Column("Flux density in band b, the longer wavelength", FLUX, "uJy"),
    "flux_b_err_ujy": Column("Error of the flux density in band b", f"stat.error;{FLUX}", "uJy"),
    "difference_ujy": Column("Flux density in band b less that in band a", f"{FLUX};arith.diff", "uJy"),
    "difference_err_ujy": Column("Error of the difference", f"stat.error;{FLUX};arith.diff", "uJy"),
    "colour": Column("-2.5 log10 of the flux density in band a over that in band b", "phot.color", "mag"),
    "colour_err": Column("Error of the colour", "stat.error;phot.color", "mag"),
    "central_wavelength_a_um": Column("Wavelength in band a at the source", "em.wl.central", "um"),
    "central_wavelength_b_um": Column("Wavelength in band b at the source", "em.wl.central", "um"),
    "flags_a": Column("Flags in band a, the sum of their values", "meta.code.qual"),
    "flags_b": Column("Flags in band b, the sum of their values", "meta.code.qual"),
    "source": Column("Source, by its position or its number in the image", "meta.id;src"),
    "n_pairs": Column("Pairs of images in which it was found", "meta.number;obs.image"),
    "n_bad": Column("Pixels with a bad flag", "meta.number;instr.pixel"),
    "n_nan": Column("Pixels without a value", "meta.number;instr.pixel"),
    "n_pixels": Column("Good pixels, parts counted", "meta.number;instr.pixel"),
    "a_px": Column("Standard deviation along the source", "phys.angSize.smajAxis;instr.pixel", "pix"),
    "b_px": Column("Standard deviation across the source", "phys.angSize.sminAxis;instr.pixel", "pix"),
    "theta_deg": Column("Direction of the source's length, from the first axis to the second", "pos.posAng", "deg"),
    "ellipticity": Column("1 less the source's width over its length", "src.ellipticity"),
    "band_a": Column("Band of the shorter wavelength", "meta.id;instr.bandpass"),
    "band_b": Column("Band of the longer wavelength", "meta.id;instr.bandpass"),
    "mjd_a": Column("Middle of the exposure in band a, MJD, UTC", "time.epoch;obs.exposure", "d"),
    "mjd_b": Column("Middle of the exposure in band b, MJD, UTC", "time.epoch;obs.exposure", "d"),
    "obs_id_a": Column("Observation in band a", "meta.id;obs"),
    "obs_id_b": Column("Observation in band b", "meta.id;obs"),
    "method": Column("aperture or psf", "meta.code"),
    "aperture_px": Column("Radius of the aperture", "phys.angSize;instr.pixel", "pix"),
    "flux_ujy": Column("Flux density", FLUX, "uJy"),
    "flux_err_ujy": Column("Error of the flux density", f"stat.error;{FLUX}", "uJy"),
    "peak_ujy": Column("Highest pixel of the difference", FLUX, "uJy"),
    "sep_flags": Column("Flags of SEP, the sum of their values", "meta.code.qual"),
    "ab_mag": Column("AB magnitude", "phot.mag", "mag"),
    "ab_mag_err": Column("Error of the AB magnitude", "stat.error;phot.mag", "mag"),
    "background": Column("Background that was taken off", f"{SURFACE};instr.background", "MJy / sr"),
    "aperture_correction": Column("Factor for light outside the aperture or on bad pixels", "arith.factor"),
    "chi2_dof": Column("Chi-square of the fit over its degrees of freedom", "stat.fit.chi2"),
    "neighbours": Column("Sources that were fitted with it", "meta.number;src"),
}

OF_THE_LEDGER: Mapping[str, Column] = {
    "status": Column("detected, nothing, skipped or failed", "meta.code.status"),
    "reason": Column("Why it was skipped or failed", "meta.note"),
    "candidates": Column("Records in the candidate table", "meta.number"),
    "bytes_read": Column("Bytes received for this observation", "phys.size;meta.file", "byte"),
    "requests": Column("Requests sent for this observation, retries included", "meta.number"),
    "seconds": Column("Time spent reading, detecting and drawing", "time.duration", "s"),
    "figures_seconds": Column("Of this, time spent drawing figures", "time.duration", "s"),
    "file_bytes": Column("Bytes of the whole product; 0: not told", "phys.size;meta.file", "byte"),
    "retries": Column("Requests that were sent again, by host", "meta.number"),
    "detect_seconds": Column("Of the seconds, time spent detecting", "time.duration", "s"),
    "limits": Column("What the searched lines without a candidate cannot exceed"),
    "ranges": Column("Bytes of the product that were read"),
    "uris": Column("Where the product can be had, in order of preference", "meta.ref.uri"),
    "partner": Column("Where the second image can be had, in order of preference", "meta.ref.uri"),
    "skip": Column("Why the observation is not read", "meta.note"),
    "observations": Column("Observations that hold the target", "meta.number;obs"),
    "searched": Column("Of these, those that were searched", "meta.number;obs"),
    "found": Column("Of these, those with a record of it", "meta.number;obs"),
    "n_lines": Column("Distinct lines detected in them", "meta.number;spect.line"),
    "lines": Column("Distinct lines detected in them", "meta.id;spect.line"),
    "notable": Column("Whether these are as many as the search asks for", "meta.code"),
}

OF_OBSCORE: Mapping[str, Column] = {
    "dataproduct_type": Column("Kind of the product", "meta.code.class"),
    "calib_level": Column("Level of calibration", "meta.code;obs.calib"),
    "obs_collection": Column("Collection", "meta.id"),
    "obs_publisher_did": Column("Identifier given by the publisher", "meta.ref.ivoid"),
    "access_url": Column("Where the product can be had", "meta.ref.url"),
    "access_format": Column("Format of the product", "meta.code.mime"),
    "access_estsize": Column("Size of the product", "phys.size;meta.file", "kbyte"),
    "target_name": Column("Object, as the observer named it", "meta.id;src"),
    "s_ra": Column("Right ascension of the middle, ICRS", "pos.eq.ra", "deg"),
    "s_dec": Column("Declination of the middle, ICRS", "pos.eq.dec", "deg"),
    "s_fov": Column("Diameter of the field", "phys.angSize;instr.fov", "deg"),
    "s_region": Column("Footprint as the archive gave it (STC-S)", "pos.outline;obs.field"),
    "s_resolution": Column("Spatial resolution", "pos.angResolution", "arcsec"),
    "t_min": Column("Begin of the observation, MJD", "time.start;obs.exposure", "d"),
    "t_max": Column("End of the observation, MJD", "time.end;obs.exposure", "d"),
    "t_exptime": Column("Exposure time", "time.duration;obs.exposure", "s"),
    "t_obs_release": Column("When it became public, MJD", "time.release", "d"),
    "em_min": Column("Shortest wavelength", "em.wl;stat.min", "m"),
    "em_max": Column("Longest wavelength", "em.wl;stat.max", "m"),
    "em_res_power": Column("Resolving power", "spect.resolution"),
    "facility_name": Column("Telescope", "meta.id;instr.tel"),
    "instrument_name": Column("Instrument", "meta.id;instr"),
    "filters": Column("Filters", "meta.id;instr.filter"),
    "proposal_id": Column("Program", "meta.id;obs.proposal"),
    "dataRights": Column("Whether it is public", "meta.code"),
    "dataURL": Column("Product, as its archive names it", "meta.ref.uri"),
    "cloud_access": Column("Where the product lies in the cloud", "meta.ref.uri"),
}

COLUMNS: Mapping[str, Column] = {**OF_ALL, **OF_LINES, **OF_IMAGES, **OF_SOURCES, **OF_THE_LEDGER, **OF_OBSCORE}
"""Name -> what it means, in every table."""

IN_TABLES: Mapping[tuple[str, str], Column] = {
    ("cutouts", "x"): Column("Column of the target in the cutout, counted from 0", "pos.cartesian.x;instr.pixel", "pix"),
    ("cutouts", "y"): Column("Row of the target in the cutout, counted from 0", "pos.cartesian.y;instr.pixel", "pix"),
    ("cutouts", "flags"): Column("Flags of each pixel, row by row", "meta.code.qual;instr.pixel"),
    ("spectra", "x"): Column("Column of the source on the whole image, counted from 0", "pos.cartesian.x;instr.pixel", "pix"),
    ("spectra", "y"): Column("Row of the source on the whole image, counted from 0", "pos.cartesian.y;instr.pixel", "pix"),
    ("spectra", "source"): Column("Source, as its catalogue names it", "meta.id;src"),
    ("spectra", "flags"): Column("Flags of all pixels that its light touches, the sum of their values", "meta.code.qual"),
    ("spectra", "good_fraction"): Column("Part of its light in the aperture, or the fit, on good pixels", "stat.value"),
    ("spectra", "n_bad"): Column("Pixels left out: with a bad flag, or without a value", "meta.number;instr.pixel"),
    ("spectra", "neighbours"): Column("Other sources whose light the aperture holds, or fitted with it", "meta.number;src"),
    ("targets", "target"): Column("Target, as its catalogue names it", "meta.id;src"),
}
"""Table and name -> what it means there, where that is something else."""


def describe(column: str, table: str = "") -> Column:
    """Return what is known of a column of a table: candidates, cutouts, sources, spectra, outcomes, limits, targets, ..."""
    return IN_TABLES.get((table, column)) or COLUMNS.get(column) or Column(unit=_unit_by_name(column))


def _unit_by_name(column: str) -> str:
    name = column.removesuffix("_err")
    return next((unit for suffix, unit in SUFFIXES.items() if name.endswith(suffix)), "")


def in_ascii(text: str) -> str:
    """Return text with letters beyond ASCII as escapes: FITS has no others."""
    return text.encode("ascii", "backslashreplace").decode()


def in_card(text: str) -> str:
    """Return text as a card of a FITS header can hold it: what cannot be printed is told by escapes, too."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in in_ascii(text))


def tell(header: fits.Header, number: int, column: Column) -> None:
    """Write what is known of a column into the header of a FITS table: TUNITn, TUCDn and TCOMMn."""
    from astropy import units

    if column.unit:
        header.set(f"TUNIT{number}", units.Unit(column.unit).to_string("fits"), after=f"TFORM{number}")
    if column.ucd:
        header[f"TUCD{number}"] = column.ucd
    if column.description:
        header[f"TCOMM{number}"] = column.description
