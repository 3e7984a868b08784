"""Where the features and sets of a ranking go on its page."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.order_ranking import FeatureInteraction

__all__ = [
    "JOINED",
    "Places",
    "junction",
    "make_network",
    "make_pair_matrix",
    "strongest_sets",
    "told_apart",
]

JOINED = " \u00d7 "
"""Between the names of features that act together."""

_WEAKEST = 0.02
"""Sets below this share of the strongest would be hairlines, and are not drawn."""


Places = dict[int, tuple[float, float]]
"""Index of a feature to (x, y) on the unit circle, y upwards, in the order on the circle."""


def strongest_sets(ranking: InteractionRanking, order: int | None, k: int) -> list[FeatureInteraction]:
    """Give at most k sets of one order, or of all interactions (None), the strongest first; none without an effect."""
    found = ranking.top(k, mixed=True) if order is None else list(ranking.order(order)[:k])
    return [one for one in found if one.effect]


def make_network(
    ranking: InteractionRanking, order: int | None, k: int, features: int
) -> tuple[Places, list[FeatureInteraction], list[float]]:
    """Choose and place at most k sets of at most so many features, of one order from 2 on or of all (None).

    Returns:
        The places of the features, the sets, and their magnitudes relative to the strongest.
    """
    # A set that would bring in more features is left out, and weaker ones among those there still come. Features lie
    # on a circle in an order in which strong sets are close, which does not depend on chance.
    chosen: list[FeatureInteraction] = []
    members: set[int] = set()
    for one in strongest_sets(ranking, order, 4 * k):
        weak = bool(chosen) and abs(one.effect) < _WEAKEST * abs(chosen[0].effect)
        if len(chosen) < k and not weak and len(members | set(one.indices)) <= features:
            chosen.append(one)
            members |= set(one.indices)
    shares = [abs(one.effect / chosen[0].effect) for one in chosen]
    circle = _circle(sorted(members), chosen, shares)
    angles = [math.pi / 2 - 2 * math.pi * i / max(len(circle), 1) for i in range(len(circle))]
    places = {feature: (math.cos(a), math.sin(a)) for feature, a in zip(circle, angles, strict=True)}
    return places, chosen, shares


def junction(places: Places, one: FeatureInteraction) -> tuple[float, float]:
    """Give the point at which the lines of a set meet; for a pair, the point towards which its line bends."""
    ends = np.array([places[i] for i in one.indices])
    pull = 0.72 if one.order > 2 else 0.8 - 0.25 * float(np.linalg.norm(ends[0] - ends[1]))
    x, y = pull * ends.mean(0)
    return float(x), float(y)


def make_pair_matrix(
    ranking: InteractionRanking, features: int
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Choose at most so many features whose pairs are strongest.

    Returns:
        The n features; effects (n, n), NaN where a pair was not looked at or not kept; and shades (n, n) from -1 to 1,
        relative to the strongest pair. Of squared effects they are roots, so that equal steps are equal steps of the
        derivative.
    """
    everything = ranking.pair_matrix()
    known = np.nan_to_num(everything)
    chosen = np.sort(np.argsort(-np.abs(known).max(1), kind="stable")[:features])
    values = everything[np.ix_(chosen, chosen)]
    relative = values / (np.abs(known).max() or 1.0)
    if ranking.settings.get("effect") == "square":
        relative = np.sign(relative) * np.sqrt(np.abs(relative))
    return chosen.tolist(), values, relative


def told_apart(names: Sequence[str], letters: int) -> dict[str, str]:
    """Shorten names so that they still differ: what all of them begin and end with is left out where need be."""
    short = {name: _shortened(name, letters) for name in names}
    if len(set(short.values())) == len(short):
        return short
    start = _alike(list(short))
    end = min(_alike([name[::-1] for name in short]), min(map(len, short)) - start)
    before, after = ("\u2026" if start else ""), ("\u2026" if end else "")
    return {name: _shortened(f"{before}{name[start : len(name) - end]}{after}", letters) for name in short}


def _shortened(name: str, letters: int) -> str:
    """Cut a name that is too long in its middle, where names differ the least; mark what cannot be shown."""
    name = "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
    if len(name) <= letters:
        return name
    head = math.ceil((letters - 1) * 0.6)
    return f"{name[:head]}\u2026{name[len(name) - (letters - 1 - head) :]}"


def _alike(names: list[str]) -> int:
    """Count the letters that all names begin with, without part of a word or of a number."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return len(re.sub(r"(\d+|[^\W\d_]+)$", "", "".join(letters[0] for letters in alike)))


def _circle(members: list[int], sets: list[FeatureInteraction], shares: list[float]) -> list[int]:
    """Order features so that the sum of (strength of a pair) x (distance on the circle) is small."""
    count = len(members)
    weights = np.zeros((count, count))
    for one, share in zip(sets, shares, strict=True):
        positions = [members.index(i) for i in one.indices]
        weights[np.ix_(positions, positions)] += (0.1 + share) / (len(positions) - 1)
    steps = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    distance = np.minimum(steps, count - steps).astype(np.float64)

    def cost(order: list[int]) -> float:
        return float((weights[np.ix_(order, order)] * distance).sum())

    order = list(range(count))
    improved = True
    while improved:  # the cost falls with each turn, so it ends
        improved = False
        for i in range(count):
            for j in range(i + 1, count):
                swapped = order.copy()
                swapped[i], swapped[j] = order[j], order[i]
                if cost(swapped) < cost(order) - 1e-9:
                    order, improved = swapped, True
    return [members[i] for i in order]
