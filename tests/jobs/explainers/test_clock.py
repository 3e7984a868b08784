"""The clock of the time that is spent in the model."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from xai_fast.jobs.explainers.clock import model_clock


class Slow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        return SlowBack.apply(x)


class SlowBack(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        time.sleep(0.03)
        return 2 * gradient


def test_the_clock_counts_both_ways_through_the_model_and_nothing_else() -> None:
    model = Slow()
    x = torch.ones(2, requires_grad=True)
    started = time.perf_counter()
    with model_clock(model) as clock:
        assert clock is not None
        for _ in range(2):
            torch.autograd.grad(model(x).sum(), x)
            time.sleep(0.05)
        with torch.no_grad():
            model(x)
    # However slow the machine is: all that passed but what was slept outside the model.
    assert 0.12 < clock.seconds < time.perf_counter() - started - 0.1
    before = clock.seconds
    torch.autograd.grad(model(x).sum(), x)
    assert clock.seconds == before
