"""What IRSA says of SPHEREx frames: rows of SIA2, planes and artifacts of TAP, and where the files are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from raysearch.testing.holdings import Product, Row
from raysearch.testing.spherex import BANDS, FrameSpec
from raysearch.testing.spherex_optics import Optics

SPHEREX_BUCKET = "nasa-irsa-spherex"
EXPOSURE_DAYS = 0.001367


def irsa_row(s_ra: float, s_dec: float, s_region: str, **columns: Any) -> Row:
    """Return a row of IRSA's SIA2 with what most rows have alike; the rest by name."""
    return {
        "s_ra": s_ra,
        "s_dec": s_dec,
        "s_region": s_region,
        "obs_intent": "science",
        "dataproduct_subtype": "science",
        "target_standard": "0",
        "target_moving": "0",
        "position_timedependent": "0",
        "upload_row_id": 1,
        **columns,
    }


def sia_row(spec: FrameSpec, size: int, *, said: bool = True) -> Row:
    """Return what SIA2 says of a frame whose file has so many bytes; of where it is in the cloud only where `said`."""
    em_min, em_max, power = BANDS[spec.detector]
    side = spec.field.nx
    aws = f'{{"aws": {{"bucket_name": "{SPHEREX_BUCKET}", "key":"{spec.key}", "region": "us-east-1"}}}}'
    return irsa_row(
        spec.field.ra,
        spec.field.dec,
        Optics.of(spec).s_region(),
        facility_name="SPHEREx",
        instrument_name="SPHEREx",
        calib_level=2,
        dataproduct_type="image",
        energy_bandpassname=f"SPHEREx-D{spec.detector}",
        energy_emband="Infrared",
        obs_id=spec.obs_id,
        s_resolution=3.075,
        em_min=em_min,
        em_max=em_max,
        em_res_power=power,
        proposal_title="Synthetic LVF survey",
        access_url=f"{{origin}}/ibe/data/spherex/{spec.key}",
        access_format="image/fits",
        access_estsize=math.ceil(size / 1000),
        t_exptime=113.5826,
        obs_collection=f"spherex_{spec.release}",
        algorithm_name="exposure",
        target_name=f"SPS_{spec.number}",
        target_type="field",
        obs_release_date="2026-01-27 19:52:50",
        s_xel1=side,
        s_xel2=spec.field.ny,
        s_pixel_scale=spec.field.pixel_arcsec,
        t_min=spec.mjd,
        t_max=spec.mjd + EXPOSURE_DAYS,
        obs_publisher_did=f"ivo://irsa.ipac/spherex_{spec.release}?{spec.obs_id}/D{spec.detector}",
        s_fov=side * spec.field.pixel_arcsec / 3600,
        cloud_access=aws if said else "",
    )


def tap_rows(frames: Iterable[tuple[FrameSpec, Row]]) -> dict[str, list[Row]]:
    """Return IRSA's tables over frames and their rows of SIA2: `spherex.plane`, `spherex.artifact`, `spherex.observation`."""
    planes, artifacts, observations = [], [], {}
    for spec, row in frames:
        planeid = f"{spec.obs_id}/D{spec.detector}"
        planes.append({
            "planeid": planeid, "obsid": spec.obs_id, "obs_publisher_did": row["obs_publisher_did"],
            "time_bounds_lower": row["t_min"], "time_bounds_upper": row["t_max"],
            "energy_bounds_lower": row["em_min"], "energy_bounds_upper": row["em_max"],
            "energy_bandpassname": row["energy_bandpassname"], "poly": row["s_region"], "provenance_version": spec.pipeline,
            "quality_flag": "Pass", "metrics_background": spec.zodi + spec.background, "metrics_maglimit": 18.0,
        })  # fmt: skip
        artifacts.append({
            "artifactid": f"{planeid}/fits", "planeid": planeid, "uri": f"ibe/data/spherex/{spec.key}", "producttype": "science",
            "contenttype": "image/fits", "contentlength": 1000 * row["access_estsize"],
        })  # fmt: skip
        observations[spec.obs_id] = {"obsid": spec.obs_id, "observationid": spec.obs_id, "collection": row["obs_collection"]}
    return {"spherex.plane": planes, "spherex.artifact": artifacts, "spherex.observation": list(observations.values())}


def spherex_product(key: str, body: str = "", *, in_cloud: bool = True, downloadable: bool = True) -> Product:
    """Return the product of a key: in the public bucket, and at IRSA under the same name."""
    where = f"ibe/data/spherex/{key}"
    return Product("", key, body or key, bucket=SPHEREX_BUCKET, in_cloud=in_cloud, downloadable=downloadable, path=where)
