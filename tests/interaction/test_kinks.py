"""What is piecewise linear beside smooth operations is told, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from xai_fast import TNID


def rows() -> Tensor:
    return torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


KINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: torch.relu(x[:, 0] + x[:, 1]),
    "abs": lambda x: (x[:, 0] + x[:, 1]).abs(),
    "clamp": lambda x: (x[:, 0] + x[:, 1]).clamp(-1, 1),
    "leaky_relu": lambda x: torch.nn.functional.leaky_relu(x[:, 0] + x[:, 1]),
    "maximum": lambda x: torch.maximum(x[:, 0], x[:, 1]),
    "amax": lambda x: x.amax(1),
    "max": lambda x: x.max(1).values,
    "max_pool2d_with_indices": lambda x: torch.nn.functional.max_pool2d(x[:, None, None, :4], (1, 4))[:, 0, 0, 0],
    "where": lambda x: torch.where(x[:, 0] > x[:, 1], x[:, 0], 2 * x[:, 1]),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_beside_smooth_operations_are_told(name: str) -> None:
    model = lambda x: KINKS[name](x) + x[:, 2] * x[:, 3]  # noqa: E731
    with pytest.warns(UserWarning, match=rf"the score has {name}: .*count as linear.*smooth=") as told:
        ranking = TNID(model, order=2).detect(rows())
    assert len(told) == 1
    assert ranking["x0", "x1"].effect == 0
    assert ranking["x2", "x3"].effect > 0


SMOOTH_MODELS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(1)[:, 0],
    "log_softmax": lambda x: (x**2).log_softmax(1)[:, 0],
    "logsumexp": lambda x: x.logsumexp(1),
    "attention": lambda x: torch.nn.functional.scaled_dot_product_attention(*[x.view(-1, 1, 3, 2)] * 3)[:, 0, 0, 0],
    "normalize": lambda x: torch.nn.functional.normalize(x)[:, 0],
    "mask": lambda x: torch.where(torch.arange(6) < 3, x, x**2).prod(1),
    "not used": lambda x: x[:, 0] * x[:, 1] + 0 * torch.relu(x).detach()[:, 0],
}


@pytest.mark.parametrize("name", SMOOTH_MODELS)
def test_smooth_models_are_not_warned_of(name: str) -> None:
    TNID(SMOOTH_MODELS[name], order=2).detect(rows())  # warnings are errors
