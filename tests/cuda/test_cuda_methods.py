"""Every method on a CUDA device: equal to the CPU, the same for any batch, and it waits once a step at most."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import torch
from streams import on_another_stream, synchronize
from test_methods import (
    ALL,
    CAPTUM,
    assert_equal,
    assert_items_do_not_depend_on_their_batch,
    items_for,
    method_for,
)
from torch import Tensor, nn

from benchmarks.gpu.watch import Watch, loop_of
from xai_fast import Method
from xai_fast.attribution.neflag import _FluxWalk

pytestmark = pytest.mark.cuda
NAMES = [name for name in ALL if CAPTUM or not name.startswith("captum:")]
everywhere = pytest.mark.parametrize("name", NAMES)
# On a CPU tests/test_methods.py has all of them; here the checks themselves are rehearsed.
EVERY = 5 if os.environ.get("XAI_FAST_CHECK_DEVICE") == "cpu" else 1
everywhere_on_a_gpu = pytest.mark.parametrize("name", NAMES[::EVERY])
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
LOOPS = {
    "queue": ("neflag", "guided_ig", "blur_ig", "agi", "integrated_gradients", "smoothgrad", "expected_gradients"),
    "masks": ("occlusion", "rise", "feature_ablation", "shapley_sampling", "lime", "kernel_shap"),
}


def moved(method: Method[Any], device: torch.device) -> Method[Any]:
    """Make the same method for a copy of its model on a device."""
    model = method.model
    return method.with_model(copy.deepcopy(model).to(device) if isinstance(model, nn.Module) else model)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@everywhere
def test_equals_the_cpu(name: str, dtype: torch.dtype, device: torch.device) -> None:
    method, x = method_for(name, dtype), items_for(name, dtype)
    got = moved(method, device).explain(x.to(device))
    assert all(value.device.type == device.type for value in got.tensors().values())
    assert_equal(got.to("cpu"), method.explain(x), TOLERANCE)


@everywhere_on_a_gpu
def test_items_do_not_depend_on_their_batch(name: str, device: torch.device) -> None:
    assert_items_do_not_depend_on_their_batch(moved(method_for(name), device), items_for(name).to(device))


def _strided(x: Tensor) -> Tensor:
    """Give the same values at odd addresses: every other entry of a wider storage, and its dimensions turned round."""
    wide = x.new_full((*x.shape[::-1], 2), torch.nan)
    wide[..., 1] = x.permute(*range(x.ndim)[::-1])
    return wide[..., 1].permute(*range(x.ndim)[::-1])


@everywhere_on_a_gpu
def test_takes_inputs_that_are_not_contiguous(name: str, device: torch.device) -> None:
    method, x = moved(method_for(name), device), items_for(name).to(device)
    assert_equal(method.explain(_strided(x)), method.explain(x))


@everywhere_on_a_gpu
def test_runs_on_the_current_stream(name: str, device: torch.device) -> None:
    method, x = moved(method_for(name), device), items_for(name).to(device)
    expected = method.explain(x)
    late = torch.zeros_like(x)
    synchronize(device)
    with on_another_stream(device):
        late.copy_(x)
        got = method.explain(late)
        on_host = got.to("cpu")
    assert_equal(on_host, expected.to("cpu"))


def test_runs_on_a_second_device(device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("there is one device")
    second = torch.device("cuda:1") if device.type == "cuda" else device
    for name in NAMES if device.type == "cuda" else NAMES[:3]:  # while the first is the current one
        method, x = method_for(name), items_for(name)
        got = moved(method, second).explain(x.to(second))
        assert all(value.device == second for value in got.tensors().values())
        assert_equal(got.to("cpu"), method.explain(x), TOLERANCE)


@pytest.mark.parametrize(("loop", "name"), [(loop, name) for loop, names in LOOPS.items() for name in names])
def test_the_loop_waits_once_a_step_at_most(loop: str, name: str, device: torch.device) -> None:
    if name == "guided_ig" and device.type == "cpu":
        pytest.skip("sorts with numpy on a CPU")
    method, x = moved(method_for(name, torch.float32), device), items_for(name, torch.float32).to(device)
    method.explain(x, internal_batch_size=4)  # compiles, and finds out what it keeps for the model
    counts = loop_of(method, Watch(device), lambda: method.explain(x, internal_batch_size=4))
    assert counts["steps"]
    assert counts["reads"] <= (counts["steps"] if loop == "queue" else 0)


@pytest.mark.parametrize("read", [lambda scores: scores.sum().item(), Tensor.tolist, lambda scores: scores[scores > 0]])
def test_a_hidden_read_in_the_loop_is_noticed(read: Any, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    method, x = moved(method_for("neflag", torch.float32), device), items_for("neflag", torch.float32).to(device)
    end = _FluxWalk.end

    def planted(walk: _FluxWalk, items: Any, rows: Any, scores: Tensor) -> tuple[Tensor, Tensor]:
        read(scores)
        return end(walk, items, rows, scores)

    monkeypatch.setattr(_FluxWalk, "end", planted)
    with pytest.raises(RuntimeError, match="synchronizing"):
        loop_of(method, Watch(device), lambda: method.explain(x))
