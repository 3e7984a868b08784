"""Models of many kinds: their scores are those of the owner's own call, their maps those of the literal formulas."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, ITEMS, Architecture, table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai_fast import Explanation, GradCAM, GradientXInput, Method, NeFLAG, TaylorCAM, XaiFastError
from xai_fast.attribution.neflag_reference import neflag_reference
from xai_fast.engine.extra import Shared

WALK = {"radius": 0.05, "points": 2, "max_steps": 2}


@contextlib.contextmanager
def replaced(model: nn.Module, layer: str, value: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put something in place of the first tensor of a layer's output."""

    def hook(_module: nn.Module, _inputs: object, output: Any) -> Any:
        if isinstance(output, Tensor):
            return value(output)
        return (value(output[0]), *output[1:])

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def owner(model: nn.Module, inputs: Any, extra: Any, which: slice = slice(None)) -> Tensor:
    """Call a model as its owner does, on copies of some items: logits."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    named = extra if isinstance(extra, dict) else {} if extra is None else {"": extra}
    rows = {k: v.value if isinstance(v, Shared) else v[which] for k, v in named.items()}
    arguments = [value[which].clone() for value in inputs] + [v for k, v in rows.items() if not k]
    outputs = model(*arguments, **{k: v for k, v in rows.items() if k})
    return getattr(outputs, "logits", outputs)


def tokens(row: Architecture, output: Tensor) -> Tensor:
    """Read a layer's output as (B, n, C)."""
    if row.reads == "sequence":
        output = output.transpose(0, 1)
    elif row.reads == "first":
        output = output.movedim(1, -1)
    return output.flatten(1, -2)[:, row.skip :]


def literal_neflag(row: Architecture, model: nn.Module, inputs: Any, extra: Any) -> Tensor:
    """Run the literal algorithm item by item, in the joint space of several inputs, or in that of the embeddings."""
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    values = parts
    if row.embeddings:
        values = (captured(model, row.embeddings, inputs, extra),)
    sizes = [value[0].numel() for value in values]
    maps = []
    for i in range(ITEMS):
        which = slice(i, i + 1)

        def function(joint: Tensor, which: slice = which) -> Tensor:
            split = [p.view(1, *v.shape[1:]) for p, v in zip(joint.split(sizes, 1), values, strict=True)]
            if not row.embeddings:
                return owner(model, tuple(split), _of_item(extra, which))
            with replaced(model, row.embeddings, lambda _: split[0]):
                return owner(model, inputs, extra, which)

        joint = torch.cat([value[which].flatten(1) for value in values], 1)
        maps.append(neflag_reference(function, joint, item_ids=[i], **WALK)[0])
    return torch.cat(maps)


def literal_gradient_x_input(row: Architecture, model: nn.Module, inputs: Any, extra: Any) -> Tensor:
    """Differentiate the owner's call, with respect to the inputs or the embeddings."""
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    values = (captured(model, row.embeddings, inputs, extra),) if row.embeddings else parts
    leaves = [value.detach().clone().requires_grad_() for value in values]
    with replaced(model, row.embeddings, lambda _: leaves[0].clone()) if row.embeddings else contextlib.nullcontext():
        logits = owner(model, inputs if row.embeddings else tuple(leaves), extra)
    gradients = torch.autograd.grad(probabilities(logits).amax(1).sum(), leaves)
    return torch.cat([(g * x.detach()).flatten(1) for g, x in zip(gradients, leaves, strict=True)], 1)


def _of_item(extra: Any, which: slice) -> Any:
    if isinstance(extra, dict):
        return {name: value[which] for name, value in extra.items()}
    return extra[which] if isinstance(extra, Tensor) else extra


def captured(model: nn.Module, layer: str, inputs: Any, extra: Any, which: slice = slice(None)) -> Tensor:
    """Give a layer's output."""
    seen: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        seen.append(value.detach().clone())
        return value

    with replaced(model, layer, keep):
        owner(model, inputs, extra, which)
    return seen[0]


def score_at(
    row: Architecture, model: nn.Module, inputs: Any, extra: Any, which: slice, probability: bool
) -> tuple[Tensor, Tensor]:
    """Give the layer's output as a leaf, and the sum of the scores with that in its place."""
    leaf = captured(model, row.layer, inputs, extra, which).requires_grad_()
    with replaced(model, row.layer, lambda _: leaf.clone()):
        logits = owner(model, inputs, extra, which)
    target = logits.detach().argmax(1, keepdim=True)
    return leaf, (logits.softmax(1) if probability else logits).gather(1, target).sum()


