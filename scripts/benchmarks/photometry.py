"""How true photometry is: sources of known flux on made-up SPHEREx frames, measured in apertures and by their PSF.

Each scene says what is difficult; each is measured at several fluxes. The bias is the mean of measured less true flux, over the
mean true flux; a pull is an error in units of what the record says it is. Seeds are fixed, and those under 1000 are for measuring.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from parts.detection_report import markdown
from parts.photometry_figure import figure

from raysearch.detect.photometry import Photometry
from raysearch.model import Candidate, Cutout, Image, Pixels
from raysearch.testing.spherex_boxes import boxes, starfield
from raysearch.testing.spherex_pixels import Injected
from raysearch.testing.spherex_spec import FrameSpec

DOCS = Path(__file__).resolve().parents[2] / "docs"
FLUXES = (100.0, 300.0, 1000.0, 10000.0, 50000.0)
"""uJy: from three standard deviations of the PSF's flux to half of what overflows."""


def as_it_is(image: Image, _: FrameSpec) -> Image:
    return image


@dataclass(frozen=True)
class Scene:
    """What is on the frames, and what is wrong with them."""

    text: str
    spec: Callable[[int, float], FrameSpec]
    image: Callable[[Image, FrameSpec], Image] = as_it_is


def varied(number: int, flux: float, changes: dict[str, object], **field) -> FrameSpec:
    return replace(starfield(number, flux, **field), **changes)


def own_variance(image: Image, spec: FrameSpec) -> Image:
    """Return the image with VARIANCE worked out from its noisy pixels, as a pipeline must, and not from the truth."""

    def redone(cutout: Cutout) -> Cutout:
        light = np.maximum(cutout.planes["IMAGE"], 0.1 * spec.zodi)
        variance = (spec.noise**2 / 2 * (1 + light / spec.zodi)).astype(np.float32)
        return replace(cutout, planes={**cutout.planes, "VARIANCE": variance})

    return replace(image, cutouts=tuple(map(redone, image.cutouts)))


def misplaced(image: Image, spec: FrameSpec) -> Image:
    """Return the image with the targets 0.1 pixels beside the sources."""
    rng = np.random.default_rng((spec.number, 3))
    angles = rng.uniform(0, 2 * math.pi, len(image.cutouts))
    moved = [replace(c, x=c.x + 0.1 * math.cos(a), y=c.y + 0.1 * math.sin(a)) for c, a in zip(image.cutouts, angles, strict=True)]
    return replace(image, cutouts=tuple(moved))


def scene(
    text: str, image: Callable[[Image, FrameSpec], Image] = as_it_is, changes: dict[str, object] | None = None, **field
) -> Scene:
    return Scene(text, partial(varied, changes=changes or {}, **field), image)


SCENES = {
    "alone": scene("one source, anywhere within a pixel, in all zones of the PSF"),
    "slope": scene(
        "zodiacal light with a slope, and light that ZODI does not know", changes={"zodi_slope": (0.2, 0.4), "background": 0.05}
    ),
    "crowded": scene(
        "three companions, all of them targets, 1 to 4 pixels away, of 0.2 to 5 times the flux: apertures hold their light too",
        companions=3,
    ),
    "blemished": scene(
        "a bad pixel up to 1.5 pixels from each source, and as many others as in real frames",
        changes={"bad": 1.0},
        blemish="TRANSIENT",
    ),
    "variance": scene("VARIANCE worked out from the noisy pixels, as a pipeline must", own_variance),
    "effective": scene("the third release (QR3), with its effective PSFs", changes={"release": "qr3"}),
    "tails": scene("0.5 % of all pixels with four times their noise, unknown to VARIANCE", changes={"tails": 0.005}),
    "misplaced": scene("targets 0.1 pixels (0.6 arcsec) beside the sources", misplaced),
}


def measure(scene: Scene, flux: float, frames: int) -> tuple[dict[str, np.ndarray], float]:
    """Return method -> true flux, measured flux and error, shape (3, n), NaN where there is none; and CPU seconds."""
    detector, found, seconds = Photometry(), {}, 0.0
    for number in range(1, frames + 1):
        spec = scene.spec(number, flux)
        image, true = boxes(spec)
        pixels = Pixels("o", "u", images=(scene.image(image, spec),))
        began = time.process_time()
        records = detector.detect(pixels)
        seconds += time.process_time() - began
        collect(found, records, true)
    return {method: np.array(rows).T for method, rows in found.items()}, seconds


