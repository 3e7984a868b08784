from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import torch
from colors import srgb_to_oklab
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from xai_fast.errors import InputError
from xai_fast.interaction import AxisGeometry, CellGeometry, InteractionMap
from xai_fast.plot import PAIR_COLORS, colormap, show_interactions, show_marginal

mpl.use("agg")

IMAGE = np.full((60, 80, 3), 90, np.uint8)
"""Twice the resolution of the geometry."""


def geometry(rows: int = 3, columns: int = 4) -> CellGeometry:
    def axis(cells: int) -> AxisGeometry:
        low, high = (tuple(min(max(10 * i + side, 0), 10 * cells) for i in range(cells)) for side in (-3, 13))
        return AxisGeometry(pixels=10 * cells, start=5.0, stride=10.0, low=low, high=high)

    return CellGeometry((axis(rows), axis(columns)))


def interactions(pairs: dict[tuple[int, ...], float], order: int = 2, **more: object) -> InteractionMap:
    saliency = torch.zeros(2, *[12] * order)
    for cells, value in pairs.items():
        saliency[(1, *cells)] = value
    options = {"geometry": geometry()} | more
    done = {"scores": torch.zeros(2), "evaluations": torch.ones(2, dtype=torch.int64)}
    return InteractionMap(attributions=saliency, grid=(3, 4), layer="conv", **done, **options)


PAIRS = interactions({(0, 7): 4.0, (0, 5): 3.0, (6, 10): 1.0, (1, 2): 0.5})


def an_axis() -> object:
    return Figure(figsize=(4, 3), dpi=100).subplots()


def frames(ax: object) -> list[tuple[str, tuple[float, ...]]]:
    found = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return [(to_hex(frame.get_edgecolor()), frame.get_bbox().extents) for frame in found]


def test_each_pair_has_two_boxes_at_its_cells_a_line_and_its_rank() -> None:
    ax = an_axis()
    show_interactions(ax, IMAGE, PAIRS, item=1, k=3)
    ax.figure.canvas.draw()
    expected = []
    for rank, ((a, b), _) in enumerate(PAIRS.top_k(3)[1]):
        expected += [(PAIR_COLORS[rank], cell) for cell in (a, b)]
    drawn = frames(ax)
    assert sorted(color for color, _ in drawn) == sorted(color for color, _ in expected)
    for color, (row, column) in expected:
        # Twenty pixels of the picture a cell; the frame lies within, by at most two fifths.
        inside = [
            extents
            for this, extents in drawn
            if this == color
            and (20 * column - 0.5 < extents[0] < extents[2] < 20 * column + 19.5)
            and (20 * row - 0.5 < extents[1] < extents[3] < 20 * row + 19.5)
        ]
        assert len(inside) == 1
        assert min(inside[0][2] - inside[0][0], inside[0][3] - inside[0][1]) >= 4 - 1e-9
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3"]
    assert [to_hex(text.get_bbox_patch().get_facecolor()) for text in ax.texts] == list(PAIR_COLORS[:3])
    lines = {line.get_color(): line for line in ax.lines}
    assert len(lines) == 3
    widths = [lines[color].get_linewidth() for color in PAIR_COLORS[:3]]
    assert widths == sorted(widths, reverse=True)


def test_lines_end_at_the_frames() -> None:
    ax = an_axis()
    show_interactions(ax, IMAGE, interactions({(4, 7): 1.0}), item=1)
    (line,) = ax.lines
    (_, left), (_, right) = frames(ax)
    np.testing.assert_allclose(line.get_xdata(), [left[2], right[0]])
    np.testing.assert_allclose(line.get_ydata(), [29.5, 29.5])


def test_boxes_of_one_cell_lie_inside_each_other() -> None:
    ax = an_axis()
    show_interactions(ax, IMAGE, interactions({(0, 7): 3.0, (0, 11): 2.0, (0, 9): 1.0}), item=1)
    corner = {color: extents for color, extents in frames(ax) if extents[2] < 20 and extents[3] < 20}
    one, two, three = (corner[color] for color in PAIR_COLORS[:3])
    for outer, inner in ((one, two), (two, three)):
        assert outer[0] < inner[0] < inner[2] < outer[2]


