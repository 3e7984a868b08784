"""Drawings of what makes two inputs similar."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from html_reader import Reader
from PIL import Image

from xai_fast.errors import InputError
from xai_fast.interaction import PairRelevance
from xai_fast.plot import similarity_svg


def relevance(grid_x: tuple[int, ...], grid_y: tuple[int, ...]) -> PairRelevance:
    values = torch.zeros(2, int(np.prod(grid_x)), int(np.prod(grid_y)))
    values[1, 3, 0], values[1, 0, 2], values[1, 1, 1] = 4.0, -2.0, 1.0
    return PairRelevance(
        attributions=values, scores=torch.ones(2), evaluations=torch.ones(2), grid_x=grid_x, grid_y=grid_y
    )


def test_lines_join_the_cells_of_pictures() -> None:
    x, y = Image.new("RGB", (40, 20)), np.zeros((10, 10, 3), np.uint8)
    text = similarity_svg(x, y, relevance((2, 2), (1, 3)), item=1, top_k=2)
    lines = Reader(text).named("line")
    # 320 pixels high, so x is 640 wide and y begins at 760; the strongest is drawn last.
    places = [[float(str(line[name])) for name in ("x1", "y1", "x2", "y2")] for line in lines]
    assert np.allclose(places, [[160, 80, 760 + 320 * 2.5 / 3, 160], [480, 240, 760 + 320 * 0.5 / 3, 160]], atol=0.1)
    colors = [str(group["stroke"]) for group in Reader(text).named("g")]
    assert [int(c[1:3], 16) > int(c[5:7], 16) for c in colors] == [False, True]  # blue against, red for
    widths = [float(str(line["stroke-width"])) for line in lines]
    assert widths == [3.0, 5.0]


def test_words_are_escaped_and_joined() -> None:
    text = similarity_svg(["a", "<b>", "&", "d"], ["x", "y", "z"], relevance((4,), (3,)), item=1)
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert len(Reader(text).named("line")) == 3
    assert "<line" not in similarity_svg(["a"] * 4, ["x"] * 3, relevance((4,), (3,)), item=0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="x: expected 4 words, and 3 for y, got 2 and 3"):
        similarity_svg(["a", "b"], ["x", "y", "z"], relevance((4,), (3,)))
    with pytest.raises(InputError, match="relevance: expected cells of pictures, or tokens"):
        similarity_svg(["a"], ["b"], relevance((2, 2, 1), (3,)))
