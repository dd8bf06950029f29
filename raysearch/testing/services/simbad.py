"""SIMBAD's TAP service: capabilities and synchronous queries over `basic` and `ident`, with SIMBAD's own `otype = 'X..'`."""

from __future__ import annotations

from aiohttp import web

from raysearch.testing.services.database import Database
from raysearch.testing.services.shelf import Shelf
from raysearch.testing.services.tap import Tap
from raysearch.testing.services.votable import columns

HARD_LIMIT = 2_000_000
"""Rows the service sends at most."""

OBJECT_TYPES = {
    "Y*O": "*", "Y*?": "Y*O", "Or*": "Y*O", "TT*": "Y*O", "TT?": "TT*", "Ae*": "Y*O", "Ae?": "Ae*", "out": "Y*O", "HH": "Y*O",
    "V*": "*", "PM*": "*", "Ma*": "*", "Ev*": "*", "RG*": "Ev*", "WD*": "Ev*",
    "G": "", "AGN": "G", "SyG": "AGN", "ISM": "", "MoC": "ISM", "*": "",
}  # fmt: skip
"""Object type -> its parent, a small part of SIMBAD's tree."""

BASIC = columns("""
main_id VARCHAR, oid BIGINT, ra DOUBLE, dec DOUBLE, ra_prec SMALLINT, dec_prec SMALLINT,
coo_err_maj REAL, coo_err_min REAL, coo_err_angle SMALLINT, coo_err_maj_prec SMALLINT, coo_err_min_prec SMALLINT,
coo_qual CHAR, coo_wavelength CHAR, coo_bibcode CHAR, hpx BIGINT, nbref INTEGER, otype VARCHAR, otype_txt VARCHAR,
galdim_majaxis REAL, galdim_minaxis REAL, galdim_angle SMALLINT, galdim_majaxis_prec SMALLINT, galdim_minaxis_prec SMALLINT,
galdim_qual CHAR, galdim_wavelength CHAR, galdim_bibcode CHAR, morph_type VARCHAR, morph_qual CHAR, morph_bibcode CHAR,
plx_value DOUBLE, plx_err REAL, plx_prec SMALLINT, plx_err_prec SMALLINT, plx_qual CHAR, plx_bibcode CHAR,
pmra DOUBLE, pmdec DOUBLE, pmra_prec SMALLINT, pmdec_prec SMALLINT, pm_err_maj REAL, pm_err_min REAL, pm_err_angle SMALLINT,
pm_err_maj_prec SMALLINT, pm_err_min_prec SMALLINT, pm_qual CHAR, pm_bibcode CHAR,
rvz_radvel DOUBLE, rvz_redshift DOUBLE, rvz_type CHAR, rvz_err REAL, rvz_nature CHAR, rvz_qual CHAR, rvz_wavelength CHAR,
rvz_radvel_prec SMALLINT, rvz_redshift_prec SMALLINT, rvz_err_prec SMALLINT, rvz_bibcode CHAR,
sp_type VARCHAR, sp_qual CHAR, sp_bibcode CHAR, update_date VARCHAR,
vlsr DOUBLE, vlsr_err DOUBLE, vlsr_max REAL, vlsr_min REAL, vlsr_wavelength CHAR, vlsr_bibcode CHAR
""")
"""The 67 columns of `basic` and their types."""

IDENT = columns("id VARCHAR, oidref BIGINT")


class Simbad:
    """SIMBAD over a shelf's targets."""

    def __init__(self, shelf: Shelf) -> None:
        database = Database(OBJECT_TYPES)
        targets = [
            {"oid": oid, "otype_txt": target["otype"], "coo_qual": "A", "nbref": 1, **target}
            for oid, target in enumerate(shelf.targets, start=1)
        ]
        database.add("basic", BASIC, targets, index="oid")
        names = ((name, t["oid"]) for t in targets for name in (t["main_id"], *t.get("ids", ())))
        database.add("ident", IDENT, ({"id": name, "oidref": oid} for name, oid in names), index="id")
        self._tap = Tap(shelf, "simbad", "/simbad/sim-tap", database, HARD_LIMIT)

    def routes(self) -> list[web.RouteDef]:
        """Return the addresses it answers."""
        return self._tap.routes()