def literal_gradcam(row: Architecture, model: nn.Module, inputs: Any, extra: Any) -> Tensor:
    """Compute Eq. 1 and 2 of Grad-CAM."""
    leaf, score = score_at(row, model, inputs, extra, slice(None), probability=False)
    (gradient,) = torch.autograd.grad(score, leaf)
    weights = tokens(row, gradient).mean(1)
    return torch.einsum("bc,bnc->bn", weights, tokens(row, leaf.detach())).relu()


def literal_taylor_cam(row: Architecture, model: nn.Module, inputs: Any, extra: Any) -> Tensor:
    """Compute S_ij of order 2 by differentiating twice, its squares added up into the upper triangle."""
    maps = []
    for i in range(ITEMS):
        leaf, score = score_at(row, model, inputs, extra, slice(i, i + 1), probability=True)
        (gradient,) = torch.autograd.grad(score, leaf, create_graph=True)
        x, sums = tokens(row, leaf.detach())[0], tokens(row, gradient)[0].sum(1)
        columns = [torch.autograd.grad(one, leaf, retain_graph=True)[0] for one in sums]
        s = torch.stack([(x * tokens(row, column)[0]).sum(1) for column in columns], 1)
        squares = s.square()
        maps.append((squares + squares.T).triu(1))
    return torch.stack(maps)


METHODS: dict[str, tuple[Callable[[Architecture, nn.Module], Method], Callable[..., Tensor]]] = {
    "neflag": (lambda row, model: NeFLAG(model, **WALK, embeddings=row.embeddings), literal_neflag),
    "gradient_x_input": (
        lambda row, model: GradientXInput(model, embeddings=row.embeddings),
        literal_gradient_x_input,
    ),
    "gradcam": (lambda row, model: GradCAM(model, row.layer), literal_gradcam),
    "taylor_cam": (lambda row, model: TaylorCAM(model, row.layer), literal_taylor_cam),
}

CASES = [(name, method) for name in ARCHITECTURES for method in METHODS]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def built(row: Architecture, make: Callable[[], nn.Module]) -> tuple[nn.Module, Any, Any]:
    torch.manual_seed(0)
    model = make()
    model = model.to(row.narrow) if row.narrow else model
    inputs, extra = row.inputs(), row.extra()
    return model.eval(), inputs.to(row.narrow) if row.narrow else inputs, extra


def state(model: nn.Module, inputs: Any) -> list[Any]:
    """List what explanations must leave as it was, bit by bit."""
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    tensors = [*model.state_dict().values(), *parts]
    flags = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    modules = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    return [[t.detach().float().numpy().tobytes() for t in tensors], flags, modules]


def probabilities(scores: Tensor) -> Tensor:
    return (scores.float() if scores.dtype == torch.bfloat16 else scores).softmax(1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("name", "method"), CASES)
def test_architecture(name: str, method: str) -> None:
    row = ARCHITECTURES[name]
    make, literal = METHODS[method]
    model, inputs, extra = built(row, row.make)
    before = state(model, inputs)
    own = owner(model, inputs, extra).detach()
    if method in row.refuses:
        with pytest.raises(XaiFastError, match=row.refuses[method]):
            make(row, model).explain(inputs, additional_forward_args=extra)
        assert state(model, inputs) == before
        return
    found = make(row, model).explain(inputs, additional_forward_args=extra)
    scores = own if method == "gradcam" else probabilities(own)
    assert torch.equal(found.scores, scores.amax(1).to(found.scores.dtype))
    assert state(model, inputs) == before
    assert torch.equal(owner(model, inputs, extra).detach(), own)
    plain = row if row.plain is None else dataclasses.replace(row, layer=row.layer.removeprefix("_orig_mod."))
    if row.plain is not None or row.narrow is not None:
        model, inputs, extra = built(dataclasses.replace(row, narrow=None), row.plain or row.make)
    with sdpa_kernel(SDPBackend.MATH):
        expected = literal(plain, model, inputs, extra)
    tolerance = {"rtol": 0.1, "atol": 0.05 * float(expected.abs().max())} if row.narrow else {}
    torch.testing.assert_close(joined(found), expected.flatten(1), check_dtype=row.narrow is None, **tolerance)


def joined(found: Explanation) -> Tensor:
    parts = found.attributions if isinstance(found.attributions, tuple) else (found.attributions,)
    return torch.cat([part.flatten(1) for part in parts], 1)


def test_the_documentation_has_this_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    assert table() in text, "docs/architectures.md: put the output of python tests/helpers/architectures.py there"
