"""Rankings that are made up, for the tests of what shows them."""

from __future__ import annotations

import itertools

import numpy as np

from xai_fast.interaction import InteractionRanking, OrderRanking

Effects = dict[tuple[int, ...], float]


def ranking_of(
    names: tuple[str, ...], effects: Effects, *, spread: float = 0.5, exhaustive: bool = True, **settings: object
) -> InteractionRanking:
    """Make a ranking of the sets that are given; spread is relative to the effect."""
    orders = {}
    for order in sorted({len(key) for key in effects}):
        found = sorted((key for key in effects if len(key) == order), key=lambda key: (-abs(effects[key]), key))
        values = np.array([effects[key] for key in found])
        sets = np.array(found, np.int64)
        orders[order] = OrderRanking(sets, values, spread * np.abs(values), names, len(found) + 3, exhaustive)
    return InteractionRanking(names, orders, ("row",) * 7, settings={"effect": "absolute"} | settings)


def random_ranking(
    features: int, orders: tuple[int, ...] = (1, 2, 3), *, seed: int = 0, signed: bool = False, longest: int = 0
) -> InteractionRanking:
    """Make a ranking in which a few of many sets are strong."""
    random = np.random.default_rng(seed)
    effects: Effects = {}
    for order in orders:
        every = itertools.combinations(range(features), order)
        chosen = every if features**order < 50_000 else (_draw(random, features, order) for _ in range(2000))
        for key in chosen:
            effects[key] = float(random.exponential() ** 3 * (random.choice([-1, 1]) if signed else 1))
    names = tuple(f"feature {i}".ljust(longest, "n") for i in range(features))
    return ranking_of(names, effects, effect="signed" if signed else "square")


def _draw(random: np.random.Generator, features: int, order: int) -> tuple[int, ...]:
    return tuple(sorted(random.choice(features, order, replace=False).tolist()))
