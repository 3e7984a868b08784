"""Drawings of what makes two inputs similar."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_reader import Reader
from PIL import Image
from report_data import entries

from xai_fast.errors import InputError
from xai_fast.interaction import PairRelevance
from xai_fast.plot import report, similarity_svg


def relevance(grid_x: tuple[int, ...], grid_y: tuple[int, ...]) -> PairRelevance:
    values = torch.zeros(2, int(np.prod(grid_x)), int(np.prod(grid_y)))
    values[1, 3, 0], values[1, 0, 2], values[1, 1, 1] = 4.0, -2.0, 1.0
    return PairRelevance(
        attributions=values, scores=torch.ones(2), evaluations=torch.ones(2), grid_x=grid_x, grid_y=grid_y
    )


def test_lines_join_the_cells_of_pictures() -> None:
    x, y = Image.new("RGB", (40, 20)), np.zeros((10, 10, 3), np.uint8)
    text = similarity_svg(x, y, relevance((2, 2), (1, 3)), item=1, top_k=2)
    lines = Reader(text).named("path")
    # 320 pixels high, so x is 640 wide and y begins at 760; the strongest is drawn last.
    places = [[float(number) for number in re.findall(r"[\d.]+", str(line["d"]))] for line in lines]
    assert np.allclose(places, [[160, 80, 760 + 320 * 2.5 / 3, 160], [480, 240, 760 + 320 * 0.5 / 3, 160]], atol=0.1)
    colors = [str(line["stroke"]) for line in lines]
    assert [int(c[1:3], 16) > int(c[5:7], 16) for c in colors] == [False, True]  # blue against, red for
    widths = [float(str(line["stroke-width"])) for line in lines]
    assert widths == [3.0, 5.0]


def test_words_are_escaped_and_joined() -> None:
    text = similarity_svg(["a", "<b>", "&", "d"], ["x", "y", "z"], relevance((4,), (3,)), item=1)
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "<title>d \N{EN DASH} x: 4</title>" in text
    assert len(Reader(text).named("path")) == 3
    assert "<path" not in similarity_svg(["a"] * 4, ["x"] * 3, relevance((4,), (3,)), item=0)


SENTENCES = [(["a", "<b>", "&", "d"], ["x", "y", "z"])] * 2


@pytest.mark.parametrize(
    ("grids", "more", "given", "names"),
    [
        (((2, 2), (1, 3)), {"size_x": (10, 20), "size_y": (9, 9)}, {}, ["(1, 1) \N{EN DASH} (0, 0)"]),
        (((4,), (3,)), {}, {"words": SENTENCES}, ["d \N{EN DASH} x", "a \N{EN DASH} z", "<b> \N{EN DASH} y"]),
        (((4,), (3,)), {}, {"words": [(["a"], ["x"])] * 2}, [" \N{EN DASH} x", "a \N{EN DASH} ", " \N{EN DASH} "]),
        (((4,), (3,)), {}, {}, ["3 \N{EN DASH} 0", "0 \N{EN DASH} 2", "1 \N{EN DASH} 1"]),
    ],
    ids=["pictures", "words", "padding", "positions"],
)
def test_a_report_has_the_same_lines(
    grids: tuple[Any, Any], more: dict[str, Any], given: dict[str, Any], names: list[str], tmp_path: Path
) -> None:
    found = dataclasses.replace(relevance(*grids), **more)
    none, some = (entry["layers"][0] for entry in entries(report(found, tmp_path, **given)))
    assert some["kind"] == none["kind"] == "links"
    assert (none["lines"], none["values"], none["names"]) == ([], [], [])
    assert some["values"] == [4.0, -2.0, 1.0]
    assert some["names"][: len(names)] == names
    assert some["ratio"] == some["box"][0] / some["box"][1]
    if more:  # 640 and 320 wide, 32 between them
        assert some["lines"][0] == pytest.approx([480, 240, 672 + 320 * 0.5 / 3, 160], abs=0.1)


def test_parts_that_have_no_place_are_numbers(tmp_path: Path) -> None:
    (_, some) = entries(report(relevance((1, 2, 2), (3,)), tmp_path))
    assert some["layers"] == [None]
    assert dict(some["notes"])["attributions"] == "0, 0, -2, 0, 1, 0, 0, 0, 0, 4, 0, 0"


@pytest.mark.browser
def test_the_page_draws_and_lists_the_lines(browser: Any, tmp_path: Path) -> None:
    found = dataclasses.replace(relevance((2, 2), (1, 3)), size_x=(10, 20), size_y=(9, 9))
    pictures = [(Image.new("RGB", (20, 10), color), np.zeros((9, 9, 3), np.uint8)) for color in ("red", "blue")]
    browser.open(report(found, tmp_path, pictures=pictures))
    browser.wait_for("document.querySelector('#gallery').dataset.page", "0")
    browser.evaluate("document.querySelectorAll('.card button')[1].click()")
    browser.wait_for("document.querySelectorAll('#stage .over g').length", 3)
    kinds = "[...document.querySelectorAll('#stage .over g')].map((g) => g.lastChild.getAttribute('class'))"
    assert browser.evaluate(kinds) == ["for", "against", "for"]
    listed = "[...document.querySelectorAll('#features li')].map((li) => li.textContent)"
    assert browser.evaluate(listed)[0] == "(1, 1) \N{EN DASH} (0, 0)4"
    stage = "(({ width, height }) => width / height)(document.querySelector('#stage').getBoundingClientRect())"
    assert browser.evaluate(stage) == pytest.approx(992 / 320, rel=0.02)
    assert browser.complaints() == []


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="x: expected 4 words, and 3 for y, got 2 and 3"):
        similarity_svg(["a", "b"], ["x", "y", "z"], relevance((4,), (3,)))
    with pytest.raises(InputError, match="relevance: expected cells of pictures, or tokens"):
        similarity_svg(["a"], ["b"], relevance((2, 2, 1), (3,)))
