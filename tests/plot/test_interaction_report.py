from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_reader import Reader
from PIL import Image

from xai_fast.errors import InputError
from xai_fast.interaction import AxisGeometry, CellGeometry, InteractionMap
from xai_fast.plot import Fact, InteractionReport, InteractionView, render_interaction_report, write_interaction_report
from xai_fast.plot.interactions import PAIR_COLORS

HOSTILE = "<script>alert(1)</script> \"quoted\" 'single' & {{groups}} $x </style> \u202egpj.exe \x00\n.png"
AS_SHOWN = HOSTILE.replace("\x00", "\ufffd").replace("\n", "\ufffd")
SIDE = 40


def photo(seed: int, side: int = SIDE, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def axis(cells: int, margin: float = 0.0) -> AxisGeometry:
    stride = (SIDE - 2 * margin) / cells
    return AxisGeometry(SIDE, margin + stride / 2, stride, (0,) * cells, (SIDE,) * cells)


def sums_of(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    n = rows * columns
    sums = torch.randn(1, n, n, generator=torch.Generator().manual_seed(seed))
    return sums * (1 - torch.eye(n))


def interactions(rows: int = 4, columns: int = 5, seed: int = 0, margin: float = 0.0) -> InteractionMap:
    sums = sums_of(rows, columns, seed)
    saliency = (sums**2 + sums.transpose(1, 2) ** 2).triu(1)
    geometry = CellGeometry((axis(rows, margin), axis(columns, margin)))
    return InteractionMap(saliency, (rows, columns), torch.ones(1), "layer", sums=sums, geometry=geometry)


def of_order(order: int) -> InteractionMap:
    n = 4
    values = torch.rand(1, *[n] * order, generator=torch.Generator().manual_seed(order))
    index = torch.arange(n)
    for one in range(order - 1):
        shape = [[1] * order, [1] * order]
        shape[0][one], shape[1][one + 1] = n, n
        values = values * (index.reshape(shape[0]) < index.reshape(shape[1]))
    return InteractionMap(values, (2, 2), torch.ones(1), "layer", geometry=CellGeometry((axis(2), axis(2))))


def a_view(index: int, name: str, found: InteractionMap, **options: Any) -> InteractionView:
    return InteractionView(
        name=name,
        heading=options.pop("heading", f"class {index}"),
        photo=photo(index, kind="PNG" if index == 1 else "JPEG"),
        size=(SIDE, SIDE),
        interactions=found,
        probability=0.9 - 0.1 * index,
        classes=[(f"class {index}", 0.9 - 0.1 * index), ("ostrich", 0.05)],
        facts=[Fact("label", "a word")],
        **options,
    )


def a_report() -> InteractionReport:
    views = [
        a_view(0, "a.png", interactions(), group="Photos"),
        a_view(1, HOSTILE, interactions(14, 14, 1), heading=HOSTILE, flags=["odd"], group="Photos"),
        a_view(2, "c.png", interactions(seed=2, margin=5.0), question=HOSTILE, group=HOSTILE),
        a_view(3, "d.png", of_order(3), question="Why?", group=HOSTILE),
        a_view(4, "e.png", of_order(1), group=HOSTILE),
    ]
    return InteractionReport(
        title="Five pictures",
        kicker=HOSTILE,
        views=views,
        reading=HOSTILE,
        summary={"pictures": "5", HOSTILE: HOSTILE},
        settings={"order": 2, "smooth": None, HOSTILE: HOSTILE},
        versions={"torch": HOSTILE},
        failures=[(HOSTILE, "not a picture"), ("broken.png", HOSTILE)],
        omitted=2,
    )


def views_of(page: Reader) -> list[dict[str, Any]]:
    return [json.loads(str(a["data-view"])) for a in page.named("li") if a.get("class") == "card"]


def test_text_of_users_is_text_wherever_it_stands() -> None:
    page = Reader(render_interaction_report(a_report()))
    assert len(page.named("script")) == len(page.named("style")) == 1
    # Title, kicker, reading, summary (2), heading, file, question, group, failures (2), settings (2), versions.
    assert sum(AS_SHOWN in text for text in page.texts) == 14
    assert views_of(page)[1]["name"] == HOSTILE
    handlers = [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert handlers == []


def test_the_page_loads_nothing_and_allows_only_its_own_script_and_style() -> None:
    page = Reader(render_interaction_report(a_report()))
    rules = page.policy()
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    for tag in ("script", "style"):
        assert rules[f"{tag}-src"] == page.hash_of(tag)
    assert page.outside_references() == []
    outside = page.inside["style"] + page.inside["script"].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(", outside)


def test_what_the_script_gets_is_what_the_map_holds() -> None:
    report = a_report()
    views = views_of(Reader(render_interaction_report(report)))
    for view, given in zip(views, report.views, strict=True):
        found = given.interactions
        best = found.top_k(report.top_k)[0]
        width = found.grid[1]
        assert [one["cells"] for one in view["top"]] == [[r * width + c for r, c in one.cells] for one in best]
        assert [one["saliency"] for one in view["top"]] == [one.saliency for one in best]
        assert len(view["rows"]) * len(view["columns"]) == found.cells
        values = np.frombuffer(base64.b64decode(view["values"]), "<i2" if view["kind"] == "sums" else "<u2")
        if found.order == 2:
            sums = values.reshape(found.cells, found.cells) / 32767 * view["scale"]
            np.testing.assert_allclose(sums, found.sums[0].numpy(), rtol=0, atol=view["scale"] / 60000)
        else:
            strengths = (values / 65535 * view["scale"]) ** 2
            expected = (
                found.saliency if found.order == 1 else torch.cat([found.partners(found.cell(i)) for i in range(4)])
            )
            np.testing.assert_allclose(strengths, expected.flatten().numpy(), rtol=1e-3, atol=1e-6)
    # Cells 5 pixels from the edges of 40: the margin belongs to no cell.
    assert views[2]["rows"][0] == [0.125, 0.3125]
    assert views[2]["columns"][-1] == [0.725, 0.875]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"interactions": InteractionMap(torch.ones(2, 4), (2, 2), torch.ones(2), "x")},
            "those of one item, got 2 items",
        ),
        ({"interactions": InteractionMap(torch.ones(1, 4), (2, 2), torch.ones(1), "x")}, "expected a geometry"),
        ({"photo": b"BM"}, "photo: expected the content of a PNG, JPEG or WebP file"),
    ],
)
def test_what_cannot_be_shown_is_refused(change: dict[str, Any], message: str) -> None:
    given = {"name": "a", "heading": "b", "photo": photo(0), "size": (SIDE, SIDE), "interactions": interactions()}
    with pytest.raises(InputError, match=message):
        InteractionView(**{**given, **change})
    with pytest.raises(InputError, match="top_k: expected"):
        InteractionReport("a", "b", [], top_k=0)


