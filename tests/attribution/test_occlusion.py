"""Occlusion and feature ablation equal their definitions and captum."""

from __future__ import annotations

import math
from typing import Any

import literal_masks
import pytest
import torch
from masked_models import Curved, items, score_of
from torch import Tensor

from xai_fast import FeatureAblation, Occlusion
from xai_fast.engine.features import Features
from xai_fast.engine.masked import baseline_inputs
from xai_fast.errors import InputError

WINDOWS: dict[str, tuple[tuple[int, ...], Any, Any, tuple[int, ...], tuple[int, ...]]] = {
    "pixels": ((2, 3, 5, 7), 2, 1, (3, 2, 2), (1, 1, 1)),
    "sides": ((3, 2, 6, 5), (3, 2), (2, 1), (2, 3, 2), (1, 2, 1)),
    "cut off at the border": ((2, 1, 7, 8), (3, 4), 3, (1, 3, 4), (1, 3, 3)),
    "channels too": ((2, 3, 4, 5), (2, 3, 2), (1, 2, 2), (2, 3, 2), (1, 2, 2)),
    "the whole input": ((2, 2, 3, 4), (3, 4), 9, (2, 3, 4), (9, 9, 9)),
    "rows": ((3, 7), 3, 2, (3,), (2,)),
    "signal": ((2, 2, 9), 4, 3, (2, 4), (1, 3)),
    "volume": ((1, 2, 3, 4, 3), 2, (1, 2, 1), (2, 2, 2, 2), (1, 1, 2, 1)),
    "one pixel": ((2, 3, 1, 1), 1, 1, (3, 1, 1), (1, 1, 1)),
    "one entry": ((2, 1), 1, 1, (1,), (1,)),
}
"""Shape of the inputs, options, and the same with a number for each dimension of an item."""


