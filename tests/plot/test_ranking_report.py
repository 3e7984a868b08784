from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from html_reader import Reader
from ranking_examples import random_ranking, ranking_of
from report_data import read_script

from xai_fast.errors import InputError
from xai_fast.interaction import InteractionRanking
from xai_fast.plot import Fit, Front, report
from xai_fast.plot.ranking_layout import make_network, make_pair_matrix

HOSTILE = "<script>alert(1)</script> \"quoted\" 'single' & {{panels}} $x </style> \u202egpj \x00\n"
AS_SHOWN = HOSTILE.replace("\x00", "\ufffd").replace("\n", "\ufffd")
NAMES = ("hour", HOSTILE, "temp", "humidity", "wind")
EFFECTS = {
    (0,): 9.0,
    (3,): 8.0,
    (0, 1): 4.0,
    (1, 2): 3.0,
    (0, 3): 2.0,
    (2, 3): 0.5,
    (0, 1, 2): 3.5,
    (0, 2, 3): 1500.25,
}
LOSSES = (1.0, 0.5, 0.2)


def a_fit(*, good: bool = True) -> Fit:
    return Fit("R\u00b2", "0.31", good, f"It explains little. {HOSTILE}", LOSSES, (1.1, 0.4, 0.6), 1)


def write(folder: Path, ranking: InteractionRanking | None = None, **options: Any) -> Path:
    front = Front(
        title=HOSTILE,
        kicker=HOSTILE,
        reading=HOSTILE,
        notes=[HOSTILE, "5 columns."],
        summary={"rows": "442", HOSTILE: HOSTILE},
        settings={"order": 3, HOSTILE: HOSTILE},
        versions={"torch": HOSTILE},
    )
    return report(ranking or ranking_of(NAMES, EFFECTS), folder, **({"front": front, "fit": a_fit()} | options))