def collect(found: dict[str, list], records: list[Candidate], true: list[Injected]) -> None:
    fluxes = {one.source.name: one.flux_ujy for one in true}
    for record in records:
        values = record.values
        method = "psf" if values["method"] == "psf" else f"r = {values['aperture_px']:g}"
        alone = not values["note"].startswith("one source with")  # else the flux is that of several, and says so
        measured = (values["flux_ujy"], values["flux_err_ujy"]) if alone else (math.nan, math.nan)
        found.setdefault(method, []).append((fluxes[record.target], *measured))


def told(measured: np.ndarray) -> dict[str, float]:
    """Return bias, its error, mean and standard deviation of the pulls, and how many were measured of how many."""
    true, flux, error = measured[:, np.isfinite(measured[1])]
    scale, off, pulls = true.mean(), flux - true, (flux - true) / error
    return {
        "bias": off.mean() / scale,
        "bias_err": off.std() / scale / math.sqrt(len(off)),
        "pull": pulls.mean(),
        "spread": pulls.std(),
        "robust": 1.4826 * np.median(np.abs(pulls - np.median(pulls))),
        "snr": (true / error).mean(),
        "measured": len(off),
        "asked": measured.shape[1],
    }


def row(of: dict) -> list[str]:
    """Return a line of the table."""
    bias = f"{100 * of['bias']:+.2f} ± {100 * of['bias_err']:.2f}"
    pulls = [f"{of['pull']:+.2f}", f"{of['spread']:.2f}", f"{of['robust']:.2f}"]
    return [
        of["scene"],
        f"{of['flux']:g}",
        of["method"],
        f"{of['snr']:.1f}",
        bias,
        *pulls,
        f"{100 * of['measured'] / of['asked']:.1f}",
    ]


HEADS = ["scene", "µJy", "method", "S/N", "bias, %", "mean pull", "pulls", "robust", "measured, %"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=12, help="frames for each scene and flux, of 81 sources each")
    parser.add_argument("--scenes", nargs="*", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--fluxes", nargs="*", type=float, default=list(FLUXES), help="µJy")
    parser.add_argument("--docs", action="store_true", help="write the table and the figure of docs/spectra.md")
    arguments = parser.parse_args()
    rows, seconds, count = [], 0.0, 0
    for name in arguments.scenes:
        for flux in arguments.fluxes:
            found, spent = measure(SCENES[name], flux, arguments.frames)
            methods = ["r = 3", "r = 5", "psf"] if name == "alone" else ["r = 3", "psf"]
            rows += [{"scene": name, "flux": flux, "method": method, **told(found[method])} for method in methods]
            seconds, count = seconds + spent, count + found["psf"].shape[1]
            print("  ".join(row(rows[-1])), file=sys.stderr)
    scenes = "\n".join(f"- `{name}`: {SCENES[name].text}" for name in arguments.scenes)
    table = markdown(HEADS, [row(of) for of in rows])
    speed = f"{1000 * seconds / count:.2f} ms of CPU for each source and image, three apertures and the PSF ({count} of them)"
    print(f"{scenes}\n\n{table}\n\n{speed}")
    if arguments.docs:
        command = " ".join(["scripts/bench photometry", *sys.argv[1:]])
        write_docs(f"Made by `{command}`; {speed}.\n\n{scenes}\n\n{table}")
        figure(rows, DOCS / "spectra.png")
    return 0


def write_docs(text: str) -> None:
    """Replace what docs/spectra.md says was measured."""
    page = DOCS / "spectra.md"
    before, _, rest = page.read_text().partition("<!-- measured -->\n")
    _, _, after = rest.partition("<!-- end -->\n")
    page.write_text(f"{before}<!-- measured -->\n\n{text}\n\n<!-- end -->\n{after}")


if __name__ == "__main__":
    sys.exit(main())
