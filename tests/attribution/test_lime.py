"""LIME equals its definition and captum."""

from __future__ import annotations

import math
from typing import Any

import literal_masks
import numpy as np
import pytest
import torch
from masked_models import Curved, items, score_of
from torch import Tensor

from xai_fast import LIME
from xai_fast.engine.features import Features
from xai_fast.engine.masked import baseline_inputs
from xai_fast.errors import InputError

IDS = [4, 2**33 + 1]
CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "grid": ((2, 2, 5, 4), {"features": (2, 3), "baseline": "mean"}),
    "least squares": ((2, 2, 5, 4), {"features": 2, "ridge": 0}),
    "euclidean": ((2, 6), {"distance": "euclidean", "kernel_width": 1.5, "ridge": 0.1}),
    "mask of items": ((2, 5), {"features": torch.tensor([[0, 0, 1, 1, 0], [3, 1, 2, 0, 4]])}),
    "one feature": ((2, 1, 3, 3), {"features": 1, "baseline": 0.2}),
}


def coalitions(item_id: int, samples: int, features: int, seed: int) -> np.ndarray:
    drawn = [literal_masks.words(item_id, number, features, seed) for number in range(samples)]
    return np.array([[1.0] * features] + [[float(word >= 2**31) for word in row] for row in drawn[1:]])


@pytest.mark.parametrize("case", CASES)
def test_lime_equals_its_definition(case: str) -> None:
    shape, options = CASES[case]
    model, x = Curved(*shape[1:]), items(shape)
    method = LIME(model, samples=40, seed=9, score="logit", **options)
    found = method.explain(x, target=1, item_ids=IDS, internal_batch_size=7)
    index = Features(options.get("features"), x).index
    groups = index.expand(2, *index.shape[1:]).expand(shape)
    replaced = baseline_inputs("baseline", options.get("baseline", 0.0), x)
    for i, item_id in enumerate(IDS):
        count = int(groups[i].max()) + 1
        value = literal_masks.value_of(score_of(model, 1), x[i], groups[i], replaced[i])
        z = coalitions(item_id, 40, count, 9)
        y = np.array([value(frozenset(np.flatnonzero(row).tolist())) for row in z])
        weights = np.array([weight(row, method.distance, method.kernel_width) for row in z])
        coefficients = literal_masks.ridge(z, y, weights, method.ridge)
        expected = literal_masks.per_entry(list(coefficients), groups[i])
        torch.testing.assert_close(found.attributions[i], expected, rtol=0, atol=1e-9)
        rest = y - z @ coefficients
        rest -= np.average(rest, weights=weights)
        spread = y - np.average(y, weights=weights)
        share = 1 - float((weights * rest**2).sum() / (weights * spread**2).sum())
        assert float(found.r_squared[i]) == pytest.approx(share, abs=1e-9)
    assert found.evaluations.tolist() == [41, 41]


def weight(row: np.ndarray, distance: str, width: float) -> float:
    """Weigh a coalition by its distance from the one that has all features."""
    everything = np.ones_like(row)
    if distance == "euclidean":
        apart = math.dist(row, everything)
    else:
        lengths = math.hypot(*row) * math.hypot(*everything)
        apart = 1 - float(row @ everything) / lengths if lengths else 1.0
    return math.sqrt(math.exp(-((apart / width) ** 2)))


def test_the_same_coalitions_give_what_captum_gives() -> None:
    attr, linear = pytest.importorskip("captum.attr"), pytest.importorskip("captum._utils.models.linear_model")
    pytest.importorskip("sklearn")
    model, x = Curved(2, 4, 6), items((1, 2, 4, 6))
    index = Features((2, 3), x).index
    found = LIME(model, samples=30, features=(2, 3), score="logit", seed=1).attribute(x, 2, item_ids=[3])
    rows = iter(coalitions(3, 30, 6, 1))

    def near(original: Tensor, perturbed: Tensor, row: Tensor, **_: Any) -> float:
        return weight(row[0].double().numpy(), "cosine", 0.25)

    def drawn(original: Tensor, **_: Any) -> Tensor:
        return torch.tensor(next(rows))[None]

    peer = attr.Lime(model, linear.SkLearnRidge(alpha=1.0), near, drawn)
    expected = peer.attribute(x, target=2, feature_mask=index, n_samples=30)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=2e-6)


def test_a_constant_score_is_explained_whole_by_zeros() -> None:
    found = LIME(lambda x: torch.full((len(x), 1), 0.3), samples=20).explain(items((2, 6)))
    assert (found.attributions.abs() < 1e-6).all()
    assert found.r_squared.tolist() == [1.0, 1.0]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "distance": ({"distance": "l1"}, "distance: expected one of cosine, euclidean, got 'l1'"),
    "width": ({"kernel_width": 0.0}, "kernel_width: expected a positive, finite number"),
    "ridge": ({"ridge": -1}, "ridge: expected a finite number, not negative, got -1"),
    "NaN": ({"ridge": float("nan")}, "ridge: expected a finite number, not negative, got nan"),
    "samples": ({"samples": 1}, "samples: expected an integer, at least 2, got 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_named(case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        LIME(Curved(6), **options)