def data_of(*given: Any, **options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return read_script(write(Path(folder), *given, **options), "index")


def listed(panel: dict[str, Any]) -> list[tuple[int, ...]]:
    return [tuple(one["features"]) for one in panel["sets"]]


def test_text_of_users_is_text_wherever_it_stands(tmp_path: Path) -> None:
    page = Reader(write(tmp_path).read_text(encoding="utf-8"))
    assert len(page.named("script")) == len(page.named("style")) == 1
    # Title (2), kicker (2), reading, summary (2), settings (2), versions, note.
    assert sum(AS_SHOWN in text for text in page.texts) == 10
    assert [n for _, a in page.tags for n in a if n.startswith("on") or n == "style"] == []
    rules = page.policy()
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    assert rules["script-src"] == f"{page.hash_of('script')} 'self' file:"
    assert page.outside_references() == []
    assert data_of()["names"][1] == AS_SHOWN


def test_every_order_is_listed_strongest_first() -> None:
    ranking = ranking_of(NAMES, EFFECTS)
    panels = data_of(ranking, top_k=3)["panels"]
    assert [panel["order"] for panel in panels] == [0, 2, 3, 1]
    assert listed(panels[0]) == [one.indices for one in ranking.top(3, mixed=True)]
    for panel in panels[1:]:
        assert listed(panel) == [one.indices for one in ranking.order(panel["order"])[:3]]
    assert panels[0]["sets"][0]["effect"] == "1,500"
    assert panels[1]["note"] == "7 sets were looked at, all there are; the 3 strongest are listed."
    (only,) = data_of(ranking_of(NAMES, {(0, 1): 1.0, (1, 2): 0.5}, exhaustive=False))["panels"]
    assert "those that extend the strongest of the order before" in only["note"]


def test_a_set_has_its_subsets_beside_it() -> None:
    triple = data_of()["panels"][2]["sets"][0]
    assert triple["support"] == [
        ["hour \u00d7 humidity", "2"],
        ["temp \u00d7 humidity", "0.5"],
        ["hour", "9"],
        ["humidity", "8"],
    ]


def test_the_matrix_is_that_of_the_ranking() -> None:
    ranking = random_ranking(40, (2,), signed=True)
    data = data_of(ranking)["matrix"]
    features, _, shades = make_pair_matrix(ranking, 30)
    assert data["features"] == features
    assert len(data["pairs"]) == 435
    for a, b, shown, rank, shade in data["pairs"]:
        one = ranking.order(2)[rank - 1]
        assert one.indices == (features[a], features[b])
        assert float(shown.replace("\u2212", "-").replace(",", "")) == pytest.approx(one.effect, rel=0.01)
        assert shade == round((shades[a, b] + 1) * 16)


def test_the_network_is_the_layout() -> None:
    ranking = random_ranking(200)
    network = data_of(ranking)["panels"][0]["network"]
    places, sets, _ = make_network(ranking, None, 24, 24)
    assert [tuple(members) for members, *_ in network["lines"]] == [one.indices for one in sets]
    assert {feature: (x, y) for feature, _, x, y in network["nodes"]} == places


@pytest.mark.parametrize("good", [True, False])
def test_a_poor_fit_is_said_above_everything(good: bool, tmp_path: Path) -> None:
    text = write(tmp_path, fit=a_fit(good=good)).read_text(encoding="utf-8")
    assert ('class="warning"' in text) == (not good)
    assert ("Poor fit. It explains little." in text) == (not good)
    assert data_of(fit=None)["fit"] is None


def test_a_ranking_without_interactions_and_bad_numbers() -> None:
    assert [panel["sets"] for panel in data_of(ranking_of(NAMES, {(0, 1): 0.0, (0,): 0.0}))["panels"]] == [[], []]
    with pytest.raises(InputError, match="top_k: expected"):
        data_of(top_k=0)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write(tmp_path / "a folder with # and ü", fit=a_fit(good=False))


VISIBLE = "[...document.querySelectorAll('.panel:not([hidden])')].map((e) => e.id)"
SETS = "[...document.querySelectorAll('.panel:not([hidden]) .set:not([hidden])')]"
ROWS = f"{SETS}.map((e) => [...e.querySelectorAll('.names bdi')].map((b) => data.names.indexOf(b.textContent)))"
DIMMED = (
    "lines.filter((l) => !l.element.closest('[hidden]') && l.element.matches('.dimmed'))"
    ".map((l) => l.members.join(' ')).sort()"
)
EXPANDED = "[...document.querySelectorAll('.panel:not([hidden]) [aria-expanded=true]')].length"
DETAIL = "[...document.querySelectorAll('.panel:not([hidden]) .detail:not([hidden])')].length"
FOCUSED = "document.activeElement.getAttribute('aria-label') || document.activeElement.id"
READOUT = "document.querySelector('#readout').textContent"
STATUS = "document.querySelector('#status').textContent"


def opened(browser: Any, page: Path, **options: Any) -> None:
    browser.open(page, **options)
    browser.wait_for("document.body.dataset.loaded", "")


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 800, 360])
def test_the_page_renders_without_requests_or_complaints(browser: Any, page: Path, width: int, dark: bool) -> None:
    opened(browser, page, width=width, dark=dark)
    assert all(url.startswith((page.parent.as_uri(), "data:")) for url in browser.requests())
    for tab in ("tab-0", "tab-2", "tab-3", "tab-1"):
        browser.evaluate(f"document.querySelector('#{tab}').click()")
        assert browser.evaluate(VISIBLE) == [tab.replace("tab", "panel")]
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    background = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == dark
    browser.evaluate("document.querySelector('#tab-2').click()")
    beside = (
        "document.querySelector('#panel-2 .network').offsetTop < document.querySelector('#panel-2 .sets').offsetTop"
    )
    assert browser.evaluate(beside) == (width == 1280)
    assert browser.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_hundreds_of_features_stay_readable(browser: Any, tmp_path: Path, width: int) -> None:
    opened(browser, write(tmp_path, random_ranking(200, (1, 2, 3, 4), longest=40)), width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sizes = "[...document.querySelectorAll('.matrix [role=gridcell]')].map((e) => e.getBoundingClientRect().width)"
    assert min(browser.evaluate(sizes)) >= 12
    assert len(browser.evaluate("[...document.querySelectorAll('#panel-0 .node')].map((e) => 1)")) <= 24
    scale = "document.querySelector('#panel-0 .network svg').getBoundingClientRect().width / 400"
    assert browser.evaluate(scale) * 11 >= 8.5
    assert browser.complaints() == []


@pytest.mark.browser
def test_tabs_are_reached_with_the_keyboard(browser: Any, page: Path) -> None:
    opened(browser, page)
    assert browser.evaluate(VISIBLE) == ["panel-0"]
    browser.evaluate("document.querySelector('#tab-0').focus()")
    for key, tab in (
        ("ArrowRight", 2),
        ("ArrowRight", 3),
        ("End", 1),
        ("ArrowRight", 0),
        ("ArrowLeft", 1),
        ("Home", 0),
    ):
        browser.press(key)
        assert browser.evaluate("document.activeElement.id") == f"tab-{tab}"
        assert browser.evaluate(VISIBLE) == [f"panel-{tab}"]
        assert browser.evaluate("document.querySelectorAll('[role=tab][tabindex=\"0\"]').length") == 1
    assert browser.complaints() == []


@pytest.mark.browser
def test_a_set_that_is_chosen_tells_of_itself_and_stands_out(browser: Any, page: Path) -> None:
    opened(browser, page)
    browser.evaluate("document.querySelector('#tab-2').click()")
    assert (browser.evaluate(EXPANDED), browser.evaluate(DETAIL), browser.evaluate(DIMMED)) == (0, 0, [])
    browser.evaluate("document.querySelector('#panel-2 .set button').focus()")
    browser.press("Enter")
    assert (browser.evaluate(EXPANDED), browser.evaluate(DETAIL)) == (1, 1)
    assert browser.evaluate(DIMMED) == ["0 3", "1 2", "2 3"]
    assert browser.evaluate("document.querySelectorAll('.matrix .chosen').length") == 2
    browser.press("Enter")
    assert (browser.evaluate(EXPANDED), browser.evaluate(DIMMED)) == (0, [])
    assert browser.evaluate("document.querySelectorAll('.matrix .chosen').length") == 0


@pytest.mark.browser
def test_a_feature_is_chosen_in_the_network_or_from_the_list(browser: Any, page: Path) -> None:
    opened(browser, page)
    browser.evaluate("document.querySelector('#tab-2').click()")
    browser.evaluate("document.querySelector('#panel-2 .node[aria-label=humidity]').focus()")
    assert browser.evaluate(FOCUSED) == "humidity"
    browser.press("Enter")
    assert browser.evaluate(ROWS) == [[0, 3], [2, 3]]
    assert browser.evaluate(DIMMED) == ["0 1", "1 2"]
    assert browser.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert browser.evaluate(STATUS) == "Only sets with humidity."
    browser.evaluate("document.querySelector('#tab-1').click()")
    assert browser.evaluate(ROWS) == [[3]]
    browser.press("Escape")
    assert browser.evaluate(ROWS) == [[0], [3]]
    browser.evaluate("document.querySelector('#feature').value = '1'")
    browser.evaluate("document.querySelector('#feature').dispatchEvent(new Event('change'))")
    assert browser.evaluate(ROWS) == []
    nothing = "getComputedStyle(document.querySelector('#panel-1 .listed > .nothing')).display"
    assert browser.evaluate(nothing) != "none"
    assert AS_SHOWN.strip()[:20] in browser.evaluate(STATUS)
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_matrix_is_read_with_the_arrow_keys_and_the_pointer(browser: Any, page: Path) -> None:
    opened(browser, page)
    silent = browser.evaluate(READOUT)
    browser.evaluate("document.querySelector('.matrix [tabindex=\"0\"]').focus()")
    moves = [
        ("End", "hour \u00d7 wind: not looked at, or too weak to be kept"),
        ("ArrowRight", "hour \u00d7 wind: not looked at, or too weak to be kept"),
        ("ArrowLeft", "hour \u00d7 humidity: 2, rank 3 of 4"),
        ("ArrowDown", None),
        ("ArrowDown", "temp \u00d7 humidity: 0.5, rank 4 of 4"),
        ("ArrowLeft", "temp: a feature with itself"),
        ("ArrowUp", None),
        ("ArrowUp", "hour \u00d7 temp: not looked at, or too weak to be kept"),
        ("ArrowUp", "hour \u00d7 temp: not looked at, or too weak to be kept"),
        ("ArrowDown", None),
        ("ArrowDown", "temp: a feature with itself"),
        ("Home", "temp \u00d7 hour: not looked at, or too weak to be kept"),
    ]
    for key, expected in moves:
        browser.press(key)
        if expected is not None:
            assert browser.evaluate(FOCUSED) == browser.evaluate(READOUT) == expected, key
    assert browser.evaluate("document.querySelectorAll('.matrix [tabindex=\"0\"]').length") == 1
    assert browser.evaluate("[...document.querySelectorAll('.matrix .on')].map((e) => e.textContent)") == [
        "temp",
        "hour",
    ]
    browser.evaluate("document.activeElement.blur()")
    assert browser.evaluate(READOUT) == silent
    browser.evaluate("document.querySelector('.matrix').scrollIntoView({behavior: 'instant'})")
    area = browser.evaluate("document.querySelectorAll('.matrix [role=gridcell]')[3].getBoundingClientRect().toJSON()")
    x, y = area["left"] + 5, area["top"] + 5
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.wait_for(READOUT, "hour \u00d7 humidity: 2, rank 3 of 4")
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    browser.wait_for(VISIBLE, ["panel-2"])
    assert browser.evaluate(EXPANDED) == 1
    assert browser.evaluate(DIMMED) == ["0 1", "1 2", "2 3"]
    assert browser.complaints() == []