def test_triples_are_joined_as_triangles_and_fields_are_larger() -> None:
    triple = interactions({(0, 7, 9): 1.0}, 3)
    ax, wide = an_axis(), an_axis()
    show_interactions(ax, IMAGE, triple, item=1)
    show_interactions(wide, IMAGE, triple, item=1, of="field")
    assert len(frames(ax)) == len(ax.lines) == 3
    for (_, cell), (_, field) in zip(frames(ax), frames(wide), strict=True):
        assert field[2] - field[0] > cell[2] - cell[0]


def test_many_ranks_have_places_of_their_own() -> None:
    pairs = {pair: 1.0 + i for i, pair in enumerate(itertools.combinations(range(12), 2)) if i % 6 == 0}
    ax = an_axis()
    show_interactions(ax, IMAGE, interactions(pairs), item=1, k=9)
    ax.figure.canvas.draw()
    places = [text.get_position() for text in ax.texts]
    assert len(places) == 9
    assert len({tuple(np.round(place, 3)) for place in places}) == 9


def shown(ax: object) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


def test_marginal_is_hottest_at_the_centre_of_the_strongest_cell() -> None:
    ax = an_axis()
    one = interactions({(6, 11): 1.0})
    show_marginal(ax, IMAGE, one, item=1, clip=(0.0, 100.0))
    brightness = shown(ax).astype(int).sum(2)
    # Cells 6 and 11 are (1, 2) and (2, 3), with centres at twice (25, 15) and twice (35, 25) pixels.
    for x, y in ((50, 30), (70, 50)):
        around = brightness[y - 10 : y + 10, x - 10 : x + 10]
        assert around.max() == around[9:11, 9:11].max()
        assert around[9:11, 9:11].min() > around[0, 0]
    # Beyond the centres of the outermost cells the value stays: cell 11 is in the corner.
    assert (shown(ax)[50:, 70:] == colormap()[-1]).all()
    # Between two centres the value falls linearly, so it is cold up to the centre of the next cell.
    assert (shown(ax)[:10, :40] == shown(ax)[0, 0]).all()
    assert (shown(ax)[29, 29] == shown(ax)[0, 0]).all()


# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009:
# linear RGB, severity 1.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("sight", SIGHT)
def test_colors_are_told_apart(sight: str) -> None:
    srgb = np.array([to_rgb(color) for color in PAIR_COLORS])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(SIGHT[sight]).T).clip(0, 1)
    lab = srgb_to_oklab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    apart = {pair: np.linalg.norm(lab[pair[0]] - lab[pair[1]]) for pair in itertools.combinations(range(len(lab)), 2)}
    # 0.02 is about the least difference that is seen side by side.
    assert min(distance for pair, distance in apart.items() if max(pair) < 4) > 0.15
    assert min(apart.values()) > 0.08


WRONG = {
    "interactions: expected a geometry": lambda ax: show_interactions(ax, IMAGE, interactions({}, geometry=None)),
    "interactions: expected a geometry, which .*None": lambda ax: show_marginal(
        ax, IMAGE, interactions({}, geometry=None)
    ),
    "interactions: expected order 2 or more": lambda ax: show_interactions(ax, IMAGE, interactions({}, 1)),
    "item: expected an integer, from 0 to 1": lambda ax: show_interactions(ax, IMAGE, PAIRS, item=2),
    "k: expected an integer, at least 1": lambda ax: show_interactions(ax, IMAGE, PAIRS, k=0),
    "of: expected one of cell, field": lambda ax: show_interactions(ax, IMAGE, PAIRS, of="map"),
    r"image: expected \(H, W, 3\) uint8": lambda ax: show_interactions(ax, IMAGE / 255, PAIRS),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(message: str) -> None:
    with pytest.raises(InputError, match="^" + message):
        WRONG[message](an_axis())
