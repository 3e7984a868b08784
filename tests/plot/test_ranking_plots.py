from __future__ import annotations

import itertools
import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from colors import srgb_to_oklab
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from ranking_examples import random_ranking, ranking_of

from xai_fast.errors import InputError
from xai_fast.interaction import InteractionRanking
from xai_fast.plot import ORDER_COLORS, show_interaction_network, show_pair_heatmap, show_ranking
from xai_fast.plot.colormap import diverging_colormap
from xai_fast.plot.ranking_layout import joined, make_network, make_pair_matrix, told_apart

mpl.use("agg")

NAMES = ("hour", "working day", "$temp", "humidity", "wind")
EFFECTS = {
    (0,): 9.0,
    (3,): 8.0,
    (0, 1): 4.0,
    (1, 2): 3.0,
    (0, 3): 2.0,
    (2, 3): 0.0,
    (0, 1, 2): 3.5,
    (1, 2, 3): 0.03,
}
RANKING = ranking_of(NAMES, EFFECTS, aggregate="mean")
SIGNED = ranking_of(NAMES, {(0, 1): 4.0, (1, 2): -3.0, (0, 3): 2.0}, effect="signed")


def an_axis(size: float = 5.0) -> Any:
    return Figure(figsize=(size, size), dpi=100).subplots()


def bars(ax: Any) -> list[tuple[str, float, str]]:
    labels = [label.get_text() for label in ax.get_yticklabels()]
    return [(n, b.get_width(), to_hex(b.get_facecolor())) for n, b in zip(labels, ax.patches, strict=True)]


def whiskers(ax: Any) -> list[tuple[float, float]]:
    (lines,) = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    return [tuple(segment[:, 0]) for segment in lines.get_segments()]


ALL = [
    ("hour \u00d7 working day", 4.0, 2),
    ("hour \u00d7 working day \u00d7 $temp", 3.5, 3),
    ("working day \u00d7 $temp", 3.0, 2),
]


@pytest.mark.parametrize(
    ("order", "k", "expected"),
    [
        (None, 3, ALL),
        (None, 99, [*ALL, ("hour \u00d7 humidity", 2.0, 2), ("working day \u00d7 $temp \u00d7 humidity", 0.03, 3)]),
        (2, 9, [ALL[0], ALL[2], ("hour \u00d7 humidity", 2.0, 2)]),
        (3, 1, [ALL[1]]),
        (1, 5, [("hour", 9.0, 1), ("humidity", 8.0, 1)]),
    ],
)
def test_bars_are_the_effects_strongest_first(order: int | None, k: int, expected: list) -> None:
    ax = an_axis()
    show_ranking(ax, RANKING, order=order, k=k)
    assert bars(ax) == [(name, effect, ORDER_COLORS[o]) for name, effect, o in expected]
    np.testing.assert_allclose(whiskers(ax), [(0.5 * e, 1.5 * e) for _, e, _ in expected])
    low, high = ax.get_ylim()
    assert low > high  # the first at the top
    assert (ax.get_legend() is not None) == (order is None)
    assert ax.get_xlabel() == "mean absolute derivative over 7 rows"
    ax.figure.canvas.draw()  # a dollar would fail here if it were read as a formula


def test_the_spread_of_a_magnitude_does_not_reach_below_zero() -> None:
    ax = an_axis()
    show_ranking(ax, ranking_of(NAMES, {(0, 1): 4.0, (1, 2): 1.0}, spread=2.0))
    assert whiskers(ax) == [(0.0, 12.0), (0.0, 3.0)]
    show_ranking(signed := an_axis(), SIGNED)
    assert [b.get_width() for b in signed.patches] == [4.0, -3.0, 2.0]
    assert whiskers(signed)[1] == (-4.5, -1.5)


@pytest.mark.parametrize("show", [show_ranking, show_interaction_network])
def test_without_interactions_the_picture_says_so(show: Any) -> None:
    ax = an_axis()
    show(ax, ranking_of(NAMES, {(0,): 1.0, (0, 1): 0.0}))
    assert [text.get_text() for text in ax.texts] == ["no interaction"]


