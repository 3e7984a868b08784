"""Prepared models: the same numbers up to rounding, the model as it was, and nothing folded that somebody could see."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from prepared_networks import NETWORKS, PairOf, depends_on_the_batch, plain, randomized, read_twice
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from xai_fast import InputError, IntegratedGradients, ModelError, NeFLAG, Occlusion
from xai_fast.engine.call import Call
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.gradients import ScoreGradient
from xai_fast.engine.objective import Objective

PHOTOS = ("tutorial", "vgg", "resnet", "densenet", "inception", "mobilenet", "efficientnet", "unet", "checkpointed")
SIDES = {"1-d": (6,), "3-d": (6, 6, 6)}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    model = randomized(NETWORKS[name][0]()).to(dtype)
    return model, torch.randn(3, 3, *SIDES.get(name, (6, 6)), dtype=dtype)


def state(model: nn.Module) -> list[object]:
    tensors = [*model.parameters(), *model.buffers()]
    modules = [(m.training, *map(len, (m._forward_hooks, m._forward_pre_hooks, vars(m)))) for m in model.modules()]
    return [
        [(id(t), t.data_ptr(), t._version, t.stride(), t.requires_grad, t.grad) for t in tensors],
        modules,
        list(model.state_dict()),
    ]


def gradient(model: Callable[..., object], x: Tensor) -> Tensor:
    return IntegratedGradients(model, steps=2, score="output").attribute(x, target=1)


def off(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any], *arguments: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setenv("XAI_FAST_PREPARE", "off")
        return run(*arguments)


class Norms(TorchFunctionMode):
    """Counts the batch norms that reach torch."""

    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is F.batch_norm
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_channels_last_whatever_their_channels(channels: int) -> None:
    model = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(64, 3)).eval()
    x, formats = torch.randn(2, channels, 6, 6), []
    model[0].register_forward_hook(lambda *run: formats.append(run[2].is_contiguous(memory_format=torch.channels_last)))
    expected = model[0](x).is_contiguous(memory_format=torch.channels_last)
    gradient(model, x)
    assert (expected, formats[-1]) == (False, True)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad", "ignore:.*torch.jit.script")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_all_kinds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made(name)
    before, own = state(model), model(x.clone())
    explained = {dtype: gradient(model.to(dtype), x.to(dtype)) for dtype in (torch.float32, torch.float64)}
    model.to(torch.float64)
    occlusion = Occlusion(model, window=2).attribute(x) if x.ndim == 4 else None
    assert [row[4:] for row in state(model)[0]] == [row[4:] for row in before[0]]
    assert state(model)[1:] == before[1:]
    assert torch.equal(getattr(model(x.clone()), "logits", model(x.clone())), getattr(own, "logits", own))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        expected = off(monkeypatch, gradient, model.to(dtype), x.to(dtype))
        torch.testing.assert_close(explained[dtype], expected, rtol=tolerance, atol=tolerance)
    if occlusion is not None:
        expected = off(monkeypatch, Occlusion(model, window=2).attribute, x)
        torch.testing.assert_close(occlusion, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad", "ignore:.*torch.jit.script")
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_folded(name: str) -> None:
    model, x = made(name)
    before = state(model)
    run = ScoreGradient(Call.of(model, x, Objective(1, "output")))
    rows, item, targets = x.flatten(1), torch.arange(3), torch.ones(3, dtype=torch.int64)
    with frozen_parameters(model):
        for norms in (Norms(), Norms()):  # the first pass finds checkpoints
            with norms:
                run(rows, item, targets)
    assert norms.count == NETWORKS[name][1]
    assert state(model) == before


def test_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made("one after the other", torch.float32)

    def run() -> Tensor:
        return IntegratedGradients(model, steps=2, score="output", precision="bf16").attribute(x, target=1)

    expected = off(monkeypatch, run)
    torch.testing.assert_close(run(), expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))


@pytest.mark.parametrize("name", PHOTOS)
def test_architectures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = randomized(ARCHITECTURES[name].make()), ARCHITECTURES[name].inputs()
    expected = off(monkeypatch, gradient, model, x)
    torch.testing.assert_close(gradient(model, x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def _in_place(model: PairOf) -> None:
    with torch.no_grad():
        model.convolution.weight.mul_(2)


def _behind_autograd(model: PairOf) -> None:
    model.convolution.weight.data.mul_(2)
    model.norm.running_var.data.mul_(2)


def _other_parameter(model: PairOf) -> None:
    model.convolution.weight = nn.Parameter(torch.randn_like(model.convolution.weight))


def _other_norm(model: PairOf) -> None:
    model.norm = randomized(nn.BatchNorm2d(4, eps=0.1)).double()  # type: ignore[assignment]


def _other_eps(model: PairOf) -> None:
    model.norm.eps = 0.5


def _other_way(model: PairOf) -> None:
    model.how = read_twice


def _a_hook(model: PairOf) -> None:
    model.convolution.register_forward_hook(lambda module, inputs, output: output * 2)


CHANGES = (_in_place, _behind_autograd, _other_parameter, _other_norm, _other_eps, _other_way, _a_hook)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_model_that_changes(change: Callable[[PairOf], None], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made("one after the other")
    gradient(model, x)
    change(model)  # type: ignore[arg-type]
    for _ in range(2):
        torch.testing.assert_close(gradient(model, x), off(monkeypatch, gradient, model, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("width", "replaced"), [(8, False), (64, True)])
def test_large_weights_without_a_norm(width: int, replaced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = (nn.Conv2d(5, width, 3), nn.Tanh(), nn.Conv2d(width, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model, x = nn.Sequential(*layers, nn.Linear(width, 3)).eval(), torch.randn(2, 5, 6, 6)
    assert (Call.of(model, x, Objective(1)).prepared().forward is not None) == replaced
    expected = off(monkeypatch, gradient, model, x)
    torch.testing.assert_close(gradient(model, x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_a_model_that_ends_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = (
        randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).double(),
        torch.randn(2, 3, 6, 6).double(),
    )

    def mean() -> Tensor:
        return IntegratedGradients(model, steps=2).attribute(x, target=lambda outputs: outputs.square().mean((1, 2, 3)))

    mean()
    model[1] = nn.Identity()
    torch.testing.assert_close(mean(), off(monkeypatch, mean), rtol=1e-10, atol=1e-10)


def test_a_hook_that_comes_later_sees_the_convolution() -> None:
    model, x = made("one after the other")
    gradient(model, x)
    seen: list[tuple[Tensor, Tensor]] = []
    model.convolution.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    gradient(model, x)
    for inputs, output in seen:
        torch.testing.assert_close(F.conv2d(inputs, model.convolution.weight, padding=1), output)
    assert len(seen) > 3


def test_a_model_that_does_something_else_for_several_items(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = randomized(PairOf(depends_on_the_batch)).double(), torch.randn(3, 3, 6, 6).double()
    torch.testing.assert_close(gradient(model, x), off(monkeypatch, gradient, model, x), rtol=1e-10, atol=1e-10)


def test_the_bits_depend_on_the_item_alone() -> None:
    model, x = made("one after the other", torch.float32)
    other, third = copy.deepcopy(model), copy.deepcopy(model)
    first = gradient(model, x[:1])
    gradient(other, x[1:2])
    assert torch.equal(gradient(other, x[:1]), first)
    with pytest.raises(ModelError, match="finite"):
        Occlusion(third, window=2).attribute(torch.full_like(x[:1], torch.nan))
    assert torch.equal(gradient(third, x[:1]), first)
    torch.testing.assert_close(gradient(copy.deepcopy(model), x)[:1], first, rtol=1e-5, atol=1e-6)


def test_left_out_the_model_runs_as_its_owner_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made("one after the other", torch.float32)
    call = Call.of(model, x, Objective(1, "output"))

    def run() -> Tensor:
        with frozen_parameters(model):
            return ScoreGradient(call)(x.flatten(1), torch.arange(3), torch.ones(3, dtype=torch.int64))[1]

    leaf = x.clone().requires_grad_()
    with frozen_parameters(model), torch.enable_grad():
        (expected,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    assert torch.equal(off(monkeypatch, run), expected.flatten(1))
    torch.testing.assert_close(run(), expected.flatten(1), rtol=1e-5, atol=1e-6)
    monkeypatch.setenv("XAI_FAST_PREPARE", "fast")
    with pytest.raises(InputError, match="XAI_FAST_PREPARE: expected auto or off, got 'fast'"):
        gradient(model, x)


def test_another_thread_has_the_model_as_it_is() -> None:
    x = torch.randn(3, 3, 6, 6)
    seen: list[Tensor] = []

    def both(net: PairOf, x: Tensor) -> Tensor:
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=lambda: seen.append(net(photo).detach()))
            other.start()
            other.join()
        return plain(net, x)

    model, photo = randomized(PairOf(both)), x[:1]
    expected = randomized(copy.deepcopy(model))
    expected.load_state_dict(model.state_dict())
    expected.how = plain  # type: ignore[assignment]
    gradient(model, x)
    assert all(torch.equal(found, expected(photo)) for found in seen)
    assert len(seen) > 3


@pytest.mark.parametrize(("radius", "passes"), [(1e-9, 1), (1.0, 0)])
def test_rounding_decides_no_flux(radius: float, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that are the item again have its score as they are scored, which is not to the bit that of its owner."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
    model, x = randomized(nn.Sequential(*layers)).eval(), torch.randn(16, 3, 6, 6)
    counted, base = [], ScoreGradient.base
    monkeypatch.setattr(ScoreGradient, "base", lambda *given: counted.append(1) or base(*given))
    found = NeFLAG(model, radius=radius, points=2, max_steps=2, score="logit").explain(x, 1)
    assert len(counted) == passes
    assert bool(found.negative_points.any()) == (passes == 0)
