"""The page in a real browser, as it opens from disk: what it shows, what it does, and that it asks nobody anything.

What the page does, it does in its own time: `expect` waits for it, a plain `assert` on the page does not. A plain one stands only
where an `expect` before it has waited for the same effect.
"""

import csv
import io
import os
import re
import shutil
import threading

import pytest

from raysearch import pages
from raysearch.result import Result
from raysearch.search import Search
from raysearch.testing import LocalArchive, demo_holdings
from raysearch.testing.runs import made_up_run

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'raysearch[dev]'")
expect = playwright.expect

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason=f"no browser: none of {', '.join(BROWSERS)} is there (apt-get install chromium)"
)

HOSTILE = ("<script>alert(1)</script>", "</script><b>bold</b>", "\"quoted\" & 'so'", "<img src=x onerror=alert(2)>", "=2+2")


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = made_up_run(tmp_path_factory.mktemp("runs") / "a run & more", candidates=61, names=HOSTILE)
    pages.write(made)
    pages.write_one_file(made)
    return made


@pytest.fixture
def opened(browser):
    """A function that opens an address in a fresh profile; afterwards there must have been no error and no request beyond it."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True, reduced_motion="reduce")
    wrong = []

    def open_page(url):
        page = context.new_page()
        allowed = (url.rsplit("/", 1)[0], "data:", "blob:")
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda asked: None if asked.url.startswith(allowed) else wrong.append(asked.url))
        page.goto(url)
        return page

    yield open_page
    context.close()
    assert not wrong


@pytest.fixture
def page(opened, folder):
    return opened((folder / "report" / "index.html").as_uri())


def test_it_shows_the_numbers_of_the_tables(page, folder):
    totals = Result(folder).totals
    for status, count in totals.by_status.items():
        expect(page.locator(f"#step-{status} .num")).to_have_text(str(count))
    expect(page.locator(".lede strong").first).to_have_text(str(totals.candidates))
    expect(page.locator("#count")).to_have_text("1–24 of 61 candidates")
    snr = sorted(Result(folder).arrow("candidates")["snr"].to_pylist(), reverse=True)
    shown = [float(text.removeprefix("S/N").strip()) for text in page.locator("#gallery .snr").all_inner_texts()]
    assert shown == pytest.approx(snr[:24], rel=6e-3)
    page.click("#step-failed a")
    expect(page.locator("#observation-count")).to_have_text(re.compile(f"^{totals.by_status['failed']} of "))
    assert set(page.locator("#observation-table .status").all_inner_texts()) == {"failed"}


def test_filters_choose_and_the_address_keeps_them(page, opened, folder):
    table = Result(folder).arrow("candidates").to_pylist()
    page.select_option("[name=line]", "[Fe II] 17.936")
    page.fill("#filters [name=snr]", "12")
    wanted = sum(row["line"] == "[Fe II] 17.936" and row["snr"] >= 12 for row in table)
    expect(page.locator("#count")).to_have_text(re.compile(f"^1–{min(wanted, 24)} of {wanted} candidates"))
    again = opened(page.evaluate("location.href"))
    expect(again.locator("#count")).to_have_text(page.locator("#count").inner_text())
    again.click("#filters [type=reset]")
    again.select_option("[name=quality]", "clean")
    clean = sum(not row["notes"] for row in table)
    expect(again.locator("#count")).to_contain_text(f"of {clean} candidates")
    again.fill("#filters [name=text]", "no such words")
    expect(again.locator("#count")).to_have_text("None of 61 candidates is like this.")


def test_hostile_names_are_shown_as_such(page):
    page.fill("#target-filters [name=text]", "<script>")
    expect(page.locator("#target-table tbody th")).to_have_text([HOSTILE[0]])
    for name in HOSTILE:
        page.fill("#filters [name=target]", name)
        expect(page.locator("#gallery .card-target", has_not_text=name)).to_have_count(0)
        assert set(page.locator("#gallery .card-target").all_inner_texts()) == {name}
    page.locator("#gallery .card").first.click()
    expect(page.locator(".card-of")).to_have_text(re.compile("^" + re.escape(HOSTILE[-1])))
    expect(page.locator("b, img")).to_have_count(0)


def test_a_card_opens_and_the_keyboard_walks(page, folder):
    page.locator("#gallery .card").first.focus()
    page.keyboard.press("Enter")
    best = max(Result(folder).arrow("candidates").to_pylist(), key=lambda row: row["snr"])
    page.wait_for_selector("#figures .picture")
    expect(page.locator("#figures figcaption")).to_have_text(f"a disc for S/N {best['snr']:.1f}")
    assert page.evaluate("document.querySelector('#figures .picture').shadowRoot.querySelector('circle') !== null")
    card = page.locator("#card").inner_text()
    assert best["obs_id"] in card
    assert f"--redraw {best['obs_id']}" in card
    assert "2 ranges" in card
    links = page.locator("#card .links a").evaluate_all("all => all.map((a) => a.href)")
    assert len(links) == 5
    assert all(link.startswith("https://") for link in links)
    assert any(f"target={best['ra']:.6f}%20{best['dec']:.6f}" in link for link in links)
    for key, now in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
        page.keyboard.press(key)
        expect(page.locator(".card-walk")).to_contain_text(f"{now} of 61")
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    expect(page.locator("#gallery .card").first).to_be_focused()


CLOSINGS = {
    "escape": "document.getElementById('card').dispatchEvent(new Event('cancel', { cancelable: true }))",
    "button": "document.querySelector('.card-walk button:last-child').click()",
    "beside it": "document.getElementById('card').click()",
}


@pytest.mark.parametrize("closing", CLOSINGS)
def test_a_card_that_is_closed_leaves_the_address_at_once(page, closing):
    """Whoever reloads the page right after does not find the card over it again."""
    page.locator("#gallery .card").first.click()
    expect(page.locator("#card")).to_be_visible()
    assert page.evaluate("location.hash").startswith("#card?candidate=")
    assert page.evaluate(f"(() => {{ {CLOSINGS[closing]}; return location.hash; }})()") == "#candidates"
    expect(page.locator("#card")).to_be_hidden()
    expect(page.locator("#gallery .card").first).to_be_focused()


def test_a_card_of_the_address_opens_and_escape_closes_it(page, opened):
    page.locator("#gallery .card").nth(3).click()
    expect(page.locator("#card")).to_be_visible()
    again = opened(page.evaluate("location.href"))
    expect(again.locator("#card-h")).to_have_text(page.locator("#card-h").inner_text())
    again.keyboard.press("Escape")
    expect(again.locator("#card")).to_be_hidden()
    assert again.evaluate("location.hash") == "#candidates"


def test_marks_are_kept_exported_and_read_back(page, folder, opened, tmp_path):
    page.locator("#gallery .card").first.click()
    page.keyboard.press("g")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("b")
    page.fill("#note", '=odd, "very"')
    page.keyboard.press("Escape")
    expect(page.locator("#marked")).to_have_text("1 good, 1 bad, 0 unsure")
    page.reload()
    expect(page.locator("#marked")).to_have_text("1 good, 1 bad, 0 unsure")
    with page.expect_download() as download:
        page.click("#export-marks")
    path = tmp_path / "marks.csv"
    download.value.save_as(path)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert sorted((row["mark"], row["note"]) for row in rows) == [("bad", '\'=odd, "very"'), ("good", "")]
    assert pages.take_marks(folder, path) == (2, "")
    pages.write_one_file(folder, tmp_path / "other" / "page.html")
    other = opened((tmp_path / "other" / "page.html").as_uri())
    other.evaluate("localStorage.clear()")
    other.reload()
    expect(other.locator("#marked")).to_have_text("1 good, 1 bad, 0 unsure")
    other.select_option("[name=mark]", "bad")
    expect(other.locator("#gallery .card")).to_have_count(1)
    other.locator("#gallery .card").click()
    expect(other.locator("#note")).to_have_value('=odd, "very"')


def test_the_map_zooms_and_a_click_on_it_opens_a_card(page):
    page.click("[data-sky=in]")
    expect(page.locator("#sky-place")).to_have_text(re.compile("centre .* wide"))
    page.click("[data-sky=all]")
    expect(page.locator("#sky-place")).to_be_empty()
    position = page.evaluate(
        """() => {
            const box = document.getElementById("sky-map").getBoundingClientRect();
            const data = raysearch.data.candidates.values;
            const [x, y] = raysearch.sky.project(data.ra[0], data.dec[0]);
            return { x: (x + 184) / 368 * box.width, y: (y + 94) / 188 * box.height };
        }"""
    )
    page.locator("#sky-map").click(position=position)
    expect(page.locator("#card")).to_be_visible()
    there = page.evaluate("raysearch.sky.unproject(...raysearch.sky.project(123.4, -56.7))")
    assert there == pytest.approx([123.4, -56.7])


def test_one_file_shows_the_figures_too(opened, folder, tmp_path):
    alone = tmp_path / "alone.html"
    shutil.copy(folder / "report.html", alone)
    page = opened(alone.as_uri())
    page.locator("#gallery .card").first.click()
    page.wait_for_selector("#figures .picture")


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(opened, folder, width, scheme):
    page = opened((folder / "report" / "index.html").as_uri())
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.locator("#gallery .card").first.click()
    expect(page.locator("#card")).to_be_visible()
    expect(page.locator("#figures[aria-busy]")).to_have_count(0)
    assert page.evaluate("(() => { const c = document.getElementById('card'); return c.scrollWidth - c.clientWidth; })()") <= 0


def test_the_live_page_follows_the_run(opened, tmp_path):
    folder = made_up_run(tmp_path / "run", 8, finished=False)
    with pages.live(folder) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            page = opened(server.url)
            page.select_option("[name=order]", "target")
            expect(page.locator(".badge")).to_have_text("not finished")
            made_up_run(folder, 8)
            expect(page.locator(".badge")).to_have_count(0)
            expect(page.locator("#step-observations .num")).to_have_text(str(Result(folder).totals.observations))
            expect(page.locator("[name=order]")).to_have_value("target")
        finally:
            server.close()
            thread.join(60)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's search, whole, with its figures."""
    with LocalArchive(demo_holdings()) as archive:
        settings = {f"services.{name}": url for name, url in archive.services.items()}
        result = Search.load("jets", {**settings, "run.engine": "inline"}, answers="off").run(
            tmp_path_factory.mktemp("demo") / "run"
        )
    pages.write(result.folder)
    return result


