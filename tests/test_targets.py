"""Scores and targets against their formulas."""

from __future__ import annotations

import pytest
import torch

from xai_fast import InputError
from xai_fast.engine.objective import Objective

LOGITS = torch.tensor([[1.0, 3.0, -2.0], [0.0, 0.5, 4.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("logit", lambda z: z),
        ("probability", lambda z: z.exp() / z.exp().sum(1, keepdim=True)),
        ("log_probability", lambda z: z - z.exp().sum(1, keepdim=True).log()),
    ],
)
def test_scores_of_a_classifier(score: str, expected: object) -> None:
    got = Objective([2, 0], score)(LOGITS, torch.tensor([2, 0]))
    assert torch.allclose(got, expected(LOGITS)[[0, 1], [2, 0]])


def test_predicted_class_and_slices_of_a_batch() -> None:
    assert Objective().targets(LOGITS, start=0, batch=2).tolist() == [1, 2]
    assert Objective([0, 2, 1, 1]).targets(LOGITS, start=1, batch=4).tolist() == [2, 1]
    assert Objective(torch.tensor(2)).targets(LOGITS, start=0, batch=2).tolist() == [2, 2]


def test_half_precision_outputs_are_scored_in_float32() -> None:
    scores = Objective(0)(LOGITS.bfloat16(), torch.tensor([0, 0]))
    assert scores.dtype == torch.float32
    assert torch.allclose(scores.double(), LOGITS.softmax(1)[:, 0], atol=1e-2)


def test_one_output_has_one_class() -> None:
    assert Objective().targets(LOGITS[:, 0], start=0, batch=2).tolist() == [0, 0]
    with pytest.raises(InputError, match="target: expected classes from 0 to 0, got 1"):
        Objective(1).targets(LOGITS[:, :1], start=0, batch=2)


@pytest.mark.parametrize("target", ["cat", 1.0, True, [[0, 1]], torch.zeros(2), {"a": 1}])
def test_targets_of_a_wrong_kind(target: object) -> None:
    with pytest.raises(InputError, match="target: expected None, an int, a list or tensor of ints"):
        Objective(target)


@pytest.mark.parametrize("outputs", [LOGITS.long(), LOGITS[None], {"logits": LOGITS}, (LOGITS,), None])
def test_outputs_that_need_a_callable(outputs: object) -> None:
    with pytest.raises(InputError, match="target=callable"):
        Objective().targets(outputs, start=0, batch=2)


@pytest.mark.parametrize("returned", [LOGITS, LOGITS[:, 0].long(), 3.0])
def test_callables_that_do_not_return_scores(returned: object) -> None:
    with pytest.raises(InputError, match="callable that returns floating-point scores"):
        Objective(lambda _: returned)(LOGITS, None)