@pytest.mark.parametrize("baseline", [0.25, "tensor"])
@pytest.mark.parametrize("case", WINDOWS)
def test_occlusion_equals_its_definition_and_captum(case: str, baseline: float | str) -> None:
    shape, window, stride, windows, strides = WINDOWS[case]
    model, x = Curved(*shape[1:]), items(shape)
    replaced: float | Tensor = items(shape, 2)[:1] if isinstance(baseline, str) else baseline
    method = Occlusion(model, window=window, stride=stride, baseline=replaced, score="logit")
    found = method.explain(x, target=1, internal_batch_size=5)
    score, like = score_of(model, 1), baseline_inputs("baseline", replaced, x)
    expected = [literal_masks.occlusion(score, one, windows, strides, b) for one, b in zip(x, like, strict=True)]
    torch.testing.assert_close(found.attributions, torch.stack(expected), rtol=0, atol=1e-12)
    steps = [math.ceil((n - w) / s) + 1 for n, w, s in zip(shape[1:], windows, strides, strict=True)]
    assert found.evaluations.tolist() == [1 + math.prod(steps)] * len(x)
    attr = pytest.importorskip("captum.attr")
    peer = attr.Occlusion(model).attribute(x, windows, strides, baselines=replaced, target=1)
    torch.testing.assert_close(found.attributions, peer.double(), rtol=0, atol=1e-6)  # captum sums in float32


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "larger than the input": ({"window": 5}, r"window: expected at most 4 for inputs \(2, 3, 4, 6\), got 5"),
    "more sides": ({"window": (1, 1, 1, 1)}, "window: expected at most 3 sides"),
    "no side": ({"window": ()}, "window: expected at most 3 sides .*, got 0"),
    "zero": ({"window": 0}, "window: expected an integer, at least 1, got 0"),
    "strides": ({"window": 2, "stride": (1, 1, 1)}, "stride: expected one number, or 2, one per dimension"),
    "gaps": ({"window": 2, "stride": 3}, "stride: expected at most the window, 2, got 3"),
    "score": ({"window": 2, "score": "sum"}, "score: expected one of"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_windows_are_named(case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        Occlusion(Curved(3, 4, 6), **options).explain(items((2, 3, 4, 6)))


GROUPS: dict[str, tuple[tuple[int, ...], Any, Any]] = {
    "entries": ((2, 2, 3, 3), None, torch.arange(18).view(1, 2, 3, 3)),
    "grid": ((3, 2, 5, 4), 2, torch.tensor([[0, 0, 1, 1]] * 3 + [[2, 2, 3, 3]] * 2).expand(1, 2, 5, 4)),
    "mask": ((2, 2, 2, 2), torch.tensor([[0, 1], [1, 2]]), torch.tensor([[0, 1], [1, 2]]).expand(1, 2, 2, 2)),
    "mask of items": ((2, 4), torch.tensor([[0, 0, 0, 0], [1, 2, 1, 2]]), torch.tensor([[0, 0, 0, 0], [0, 1, 0, 1]])),
    "rows": ((3, 6), 4, torch.tensor([[0, 0, 1, 2, 2, 3]])),
    "one feature": ((2, 3, 2, 2), 1, torch.zeros(1, 3, 2, 2).long()),
}


@pytest.mark.parametrize("baseline", [0.0, "mean", "blur"])
@pytest.mark.parametrize("case", GROUPS)
def test_feature_ablation_equals_its_definition_and_captum(case: str, baseline: float | str) -> None:
    shape, features, groups = GROUPS[case]
    if len(shape) == 2 and isinstance(baseline, str):
        baseline = -0.5
    model, x = Curved(*shape[1:]), items(shape)
    method = FeatureAblation(model, features=features, baseline=baseline, score="logit")
    found = method.explain(x, target=2, internal_batch_size=3)
    groups, replaced = groups.expand(shape), baseline_inputs("baseline", baseline, x)
    for one, group, like, got in zip(x, groups, replaced, found.attributions, strict=True):
        value, count = literal_masks.value_of(score_of(model, 2), one, group, like), int(group.max()) + 1
        expected = literal_masks.per_entry(literal_masks.ablation(value, count), group)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    attr = pytest.importorskip("captum.attr")
    peer = attr.FeatureAblation(model).attribute(x, replaced, target=2, feature_mask=groups)
    torch.testing.assert_close(found.attributions, peer.double(), rtol=0, atol=1e-6)  # captum sums in float32


def ablate_superpixels(x: Tensor) -> Tensor:
    return FeatureAblation(Curved(*x.shape[1:]), features="superpixels:40", score="logit").attribute(x, 0)


def test_superpixels_of_items_with_different_numbers() -> None:
    pytest.importorskip("skimage")
    x = items((3, 3, 16, 14))
    x[1] = x[1].cumsum(-1).cumsum(-2)
    assert len(set(Features("superpixels:40", x).counts)) > 1
    together = ablate_superpixels(x)
    torch.testing.assert_close(together, torch.cat([ablate_superpixels(one[None]) for one in x]), rtol=0, atol=1e-12)


def test_tokens_are_replaced_by_a_token() -> None:
    table = items((9, 4))

    def model(ids: Tensor) -> Tensor:
        assert ids.dtype == torch.int64
        return torch.tanh(table[ids].sum(1))

    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = FeatureAblation(model, baseline=8, score="logit").attribute(ids, 3)
    windows = Occlusion(model, window=1, baseline=8, score="logit").attribute(ids, 3)
    for position in range(3):
        without = ids.clone()
        without[:, position] = 8
        expected = model(ids)[:, 3] - model(without)[:, 3]
        torch.testing.assert_close(found[:, position], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(windows[:, position], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [4, 7, 100])
def test_batches_are_full_across_items_and_counted(size: int) -> None:
    shape = (5, 2, 4, 4)
    for method, windows in ((FeatureAblation, 16), (Occlusion, 9)):
        model = Curved(*shape[1:])
        options = {"features": 4} if method is FeatureAblation else {"window": 2}
        found = method(model, **options).explain(items(shape), internal_batch_size=size)
        rows = [size] * (5 * windows // size) + [5 * windows % size]
        clean = [size] * (5 // size) + [5 % size]
        assert [batch for batch in model.batches if batch] == [batch for batch in clean + rows if batch]
        assert int(found.evaluations.sum()) == sum(model.batches)
