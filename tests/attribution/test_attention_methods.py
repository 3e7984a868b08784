"""Methods that explain by attention equal the formulas of their papers, on what hooks see of models by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from attention_models import WAYS, Text, ViT, photos, sentences, transformer
from literal_attention import relevance_of_attention
from torch import Tensor, nn

from xai_fast import AttCAT, AttentionRollout, TransformerAttribution, XaiFastError
from xai_fast.datasets.reviews import review, token_batch
from xai_fast.models.text_transformer import text_transformer


class Seen:
    """The score of a class of each item, and what autograd and hooks know of a model by hand.

    Attributes:
        weights: the attention (B, H, n, n) of each layer.
        hidden: the hidden states (B, n, d) that go into each layer.
        bias: what is added to the scores of attention.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...], classes: Tensor) -> None:
        self.weights: list[Tensor] = []
        self.hidden: list[Tensor] = []
        handles = [
            b.attention.weights.register_forward_hook(lambda m, i, o: self.weights.append(o)) for b in model.blocks
        ]
        handles += [b.register_forward_pre_hook(self._enter) for b in model.blocks]
        self.score = model(*inputs).gather(1, classes[:, None]).sum()
        for handle in handles:
            handle.remove()

    def _enter(self, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.hidden.append(inputs[0])
        self.bias = inputs[1]

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


def literal_transformer_attribution(name: str, token: int | None) -> Tensor:
    """Compute Eq. 13 and 14 of Chefer, Gur and Wolf, CVPR 2021."""
    found, model = seen(name), transformer(MODELS[name][0])
    return _rolled(found, relevance_of_attention(model, found.hidden[0], found.bias, CLASSES), token)


def literal_without_relevance(name: str, token: int | None) -> Tensor:
    """Compute Eq. 5 and 6 of Chefer, Gur and Wolf, ICCV 2021, for attention of tokens among themselves."""
    found = seen(name)
    return _rolled(found, found.weights, token)


def _rolled(found: Seen, relevance: list[Tensor], token: int | None) -> Tensor:
    rolled = torch.eye(found.hidden[0].shape[1], dtype=torch.float64)
    for r, gradient in zip(relevance, found.gradients(found.weights), strict=True):
        rolled = rolled + (gradient * r).clamp(min=0).mean(1) @ rolled
    return rolled.mean(1) if token is None else rolled[:, token]


METHODS = {
    "attention_rollout": (AttentionRollout, literal_rollout),
    "attcat": (AttCAT, literal_attcat),
    "transformer_attribution": (TransformerAttribution, literal_without_relevance),
    "by relevance": (functools.partial(TransformerAttribution, relevance="lrp"), literal_transformer_attribution),
}


CASES = [
    *(("vit", 0, way) for way in WAYS),
    *(("text", 0, way) for way in ("by hand", "fused")),
    *((model, token, "by hand") for model in MODELS for token in (-1, None)),
]


@pytest.mark.parametrize(("model", "token", "way"), CASES)
@pytest.mark.parametrize("method", METHODS)
def test_the_formula(method: str, model: str, token: int | None, way: str) -> None:
    make, literal = METHODS[method]
    kind, options, arguments = MODELS[model]
    found = make(transformer(kind, way), token=token, **options).explain(*arguments, internal_batch_size=3)
    expected = literal(model, token).detach()
    if model == "vit":
        expected = expected[:, 1:].reshape(-1, 2, 3)
    torch.testing.assert_close(found.attributions, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["vit", "bert", "gpt2"])
def test_attention_and_hidden_states_are_those_that_transformers_returns(name: str) -> None:
    row, options = ARCHITECTURES[name], {"embeddings": ARCHITECTURES[name].embeddings}
    torch.manual_seed(0)
    model, x = row.make().double().eval(), row.inputs()
    x, extra = x.double() if x.is_floating_point() else x, row.extra() or {}
    found = {kind: kind(model, token=None, **options).explain(x, 1, extra) for kind in (AttentionRollout, AttCAT)}
    model.set_attn_implementation("eager")
    told = model(x, output_attentions=True, output_hidden_states=True, **extra)
    hidden = told.hidden_states[:-1]
    gradients = torch.autograd.grad(told.logits[:, 1].sum(), hidden)
    eye = torch.eye(told.attentions[0].shape[-1])
    first, second = (0.5 * weights.mean(1) + 0.5 * eye for weights in told.attentions)
    expected = {
        AttentionRollout: (second @ first).mean(1),
        AttCAT: sum(
            w.mean((1, 2)) * (h * g).sum(2) for w, h, g in zip(told.attentions, hidden, gradients, strict=True)
        ),
    }
    for kind, explanation in found.items():
        values = explanation.attributions.flatten(1)
        wanted = expected[kind].detach()[:, -values.shape[1] :]
        torch.testing.assert_close(values, wanted, rtol=1e-6, atol=1e-8)


class Swapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class Pooled(nn.Module):
    """Reads tokens with one query."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, :1] @ x.mT).softmax(-1) @ x


def windows() -> nn.Module:
    return ARCHITECTURES["swin"].make().double().eval()


def tokens(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), Swapped(), *modules, nn.Flatten(), nn.LazyLinear(3))


REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "no attention": (lambda: tokens(nn.GELU()), {}, r"model: expected attention, a softmax .*, got none"),
    "one query": (lambda: tokens(Pooled()), {}, r"with the same n in each layer, got \(1, 1, 16\)"),
    "windows": (windows, {}, r"with the same n in each layer, got \(16, 1, 4, 4\), \(4, 2, 4, 4\)"),
    "token": (lambda: ViT(), {"token": 17}, "token: expected None, or a position among 17 tokens, got 17"),
    "grid": (lambda: ViT(), {"grid": (3, 5)}, r"grid: expected 17 positions, got \(3, 5\)"),
    "score": (lambda: ViT(), {"score": "best"}, "score: expected one of"),
    "part of a token": (lambda: ViT(), {"token": 0.5}, "token: expected an integer"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_refused(method: str, case: str) -> None:
    make, options, message = REFUSED[case]
    model, x = make().double(), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    if isinstance(model, nn.Sequential):
        model(x)
    with pytest.raises(XaiFastError, match=message):
        METHODS[method][0](model.eval(), **options).explain(x)


def test_the_grid_and_the_tokens_in_front_can_be_said() -> None:
    model, x = transformer(ViT), photos()
    whole = AttentionRollout(model, skip_tokens=0).attribute(x)
    torch.testing.assert_close(whole.sum(1), torch.ones(4, dtype=torch.float64))
    given = AttentionRollout(model, grid=(3, 2), skip_tokens=1).attribute(x)
    assert torch.equal(given.flatten(1), whole[:, 1:])
    assert torch.equal(AttentionRollout(model).attribute(x).flatten(1), whole[:, 1:])


def test_tokens_that_the_model_puts_in_front_of_a_sequence_are_left_out() -> None:
    model = text_transformer()
    ids = token_batch([review(index).text for index in range(3)])
    found = AttentionRollout(model, embeddings="words").attribute(ids)
    assert found.shape == ids.shape
    assert (found[ids == 0] == 0).all()
    whole = AttentionRollout(model, embeddings="words", skip_tokens=0).attribute(ids)
    assert torch.equal(whole[:, 1:], found)
