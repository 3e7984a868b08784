"""The gallery in a browser: found, filtered, sorted, used with the keyboard."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from gallery_store import AS_SHOWN, FAILED, REASON, write_store

from xai_fast.jobs.store import Layout

pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

from xai_fast.jobs.gallery import report
from xai_fast.jobs.gallery.catalog import Catalog
from xai_fast.jobs.gallery.folder import CHUNK
from xai_fast.jobs.gallery.page import index_script

NAMES = "[...document.querySelectorAll('.card .file')].map((c) => c.textContent)"
LOADED = "document.querySelector('#gallery').dataset.page"
COUNT = "document.querySelector('#count').textContent"
PLACE = "document.querySelector('#viewer').open && document.querySelector('#place').textContent"


def choose(browser: Any, control: str, value: str, event: str = "change") -> None:
    browser.evaluate(
        f"document.querySelector('#gallery').dataset.page = '';"
        f"document.querySelector('{control}').value = {json.dumps(value)};"
        f"document.querySelector('{control}').dispatchEvent(new Event('{event}'))"
    )


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_from_a_disk_without_complaints(browser: Any, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    browser.wait_for(LOADED, "0")
    assert browser.complaints() == []
    assert {Path(url).parent.name for url in browser.requests() if url.endswith(".js")} == {"shards"}
    images = "[...document.querySelectorAll('.card img[src]')]"
    widths = f"Promise.all({images}.map((i) => i.decode().then(() => i.naturalWidth)))"
    assert browser.evaluate(widths) == [28] * 95  # 48 photos, and their maps but for the item that failed
    assert browser.evaluate(COUNT) == "150 shown"
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    # What a store says is text.
    assert browser.evaluate("document.querySelectorAll('main script, dialog script').length") == 0
    assert browser.evaluate(NAMES)[0] == AS_SHOWN


@pytest.mark.browser
def test_items_are_found_filtered_and_sorted(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.wait_for(LOADED, "0")
    for control, value, count in [
        ("#class", "2", "15 of 150 shown"),
        ("#status", "0", "15 of 150 shown"),
        ("#least", "0.5", "7 of 150 shown"),
        ("#most", "0.7", "2 of 150 shown"),
    ]:
        choose(browser, control, value)
        browser.wait_for(COUNT, count)
    browser.evaluate("document.querySelector('#clear').click()")
    browser.wait_for(COUNT, "150 shown")
    choose(browser, "#status", "1")
    browser.wait_for(LOADED, "0")
    assert browser.evaluate(NAMES) == ["3/photo 3.png"]
    assert browser.evaluate("document.querySelector('.card .mark').textContent") == "unreadable"
    assert browser.evaluate("document.querySelector('.card .mark').title") == REASON
    browser.evaluate("document.querySelector('#clear').click()")
    for words, count in {"PHOTO 14": 12, "3/photo 3": 21, "alert(1)": 1}.items():
        choose(browser, "#search", words, "input")
        browser.wait_for(COUNT, f"{count} of 150 shown")
    choose(browser, "#search", "nothing like it", "input")
    browser.wait_for("document.querySelector('#nothing').hidden", False)
    browser.evaluate("document.querySelector('#clear').click()")
    choose(browser, "#sort", "1")
    browser.wait_for(LOADED, "0")
    order = sorted((i for i in range(150) if i not in FAILED), key=lambda i: i * 7919 % 1000)
    names = [AS_SHOWN, *(f"{i % 7}/photo {i}.png" for i in range(1, 150))]
    assert browser.evaluate(NAMES) == [names[i] for i in order[:48]]
    browser.evaluate("document.querySelector('#gallery').dataset.page = ''; document.querySelector('#reverse').click()")
    browser.wait_for(LOADED, "0")
    assert browser.evaluate(NAMES) == [names[i] for i in order[::-1][:48]]
    browser.evaluate("document.querySelector('#last-page').click()")
    browser.wait_for(LOADED, "3")
    assert browser.evaluate(NAMES)[-2:] == ["3/photo 3.png", "0/photo 70.png"]  # what has no score is last
    assert browser.complaints() == []


@pytest.mark.browser
def test_it_is_used_with_the_keyboard_alone(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.wait_for(LOADED, "0")
    browser.press("n")
    browser.wait_for(LOADED, "1")
    assert browser.evaluate(NAMES)[0] == "6/photo 48.png"
    browser.press("p")
    browser.wait_for(LOADED, "0")
    browser.evaluate("document.querySelector('#gallery button').focus()")
    focus = "document.activeElement.querySelector('.file')?.textContent"
    browser.press("End")
    assert browser.evaluate(focus) == "5/photo 47.png"
    browser.press("ArrowRight")  # onto the next page
    browser.wait_for(LOADED, "1")
    browser.wait_for(focus, "6/photo 48.png")
    browser.press("ArrowLeft")
    browser.wait_for(focus, "5/photo 47.png")
    browser.press("Enter")
    browser.wait_for(PLACE, "48 of 150")
    browser.wait_for("document.activeElement.id", "viewer-title")
    browser.press("ArrowRight")
    browser.wait_for(PLACE, "49 of 150")
    browser.wait_for("document.querySelector('#viewer-title .file').textContent", "6/photo 48.png")
    browser.press("Escape")
    browser.wait_for(PLACE, False)
    browser.wait_for(focus, "6/photo 48.png")
    opacity = "getComputedStyle(document.querySelector('.card .heat')).opacity"
    assert browser.evaluate(opacity) == "1"
    browser.press("o")
    assert browser.evaluate(opacity) == "0"
    browser.press("/")
    assert browser.evaluate("document.activeElement.id") == "search"
    assert browser.evaluate("document.querySelectorAll('.open[tabindex=\"0\"]').length") == 1
    assert browser.complaints() == []


@pytest.mark.browser
def test_an_item_that_failed_says_why(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.wait_for(LOADED, "0")
    browser.evaluate("document.querySelectorAll('.card .open')[3].click()")
    browser.wait_for("document.querySelector('#viewer .reason')?.textContent", REASON)
    assert browser.evaluate("document.querySelector('#viewer-title bdi').textContent") == "unreadable"


@pytest.mark.browser
def test_a_piece_that_is_missing_is_told(browser: Any, page: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(page.parent, tmp_path / "report")) / page.name
    (copied.parent / "shards" / "000001.js").unlink()
    browser.open(copied)
    browser.wait_for("document.querySelector('#fault').hidden", False)
    assert "shards/000001.js" in browser.evaluate("document.querySelector('#fault').textContent")


@pytest.mark.browser
@pytest.mark.slow
def test_it_stays_quick_at_a_hundred_thousand_items(browser: Any, tmp_path: Path) -> None:
    # The numbers of 100,000 items, and pictures of the first ones; bounds that also hold on a busy machine.
    write_store(tmp_path / "job", 100_000, shard_size=4096, shape=(1, 2, 2))
    page = report(tmp_path / "job", limit=200)
    catalog = Catalog(Layout(tmp_path / "job"))
    (page.parent / "shards" / "index.js").write_bytes(index_script(catalog, range(100_000), CHUNK))
    browser.open(page)
    browser.wait_for(LOADED, "0")
    opened = browser.evaluate("performance.now()")
    filtered = browser.evaluate(
        "(() => { const start = performance.now(); const control = document.querySelector('#least');"
        "control.value = '0.5'; control.dispatchEvent(new Event('change')); return performance.now() - start; })()"
    )
    assert browser.evaluate(COUNT) == "50,000 of 100,000 shown"
    assert opened < 10_000
    assert filtered < 1_000
