"""Random small graphs, with branches and shared nodes, equal nested forward mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # as everybody calls it
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import mixed_derivative
from torch import Tensor

from xai_fast import taylor

# All of them take (B, 3, 4) to (B, 3, 4).
UNARY: list[Callable[[Tensor], Tensor]] = [
    torch.tanh, torch.sin, F.gelu, F.silu, torch.sigmoid, F.relu, torch.abs, torch.neg,
    lambda x: x.softmax(2), lambda x: F.layer_norm(x, (4,)), lambda x: x * 0.5 + 1.0, lambda x: (1 + x * x).sqrt(),
    lambda x: (x * x + 1).log(), lambda x: x / (1 + x.abs()), lambda x: x.flip(1), lambda x: x.cumsum(2) * 0.3,
    lambda x: x.transpose(1, 2).reshape(x.shape), lambda x: x.mean(1, keepdim=True).expand_as(x),
    lambda x: x.sort(2).values, lambda x: x.amax(2, keepdim=True) - x, lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
    lambda x: x.clamp(-0.5, 0.8), lambda x: x @ torch.arange(16.0, dtype=x.dtype).reshape(4, 4).sin(),
]  # fmt: skip
BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.add, torch.sub, torch.mul, torch.maximum, lambda a, b: a * b.sigmoid(), lambda a, b: a / (2 + b * b),
    lambda a, b: torch.where(a > b, a, b * b), lambda a, b: (a @ b.transpose(1, 2)) @ b * 0.2,
    lambda a, b: torch.einsum("bij,bij,bik->bij", a, b, b) * 0.2, lambda a, b: torch.stack([a, b], 1).logsumexp(1),
    lambda a, b: F.scaled_dot_product_attention(a, b, a),
]  # fmt: skip

Step = tuple[bool, int, int, int]
STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=6
)
SETS = [(0,), (0, 1), (0, 0), (0, 1, 2), (0, 1, 2, 3)]


def composed(steps: list[Step]) -> Callable[[Tensor], Tensor]:
    """Build a score: each step reads one or two of the values before it."""

    def score(x: Tensor) -> Tensor:
        values = [x]
        for binary, which, first, second in steps:
            a, b = values[first % len(values)], values[second % len(values)]
            values.append(BINARY[which % len(BINARY)](a, b) if binary else UNARY[which % len(UNARY)](a))
        weights = torch.arange(1.0, 13.0, dtype=x.dtype).cos().reshape(3, 4)
        return (torch.tanh(0.3 * (values[-1] + values[len(values) // 2])) * weights).sum((1, 2))

    return score


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, seed=st.integers(0, 2**16))
def test_random_graphs_equal_nested_forward_mode(steps: list[Step], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    directions = torch.randn(4, 3, 4, dtype=torch.float64, generator=generator)
    score = composed(steps)
    got = taylor.cross_derivatives(score, x, directions, SETS)
    for column, chosen in enumerate(SETS):
        expected = mixed_derivative(score, x, [directions[i].expand_as(x) for i in chosen])
        torch.testing.assert_close(got[:, column], expected, rtol=1e-9, atol=1e-9 * (1 + float(expected.abs().max())))
