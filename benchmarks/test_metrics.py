"""Speed of metrics against Quantus on LeNet with pictures of 28 x 28: ratios of the times of one thread, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.measure import in_turn, ratio
from tests.helpers import peers
from xai_fast import Saliency
from xai_fast.metrics import parameter_randomization, road


def _lenet() -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    linear = [nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*convolutions, *linear).eval().requires_grad_(False)


def _gradient(model: Any, inputs: Any, targets: Any, **_: object) -> Any:
    """Explain as Quantus asks for it, in the least time: one bare gradient of the logits."""
    x = torch.as_tensor(inputs).clone().requires_grad_()
    scores = getattr(model, "get_model", lambda: model)()(x).gather(1, torch.as_tensor(targets)[:, None])
    return torch.autograd.grad(scores.sum(), x)[0].abs().numpy()


def _one_thread(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _compare(
    benchmark: BenchmarkFixture, ours: Callable[[], object], runs: dict[str, Callable[[], object]], rounds: int
) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = in_turn({"ours": ours, **runs}, rounds, clock=_one_thread)
    finally:
        torch.set_num_threads(threads)
    benchmark.pedantic(ours, rounds=1)
    factors = {f"{name}_over_ours": ratio(seconds, name, "ours") for name in runs}
    benchmark.extra_info |= {"seconds": seconds, "threads": 1, **factors}
    return factors["quantus_over_ours"]


def _items(count: int, model: nn.Module) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    return x, model(x).argmax(1)


@pytest.mark.parametrize(("items", "goal"), [(8, 2.1), (64, 5.0)])
def test_parameter_randomization(benchmark: BenchmarkFixture, items: int, goal: float) -> None:
    """Quantus' defaults, with the cheapest explanation that it can be given; bare gradients alone are the bound."""
    quantus = peers.quantus()
    model = _lenet()
    x, target = _items(items, model)
    given = {"model": model, "x_batch": x.numpy(), "y_batch": target.numpy(), "a_batch": None, "device": "cpu"}
    metric, method, models = quantus.MPRT(disable_warnings=True), Saliency(model, score="logit"), 6
    runs = {
        "quantus": lambda: metric(**given, explain_func=_gradient, batch_size=8),
        "gradients": lambda: [_gradient(model, x, target) for _ in range(models)],
    }
    assert _compare(benchmark, lambda: parameter_randomization(method, x, target=target), runs, 9) >= goal


def test_road(benchmark: BenchmarkFixture) -> None:
    """Ten of the shares of Quantus' defaults, most relevant pixels first."""
    quantus = peers.quantus()
    pytest.importorskip("scipy")
    model = _lenet()
    x, target = _items(8, model)
    maps = _gradient(model, x, target)
    given = {"model": model, "x_batch": x.numpy(), "y_batch": target.numpy(), "a_batch": maps, "device": "cpu"}
    percentages = list(range(5, 100, 10))
    metric, shares = quantus.ROAD(percentages, disable_warnings=True), [p / 100 for p in percentages]
    runs = {"quantus": lambda: metric(**given, batch_size=8)}
    assert _compare(benchmark, lambda: road(model, x, maps, order="morf", shares=shares, target=target), runs, 3) >= 10
