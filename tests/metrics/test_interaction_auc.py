from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from xai_fast import InputError, InteractionRanking
from xai_fast.metrics import (
    area_under_roc,
    interaction_auc,
    interaction_auc_on_union,
    r_precision,
)

TRUTH = ((0, 1, 2), (2, 3))


def literal_auc(strengths: list[float], positive: list[bool]) -> float:
    """The definition: all pairs of a positive and a negative."""
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, is_p in zip(strengths, positive, strict=True)
        if is_p
        for n, is_n in zip(strengths, positive, strict=True)
        if not is_n
    ]
    return sum(wins) / len(wins)


def ranking(effects: dict[tuple[int, ...], float]) -> InteractionRanking:
    return InteractionRanking.from_effects("abcde", effects)


def pairs(features: int, strength: Callable[[int, int], float]) -> InteractionRanking:
    return ranking({pair: float(strength(*pair)) for pair in itertools.combinations(range(features), 2)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 3, 45])
def test_area_under_roc_is_the_share_of_pairs_in_order(n: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n)
    strengths = torch.randint(0, 5, (4, 3, n), generator=generator).to(dtype)  # with many ties
    positive = torch.arange(n) % 3 == 0
    want = [[literal_auc(row.tolist(), positive.tolist()) for row in block] for block in strengths]
    got = area_under_roc(strengths, positive)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("strength", "want"),
    [
        (lambda i, j: (i, j) in {(0, 1), (0, 2), (1, 2), (2, 3)}, 1.0),
        (lambda i, j: (i, j) not in {(0, 1), (0, 2), (1, 2), (2, 3)}, 0.0),
        (lambda i, j: 7.0, 0.5),
        (lambda i, j: -9.0 if (i, j) == (0, 1) else 0.0, (6 + 18 * 0.5) / 24),  # one of 4 positives of 10 pairs
        (lambda i, j: 1.0 if (i, j) == (3, 4) else 0.0, (4 * 5 * 0.5) / 24),  # one of the 6 negatives in front
    ],
    ids=["all right", "all wrong", "constant", "one right", "one wrong"],
)
def test_pairs_of_a_larger_true_set_are_positives(strength: Callable[[int, int], float], want: float) -> None:
    assert interaction_auc(pairs(5, strength), TRUTH) == pytest.approx(want, abs=1e-15)


def test_auc_on_the_union_gives_zero_to_what_a_method_did_not_find() -> None:
    ours = ranking({(0, 1, 2): 2.0, (0, 1, 3): 1.0, (0, 1): 9.0})
    theirs = ranking({(1, 2, 4): 3.0, (0, 1, 2, 3): 5.0})  # other orders are left out
    # The union has one positive, (0, 1, 2), and two negatives.
    assert interaction_auc_on_union([ours, theirs], TRUTH, 3) == [1.0, 0.25]
    assert interaction_auc_on_union([ours, theirs], TRUTH, 4) is None  # no positive
    assert interaction_auc_on_union([ours, theirs], TRUTH, 2) is None  # no negative
    assert interaction_auc_on_union([ranking({})], TRUTH, 2) is None


@pytest.mark.parametrize(
    ("sets", "want"),
    [
        ([(0, 1, 2), (3, 2)], 1.0),
        ([(0, 1), (1, 2), (2, 0, 1), (2, 3)], 1.0),  # parts of a true set are passed over
        ([(0, 1, 2, 3), (0, 1, 2), (2, 3)], 0.5),  # a set that is too large is a miss
        ([(0, 4), (1, 4), (0, 1, 2)], 0.0),
        ([(0, 1, 2), (0, 1, 2)], 0.5),
        ([], 0.0),
    ],
)
def test_r_precision(sets: list[tuple[int, ...]], want: float) -> None:
    assert r_precision(sets, TRUTH) == want


NAMED = [{"a", "b", "c"}, ["d", "c"]]
FOUND = ranking({(0, 1): 3.0, (2, 3): -1.0, (0, 4): 0.5, (0, 1, 2): 2.0, (1, 2, 4): 0.7})


@pytest.mark.parametrize("truth", [TRUTH, NAMED], ids=["by position", "by name"])
@pytest.mark.parametrize(
    ("metric", "want"),
    [
        # By magnitude: (0, 1), a part, is passed over; (0, 1, 2), a hit; (2, 3), a hit.
        (lambda truth: r_precision(FOUND, truth), 1.0),
        (lambda truth: r_precision(ranking({(0, 1, 2): 2.0, (1, 2, 4): -1.5, (2, 3): 1.0}), truth), 0.5),
        # (2, 4) is redundant: (1, 2, 4) is stronger.
        (lambda truth: r_precision(ranking({(1, 2, 4): 3.0, (2, 4): 2.0, (2, 3): 1.0}), truth), 0.5),
        (lambda truth: r_precision(ranking({}), truth), 0.0),
        (lambda truth: interaction_auc(FOUND, truth), 1.0),
        (lambda truth: interaction_auc(FOUND, truth, 3), 1.0),
        (lambda truth: interaction_auc_on_union([FOUND], truth, 3), [1.0]),
    ],
)
def test_rankings_with_a_truth_by_position_or_name(
    metric: Callable[[object], object], want: object, truth: object
) -> None:
    assert metric(truth) == want


def test_r_precision_of_listed_interactions() -> None:
    assert r_precision(FOUND.order(2), TRUTH) == 0.5  # (0, 1) is passed over, (2, 3) is a hit
    assert r_precision(FOUND.top(1), TRUTH) == 0.5  # (0, 1), and (0, 1, 2), a hit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: area_under_roc(torch.ones(3), torch.ones(3, dtype=torch.bool)), "at least one true and one false"),
        (lambda: area_under_roc(torch.ones(3), torch.zeros(3, dtype=torch.bool)), "0 true, 3 false"),
        (lambda: area_under_roc(torch.ones(3), torch.ones(2, dtype=torch.bool)), "positive: expected bool"),
        (lambda: area_under_roc(torch.ones(2), torch.tensor([0, 1])), "positive: expected bool"),
        (lambda: area_under_roc(torch.tensor([math.nan, 1]), torch.tensor([True, False])), "without NaN"),
        (lambda: interaction_auc(ranking({(3, 4): 1.0}), TRUTH), "positive: expected at least"),
        (lambda: interaction_auc(ranking({}), TRUTH), "order: expected one of"),
        (lambda: interaction_auc_on_union([ranking({})], TRUTH, 1), "order: expected an integer"),
        (lambda: r_precision([(0, 1)], []), "truth: expected at least one"),
        (lambda: r_precision(FOUND, []), "truth: expected at least one"),
        (lambda: r_precision(FOUND, [("a", "f")]), "truth: expected sets of features of the ranking, by name or pos"),
        (lambda: interaction_auc(FOUND, [(0, 5)]), "truth: expected sets of features of the ranking"),
        (lambda: interaction_auc(FOUND, (0, 1)), "truth: expected sets of features of the ranking"),
        (lambda: interaction_auc([(0, 1)], TRUTH), "ranking: expected an InteractionRanking, got list"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