def test_a_report_without_pictures(tmp_path: Path) -> None:
    write_interaction_report(tmp_path / "report.html", InteractionReport(title="None", kicker="Taylor-CAM", views=[]))
    assert "There is no picture to show." in Reader((tmp_path / "report.html").read_text(encoding="utf-8")).texts


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "a folder with # and ü" / "report.html"
    write_interaction_report(file, a_report())
    return file


PARTNERS = "[...document.querySelectorAll('#partners li')].map((e) => e.querySelector('.who').firstChild.textContent)"
AMOUNTS = "[...document.querySelectorAll('#partners .amount')].map((e) => e.textContent)"
TITLE = "document.querySelector('#partners-title').textContent"
NAME = "document.querySelector('#explorer-title .file')?.textContent"
FRAMES = "[...document.querySelectorAll('#drawing rect[stroke]')].map((e) => e.getAttribute('stroke'))"
SHARES = "[...document.querySelectorAll('#drawing .share')].map((e) => e.textContent).sort()"
AREA = "document.querySelector('#stage').getBoundingClientRect().toJSON()"
FOCUSED = "document.activeElement.getAttribute('aria-label')"


def strongest_partners(found: InteractionMap, cell: tuple[int, int], count: int = 5) -> list[tuple[str, float]]:
    values = found.partners(cell)[0].flatten()
    best = values.sort(descending=True, stable=True)
    largest = float(found.saliency.max())
    rows = [found.cell(int(i)) for i in best.indices[:count]]
    return [(f"with ({r}, {c})", float(v) / largest) for (r, c), v in zip(rows, best.values.tolist(), strict=False)]


def as_shown(share: float) -> str:
    return f"{100 * share:.1f}\u202f%" if share < 0.0995 else f"{round(100 * share)}\u202f%"


def open_picture(browser: Any, position: int) -> None:
    browser.evaluate(f"document.querySelectorAll('.card .open')[{position}].click()")
    browser.evaluate("document.querySelector('#explorer').scrollIntoView({behavior: 'instant'})")


def point_at(browser: Any, across: float, down: float, kind: str = "mouseMoved", **options: Any) -> None:
    """Move the pointer to a place in the picture, given in shares of its sides."""
    area = browser.evaluate(AREA)
    x, y = area["left"] + across * area["width"], area["top"] + down * area["height"]
    browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)


