"""Sums over units of products of two rows, also where not all items fit at once."""

from __future__ import annotations

import pytest
import torch

from xai_fast.taylor.pairs import pair_sum


@pytest.mark.parametrize(
    ("left", "right", "items", "shape"), [(3, 5, 2, (7, 2)), (9, 2, 3, (150_000,)), (1, 1, 0, (4,))]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_sum(left: int, right: int, items: int, shape: tuple[int, ...], weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(n, items, *shape, generator=generator) for n in (left, right))
    weight = torch.randn(items, *shape, generator=generator) if weighted else None
    factor = 1.0 if weight is None else weight.flatten(1).double()
    wanted = torch.einsum("lbu,rbu->blr", first.flatten(2).double() * factor, second.flatten(2).double())
    torch.testing.assert_close(pair_sum(first, second, weight).double(), wanted, rtol=1e-4, atol=2e-3)
