"""The tidy table of spectra, from what the detector says."""

import pyarrow as pa
import pytest

from raysearch.detect.photometry import Photometry
from raysearch.errors import TableError
from raysearch.model import Pixels
from raysearch.report.spectra import COLUMNS, spectra_table
from raysearch.report.tables import to_table
from raysearch.testing.spherex_boxes import boxes, starfield


@pytest.fixture(scope="module")
def candidates():
    rows = []
    for number in (2, 1):
        image, _ = boxes(starfield(number, 1000.0, across=2))
        found = Photometry().detect(Pixels("o", "u", images=(image,)))
        common = {"obs_id": f"o{number}", "uri": "u", "config_hash": "h"}
        rows += [{**common, "target": one.target, **one.values} for one in found]
    return pa.Table.from_pylist(rows)


def test_a_row_for_each_source_image_and_aperture_in_order_of_wavelength(candidates):
    table = spectra_table(candidates)
    assert len(table) == len(candidates) == 2 * 4 * 4
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    assert [row["source"] for row in rows] == sorted(row["source"] for row in rows)
    one = [row["central_wavelength_um"] for row in rows if row["source"] == "s0" and row["method"] == "psf"]
    assert one == sorted(one)
    assert len(one) == 2


def test_the_order_of_the_records_does_not_matter(candidates):
    backwards = candidates.take(list(range(len(candidates)))[::-1])
    assert repr(spectra_table(backwards).to_pylist()) == repr(spectra_table(candidates).to_pylist())


def test_every_column_tells_what_it_is_and_numbers_with_a_unit_have_it(candidates):
    table = spectra_table(candidates)
    told = {field.name: {k.decode(): v.decode() for k, v in field.metadata.items()} for field in table.schema}
    assert all(told[name].get("description") for name in COLUMNS)
    assert {name: told[name].get("unit", "") for name in ("flux_ujy", "background", "bandwidth_um", "mjd", "aperture_px")} == {
        "flux_ujy": "uJy",
        "background": "MJy / sr",
        "bandwidth_um": "um",
        "mjd": "d",
        "aperture_px": "pix",
    }


def test_astropy_knows_the_units(candidates):
    table = to_table(spectra_table(candidates))
    assert str(table["flux_ujy"].unit) == "uJy"
    assert str(table["central_wavelength_um"].unit) == "um"


def test_a_table_of_something_else_is_refused(candidates):
    with pytest.raises(TableError, match="it lacks method, flux_ujy"):
        spectra_table(candidates.drop_columns(["flux_ujy", "method"]))
