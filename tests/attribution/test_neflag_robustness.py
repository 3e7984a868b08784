"""NeFLAG leaves the model and the inputs as it found them, and answers bad input clearly."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import torch
from comparison import relative_rms
from networks import images, relu_cnn, smooth_cnn, vectors
from torch import Tensor, nn

from xai_fast import InputError, ModelError, NeFLAG

SMOOTH = {"radius": 0.3, "points": 6, "max_steps": 5}


def _state(model: nn.Module) -> tuple[object, ...]:
    return (
        [(name, p.requires_grad, p.grad, p.clone()) for name, p in model.named_parameters()],
        [(name, m.training, len(m._forward_hooks), len(m._backward_hooks)) for name, m in model.named_modules()],
        [(name, b.clone()) for name, b in model.named_buffers()],
        torch.is_grad_enabled(),
    )


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(itertools.starmap(_same, zip(a, b, strict=True)))
    return a == b


@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_left_as_it_was_found(failing: bool) -> None:
    model = relu_cnn()
    model[0].bias.requires_grad_(False)
    before = _state(model)
    x = images(3, torch.float32).requires_grad_()
    if failing:
        with pytest.raises(ZeroDivisionError):
            NeFLAG(model).attribute(x, target=lambda out: out[:, 0] * (1 // (8 - len(out))), internal_batch_size=8)
    else:
        NeFLAG(model).attribute(x)
    assert _same(_state(model), before)
    assert x.grad is None


def test_parameters_never_get_gradients() -> None:
    model = relu_cnn()
    seen = []
    model[4].register_forward_hook(lambda m, args, out: seen.append((m.weight.requires_grad, args[0].requires_grad)))
    NeFLAG(model, points=2).attribute(images(2, torch.float32))
    assert (False, True) in seen
    assert (True, True) not in seen  # with its own flags the model runs without autograd only
    assert model[4].weight.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_threads_share_a_model() -> None:
    model, x = relu_cnn(), images(2, torch.float32)
    expected = NeFLAG(model).attribute(x)
    results: list[Tensor] = []
    threads = [threading.Thread(target=lambda: results.append(NeFLAG(model).attribute(x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(relative_rms(result, expected) < 1e-5 for result in results)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(context: type) -> None:
    model, x = smooth_cnn(), images(2)
    expected = NeFLAG(model, **SMOOTH).attribute(x)
    with context():
        got = NeFLAG(model, **SMOOTH).attribute(images(2))
    assert torch.equal(got, expected)
    assert not got.requires_grad


def test_layouts_of_the_input() -> None:
    model, x = smooth_cnn(), images(3)
    expected = NeFLAG(model, **SMOOTH).attribute(x)
    for variant in (x.contiguous(memory_format=torch.channels_last), x.flip(3).flip(3), torch.cat([x, x], 3)[..., :12]):
        assert relative_rms(NeFLAG(model, **SMOOTH).attribute(variant), expected) < 1e-12


def test_a_model_that_works_in_place_does_not_reach_the_inputs() -> None:
    x = vectors(3)
    kept = x.clone()
    NeFLAG(lambda rows: rows.mul_(2.0) if not rows.requires_grad else rows * 2.0, points=2).attribute(x)
    assert torch.equal(x, kept)


def test_no_negative_flux_is_said_and_counted() -> None:
    """At the minimum of f every point is higher: no negative flux, an attribution of zero, and a fact that says so."""
    result = NeFLAG(lambda x: (x * x).sum(1), score="logit", radius=0.1, points=3).explain(
        torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    )
    assert result.facts["no_negative_flux"].tolist() == [False, True]
    assert result.negative_points.tolist() == [3, 0]
    assert result.evaluations.tolist()[1] == 3 * 21
    assert torch.equal(result.attributions[1], torch.zeros(2))
    assert bool(result.standard_error[1].isinf().all())


BAD_OPTIONS = [
    ({"radius": 0.0}, "radius: expected a positive"),
    ({"radius": float("nan")}, "radius: expected a positive"),
    ({"radius": "1"}, "radius: expected a positive, finite number, got '1'"),
    ({"points": 0}, "points: expected an integer, at least 1, got 0"),
    ({"points": 2.5}, "points: expected an integer"),
    ({"max_steps": 0}, "max_steps"),
    ({"step": "up"}, "step: expected one of sign, normalized, tangent, got 'up'"),
    ({"score": "odds"}, "score: expected one of auto, output, probability"),
    ({"seed": -1}, "seed: expected an integer, from 0"),
    ({"precision": "fp16"}, "precision: expected one of fp32, bf16"),
    ({"aggregate": "sum"}, "aggregate"),
    ({"tolerance": 0}, "tolerance"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NeFLAG(smooth_cnn(), **options)


X = images(2)


BAD_CALLS = [
    ({"inputs": np.array(["a", "b"])}, "inputs: expected a tensor, got ndarray"),
    ({"inputs": X.long()}, "inputs: expected dtype float32 or float64, got torch.int64"),
    ({"inputs": X.bfloat16()}, "precision"),
    ({"inputs": torch.zeros(3, dtype=torch.float64)}, "inputs: expected shape"),
    ({"inputs": (X, X[:1])}, r"inputs\[1\]: expected the batch size of inputs\[0\], 2, got 1"),
    ({"inputs": ()}, "inputs: expected a tensor or a tuple"),
    ({"target": 10}, "target: expected classes from 0 to 9, got 10"),
    ({"target": [0, -1]}, "target: expected classes from 0 to 9, got -1"),
    ({"target": [0]}, "target: expected one class per item, so 2, got 1 classes"),
    ({"target": 1.5}, "target: expected None, an int"),
    ({"target": lambda out: out}, r"target: expected a callable that returns floating-point scores \(R,\)"),
    ({"item_ids": [0]}, "item_ids: expected 2 integers"),
    ({"item_ids": [0, -4]}, "item_ids: expected integers that are not negative, got -4"),
    ({"internal_batch_size": 0}, "internal_batch_size: expected an integer, at least 1, got 0"),
    ({"additional_forward_args": [1]}, "additional_forward_args: .* got a list"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_CALLS)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NeFLAG(smooth_cnn()).attribute(**({"inputs": X} | arguments))


BAD_MODELS = [
    (smooth_cnn().train(), r"evaluation mode, got training mode in \d; call model.eval\(\)"),
    (lambda x: x.detach().flatten(1), "gradient path"),
    (lambda x: torch.ones(len(x), 4), "gradient path"),
    (
        lambda x: x.flatten(1) * torch.where(x[:, :1, 0, 0] > 0, 1.0, torch.nan),
        "finite scores, got NaN or infinity for 2 items: 0, 1$",
    ),
    (lambda x: (x.flatten(1) - X.flatten(1)[0]).abs().sqrt().sum(1, keepdim=True) * 1e400, "finite scores"),
]


@pytest.mark.parametrize(("model", "message"), BAD_MODELS)
def test_models_that_cannot_be_explained(model: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        NeFLAG(model).attribute(X)


def test_nan_near_an_item_is_an_error_not_a_map() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.where(x[:, :1] > 1.0, torch.nan, 1.0) * x  # finite at the item, NaN on half of its sphere

    x = torch.tensor([[-3.0, 0.5], [1.0, 0.5]])
    with pytest.raises(ModelError, match=r"near the items, got NaN or infinity around item 1"):
        NeFLAG(model, score="logit", radius=0.1).attribute(x, target=0)
