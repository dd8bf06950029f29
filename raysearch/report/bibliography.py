"""What a paper that uses a run's results should acknowledge and cite, as plain text.

Each text says how it is known: read where its archive publishes it, or quoted by others, and then to be looked up at its source
before it is printed. Texts and identifiers as of November 2026.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysearch.report.provenance import Provenance, creator
from raysearch.report.stream import Stream
from raysearch.report.texts import flat_column


@dataclass(frozen=True, slots=True)
class Credit:
    """A text to acknowledge a mission, an archive or a program with."""

    name: str
    text: str
    source: str
    """Where it is published."""
    read_there: bool
    """Whether the text here was read at its source; otherwise it is as others quote it."""
    cite: tuple[str, ...] = ()
    """Papers and identifiers to cite."""


MISSIONS: Mapping[str, Credit] = {
    "jwst": Credit(
        "James Webb Space Telescope",
        "This work is based [in part] on observations made with the NASA/ESA/CSA James Webb Space Telescope. The data were "
        "obtained from the Mikulski Archive for Space Telescopes at the Space Telescope Science Institute, which is operated by "
        "the Association of Universities for Research in Astronomy, Inc., under NASA contract NAS 5-03127 for JWST. These "
        "observations are associated with program(s) {programs}.",
        "https://archive.stsci.edu/publishing/mission-acknowledgements",
        read_there=False,
        cite=("A DOI for exactly the observations used: make one at MAST, https://archive.stsci.edu/publishing/doi",),
    ),
    "spherex": Credit(
        "SPHEREx",
        "This publication makes use of data products from the Spectro-Photometer for the History of the Universe, Epoch of "
        "Reionization and Ices Explorer (SPHEREx), which is a joint project of the Jet Propulsion Laboratory and the California "
        "Institute of Technology, and is funded by the National Aeronautics and Space Administration.",
        "SPHEREx Explanatory Supplement, section 1.6, https://irsa.ipac.caltech.edu/Missions/spherex.html",
        read_there=False,
        cite=(
            "QR1: doi:10.26131/IRSA629, QR2: doi:10.26131/IRSA652, QR3: doi:10.26131/IRSA662, as others quote them",
            "IRSA's own notebook gives 10.26131/IRSA629 for QR2: see the page of the release",
        ),
    ),
    "sofia": Credit(
        "SOFIA",
        "Based [in part] on observations made with the NASA/DLR Stratospheric Observatory for Infrared Astronomy (SOFIA). SOFIA is "
        "jointly operated by the Universities Space Research Association, Inc. (USRA), under NASA contract NNA17BF53C, and the "
        "Deutsches SOFIA Institut (DSI) under DLR contract 50 OK 0901 to the University of Stuttgart.",
        "https://sofia.usra.edu/science/publications/information-authors",
        read_there=True,
        cite=("Temi et al. 2014, ApJS 212, 24", "FIFI-LS: Klein et al. 2014, Proc. SPIE 9147, 91472X"),
    ),
    "herschel": Credit(
        "Herschel",
        "Herschel is an ESA space observatory with science instruments provided by European-led Principal Investigator consortia "
        "and with important participation from NASA.",
        "Pilbratt et al. 2010, A&A 518, L1 (footnote)",
        read_there=True,
        cite=("Pilbratt et al. 2010, A&A 518, L1", "PACS: Poglitsch et al. 2010, A&A 518, L2"),
    ),
    "chandra": Credit(
        "Chandra",
        "The scientific results reported in this article are based [in part] on data obtained from the Chandra Data Archive.",
        "http://asc.harvard.edu/cdo/scipubs.html",
        read_there=True,
        cite=("The ObsIds below, as the Chandra Data Archive asks",),
    ),
}
"""By a word of a collection's, a telescope's or an instrument's name, or of an address."""