def test_the_heatmap_is_the_matrix_of_pairs() -> None:
    ax = an_axis()
    values = show_pair_heatmap(ax, RANKING).get_array()
    expected = np.full((5, 5), np.nan)
    for (a, b), effect in {(0, 1): 4.0, (1, 2): 3.0, (0, 3): 2.0, (2, 3): 0.0}.items():
        expected[a, b] = expected[b, a] = effect / 4
    np.testing.assert_array_equal(np.ma.getmaskarray(values), np.isnan(expected))
    np.testing.assert_allclose(values.filled(np.nan), expected)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(NAMES)
    squares = ranking_of(NAMES, EFFECTS, effect="square")
    np.testing.assert_allclose(show_pair_heatmap(an_axis(), squares).get_array().filled(np.nan), np.sqrt(expected))
    drawn = show_pair_heatmap(an_axis(), SIGNED)
    assert drawn.get_array()[1, 2] == -0.75
    assert drawn.get_clim() == (-1.0, 1.0)


def test_the_heatmap_of_many_features_has_the_strongest_of_them() -> None:
    ax = an_axis()
    ranking = random_ranking(200, (2,))
    show_pair_heatmap(ax, ranking, features=10)
    matrix = ranking.pair_matrix()
    strength = np.nan_to_num(matrix).max(1)
    expected = sorted(np.argsort(-strength)[:10].tolist())
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"feature {i}" for i in expected]
    assert "10 of 200" in ax.get_xlabel()
    assert make_pair_matrix(ranking, 10).omitted == 190


@pytest.mark.parametrize("features", [12, 30, 200])
@pytest.mark.parametrize("size", [3.0, 7.0])
def test_names_at_the_heatmap_neither_overlap_nor_shrink_to_dust(features: int, size: float) -> None:
    ax = an_axis(size)
    show_pair_heatmap(ax, random_ranking(features, (2,)), features=features)
    ax.figure.canvas.draw()
    for labels, side in ((ax.get_yticklabels(), "y"), (ax.get_xticklabels(), "x")):
        assert labels[0].get_fontsize() >= 5
        extents = [label.get_window_extent() for label in labels]
        edges = sorted((getattr(e, f"{side}0"), getattr(e, f"{side}1")) for e in extents)
        assert all(before[1] <= after[0] + 1.5 for before, after in itertools.pairwise(edges))


def segments(ax: Any) -> int:
    return sum(line.get_linestyle() == "-" and len(line.get_xdata()) > 1 for line in ax.lines)


def test_a_pair_is_a_line_and_a_triple_a_star() -> None:
    ax = an_axis()
    show_interaction_network(ax, RANKING)
    # Three pairs, one triple with three lines; the other triple is too weak to be seen.
    assert segments(ax) == 3 + 3
    assert sorted(text.get_text() for text in ax.texts) == sorted([*NAMES[:4], "the strongest 4 of 6 sets"])
    wide = {to_hex(line.get_color()): line.get_linewidth() for line in ax.lines if len(line.get_xdata()) > 1}
    assert wide[ORDER_COLORS[2]] > wide[ORDER_COLORS[3]]
    show_interaction_network(pairs := an_axis(), RANKING, order=2, k=2)
    assert segments(pairs) == 2
    assert "wind" not in [text.get_text() for text in pairs.texts]


def corners(text: Any) -> np.ndarray:
    """The rectangle of a text that is turned, in pixels."""
    angle = text.get_rotation()
    text.set_rotation(0)
    box = text.get_window_extent()
    text.set_rotation(angle)
    anchor = np.array(text.get_transform().transform(text.get_position()))
    turn = math.radians(angle)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return anchor + (box.corners()[[0, 1, 3, 2]] - anchor) @ matrix.T


