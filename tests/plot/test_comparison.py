"""The page about a comparison: what it holds, the files beside it, and how it is used."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparisons import METHODS, comparison
from html_reader import Reader
from report_data import entries, numbers, read_script

from xai_fast.comparison import Comparison
from xai_fast.errors import InputError
from xai_fast.plot import write_comparison

HOSTILE = "</script><script>alert(1)</script> \u202e{{body}}"
EFFECTS = {"road": (0.3, 0.2, 0.1, 0.0, 0.0), "max_sensitivity": (0.0, 0.0, 0.0, 0.0, 0.0)}
ITEMS = 12
SETTINGS = {"model": HOSTILE, "seed": 0, "versions": {"torch": HOSTILE}}


def made(**more: Any) -> Comparison:
    maps = torch.rand(5, ITEMS, 6, 7, generator=torch.Generator().manual_seed(1))
    given: dict[str, Any] = {"items": ITEMS, "maps": maps, "seconds": (1.0,) * 5, "settings": SETTINGS}
    return comparison(EFFECTS, **(given | more))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    photos = list(np.random.default_rng(0).integers(0, 256, (ITEMS, 24, 28, 3), np.uint8))
    return write_comparison(made(), tmp_path_factory.mktemp("compared # and \u00fc"), pictures=photos)


def held(page: Path) -> dict[str, Any]:
    """The data within a page."""
    text = page.read_text(encoding="utf-8")
    begin = text.index('id="data">') + len('id="data">')
    content: dict[str, Any] = json.loads(text[begin : text.index("</script>", begin)])
    return content


def test_the_page_holds_the_summary_and_nothing_that_is_read_as_html(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    assert len(reader.named("script")) == 2
    assert "<script>alert" not in text
    assert reader.outside_references() == []
    summary = made().summary()
    settings = summary.pop("settings")
    assert settings == SETTINGS
    assert held(page) == {**summary, "maps": "maps/report.html"}


def test_texts_of_users_are_escaped(tmp_path: Path) -> None:
    names = (HOSTILE, "random")
    written = write_comparison(comparison({HOSTILE: (1.0, 0.0)}, methods=names, settings=SETTINGS), tmp_path)
    text = written.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert held(written)["methods"][0].startswith("</script>")
    assert held(written)["maps"] is None
    assert not (tmp_path / "maps").exists()


def test_the_table_and_the_summary_lie_beside(page: Path) -> None:
    with (page.parent / "comparison.csv").open(encoding="utf-8", newline="") as file:
        first, *rows = csv.reader(file)
    assert first == ["item", "method", "metric", "value", "evaluations"]
    assert [(*row[:3], float(row[3]), float(row[4])) for row in rows] == list(made().rows())
    assert json.loads((page.parent / "comparison.json").read_text()) == made().summary()


def test_maps_lie_beside_with_the_scores(page: Path) -> None:
    report = page.parent / "maps" / "report.html"
    index = read_script(report, "index")
    assert (index["methods"], index["beside"], index["count"]) == (list(METHODS), True, ITEMS)
    found = {one["label"]: numbers(one["values"], np.float32) for one in index["numbers"]}
    expected = {f"{name}: {what}" for name in METHODS for what in ("road", "max sensitivity", "evaluations")}
    assert found.keys() == {name.replace("_", " ") for name in expected}  # also where a name has a dot
    np.testing.assert_allclose(found["lrp(gamma=0.25): road"], made().scores["road"][1].float())
    assert [len(one["layers"]) for one in entries(report)] == [5] * ITEMS


def test_maps_of_tables_are_bars(tmp_path: Path) -> None:
    written = write_comparison(made(maps=torch.rand(5, ITEMS, 4)), tmp_path)
    assert {one["layers"][0]["kind"] for one in entries(tmp_path / "maps" / "report.html")} == {"bars"}
    assert held(written)["maps"] == "maps/report.html"


def test_a_page_is_replaced_by_that_of_the_same_run_and_pictures_are_counted(tmp_path: Path) -> None:
    for _ in range(2):
        write_comparison(made(), tmp_path)
    with pytest.raises(InputError, match="pictures: expected 12 of them, one per item, got 3"):
        write_comparison(made(), tmp_path, pictures=[None] * 3)


def mean_of(method: str) -> float:
    return float(made().scores["road"][METHODS.index(method)].mean())


ROWS = "[...document.querySelectorAll('#scores tbody th bdi')].map((e) => e.textContent)"
SORTED = "[...document.querySelectorAll('#scores thead th')].map((e) => e.getAttribute('aria-sort'))"
BEST = "[...document.querySelectorAll('#scores .best')].length"
DIFFERENCES = "[...document.querySelectorAll('#differences .who bdi')].map((e) => e.textContent)"
VERDICTS = "[...document.querySelectorAll('#differences .verdict')].map((e) => e.textContent)"
POINTS = "[document.querySelectorAll('#cost circle').length, document.querySelectorAll('#cost .on').length]"


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (420, True)])
def test_the_page_is_used_with_the_keyboard(browser: Any, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    browser.wait_for("document.body.dataset.loaded", "")
    assert browser.evaluate(ROWS) == list(METHODS)
    assert browser.evaluate(BEST) == 6  # one by road, all by max_sensitivity
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.evaluate("document.querySelector('#scores thead button').focus()")
    for expected in ("descending", "ascending"):
        browser.press("Enter")
        order = sorted(METHODS, key=mean_of)
        assert browser.evaluate(ROWS) == (order[::-1] if expected == "descending" else order)
        assert browser.evaluate(SORTED) == [None, expected, None, None, None]
    assert browser.evaluate(DIFFERENCES)[0] == METHODS[1]
    assert browser.evaluate(VERDICTS) == ["worse"] * 4
    assert browser.evaluate(POINTS) == [5, 3]
    browser.evaluate("document.querySelector('#tab-0').focus()")
    browser.press("ArrowRight")
    assert browser.evaluate("document.activeElement.id") == "tab-1"
    assert browser.evaluate(VERDICTS) == ["no difference found"] * 4
    reference = "document.querySelector('#reference')"
    browser.evaluate(f"{reference}.value = 'random'; {reference}.dispatchEvent(new Event('change'))")
    assert sorted(browser.evaluate(DIFFERENCES)) == sorted(METHODS[:-1])
    browser.evaluate("document.querySelector('#apart a').click()")
    browser.wait_for("document.querySelectorAll('#maps .open').length", len(METHODS))
    shown = held(page)["metrics"]["max_sensitivity"]["apart"][0]["item"]
    browser.wait_for("document.querySelector('#viewer-title').textContent", shown)
    assert browser.complaints() == []