@pytest.mark.slow
def test_the_demos_report(opened, demo):
    page = opened((demo.folder / "report" / "index.html").as_uri())
    for status, count in demo.totals.by_status.items():
        expect(page.locator(f"#step-{status} .num")).to_have_text(str(count))
    expect(page.locator(".lede strong").first).to_have_text(str(len(demo.candidates)))
    page.fill("#filters [name=target]", "Synthetic YSO 01")
    of_one = [row for row in demo.arrow("candidates").to_pylist() if "Synthetic YSO 01" in row["targets"]]
    expect(page.locator("#count")).to_have_text(re.compile(f"^1–{len(of_one)} of {len(of_one)} "))
    page.locator("#gallery .card").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#figures h3")).to_have_text(["Line and planes beside it", "Line map", "Spectrum", "Detector's curve"])
    first = page.locator("#card h2").inner_text()
    page.keyboard.press("g")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#card h2")).not_to_have_text(first)
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    with page.expect_download() as download:
        page.click("#export-marks")
    count, note = pages.take_marks(demo.folder, download.value.path())
    assert (count, note) == (1, "")


def test_a_printer_sees_every_picture_of_the_gallery(page):
    page.emulate_media(media="print")
    expect(page.locator("#gallery .thumb:empty")).to_have_count(0)
    expect(page.locator("#gallery .thumb")).to_have_count(24)


def test_a_page_without_its_data_says_so(browser, folder, tmp_path):
    shutil.copy(folder / "report" / "index.html", tmp_path / "index.html")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    expect(page.locator("#trouble")).to_contain_text("data.js must lie beside")
    page.close()


def test_the_browser_was_found_where_it_must_be():
    assert os.access(CHROMIUM, os.X_OK)