ARCHIVES: Mapping[str, Credit] = {
    "IRSA": Credit(
        "NASA/IPAC Infrared Science Archive (facility keyword: IRSA)",
        "This research has made use of the NASA/IPAC Infrared Science Archive, which is funded by the National Aeronautics and "
        "Space Administration and operated by the California Institute of Technology.",
        "https://irsa.ipac.caltech.edu/ack.html",
        read_there=True,
        cite=("The DOI of each data set, as its page at IRSA gives it",),
    ),
    "HEASARC": Credit(
        "High Energy Astrophysics Science Archive Research Center",
        "This research has made use of data obtained from the High Energy Astrophysics Science Archive Research Center (HEASARC), "
        "provided by NASA's Goddard Space Flight Center.",
        "Acknowledging the Use of HEASARC Data, https://heasarc.gsfc.nasa.gov",
        read_there=False,
        cite=("The dataset identifiers (ObsIDs) below, as the HEASARC asks",),
    ),
    "SIMBAD": Credit(
        "SIMBAD",
        "This research has made use of the SIMBAD database, operated at CDS, Strasbourg, France.",
        "https://simbad.cds.unistra.fr",
        read_there=False,
        cite=("Wenger et al. 2000, A&AS 143, 9",),
    ),
}
"""By the name of the service that was asked."""

SOFTWARE: Mapping[str, Credit] = {
    "astropy": Credit(
        "Astropy",
        "This work made use of Astropy (http://www.astropy.org), a community-developed core Python package and an ecosystem of "
        "tools and resources for astronomy.",
        "https://www.astropy.org/acknowledging.html",
        read_there=False,
        cite=("Astropy Collaboration 2013, A&A 558, A33", "2018, AJ 156, 123", "2022, ApJ 935, 167"),
    ),
    "astroquery": Credit(
        "Astroquery", "", "https://astroquery.readthedocs.io", read_there=False, cite=("Ginsburg et al. 2019, AJ 157, 98",)
    ),
    "ray": Credit(
        "Ray",
        "",
        "https://www.usenix.org/conference/osdi18/presentation/nishihara",
        read_there=True,
        cite=("Moritz et al. 2018, OSDI 18, 561",),
    ),
}
"""By the name of the package."""

OF_DETECTORS: Mapping[str, tuple[str, ...]] = {
    "pairs": ("sep: Barbary 2016, JOSS 1(6), 58", "Source Extractor: Bertin & Arnouts 1996, A&AS 117, 393", "reproject"),
    "images": ("photutils (Bradley et al.)",),
}
"""What else the detectors of a kind of search rest on."""

NAMED_BY = ("obs_collection", "instrument_name", "facility_name", "obs_publisher_did", "uri", "access_url")
COLUMNS = ("obs_id", "proposal_id", "uris", *NAMED_BY)
"""Of the work list, what is looked at."""
NO_COLLECTION = "without a collection"
WIDTH = 100


def bibliography(about: Mapping[str, Any], searched: Stream, kind: str = "lines") -> Iterator[str]:
    """Yield the lines of what to acknowledge and to cite for the observations that were searched.

    Parameters
    ----------
    about
        What run.json says.
    searched
        The work list as far as it was searched, with such of `COLUMNS` as it has.
    kind
        Of the search: lines, images or pairs.
    """
    used = _used(searched)
    asked = dict.fromkeys(str(query.get("service", "")) for query in about.get("queries") or ())
    archives = [name for name in ARCHIVES if any(name.casefold() in service.casefold() for service in asked)]
    yield from (*_head(about, sum(used.collections.values())), "", "MISSIONS AND ARCHIVES", "")
    for credit in (*(MISSIONS[word] for word in MISSIONS if word in used.missions), *(ARCHIVES[name] for name in archives)):
        yield from (*_told(credit, sorted(used.programs)), "")
    others = [
        service for service in asked if service and not any(name.casefold() in service.casefold() for name in (*ARCHIVES, "MAST"))
    ]
    if others:
        yield from (f"No text is known here for: {', '.join(others)}. Look it up at the service.", "")
    yield from ("SOFTWARE", "", *_software(kind), "", "DATA SETS", "")
    for collection, count in sorted(used.collections.items()):
        yield f"{collection}: {count:,} observations"
        yield from _data_sets(searched, collection)


