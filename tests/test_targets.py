"""Scores and targets against their formulas."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from xai_fast import InputError
from xai_fast.engine.objective import Objective

LOGITS = torch.tensor([[1.0, 3.0, -2.0], [0.0, 0.5, 4.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("output", lambda z: z),
        ("logit", lambda z: z),
        ("auto", lambda z: z.exp() / z.exp().sum(1, keepdim=True)),
        ("log_odds", lambda z: (z.softmax(1) / (1 - z.softmax(1))).log()),
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


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("auto", lambda z: z),
        ("output", lambda z: z),
        ("probability", lambda z: 1 / (1 + (-z).exp())),
        ("log_probability", lambda z: -(1 + (-z).exp()).log()),
        ("log_odds", lambda z: z),
    ],
)
def test_one_output_is_explained_as_it_is_or_as_the_logit_of_class_1(
    score: str, expected: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    z = LOGITS.flatten()
    outputs = z.reshape(shape)
    objective = Objective(None, score)
    assert objective.targets(outputs, start=0, batch=6) is None
    torch.testing.assert_close(objective(outputs, None), expected(z))
    for target, signed in ((1, z), (0, -z), ([0, 1, 1, 0, 1, 0], z * torch.tensor([-1, 1, 1, -1, 1, -1]))):
        objective = Objective(target, score)
        got = objective(outputs, objective.targets(outputs, start=0, batch=6))
        torch.testing.assert_close(got, expected(signed))
    with pytest.raises(InputError, match="target: expected classes from 0 to 1, got 2"):
        Objective(2).targets(outputs, start=0, batch=6)


def test_log_odds_do_not_saturate() -> None:
    far = torch.tensor([[200.0, -100.0, 0.0]], requires_grad=True)
    odds = Objective(0, "log_odds")(far, torch.tensor([0]))
    assert float(odds.detach()) == pytest.approx(200.0)
    assert float(torch.autograd.grad(odds, far)[0][0, 0]) == 1.0


def test_an_object_with_logits_is_understood() -> None:
    outputs = SimpleNamespace(logits=LOGITS, hidden_states=None)
    assert torch.equal(Objective(2)(outputs, torch.tensor([2, 2])), LOGITS.softmax(1)[:, 2])


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
