"""Where the features and sets of a ranking go on its page."""

from __future__ import annotations

import math

import numpy as np
import pytest
from colors import srgb_to_oklab
from ranking_examples import random_ranking, ranking_of

from xai_fast.plot.colormap import diverging_colormap
from xai_fast.plot.ranking_layout import make_network, make_pair_matrix, told_apart


def test_the_matrix_of_many_features_has_the_strongest_of_them() -> None:
    ranking = random_ranking(200, (2,))
    strength = np.nan_to_num(ranking.pair_matrix()).max(1)
    assert make_pair_matrix(ranking, 10)[0] == sorted(np.argsort(-strength)[:10].tolist())


def test_shades_are_relative_to_the_strongest_pair_and_roots_of_squares() -> None:
    names, effects = ("a", "b", "c", "d"), {(0, 1): 4.0, (1, 2): -3.0, (0, 3): 2.0}
    _, _, signed = make_pair_matrix(ranking_of(names, effects, effect="signed"), 30)
    assert (signed[1, 2], signed[0, 1]) == (-0.75, 1.0)
    _, values, roots = make_pair_matrix(ranking_of(names, effects | {(1, 2): 1.0}, effect="square"), 30)
    assert (values[1, 2], roots[1, 2]) == (1.0, 0.5)
    assert np.isnan([values[2, 3], roots[2, 3]]).all()


def test_features_of_strong_sets_are_neighbours_on_the_circle() -> None:
    pairs = [(i, i + 6) for i in range(6)]
    places, *_ = make_network(ranking_of(tuple("abcdefghijkl"), dict.fromkeys(pairs, 1.0)), None, 24, 24)
    circle = list(places)
    for a, b in pairs:
        assert abs(circle.index(a) - circle.index(b)) in (1, 11)
    for x, y in places.values():
        assert math.hypot(x, y) == pytest.approx(1.0)


def test_a_network_stays_within_its_limits_and_does_not_depend_on_chance() -> None:
    ranking = random_ranking(200, seed=3)
    places, sets, shares = make_network(ranking, None, 40, 15)
    assert len(places) <= 15
    strongest = ranking.top(1, mixed=True)[0]
    assert sets[0].indices == strongest.indices
    assert shares == sorted(shares, reverse=True)
    assert min(shares) >= 0.02
    assert list(make_network(ranking, None, 40, 15)[0]) == list(places)


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
