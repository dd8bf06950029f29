"""How long the page of many candidates takes: to be made, to be seen, and to answer a filter.

A made-up run of `--candidates` line candidates, each with a small figure, in half as many observations and as many more without.
First paint is what the browser itself reports (`first-contentful-paint`), the gallery's is when its first card stands; a filter's
answer is from the change to the next frame that shows it. Medians of `--times` fresh browser profiles; the page is on disk.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from raysearch import pages
from raysearch.testing.runs import made_up_run

ANSWER = """async (change) => {
    const form = document.getElementById("filters");
    const [name, value] = change;
    const began = performance.now();
    form.elements[name].value = value;
    form.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - began;
}"""
FILTERS = {"line": "[Fe II] 17.936", "snr": "20", "text": "star 01", "quality": "clean", "order": "target"}


def seen(browser: Any, address: str) -> dict[str, float]:
    """Return milliseconds to the first paint, to the first card, to a card's figure, and to each filter's answer."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector("#gallery .card")
    found = {"first card": 1000 * (time.perf_counter() - began)}
    found["first paint"] = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    began = time.perf_counter()
    page.locator("#gallery .card").first.scroll_into_view_if_needed()
    page.wait_for_selector("#gallery .picture")
    found["first picture"] = 1000 * (time.perf_counter() - began)
    for name, value in FILTERS.items():
        found[f"filter by {name}"] = page.evaluate(ANSWER, [name, value])
    page.evaluate("document.getElementById('filters').reset()")
    page.wait_for_timeout(200)
    began = time.perf_counter()
    page.locator("#gallery .card").nth(3).click()
    page.wait_for_selector("#figures .picture")
    found["open a card"] = 1000 * (time.perf_counter() - began)
    context.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument(
        "--browser", default=next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
    )
    options = parser.parse_args()
    if not options.browser:
        parser.error("no browser was found; name one with --browser (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="raysearch-bench-") as scratch:
        folder = made_up_run(Path(scratch) / "run", options.candidates)
        began = time.perf_counter()
        index = pages.write(folder)
        made = time.perf_counter() - began
        files = [path for path in index.parent.rglob("*") if path.is_file()]
        sizes = [path.stat().st_size for path in files]
        print(f"{options.candidates:,} candidates: made in {made:.1f} s; {len(files):,} files, {sum(sizes) / 1e6:.1f} MB")
        print(f"index.html {index.stat().st_size / 1e6:.2f} MB, data.js {(index.parent / 'data.js').stat().st_size / 1e6:.2f} MB")
        began = time.perf_counter()
        alone = pages.write_one_file(folder)
        print(f"one file: made in {time.perf_counter() - began:.1f} s, {alone.stat().st_size / 1e6:.1f} MB")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=options.browser, args=["--no-sandbox"])
            for name, path in (("folder", index), ("one file", alone)):
                runs = [seen(browser, path.as_uri()) for _ in range(options.times)]
                print(f"{name}, ms: " + ", ".join(f"{key} {statistics.median(run[key] for run in runs):.0f}" for key in runs[0]))
            browser.close()


if __name__ == "__main__":
    main()
