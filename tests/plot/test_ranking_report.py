from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_reader import Reader
from ranking_examples import random_ranking, ranking_of

from xai_fast.errors import InputError
from xai_fast.interaction import InteractionRanking
from xai_fast.plot import Fit, RankingReport, render_ranking_report, write_ranking_report
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


def a_report(ranking: InteractionRanking | None = None, **options: Any) -> RankingReport:
    settings = {
        "title": HOSTILE,
        "kicker": HOSTILE,
        "ranking": ranking or ranking_of(NAMES, EFFECTS),
        "fit": a_fit(),
        "reading": HOSTILE,
        "notes": [HOSTILE, "5 columns."],
        "summary": {"rows": "442", HOSTILE: HOSTILE},
        "settings": {"order": 3, HOSTILE: HOSTILE},
        "versions": {"torch": HOSTILE},
    }
    return RankingReport(**{**settings, **options})


def read(report: RankingReport) -> Reader:
    return Reader(render_ranking_report(report))


def listed(page: Reader) -> list[tuple[int, ...]]:
    rows = [a for a in page.named("li") if str(a.get("class", "")).startswith("set ")]
    return [tuple(json.loads(str(row["data-features"]))) for row in rows]


def test_text_of_users_is_text_wherever_it_stands() -> None:
    page = read(a_report())
    assert len(page.named("script")) == len(page.named("style")) == 1
    # Heading, kicker, reading, summary (2), settings (2), versions, note, verdict, and the name in lists, headers, ...
    assert sum(AS_SHOWN in text for text in page.texts) > 20
    handlers = [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert handlers == []
    assert json.loads(str(page.named("div")[[a.get("id") for a in page.named("div")].index("matrix")]["data-pairs"]))


def test_the_page_loads_nothing_and_allows_only_its_own_script_and_style() -> None:
    page = read(a_report())
    rules = page.policy()
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    for tag in ("script", "style"):
        assert rules[f"{tag}-src"] == page.hash_of(tag)
    assert page.outside_references() == []
    assert not re.search(r"https?://|@import|url\(", page.inside["style"] + page.inside["script"])


def test_every_order_is_listed_strongest_first() -> None:
    ranking = ranking_of(NAMES, EFFECTS)
    page = read(a_report(ranking, top_k=3))
    expected = [one.indices for one in ranking.top(3)]
    for order in (2, 3, 1):
        expected += [one.indices for one in ranking.order(order)[:3]]
    assert listed(page) == expected
    tabs = [a["id"] for a in page.named("button") if a.get("role") == "tab"]
    assert tabs == ["tab-0", "tab-2", "tab-3", "tab-1"]
    text = " ".join(page.texts)
    assert "1,500" in text
    assert "8 sets were looked at" not in text
    assert "7 sets were looked at, all there are; the 3 strongest" in text
    only = read(a_report(ranking_of(NAMES, {(0, 1): 1.0, (1, 2): 0.5}, exhaustive=False)))
    assert [a["id"] for a in only.named("button") if a.get("role") == "tab"] == ["tab-2"]
    assert "those that extend the strongest of the order before" in " ".join(only.texts)


def test_a_set_has_its_subsets_beside_it() -> None:
    source = render_ranking_report(a_report())
    row = source[source.index('id="set-3-1"') :]
    row = row[: row.index("</li>\n        </li>") if "</li>\n        </li>" in row else row.index("</div>")]
    shown = re.findall(r"<li><span><bdi>(.*?)</bdi></span> <span>(.*?)</span></li>", row)
    assert shown == [("hour \u00d7 humidity", "2"), ("temp \u00d7 humidity", "0.5"), ("hour", "9"), ("humidity", "8")]


def test_the_matrix_is_that_of_the_ranking() -> None:
    ranking = random_ranking(40, (2,), signed=True)
    page = read(a_report(ranking, matrix_features=12))
    given = next(a for a in page.named("div") if a.get("id") == "matrix")
    data = json.loads(str(given["data-pairs"]))
    matrix = make_pair_matrix(ranking, 12)
    assert data["features"] == list(matrix.features)
    assert len(data["pairs"]) == 66
    for a, b, shown, rank in data["pairs"]:
        one = ranking.order(2)[rank - 1]
        assert one.indices == (matrix.features[a], matrix.features[b])
        assert float(shown.replace("\u2212", "-").replace(",", "")) == pytest.approx(one.effect, rel=0.01)
    cells = [str(a["class"]) for a in page.named("div") if a.get("role") == "gridcell"]
    shades = np.where(np.eye(12, dtype=bool), np.nan, matrix.shades)
    expected = ["none" if np.isnan(v) else f"h{round((v + 1) * 16)}" for v in shades.flat]
    assert cells == expected


def test_the_network_is_the_layout() -> None:
    ranking = random_ranking(200)
    page = read(a_report(ranking, network_features=16))
    layout = make_network(ranking, None, 24, 16)
    groups = [a for a in page.named("g") if str(a.get("class", "")).startswith("line")]
    drawn = [tuple(map(int, str(a["data-features"]).split())) for a in groups]
    assert drawn[: len(layout.sets)] == [one.indices for one in reversed(layout.sets)]
    nodes = [int(str(a["data-feature"])) for a in page.named("g") if a.get("class") == "node"]
    assert tuple(nodes[: len(layout.features)]) == layout.features


@pytest.mark.parametrize("good", [True, False])
def test_a_poor_fit_is_said_above_everything(good: bool) -> None:
    source = render_ranking_report(a_report(fit=a_fit(good=good)))
    assert ('class="warning"' in source) == (not good)
    if not good:
        assert source.index('class="warning"') < source.index('role="tablist"')
        assert "<strong>Poor fit.</strong> It explains little." in source
    assert source.count("<polyline") == 2
    assert "Does the network fit?" not in render_ranking_report(a_report(fit=None))


def test_a_ranking_without_interactions_and_bad_numbers() -> None:
    page = read(a_report(ranking_of(NAMES, {(0, 1): 0.0, (0,): 0.0})))
    assert page.texts.count("No interaction.") == 2
    for name in ("top_k", "network_sets", "network_features", "matrix_features"):
        with pytest.raises(InputError, match=f"{name}: expected"):
            a_report(**{name: 0})


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "a folder with # and ü" / "report.html"
    write_ranking_report(file, a_report(fit=a_fit(good=False)))
    return file


VISIBLE = "[...document.querySelectorAll('.panel:not([hidden])')].map((e) => e.id)"
SETS = "[...document.querySelectorAll('.panel:not([hidden]) .set:not([hidden])')]"
ROWS = f"{SETS}.map((e) => JSON.parse(e.dataset.features))"
DIMMED = "[...document.querySelectorAll('.panel:not([hidden]) .line.dimmed')].map((e) => e.dataset.features).sort()"
EXPANDED = "[...document.querySelectorAll('.panel:not([hidden]) [aria-expanded=true]')].length"
DETAIL = "[...document.querySelectorAll('.panel:not([hidden]) .detail:not([hidden])')].length"
FOCUSED = "document.activeElement.getAttribute('aria-label') || document.activeElement.id"
READOUT = "document.querySelector('#readout').textContent"
STATUS = "document.querySelector('#status').textContent"


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 800, 360])
def test_the_page_renders_without_requests_or_complaints(browser: Any, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert [request for request in browser.requests() if not request.startswith("data:")] == [page.as_uri()]
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
    file = tmp_path / "report.html"
    write_ranking_report(file, a_report(random_ranking(200, (1, 2, 3, 4), longest=40), title="Many"))
    browser.open(file, width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sizes = "[...document.querySelectorAll('.matrix [role=gridcell]')].map((e) => e.getBoundingClientRect().width)"
    assert min(browser.evaluate(sizes)) >= 12
    assert len(browser.evaluate("[...document.querySelectorAll('#panel-0 .node')].map((e) => 1)")) <= 24
    scale = "document.querySelector('#panel-0 .network svg').getBoundingClientRect().width / 400"
    assert browser.evaluate(scale) * 11 >= 8.5
    assert browser.complaints() == []


@pytest.mark.browser
def test_tabs_are_reached_with_the_keyboard(browser: Any, page: Path) -> None:
    browser.open(page)
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
    browser.open(page)
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
    browser.open(page)
    browser.evaluate("document.querySelector('#tab-2').click()")
    browser.evaluate("document.querySelector('#panel-2 .node[data-feature=\"3\"]').focus()")
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
    browser.open(page)
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


@pytest.mark.browser
def test_without_a_script_everything_is_there(browser: Any, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        assert browser.evaluate(VISIBLE) == ["panel-0", "panel-2", "panel-3", "panel-1"]
        assert browser.evaluate(DETAIL) == browser.evaluate("document.querySelectorAll('.set').length")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.browser
def test_nothing_moves_for_those_who_do_not_want_it(browser: Any, page: Path) -> None:
    browser.open(page)
    transition = "getComputedStyle(document.querySelector('.line')).transitionDuration"
    assert browser.evaluate(transition) != "0s"
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert browser.evaluate(transition) == "0s"
    light = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light


def test_all_pairs_of_a_small_table_have_a_rank() -> None:
    effects = {pair: 1.0 + i for i, pair in enumerate(itertools.combinations(range(5), 2))}
    given = next(a for a in read(a_report(ranking_of(NAMES, effects))).named("div") if a.get("id") == "matrix")
    assert sorted(pair[3] for pair in json.loads(str(given["data-pairs"]))["pairs"]) == list(range(1, 11))
