"""Pairs of cells in the report: their numbers, and how a reader asks for the partners of a cell."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_data import entries

from xai_fast.interaction import AxisGeometry, CellGeometry, InteractionMap
from xai_fast.plot import PAIR_COLORS, Item, report

QUESTION = "<b>How many</b> objects have the shape of the red object?"
SIDE = 40


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def axis(cells: int, margin: float = 0.0) -> AxisGeometry:
    stride = (SIDE - 2 * margin) / cells
    return AxisGeometry(SIDE, margin + stride / 2, stride, (0,) * cells, (SIDE,) * cells)


def interaction_map(
    attributions: torch.Tensor, grid: tuple[int, int], margin: float = 0.0, **more: Any
) -> InteractionMap:
    return InteractionMap(
        attributions=attributions,
        grid=grid,
        layer="layer",
        scores=torch.ones(1),
        evaluations=torch.ones(1, dtype=torch.int64),
        geometry=CellGeometry((axis(grid[0], margin), axis(grid[1], margin))),
        **more,
    )


def pairs(rows: int = 4, columns: int = 5, seed: int = 0, margin: float = 0.0) -> InteractionMap:
    n = rows * columns
    sums = torch.randn(1, n, n, generator=torch.Generator().manual_seed(seed)) * (1 - torch.eye(n))
    saliency = (sums**2 + sums.transpose(1, 2) ** 2).triu(1)
    return interaction_map(saliency, (rows, columns), margin, sums=sums)


def of_order(order: int) -> InteractionMap:
    n = 4
    values = torch.rand(1, *[n] * order, generator=torch.Generator().manual_seed(order))
    index = torch.arange(n)
    for one in range(order - 1):
        shape = [[1] * order, [1] * order]
        shape[0][one], shape[1][one + 1] = n, n
        values = values * (index.reshape(shape[0]) < index.reshape(shape[1]))
    return interaction_map(values, (2, 2))


MAPS = [pairs(), pairs(14, 14, 1), pairs(4, 5, 2, margin=5.0), of_order(3), of_order(1)]
NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    items = [
        Item(name, {"taylor_cam": found}, photo(i), f"class {i}", QUESTION if i == 2 else "", [(f"class {i}", 0.9)])
        for i, (name, found) in enumerate(zip(NAMES, MAPS, strict=True))
    ]
    return report(items, tmp_path_factory.mktemp("pairs"))


def test_the_numbers_of_the_page_are_those_of_the_maps(page: Path) -> None:
    layers = [entry["layers"][0] for entry in entries(page)]
    for layer, found in zip(layers, MAPS, strict=True):
        assert [tuple(divmod(i, found.grid[1]) for i in one["cells"]) for one in layer["top"]] == [
            one.cells for one in found.top_k(4)[0]
        ]
        values = np.frombuffer(base64.b64decode(layer["values"]), "<i2" if layer["signed"] else "<u2")
        if found.order == 2:
            sums = values.reshape(found.cells, found.cells) / 32767 * layer["scale"]
            np.testing.assert_allclose(sums, found.sums[0].numpy(), rtol=0, atol=layer["scale"] / 60000)
        else:
            strengths = (values / 65535 * layer["scale"]) ** 2
            partners = (
                [found.partners(found.cell(i)).flatten() for i in range(4)] if found.order > 1 else [found.marginal()]
            )
            np.testing.assert_allclose(strengths, torch.cat(partners).flatten().numpy(), rtol=1e-3, atol=1e-6)
    # Cells 5 pixels from the edges of 40: the margin belongs to no cell.
    assert layers[2]["rows"][0] == [0.125, 0.3125]
    assert layers[2]["columns"][-1] == [0.725, 0.875]


def undirected() -> InteractionMap:
    """Interactions whose sums stand once, of which those below zero have no salience."""
    sums = torch.randn(1, 20, 20, generator=torch.Generator().manual_seed(5)).triu(1)
    return interaction_map(sums.clamp(min=0).square(), (4, 5), sums=sums, directed=False)


def test_sums_that_stand_once_are_shown_as_far_as_they_have_salience(tmp_path: Path) -> None:
    found = undirected()
    (entry,) = entries(report([Item("a.png", {"removal": found}, photo(0))], tmp_path))
    (layer,) = entry["layers"]
    assert (layer["signed"], layer["directed"]) == (True, False)
    shown = np.frombuffer(base64.b64decode(layer["values"]), "<i2").reshape(20, 20) / 32767 * layer["scale"]
    np.testing.assert_allclose(shown, found.sums[0].clamp(min=0).numpy(), rtol=0, atol=layer["scale"] / 60000)


@pytest.mark.browser
def test_the_viewer_has_one_number_where_sums_stand_once(browser: Any, tmp_path: Path) -> None:
    found = undirected()
    open_picture(
        browser, report([Item(name, {"removal": found}, photo(0), "class 0") for name in NAMES[:2]], tmp_path), 0
    )
    texts = browser.evaluate("[...document.querySelectorAll('#top small')].map((e) => e.textContent)")
    best = found.attributions.flatten().sort(descending=True).values[:4].sqrt().tolist()
    assert [float(text.removeprefix("I = +")) for text in texts] == [pytest.approx(value, rel=0.05) for value in best]
    assert "I is the interaction" in browser.evaluate("document.querySelector('#top-note').textContent")
    (row, column), _ = found.top_k(1)[0][0].cells
    point_at(browser, (column + 0.5) / 5, (row + 0.5) / 4)
    browser.wait_for(TITLE, f"Partners of row {row}, column {column}")
    assert browser.evaluate(PARTNERS) == [name for name, share in strongest_partners(found, (row, column)) if share > 0]
    assert browser.complaints() == []


PARTNERS = "[...document.querySelectorAll('#partners li')].map((e) => e.querySelector('.who').firstChild.textContent)"
AMOUNTS = "[...document.querySelectorAll('#partners .amount')].map((e) => e.textContent)"
TITLE = "document.querySelector('#partners-title').textContent"
NAME = "document.querySelector('#viewer-title .file')?.textContent"
FRAMES = "[...document.querySelectorAll('#drawing rect[stroke]')].map((e) => e.getAttribute('stroke'))"
SHARES = "[...document.querySelectorAll('#drawing .share')].map((e) => e.textContent).sort()"
AREA = "document.querySelector('#stage').getBoundingClientRect().toJSON()"
FOCUSED = "document.activeElement.getAttribute('aria-label')"


def strongest_partners(found: InteractionMap, cell: tuple[int, int], count: int = 5) -> list[tuple[str, float]]:
    values = found.partners(cell)[0].flatten()
    best = values.sort(descending=True, stable=True)
    largest = float(found.attributions.max())
    rows = [found.cell(int(i)) for i in best.indices[:count]]
    return [(f"with ({r}, {c})", float(v) / largest) for (r, c), v in zip(rows, best.values.tolist(), strict=False)]


def as_shown(share: float) -> str:
    return f"{100 * share:.1f}\u202f%" if share < 0.0995 else f"{round(100 * share)}\u202f%"


def open_picture(browser: Any, page: Path, position: int, **options: Any) -> None:
    browser.open(page, **options)
    browser.wait_for("document.querySelector('#gallery').dataset.page", "0")
    browser.evaluate(f"document.querySelectorAll('.card .open')[{position}].click()")
    browser.wait_for(NAME, NAMES[position])


def point_at(browser: Any, across: float, down: float, kind: str = "mouseMoved", **options: Any) -> None:
    """Move the pointer to a place in the picture, given in shares of its sides."""
    area = browser.evaluate(AREA)
    x, y = area["left"] + across * area["width"], area["top"] + down * area["height"]
    browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)


def click(browser: Any, across: float, down: float) -> None:
    for kind in ("mousePressed", "mouseReleased"):
        point_at(browser, across, down, kind, button="left", clickCount=1)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_the_viewer_fits_the_screen(browser: Any, page: Path, width: int) -> None:
    open_picture(browser, page, 2, width=width, height=1600)
    assert browser.evaluate("document.querySelector('#viewer').scrollWidth") <= width
    assert browser.evaluate("document.querySelectorAll('.card .over.drawing').length") == 5
    assert browser.evaluate("document.querySelector('#question').textContent") == QUESTION
    assert (
        browser.evaluate("document.querySelector('#question').getBoundingClientRect().bottom")
        <= browser.evaluate(AREA)["top"]
    )
    beside = "document.querySelector('.panel').getBoundingClientRect().left > 300"
    assert browser.evaluate(beside) == (width == 1280)
    # On a narrow screen the partners come before the list of the strongest, next to the picture.
    tops = [browser.evaluate(f"document.querySelector('{part}').offsetTop") for part in ("#partners-part", "#top")]
    assert (tops == sorted(tops)) == (width == 360)
    assert browser.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("position", [0, 1])
def test_pointing_at_a_cell_shows_its_partners(browser: Any, page: Path, position: int) -> None:
    open_picture(browser, page, position)
    assert browser.evaluate("[...document.querySelectorAll('.signs')].every((one) => one.hidden)")  # those of maps
    found = MAPS[position]
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
        own, other = found.sums[0, (i := columns * cell[0] + cell[1])], found.sums[0, :, i]
        r, c = map(int, re.findall(r"\d+", expected[0][0]))
        small = browser.evaluate("document.querySelector('#partners small').textContent")
        signs = ["\u2212" if float(value) < 0 else "+" for value in (own[columns * r + c], other[columns * r + c])]
        assert re.findall("[\u2212+](?=\\d+\\.)", small) == signs
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    browser.wait_for(TITLE, "Partners of a cell")
    assert browser.evaluate(FRAMES) != []
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_margin_of_a_picture_belongs_to_the_nearest_cell(browser: Any, page: Path) -> None:
    open_picture(browser, page, 2)
    for place, cell in {(0.02, 0.02): (0, 0), (0.99, 0.5): (1, 4), (0.2, 0.97): (3, 0)}.items():
        point_at(browser, *place)
        browser.wait_for(TITLE, f"Partners of row {cell[0]}, column {cell[1]}")


@pytest.mark.browser
def test_cells_are_reached_with_the_keyboard_alone(browser: Any, page: Path) -> None:
    open_picture(browser, page, 0)
    row, column = MAPS[0].top_k(1)[0][0].cells[0]
    browser.evaluate("document.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
    assert browser.evaluate(FOCUSED).startswith(f"row {row}, column {column}: acts with ")
    at = [row, column]
    for key in ("Home", "ArrowLeft", "End", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowLeft"):
        at[0] += {"ArrowUp": -1, "ArrowDown": 1}.get(key, 0)
        at[1] += {"ArrowLeft": -1, "ArrowRight": 1, "Home": -9, "End": 9}.get(key, 0)
        at = [min(max(at[0], 0), 3), min(max(at[1], 0), 4)]
        browser.press(key)
        assert browser.evaluate(FOCUSED).startswith(f"row {at[0]}, column {at[1]}: "), key
        assert browser.evaluate(TITLE) == f"Partners of row {at[0]}, column {at[1]}"
        assert browser.evaluate(PARTNERS) == [name for name, _ in strongest_partners(MAPS[0], (at[0], at[1]))]
    assert browser.evaluate("document.querySelectorAll('[role=gridcell][tabindex=\"0\"]').length") == 1
    browser.press("Enter")
    assert "Pinned." in browser.evaluate("document.querySelector('#partners-note').textContent")
    browser.evaluate("document.activeElement.blur()")
    assert browser.evaluate(TITLE) == f"Partners of row {at[0]}, column {at[1]}"
    browser.evaluate("document.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
    for key, name in (("PageDown", "b.png"), ("PageUp", "a.png"), ("PageUp", "a.png")):
        browser.press(key)
        browser.wait_for(NAME, name)
        assert browser.evaluate("document.activeElement.getAttribute('role')") == "gridcell"
    assert browser.complaints() == []


@pytest.mark.browser
def test_the_strongest_sets_are_chosen_from_the_list(browser: Any, page: Path) -> None:
    open_picture(browser, page, 0)
    best = MAPS[0].top_k(4)[0]
    listed = "[...document.querySelectorAll('#top button')].map((e) => e.querySelector('.who').firstChild.textContent)"
    assert browser.evaluate(listed) == [" \u2194 ".join(f"({r}, {c})" for r, c in one.cells) for one in best]
    everything = sorted(browser.evaluate(FRAMES))
    assert everything == sorted(color for color in PAIR_COLORS[:4] for _ in range(2))
    browser.evaluate("document.querySelectorAll('#top button')[2].focus()")
    browser.press("Enter")
    assert browser.evaluate(FRAMES) == [PAIR_COLORS[2]] * 2
    said = browser.evaluate("document.querySelector('#status').textContent")
    assert all(f"row {r}, column {c}" in said for r, c in best[2].cells)
    browser.press("Enter")
    assert sorted(browser.evaluate(FRAMES)) == everything
    # Three cells that act together: three frames.
    open_picture(browser, page, 3)
    browser.evaluate("document.querySelector('#top button').click()")
    assert browser.evaluate(FRAMES) == [PAIR_COLORS[0]] * 3
    open_picture(browser, page, 4)
    assert browser.evaluate("document.querySelector('#partners-part').hidden")
    assert browser.evaluate("document.querySelector('#top-title').textContent") == "Strongest cells"
    assert browser.complaints() == []


@pytest.mark.browser
def test_a_click_pins_a_cell_and_a_second_one_lets_it_go(browser: Any, page: Path) -> None:
    open_picture(browser, page, 0)
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
def test_a_touch_shows_the_partners(browser: Any, page: Path) -> None:
    open_picture(browser, page, 0, width=390, height=800)
    assert browser.evaluate("getComputedStyle(document.querySelector('#stage')).touchAction") == "manipulation"
    area = browser.evaluate(AREA)
    x, y = area["left"] + 0.5 * area["width"], area["top"] + 0.4 * area["height"]
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.wait_for(TITLE, "Partners of row 1, column 2")
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