def apart(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a line separates two rectangles."""
    for edges in (a, b):
        for side in (edges[1] - edges[0], edges[2] - edges[1]):
            one, other = a @ side, b @ side
            if one.max() <= other.min() or other.max() <= one.min():
                return True
    return False


@pytest.mark.parametrize("longest", [0, 60])
@pytest.mark.parametrize("features", [6, 14, 200])
def test_names_in_a_network_are_readable_however_many_features_there_are(features: int, longest: int) -> None:
    ax = an_axis(7.0)
    show_interaction_network(ax, random_ranking(features, longest=longest))
    ax.figure.canvas.draw()
    names = [text for text in ax.texts if not text.get_text().startswith("the strongest")]
    assert 4 <= len(names) <= 24
    assert all(name.get_fontsize() >= 9 for name in names)
    rectangles = [corners(name) for name in names]
    for a, b in itertools.combinations(rectangles, 2):
        assert apart(a, b)
    area = ax.figure.bbox
    for rectangle in rectangles:
        assert rectangle.min() >= -2
        assert rectangle[:, 0].max() <= area.x1 + 2
        assert rectangle[:, 1].max() <= area.y1 + 2


def test_features_of_strong_sets_are_neighbours_on_the_circle() -> None:
    pairs = [(i, i + 6) for i in range(6)]
    network = make_network(ranking_of(tuple("abcdefghijkl"), dict.fromkeys(pairs, 1.0)), None, 24, 24)
    circle = list(network.places)
    for a, b in pairs:
        assert abs(circle.index(a) - circle.index(b)) in (1, 11)
    for x, y in network.places.values():
        assert math.hypot(x, y) == pytest.approx(1.0)


def test_a_network_stays_within_its_limits_and_does_not_depend_on_chance() -> None:
    ranking = random_ranking(200, seed=3)
    network = make_network(ranking, None, 40, 15)
    assert len(network.places) <= 15
    strongest = ranking.top(1, mixed=True)[0]
    assert network.sets[0].indices == strongest.indices
    assert list(network.shares) == sorted(network.shares, reverse=True)
    assert min(network.shares) >= 0.02
    assert network.omitted == len(ranking) - len(network.sets)
    assert list(make_network(ranking, None, 40, 15).places) == list(network.places)


@pytest.mark.parametrize(
    ("name", "letters", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcdefgh", 5, "abc…h"),
        ("abcdefgh", 8, "abcdefgh"),
        ("abcdefgh", 3, "ab…"),
        ("a\x1b\u202eb", 9, "a\ufffd\ufffdb"),
    ],
)
def test_long_names_are_cut_in_the_middle(name: str, letters: int, expected: str) -> None:
    assert told_apart([name], letters) == {name: expected}


def test_short_names_leave_their_room_to_the_long_ones() -> None:
    assert joined(("a", "b" * 30), 20) == "a \u00d7 " + "b" * 9 + "\u2026" + "b" * 5
    assert len(joined(("a" * 30, "b" * 30, "c" * 30), 40)) <= 40


ALIKE = [f"sensor {i} of the plant" for i in (7, 8, 182)]


@pytest.mark.parametrize(
    ("names", "letters", "expected"),
    [
        (ALIKE, 30, ALIKE),
        (ALIKE, 9, ["…7…", "…8…", "…182…"]),
        (["aaaaaaaaaa1", "aaaaaaaaaa2"], 11, ["aaaaaaaaaa1", "aaaaaaaaaa2"]),
        (["temperature1", "temperature2", "wind"], 8, ["tempe…e1", "tempe…e2", "wind"]),
        (["a_mean_of_all_1_a", "a_mean_of_all_11_a"], 5, ["…1…", "…11…"]),
        ([], 5, []),
    ],
)
def test_names_that_begin_and_end_alike_are_told_apart(names: list[str], letters: int, expected: list[str]) -> None:
    assert list(told_apart(names, letters).values()) == expected


def test_the_colours_of_signs_are_darkest_at_the_ends() -> None:
    lightness = srgb_to_oklab(diverging_colormap() / 255)[:, 0]
    assert (np.diff(lightness[:128]) > -2e-3).all()
    assert (np.diff(lightness[128:]) < 2e-3).all()
    assert lightness[[0, -1]].max() < 0.6 < 0.9 < lightness[128]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax, r: show_ranking(ax, r, order=4), "order: expected one of 1, 2, 3, got 4"),
        (lambda ax, r: show_ranking(ax, r, k=0), "k: expected"),
        (lambda ax, r: show_interaction_network(ax, r, order=1), "order: expected 2 or more, or None, got 1"),
        (lambda ax, r: show_interaction_network(ax, r, features=1), "features: expected"),
        (lambda ax, r: show_pair_heatmap(ax, r, features=1), "features: expected"),
        (lambda ax, r: show_pair_heatmap(ax, ranking_of(NAMES, {(0, 1, 2): 1.0})), "order: expected one of 3, got 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Any, message: str) -> None:
    ranking: InteractionRanking = RANKING
    with pytest.raises(InputError, match=message):
        draw(an_axis(), ranking)
