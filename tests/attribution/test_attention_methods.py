"""Methods that explain by attention equal the formulas of their papers, on what hooks see of models by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_models import WAYS, Text, ViT, photos, sentences, transformer
from torch import Tensor, nn

from xai_fast import AttCAT, AttentionRollout


class Seen:
    """The score of a class of each item, and what autograd and hooks know of a model by hand.

    Attributes:
        weights: the attention (B, H, n, n) of each layer.
        hidden: the hidden states (B, n, d) that go into each layer.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...], classes: Tensor) -> None:
        self.weights: list[Tensor] = []
        self.hidden: list[Tensor] = []
        handles = [
            b.attention.weights.register_forward_hook(lambda m, i, o: self.weights.append(o)) for b in model.blocks
        ]
        handles += [b.register_forward_pre_hook(lambda m, i: self.hidden.append(i[0])) for b in model.blocks]
        self.score = model(*inputs).gather(1, classes[:, None]).sum()
        for handle in handles:
            handle.remove()

    def gradients(self, of: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.score, of, retain_graph=True)


CLASSES = torch.tensor([1, 3, 0, 1])
MODELS: dict[str, tuple[Any, dict[str, Any], tuple[Any, ...]]] = {
    "vit": (ViT, {}, (photos(), CLASSES)),
    "text": (Text, {"embeddings": "words"}, (sentences()[0], CLASSES, sentences()[1])),
}


def seen(name: str) -> Seen:
    kind, _, (x, classes, *extra) = MODELS[name]
    return Seen(transformer(kind), (x, *extra), classes)


def literal_rollout(name: str, token: int | None) -> Tensor:
    """Multiply, Eq. 1 and Section 3 of Abnar and Zuidema."""
    found = seen(name).weights
    eye = torch.eye(found[0].shape[-1], dtype=torch.float64)
    rolled = eye.expand(len(CLASSES), -1, -1)
    for weights in found:
        rolled = (0.5 * weights.mean(1) + 0.5 * eye) @ rolled
    return rolled.mean(1) if token is None else rolled[:, token]


def literal_attcat(name: str, token: int | None) -> Tensor:
    """Sum up gradient times hidden states, weighted by the attention that a token gets, over layers."""
    found = seen(name)
    total = torch.zeros(len(CLASSES), found.hidden[0].shape[1], dtype=torch.float64)
    for weights, hidden, gradient in zip(found.weights, found.hidden, found.gradients(found.hidden), strict=True):
        for head in weights.unbind(1):
            received = head.mean(1) if token is None else head[:, token]
            total += received * (gradient * hidden).sum(2) / weights.shape[1]
    return total


METHODS = {
    "attention_rollout": (AttentionRollout, literal_rollout),
    "attcat": (AttCAT, literal_attcat),
}


@pytest.mark.parametrize(("token", "way"), [(-1, "by hand"), (None, "by hand"), *((0, way) for way in WAYS)])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_the_formula(method: str, model: str, token: int | None, way: str) -> None:
    make, literal = METHODS[method]
    kind, options, arguments = MODELS[model]
    found = make(transformer(kind, way), token=token, **options).explain(*arguments, internal_batch_size=3)
    expected = literal(model, token).detach()
    if model == "vit":
        expected = expected[:, 1:].reshape(-1, 2, 3)
    torch.testing.assert_close(found.attributions, expected, rtol=1e-10, atol=1e-12)
