"""Class activation maps equal their papers' definitions, on all architectures, and captum."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, ITEMS, Architecture
from literal_cams import Literal
from networks import images, relu_cnn, smooth_cnn
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import xai_fast
from xai_fast.engine.extra import Shared

FAMILY: dict[str, type[Any]] = {
    name: xai_fast.methods()[name]
    for name in ("gradcam", "hires_cam", "layer_cam", "score_cam", "ablation_cam", "eigen_cam")
}
X = images(ITEMS)
CLASSES = [3, 0, 7]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def dead(model: nn.Module) -> nn.Module:
    """Two channels that are zero, and one that is constant."""
    with torch.no_grad():
        model[4].weight[:3] = 0
        model[4].bias[:3] = torch.tensor([-1.0, 0.0, 0.7])
    return model


CNNS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "in place ReLU follows": (lambda: relu_cnn(torch.float64), "1"),
    "last map, dead channels": (lambda: dead(relu_cnn(torch.float64)), "5"),
    "smooth": (lambda: smooth_cnn(torch.float64), "2"),
}


def literal(model: nn.Module, layer: str, x: Tensor = X, classes: Any = CLASSES, **options: Any) -> list[Literal]:
    return [Literal(model, model, layer, x[i : i + 1], classes[i], **options) for i in range(len(x))]


@pytest.mark.parametrize("cnn", CNNS)
@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(("score", "relu"), [("logit", False), ("probability", True)])
def test_the_papers_definitions(name: str, cnn: str, score: str, relu: bool) -> None:
    build, layer = CNNS[cnn]
    model = build().eval()
    expected = torch.stack([one(name) for one in literal(model, layer, score=score)])
    found = FAMILY[name](model, layer, score=score, relu=relu).explain(X, CLASSES, internal_batch_size=2)
    torch.testing.assert_close(found.attributions, expected.relu() if relu else expected, rtol=1e-8, atol=1e-12)
    logits = model(X)
    scores = logits if score == "logit" else logits.softmax(1)
    torch.testing.assert_close(found.scores, scores.gather(1, torch.tensor(CLASSES)[:, None])[:, 0])


@pytest.mark.parametrize("name", ["gradcam", "hires_cam", "layer_cam"])
def test_against_is_the_score_negated(name: str) -> None:
    model = relu_cnn(torch.float64)
    method = FAMILY[name]
    found = method(model, "4", against=True, relu=False).attribute(X, 3)
    expected = torch.stack([one(name, against=True) for one in literal(model, "4", classes=[3] * ITEMS)])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(found, method(model, "4", relu=False).attribute(X, lambda logits: -logits[:, 3]))


TEXTS = ("bert", "gpt2", "tied")
SLOW = ("convnext", "swin", "vit", "bert", "gpt2", "compiled")
ROWS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name, row in ARCHITECTURES.items()
    if "gradcam" not in row.refuses
]


def items(row: Architecture, name: str) -> tuple[nn.Module, Any, Any, list[Literal]]:
    """Give the model, its inputs and arguments, and what the plain model is for each item."""
    torch.manual_seed(0)
    inputs, extra = row.inputs(), row.extra()
    torch.manual_seed(0)
    model = row.make().eval()
    torch.manual_seed(0)
    plain = row.plain().eval() if row.plain else model
    x, *rest = inputs if isinstance(inputs, tuple) else (inputs,)

    def run_item(i: int) -> Callable[[Tensor], Tensor]:
        def of_item(value: Any) -> Any:
            return value.value if isinstance(value, Shared) else value[i : i + 1]

        named = {k: of_item(v) for k, v in extra.items()} if isinstance(extra, dict) else {}
        more = [of_item(v) for v in rest] + ([] if extra is None or named else [of_item(extra)])

        def run(one: Tensor) -> Tensor:
            outputs = plain(one, *more, **named)
            return getattr(outputs, "logits", outputs)

        return run

    grid, axes = {"vit": ((4, 4), None), "swin": ((8, 8), None)}.get(name, (None, None))
    if name in ("lstm", "before lstm", "gru", "encoder", "encoder, sequence first", "gcn"):
        axes = (1,)
    layer = row.layer.removeprefix("_orig_mod.") if row.plain else row.layer
    found = []
    for i in range(ITEMS):
        run = run_item(i)
        target = int(run(x[i : i + 1].clone()).argmax())
        found.append(Literal(run, plain, layer, x[i : i + 1], target, row.reads, row.skip, grid, axes=axes))
    return model, inputs, extra, found


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", ROWS)
def test_architectures(name: str) -> None:
    row = ARCHITECTURES[name]
    model, inputs, extra, literals = items(row, name)
    if row.narrow:
        model, inputs = copy.deepcopy(model).to(row.narrow), inputs.to(row.narrow)
    for kind, method in FAMILY.items():
        if kind == "score_cam" and (name in TEXTS or isinstance(inputs, tuple)):
            continue
        with sdpa_kernel(SDPBackend.MATH):
            expected = torch.stack([one(kind) for one in literals]).relu()
        found = method(model, row.layer).explain(inputs, additional_forward_args=extra, internal_batch_size=2)
        scale = float(expected.abs().max())
        tolerance = {"atol": (0.05 if row.narrow else 1e-8) * scale, "rtol": 0}
        torch.testing.assert_close(found.attributions, expected, **tolerance, check_dtype=not row.narrow, msg=kind)
