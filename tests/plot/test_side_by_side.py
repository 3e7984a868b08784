"""All methods of an item side by side, and the lead of a page that follows the signs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_data import entries, read_script

from xai_fast.explanation import Explanation
from xai_fast.interaction import InteractionMap
from xai_fast.plot import Front, Look, report

COUNT = 4
NAMES = ["cam", "signed_flux", "pairs", "words", "volume"]
TOLD = ["1 evaluation", "20 evaluations", "20 evaluations", "20 evaluations", "no map"]
WORDS = [["not", "bad"]] * COUNT


def explanation(*shape: int, count: int = COUNT, evaluations: int = 20, **more: Any) -> Explanation:
    values = torch.randn(count, *shape, generator=torch.Generator().manual_seed(len(shape)))
    found = {"attributions": values, "scores": torch.linspace(0, 1, count), "targets": torch.zeros(count).long()}
    return Explanation(**(found | {"evaluations": torch.full((count,), evaluations)} | more))


def of_all_kinds() -> dict[str, Explanation]:
    """Maps with and without negative sums, pairs, words, and what is not drawn."""
    grid = {"grid": (2, 2), "layer": "body", "scores": torch.ones(COUNT), "evaluations": torch.full((COUNT,), 20)}
    odd = {"odd": torch.tensor([False, True, False, False])}
    return {
        "cam": explanation(evaluations=1, attributions=torch.rand(COUNT, 1, 7, 7)),
        "signed_flux": explanation(3, 24, 24, facts=odd),
        "pairs": InteractionMap(attributions=torch.rand(COUNT, 4, 4), **grid),
        "words": explanation(2),
        "volume": explanation(2, 3, 4, 5),
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    photos = list(np.random.default_rng(0).integers(0, 256, (COUNT, 48, 48, 3), np.uint8))
    return report(of_all_kinds(), tmp_path_factory.mktemp("beside"), pictures=photos, words=WORDS)


CARD = "document.querySelectorAll('.card')[1]"
TILES = "[...document.querySelectorAll('{} .open')].map((b) => [...b.children].slice(1).map((c) => c.textContent))"
LISTS = "document.querySelectorAll('.card > .maps').length"
PRESSED = "[...document.querySelectorAll('.beside')].map((b) => b.hidden ? null : b.getAttribute('aria-pressed'))"
HEATS = "[...document.querySelectorAll('{} .heat')].map((i) => i.src && i.src.split(',')[1]).slice(0, 2)"
KINDS = "[...document.querySelectorAll('{} .picture')].map((p) => p.lastChild.getAttribute('class').split(' ')[0])"
METHODS_HIDDEN = "[...document.querySelectorAll('select.method')].map((s) => s.parentElement.hidden)"
ACTIVE = "document.activeElement.querySelector('.class')?.textContent ?? document.activeElement.id"
TAB_STOPS = "document.querySelectorAll('#gallery [tabindex=\"0\"]').length"


def opened(browser: Any, page: Path, **options: Any) -> None:
    browser.open(page, **options)
    browser.wait_for(
        "document.querySelectorAll('.card').length > 0 && !document.querySelector('.toolbar').hidden", True
    )


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_a_key_shows_all_methods_on_the_cards(browser: Any, page: Path, width: int) -> None:
    opened(browser, page, width=width)
    assert browser.evaluate(PRESSED) == ["false", "false"]
    browser.press("a")
    browser.wait_for(f"{CARD}.querySelectorAll('.maps').length", 1)
    of_card = ".card:nth-child(2) > .maps"
    expected = [list(pair) for pair in zip(NAMES, TOLD, strict=True)]
    expected[1].append("odd")  # the fact of a method is told beside its map only
    assert browser.evaluate(TILES.format(of_card)) == expected
    assert browser.evaluate(KINDS.format(of_card)) == ["heat", "heat", "drawing", "words", "heat"]
    layers = entries(page)[1]["layers"]
    assert browser.evaluate(HEATS.format(of_card)) == [layers[0]["image"], layers[1]["image"]]
    assert browser.evaluate(f"{CARD}.querySelector('.heat').hasAttribute('src')") is False  # the picture alone
    assert browser.evaluate(f"{CARD}.querySelectorAll('.open > .caption .mark').length") == 0
    assert browser.evaluate(f"{CARD}.querySelector('.maps').getAttribute('aria-label')") == "All methods, 1"
    assert browser.evaluate(PRESSED) == ["true", "false"]
    assert browser.evaluate(METHODS_HIDDEN) == [True, False]
    assert browser.evaluate(TAB_STOPS) == 1
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.press("s")
    browser.wait_for(HEATS.format(of_card), [layers[0]["image"], layers[1]["signed"]])
    browser.evaluate("document.querySelector('.toolbar .beside').click()")
    browser.wait_for(LISTS, 0)
    assert browser.evaluate(METHODS_HIDDEN) == [False, False]
    browser.press("/", "a")  # a letter for the search
    assert browser.evaluate(PRESSED) == ["false", "false"]
    assert browser.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_large_view_shows_all_methods_and_each_alone(browser: Any, page: Path, width: int) -> None:
    opened(browser, page, width=width)
    browser.evaluate("document.querySelector('#gallery .open').focus()")
    browser.press("a")
    browser.wait_for(f"{CARD}.querySelectorAll('.maps').length", 1)
    browser.press("ArrowDown", "Enter")
    browser.wait_for("document.querySelectorAll('#maps .open').length", len(NAMES))
    assert browser.evaluate(PRESSED) == ["true", "true"]
    assert browser.evaluate("document.querySelector('#stage').checkVisibility()") is False
    assert browser.evaluate("document.querySelector('#viewer').scrollWidth") <= width
    browser.evaluate("document.querySelectorAll('#maps .open')[1].focus()")
    layers = entries(page)[1]["layers"]
    browser.press("s")
    browser.wait_for(HEATS.format("#maps"), [layers[0]["image"], layers[1]["signed"]])
    assert browser.evaluate(ACTIVE) == "signed_flux"  # the focus stays
    browser.press("Enter")
    browser.wait_for("document.querySelector('#stage').checkVisibility()", True)
    assert browser.evaluate(HEATS.format("#stage")) == [layers[1]["signed"]]
    assert browser.evaluate(ACTIVE) == "viewer-title"
    assert browser.evaluate("document.querySelector('#method').value") == "1"
    facts = browser.evaluate("[...document.querySelectorAll('#facts dt')].map((e) => e.textContent)")
    assert [name for name in facts if ": " in name] == [
        f"signed flux: {name}" for name in ("odd", "score", "evaluations")
    ]
    browser.press("a")
    browser.wait_for("document.querySelector('#maps').checkVisibility()", True)
    browser.press("ArrowRight")
    browser.wait_for("document.querySelector('#viewer-title .class, #place').textContent", "3 of 4")
    assert browser.evaluate(TILES.format("#maps"))[1] == ["signed_flux", "20 evaluations"]
    browser.press("Escape")
    browser.wait_for("document.activeElement.className", "open")
    assert browser.evaluate(PRESSED)[0] == "true"
    browser.evaluate(f"{CARD}.querySelectorAll('.maps .open')[3].click()")  # a map of a card opens alone
    browser.wait_for("document.querySelectorAll('#stage .words span').length > 0", True)
    assert browser.evaluate("document.querySelector('#place').textContent") == "2 of 4"
    assert browser.complaints() == []


@pytest.mark.browser
def test_maps_of_cards_that_are_not_seen_are_not_loaded(browser: Any, tmp_path: Path) -> None:
    count, methods = 60, 25
    many = {f"method_{i}": explanation(4, 4, count=count) for i in range(methods)}
    written = report(many, tmp_path, look=Look(beside=True), chunk=1)
    opened(browser, written)
    browser.wait_for(f"{LISTS} > 0", True)
    scripts = [url for url in browser.requests() if "/000/" in url]
    assert 0 < len(scripts) < 20
    assert browser.evaluate(LISTS) < 20
    browser.press("n")
    browser.wait_for("document.querySelector('#page').value", "2")
    browser.wait_for(f"{LISTS} > 0", True)
    assert browser.evaluate(f"{TILES.format('.card:first-child > .maps')}.length") == methods
    browser.evaluate("document.querySelector('.card:last-child').scrollIntoView()")
    browser.wait_for(f"{TILES.format('.card:last-child > .maps')}.length", methods)
    assert browser.complaints() == []


@pytest.mark.browser
def test_one_method_stands_beside_no_other(browser: Any, tmp_path: Path) -> None:
    opened(browser, report({"cam": explanation(7, 7)}, tmp_path, look=Look(beside=True)))
    assert browser.evaluate(PRESSED) == [None, None]
    browser.press("a")
    browser.wait_for("document.querySelectorAll('.card .heat[src]').length", COUNT)
    assert browser.evaluate(LISTS) == 0


MAGNITUDES, WITH_SIGNS = "Bright pixels are those", "Red pixels speak for the explained score"
SUMMED = {MAGNITUDES: "The absolute values of the channels are summed.", WITH_SIGNS: "The channels are summed with"}
LEADS: dict[str, tuple[Explanation, bool, str, str]] = {
    "magnitudes": (explanation(3, 8, 8), False, MAGNITUDES, WITH_SIGNS),
    "signs": (explanation(3, 8, 8), True, WITH_SIGNS, MAGNITUDES),
    "signs that no map has": (explanation(3, 8, 8, attributions=torch.rand(4, 3, 8, 8)), True, MAGNITUDES, MAGNITUDES),
}


@pytest.mark.browser
@pytest.mark.parametrize("case", LEADS)
def test_the_lead_speaks_of_what_is_shown(browser: Any, case: str, tmp_path: Path) -> None:
    found, signed, first, after_the_key = LEADS[case]
    opened(browser, report(found, tmp_path, look=Look(signed=signed)))
    browser.wait_for("document.querySelectorAll('.card .heat[src]').length", COUNT)
    lead = "document.querySelector('.lead').innerText"
    for expected in (first, after_the_key):
        other = MAGNITUDES if expected == WITH_SIGNS else WITH_SIGNS
        text = browser.evaluate(lead)
        assert [expected in text, SUMMED[expected] in text, other in text, SUMMED[other] in text] == [
            True,
            True,
            False,
            False,
        ]
        browser.press("s")


@pytest.mark.browser
def test_a_given_reading_stays(browser: Any, tmp_path: Path) -> None:
    opened(browser, report(explanation(3, 8, 8), tmp_path, front=Front(reading="As it is."), look=Look(signed=True)))
    lead = "document.querySelector('.lead').innerText"
    for _ in range(2):
        assert browser.evaluate(lead).startswith("As it is. Colours run")
        browser.press("s")


def test_the_index_says_how_a_page_begins(page: Path, tmp_path: Path) -> None:
    assert read_script(page, "index")["beside"] is False
    written = report({"cam": explanation(7, 7), "map": explanation(7, 7)}, tmp_path, look=Look(beside=True))
    assert read_script(written, "index")["beside"] is True