def click(browser: Any, across: float, down: float) -> None:
    for kind in ("mousePressed", "mouseReleased"):
        point_at(browser, across, down, kind, button="left", clickCount=1)


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 800, 360])
def test_the_page_renders_without_requests_or_complaints(browser: Any, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert [request for request in browser.requests() if not request.startswith("data:")] == [page.as_uri()]
    for position in range(5):
        open_picture(browser, position)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        loaded = "document.querySelector('#photo').decode().then(() => document.querySelector('#photo').naturalWidth)"
        assert browser.evaluate(loaded) == SIDE
        cells = browser.evaluate("document.querySelectorAll('[role=gridcell]').length")
        assert cells == (20, 196, 20, 4, 4)[position]
    background = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == dark
    # A wide page has the numbers beside the picture, a narrow one below it.
    beside = "document.querySelector('.panel').offsetLeft > document.querySelector('#stage').offsetWidth / 2"
    assert browser.evaluate(beside) == (width == 1280)
    assert browser.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("position", [0, 1])
def test_pointing_at_a_cell_shows_its_partners(browser: Any, page: Path, position: int) -> None:
    browser.open(page)
    open_picture(browser, position)
    found = a_report().views[position].interactions
    rows, columns = found.grid
    for cell in ((0, 0), (2, 3), (rows - 1, columns - 1)):
        point_at(browser, (cell[1] + 0.4) / columns, (cell[0] + 0.6) / rows)
        browser.wait_for(TITLE, f"Partners of row {cell[0]}, column {cell[1]}")
        expected = strongest_partners(found, cell)
        assert browser.evaluate(PARTNERS) == [name for name, _ in expected]
        assert browser.evaluate(AMOUNTS) == [as_shown(share) for _, share in expected]
        assert browser.evaluate(SHARES) == sorted(as_shown(share) for _, share in expected)
        # The five partners in white, and the cell itself; the others are shaded by their strength.
        assert sorted(browser.evaluate(FRAMES)) == sorted(["#fff"] * 5 + [PAIR_COLORS[1]])
        assert browser.evaluate("document.querySelectorAll('#drawing .shade').length") >= 15
        own, other = found.sums[0, (i := found.grid[1] * cell[0] + cell[1])], found.sums[0, :, i]
        r, c = map(int, re.findall(r"\d+", expected[0][0]))
        j = columns * r + c
        small = browser.evaluate("document.querySelector('#partners small').textContent")
        signs = ["\u2212" if float(value) < 0 else "+" for value in (own[j], other[j])]
        assert re.findall("[\u2212+](?=\\d+\\.)", small) == signs
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    browser.wait_for(TITLE, "Partners of a cell")
    assert browser.evaluate(FRAMES) != []
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_margin_of_a_picture_belongs_to_the_nearest_cell(browser: Any, page: Path) -> None:
    browser.open(page)
    open_picture(browser, 2)
    for place, cell in {(0.02, 0.02): (0, 0), (0.99, 0.5): (1, 4), (0.2, 0.97): (3, 0)}.items():
        point_at(browser, *place)
        browser.wait_for(TITLE, f"Partners of row {cell[0]}, column {cell[1]}")


@pytest.mark.browser
def test_cells_are_reached_with_the_keyboard_alone(browser: Any, page: Path) -> None:
    browser.open(page)
    first = a_report().views[0].interactions
    row, column = first.top_k(1)[0][0].cells[0]
    browser.evaluate("document.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
    assert browser.evaluate(FOCUSED).startswith(f"row {row}, column {column}: acts with ")
    moves = [
        ("Home", (row, 0)),
        ("ArrowLeft", (row, 0)),
        ("End", (row, 4)),
        ("ArrowRight", (row, 4)),
        *[("ArrowUp", (max(0, row - k), 4)) for k in range(1, 4)],
        ("ArrowDown", (1 if row >= 3 else max(0, row - 3) + 1, 4)),
        ("ArrowLeft", (1 if row >= 3 else max(0, row - 3) + 1, 3)),
    ]
    for key, (r, c) in moves:
        browser.press(key)
        assert browser.evaluate(FOCUSED).startswith(f"row {r}, column {c}: "), key
        assert browser.evaluate(TITLE) == f"Partners of row {r}, column {c}"
        assert browser.evaluate(PARTNERS) == [name for name, _ in strongest_partners(first, (r, c))]
    assert browser.evaluate("document.querySelectorAll('[role=gridcell][tabindex=\"0\"]').length") == 1
    browser.press("Enter")
    assert "Pinned." in browser.evaluate("document.querySelector('#partners-note').textContent")
    browser.evaluate("document.activeElement.blur()")
    assert browser.evaluate(TITLE) == f"Partners of row {moves[-1][1][0]}, column 3"
    browser.press("Escape")
    assert browser.evaluate(TITLE) == "Partners of a cell"
    browser.evaluate("document.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
    for key, name in (("PageDown", AS_SHOWN), ("PageUp", "a.png"), ("PageUp", "a.png")):
        browser.press(key)
        assert browser.evaluate(NAME) == name
        assert browser.evaluate("document.activeElement.getAttribute('role')") == "gridcell"
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_strongest_pairs_are_chosen_from_the_list(browser: Any, page: Path) -> None:
    browser.open(page)
    best = a_report().views[0].interactions.top_k(4)[0]
    entries = "[...document.querySelectorAll('#top button')].map((e) => e.querySelector('.who').firstChild.textContent)"
    assert browser.evaluate(entries) == [" \u2194 ".join(f"({r}, {c})" for r, c in one.cells) for one in best]
    pressed = "[...document.querySelectorAll('#top button')].map((e) => e.getAttribute('aria-pressed'))"
    everything = sorted(browser.evaluate(FRAMES))
    assert everything == sorted(color for color in PAIR_COLORS[:4] for _ in range(2))
    browser.evaluate("document.querySelectorAll('#top button')[2].focus()")
    browser.press("Enter")
    assert browser.evaluate(pressed) == ["false", "false", "true", "false"]
    assert browser.evaluate(FRAMES) == [PAIR_COLORS[2]] * 2
    said = browser.evaluate("document.querySelector('#status').textContent")
    assert all(f"row {r}, column {c}" in said for r, c in best[2].cells)
    browser.press("Enter")
    assert browser.evaluate(pressed) == ["false"] * 4
    assert sorted(browser.evaluate(FRAMES)) == everything
    assert browser.complaints() == []


@pytest.mark.browser
def test_a_click_pins_a_cell_and_a_second_one_lets_it_go(browser: Any, page: Path) -> None:
    browser.open(page)
    open_picture(browser, 0)
    click(browser, 0.5, 0.4)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    browser.wait_for("document.querySelector('#partners-note').textContent.startsWith('Pinned.')", True)
    assert browser.evaluate(TITLE) == "Partners of row 1, column 2"
    point_at(browser, 0.1, 0.1)
    browser.wait_for(TITLE, "Partners of row 0, column 0")
    click(browser, 0.5, 0.4)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    browser.wait_for(TITLE, "Partners of a cell")


@pytest.mark.browser
def test_pictures_are_chosen_and_the_question_stands_above(browser: Any, page: Path) -> None:
    browser.open(page)
    question = "document.querySelector('#question').hidden ? null : document.querySelector('#question').textContent"
    current = "[...document.querySelectorAll('.open')].map((e) => e.getAttribute('aria-current')).indexOf('true')"
    assert browser.evaluate(question) is None
    browser.evaluate("document.querySelector('.open').focus()")
    browser.press("ArrowRight", "ArrowRight", "Enter")
    assert (browser.evaluate(NAME), browser.evaluate(current)) == ("c.png", 2)
    assert browser.evaluate("document.activeElement.id") == "explorer-title"
    assert browser.evaluate(question) == AS_SHOWN
    above = "document.querySelector('#question').getBoundingClientRect().bottom"
    assert browser.evaluate(above) <= browser.evaluate(AREA)["top"]
    assert browser.evaluate("document.querySelector('#question').children.length") == 1
    for control, name in (("#next", "d.png"), ("#next", "e.png"), ("#next", "e.png"), ("#previous", "d.png")):
        browser.evaluate(f"document.querySelector('{control}').click()")
        assert browser.evaluate(NAME) == name
    # Three cells that act together: three frames, and the partners of one of them.
    browser.evaluate("document.querySelector('#top button').click()")
    assert browser.evaluate(FRAMES) == [PAIR_COLORS[0]] * 3
    browser.evaluate("document.querySelector('#next').click()")
    assert browser.evaluate("document.querySelector('#partners-part').hidden")
    assert browser.evaluate("document.querySelector('#top-title').textContent") == "Strongest cells"
    assert browser.complaints() == []


@pytest.mark.browser
def test_a_touch_shows_the_partners_and_does_not_keep_the_page_from_scrolling(browser: Any, page: Path) -> None:
    browser.open(page, width=390, height=800)
    open_picture(browser, 0)
    assert browser.evaluate("getComputedStyle(document.querySelector('#stage')).touchAction") == "manipulation"
    area = browser.evaluate(AREA)
    x, y = area["left"] + 0.5 * area["width"], area["top"] + 0.4 * area["height"]
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.wait_for(TITLE, "Partners of row 1, column 2")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
    # On a phone the partners come before the list of the strongest, next to the picture.
    tops = [browser.evaluate(f"document.querySelector('{part}').offsetTop") for part in ("#partners-part", "#top")]
    assert tops == sorted(tops)


@pytest.mark.browser
def test_nothing_moves_for_those_who_do_not_want_it(browser: Any, page: Path) -> None:
    browser.open(page)
    transition = "getComputedStyle(document.querySelector('#photo')).transitionDuration"
    assert browser.evaluate(transition) != "0s"
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert browser.evaluate(transition) == "0s"
    light = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