@dataclass(frozen=True, slots=True)
class _Used:
    """What observations were searched."""

    missions: set[str]
    programs: set[str]
    collections: Counter[str]
    """How many of each."""


def _used(searched: Stream) -> _Used:
    used = _Used(set(), set(), Counter())
    for piece in searched.read():
        used.missions.update(word for word in MISSIONS if word not in used.missions and _speaks_of(piece, word))
        used.collections.update(_collections(piece).to_pylist())
        if "proposal_id" in piece.column_names:
            used.programs.update(str(program) for program in pc.unique(flat_column(piece["proposal_id"])).to_pylist() if program)
    return used


def _collections(observations: pa.Table) -> pa.ChunkedArray:
    """Return the collection of each observation."""
    if "obs_collection" not in observations.column_names:
        return pa.chunked_array([pa.repeat(NO_COLLECTION, observations.num_rows)])
    told = flat_column(observations["obs_collection"]).cast(pa.string())
    return pc.if_else(pc.equal(pc.fill_null(told, ""), ""), NO_COLLECTION, told)


def _speaks_of(observations: pa.Table, word: str) -> bool:
    """Return whether a column that may name a mission has the word, not as a part of a longer one."""
    told = [flat_column(observations[name]).cast(pa.string()) for name in NAMED_BY if name in observations.column_names]
    told += [pc.list_flatten(observations["uris"]).cast(pa.string())] if "uris" in observations.column_names else []
    found = (pc.any(pc.match_substring_regex(texts, f"(?i)(^|[^a-z]){word}([^a-z]|$)")).as_py() for texts in told)
    return any(found)


def _head(about: Mapping[str, Any], searched: int) -> Iterator[str]:
    provenance = Provenance.of(about)
    yield f"What to acknowledge and to cite for the search {provenance.search!r} ({provenance.config_hash})"
    yield f"{searched:,} observations searched; run of {provenance.started}; written by {creator()} on {provenance.written}"
    yield "Texts marked * are as others quote them: look at their source before you print them."


def _told(credit: Credit, programs: Sequence[str]) -> Iterator[str]:
    yield f"{credit.name}{'' if credit.read_there else ' *'}"
    text = credit.text.replace("{programs}", ", ".join(programs) or "____")
    yield from _wrapped(text)
    yield f"  Source: {credit.source}"
    for item in credit.cite:
        yield from _wrapped(f"Cite: {item}")


def _software(kind: str) -> Iterator[str]:
    yield creator()
    for package, credit in SOFTWARE.items():
        try:
            number = version(package)
        except PackageNotFoundError:
            continue
        yield f"{credit.name} {number}{'' if credit.read_there else ' *'}: {'; '.join(credit.cite)}"
        yield from _wrapped(credit.text)
    yield from OF_DETECTORS.get(kind, ())


def _data_sets(searched: Stream, collection: str) -> Iterator[str]:
    """Yield the searched observations of a collection, each with the publisher's identifier where there is one."""
    wanted = ("obs_id", "obs_publisher_did", "proposal_id")
    for piece in searched.read():
        rows = piece.select([name for name in wanted if name in piece.column_names])
        for row in rows.filter(pc.equal(_collections(piece), collection)).to_pylist():
            did, program = row.get("obs_publisher_did"), row.get("proposal_id")
            yield f"  {row['obs_id']}" + (f"  {did}" if did else "") + (f"  program {program}" if program else "")


def _wrapped(text: str) -> Iterator[str]:
    """Yield a paragraph as indented lines."""
    import textwrap

    return iter(textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False))
