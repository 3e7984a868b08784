"""RISE equals its definition; its standard error and tolerance."""

from __future__ import annotations

from typing import Any

import literal_masks
import pytest
import torch
from masked_models import Curved, items, score_of
from torch import Tensor

from xai_fast import RISE
from xai_fast.engine.masked import baseline_inputs
from xai_fast.errors import InputError

IDS = [4, 2**33 + 1, 0]
CASES: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]] = {
    "pixels": ((3, 2, 7, 9), {"grid": 3}, (3, 3)),
    "sides": ((3, 3, 6, 5), {"grid": (2, 4), "keep": 0.3, "baseline": "mean"}, (2, 4)),
    "one cell": ((3, 1, 4, 3), {"grid": 1, "baseline": [0.7]}, (1, 1)),
    "more cells than pixels": ((3, 2, 3, 2), {"grid": 5, "baseline": "blur"}, (5, 5)),
    "one pixel": ((3, 2, 1, 1), {"grid": 7}, (7, 7)),
    "rows": ((3, 8), {"grid": 3, "baseline": 0.5}, (3,)),
    "signal": ((3, 2, 11), {"grid": 4}, (4,)),
    "volume": ((3, 1, 3, 4, 5), {"grid": 2, "keep": 0.7}, (2, 2, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_rise_equals_its_definition(case: str) -> None:
    shape, options, grid = CASES[case]
    model, x, count = Curved(*shape[1:]), items(shape), 11
    options = {"seed": 6, "masks": count, "score": "logit", **options}
    found = RISE(model, **options).explain(x, target=1, item_ids=IDS, internal_batch_size=4)
    sizes, keep = shape[2:] or shape[1:], options.get("keep", 0.5)
    replaced, score = baseline_inputs("baseline", options.get("baseline", 0.0), x), score_of(model, 1)
    for i, item_id in enumerate(IDS):
        masks = [literal_masks.rise_mask(item_id, number, sizes, grid, keep, 6) for number in range(count)]
        maps = torch.stack([score(x[i] * m + replaced[i] * (1 - m)) * m / keep for m in masks])
        torch.testing.assert_close(found.attributions[i], maps.mean(0), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.standard_error[i], maps.std(0) / count**0.5, rtol=0, atol=1e-7)
        relative = found.standard_error[i].norm() / maps.mean(0).norm()
        torch.testing.assert_close(found.relative_standard_error[i], relative)
    assert found.evaluations.tolist() == [1 + count] * 3


def test_masks_are_kept_with_their_probability_everywhere() -> None:
    maps = RISE(lambda x: torch.ones(len(x), 1, dtype=x.dtype), masks=4000, grid=3, keep=0.2).explain(
        items((1, 1, 8, 7))
    )
    assert ((maps.attributions - 1).abs() < 5 * maps.standard_error).all()
    assert 0 < maps.relative_standard_error < 0.04


def test_what_is_kept_whole_has_the_score_everywhere() -> None:
    model, x = Curved(2, 5, 4), items((2, 2, 5, 4))
    found = RISE(model, masks=3, keep=1, score="logit").explain(x, target=0)
    torch.testing.assert_close(found.attributions, found.scores[:, None, None].expand(2, 5, 4), rtol=0, atol=1e-12)
    assert (found.standard_error < 1e-7).all()


def test_tolerance_stops_an_item_at_a_round_of_its_own() -> None:
    shape = (4, 2, 6, 6)
    x = items(shape) * torch.tensor([0.01, 1.0, 3.0, 8.0]).view(4, 1, 1, 1)
    model = Curved(*shape[1:])
    options: dict[str, Any] = {"grid": 3, "score": "logit"}
    found = RISE(model, masks=500, tolerance=0.1, **options).explain(x, target=1, item_ids=[3, 1, 4, 0])
    spent = (found.evaluations - 1).tolist()
    assert all(count in (4, 8, 16, 32, 64, 128, 256, 500) for count in spent)
    assert len(set(spent)) > 1
    for i, count in enumerate(spent):
        fixed = RISE(model, masks=count, **options).explain(x[i : i + 1], target=1, item_ids=[[3, 1, 4, 0][i]])
        torch.testing.assert_close(found.attributions[i], fixed.attributions[0], rtol=0, atol=1e-12)
        assert count == 500 or found.relative_standard_error[i] <= 0.1
        if count > 4:
            before = RISE(model, masks=count // 2 if count < 500 else 256, **options)
            assert before.explain(x[i : i + 1], 1, item_ids=[[3, 1, 4, 0][i]]).relative_standard_error > 0.1


def test_one_mask_has_no_standard_error() -> None:
    found = RISE(Curved(2, 3, 3), masks=1).explain(items((2, 2, 3, 3)))
    assert found.standard_error.isinf().all()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "masks": ({"masks": 0}, "masks: expected an integer, at least 1, got 0"),
    "grid": ({"grid": (2, 2, 2)}, "grid: expected one number, or 2, one per dimension"),
    "empty grid": ({"grid": 0}, "grid: expected an integer, at least 1, got 0"),
    "keep": ({"keep": 0}, "keep: expected a positive, finite number, got 0"),
    "more than all": ({"keep": 1.5}, "keep: expected a probability, at most 1, got 1.5"),
    "seed": ({"seed": 2**32}, "seed: expected an integer, from 0 to"),
    "tolerance": ({"tolerance": 0}, "tolerance: expected a positive, finite number"),
    "baseline": ({"baseline": "white"}, "baseline: expected a number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_named(case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        RISE(Curved(2, 3, 3), **options).explain(items((2, 2, 3, 3)))


def test_autocast_is_for_the_model_alone() -> None:
    seen: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        seen.append(x)
        return x.flatten(1).sum(1, keepdim=True)

    with torch.autocast("cpu", torch.bfloat16):
        RISE(model, masks=3, grid=3).explain(torch.ones(1, 1, 9, 8))
    expected = [literal_masks.rise_mask(0, number, (9, 8), (3, 3), 0.5, 0) for number in range(3)]
    torch.testing.assert_close(seen[-1][:, 0].double(), torch.stack(expected), rtol=0, atol=1e-6)
