"""Grad-CAM and Grad-CAM++ equal loops over channels and positions that read like the papers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from all_pairs import all_pairs
from networks import images, relu_cnn, smooth_cnn
from torch import Tensor, nn

from xai_fast.attribution import GradCAM, GradCAMPlusPlus
from xai_fast.errors import InputError, ModelError


class Tokens(nn.Module):
    """Token numbers or vectors, a layer that gives a tuple, and a question that is added before the head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 6)
        self.recurrent = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 4)

    def forward(self, tokens: Tensor, question: Tensor | float = 0.0) -> Tensor:
        hidden, _ = self.recurrent(self.embedding(tokens))
        return self.head(torch.tanh(hidden).sum(1) + question)


def cnn_parts(model: nn.Sequential, layer: int) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    return (lambda x: model[: layer + 1](x)), (lambda a: model[layer + 1 :](a))


def token_parts(model: Tokens) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    def up_to(tokens: Tensor, _question: Tensor) -> Tensor:
        return model.recurrent(model.embedding(tokens))[0].transpose(1, 2)[..., None]

    def after(activation: Tensor, question: Tensor) -> Tensor:
        return model.head(torch.tanh(activation[..., 0]).sum(2) + question)

    return up_to, after


def literal(
    method: type, up_to: Callable[..., Tensor], after: Callable[..., Tensor], inputs: tuple[Tensor, ...],
    target: int, score: str, relu: bool,
) -> Tensor:  # fmt: skip
    """One item, one channel, one position at a time."""
    maps = []
    for i in range(len(inputs[0])):
        one = [value[i : i + 1] for value in inputs]
        activation = up_to(*one).detach().clone().requires_grad_()
        logits = after(activation.clone(), *one[1:])[0]
        y = {"logit": logits, "probability": logits.softmax(0), "log_probability": logits.log_softmax(0)}[score][target]
        (gradient,) = torch.autograd.grad(y, activation)
        a, g = activation.detach()[0], gradient[0]
        channels, height, width = a.shape
        total = torch.zeros(height, width, dtype=a.dtype)
        for k in range(channels):
            weight = 0.0
            for row in range(height):
                for column in range(width):
                    d = g[k, row, column]
                    if method is GradCAM:
                        weight += d / (height * width)
                    elif d != 0:
                        alpha = d**2 / (2 * d**2 + sum(a[k].flatten() * d**3))
                        weight += alpha * max(d, torch.zeros_like(d))
            total += weight * a[k]
        maps.append(total.relu() if relu else total)
    return torch.stack(maps)


CNNS = {"in place ReLU follows": (relu_cnn, 1), "last map": (relu_cnn, 5), "smooth": (smooth_cnn, 2)}


@pytest.mark.parametrize(
    ("cnn", "score", "relu", "method"),
    all_pairs(CNNS, ["logit", "probability", "log_probability"], [True, False], [GradCAM, GradCAMPlusPlus]),
)
def test_maps_of_cnns(method: type, cnn: str, score: str, relu: bool) -> None:
    build, layer = CNNS[cnn]
    model, x = build(torch.float64), images(3)
    before = x.clone()
    expected = literal(method, *cnn_parts(model, layer), (x,), 1, score, relu)
    got = method(model, str(layer), score=score, relu=relu).attribute(x, 1, internal_batch_size=2)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-14)
    assert torch.equal(x, before)
    assert (expected != 0).any()


@pytest.mark.parametrize("method", [GradCAM, GradCAMPlusPlus])
def test_maps_of_tokens_with_a_question(method: type) -> None:
    model = Tokens().double().eval()
    tokens = torch.randint(0, 11, (3, 7))
    question = torch.randn(3, 5, dtype=torch.float64)
    expected = literal(method, *token_parts(model), (tokens, question), 1, "logit", False)[..., 0]
    got = method(model, model.recurrent, relu=False).attribute(tokens, 1, question, internal_batch_size=2)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-14)


def test_the_default_target_is_the_predicted_class() -> None:
    model, x = relu_cnn(), images(5, torch.float32)
    method = GradCAM(model, "4")
    assert torch.equal(method.attribute(x), method.attribute(x, model(x).argmax(1)))
    assert torch.equal(method.attribute(x, lambda logits: logits[:, 3]), method.attribute(x, 3))


def test_a_channel_without_gradient_has_no_weight() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2)).eval()
    nn.init.zeros_(model[2].weight)
    got = GradCAMPlusPlus(model, "0").attribute(torch.randn(2, 1, 2, 2), 0)
    assert torch.equal(got, torch.zeros(2, 2, 2))


@pytest.mark.parametrize(("upsample", "size"), [(True, (12, 12)), ((20, 30), (20, 30)), (False, (3, 3))])
def test_upsampling_keeps_the_corners_in_place(upsample: bool | tuple[int, int], size: tuple[int, int]) -> None:
    model, x = relu_cnn(), images(2, torch.float32)
    small = GradCAM(model, "4", relu=False).attribute(x, 0)
    got = GradCAM(model, "4", relu=False, upsample=upsample).attribute(x, 0)
    assert got.shape == (2, *size)
    # Half a cell away from the edge and less, only the outermost cell counts.
    torch.testing.assert_close(got[:, [0, 0, -1, -1], [0, -1, 0, -1]], small[:, [0, 0, -1, -1], [0, -1, 0, -1]])


def state(model: nn.Module) -> tuple[object, ...]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    return hooks, [p.requires_grad for p in model.parameters()], [p.grad for p in model.parameters()]


def failing(_outputs: object) -> Tensor:
    raise KeyError("the user's own mistake")


@pytest.mark.parametrize("target", [0, failing, 99])
def test_the_model_is_left_as_it_was(target: object) -> None:
    model, x = relu_cnn(), images(2, torch.float32)
    model[0].weight.requires_grad_(False)
    before, logits = state(model), model(x)
    if target == 0:
        GradCAM(model, "4").attribute(x, target)
    else:
        with pytest.raises((KeyError, InputError)):
            GradCAM(model, "4").attribute(x, target)
    assert state(model) == before
    assert torch.equal(model(x), logits)


def test_items_do_not_depend_on_their_batch_and_modes_do_not_matter() -> None:
    model, x = relu_cnn(torch.float64), images(5)
    method = GradCAM(model, "4")
    together = method.attribute(x, [0, 1, 2, 3, 4])
    alone = torch.cat([method.attribute(x[i : i + 1], [i]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        assert torch.equal(method.attribute(x, [0, 1, 2, 3, 4]), together)
    with torch.inference_mode():
        torch.testing.assert_close(method.attribute(x.clone(), [0, 1, 2, 3, 4]), together)
    assert not together.requires_grad


class Aside(nn.Module):
    """A map on which the score does not depend."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.conv(x)
        return self.fc(x.mean((2, 3)))


X = images(2, torch.float32)
WRONG = {
    "layer: expected a layer near": lambda: GradCAM(relu_cnn(), "44"),
    "layer: expected a layer whose output is a map": lambda: GradCAM(relu_cnn(), "6").attribute(X),
    "score: expected one of": lambda: GradCAM(relu_cnn(), "4", score="loss"),
    r"upsample: expected True, False, or a size such as \(H, W\), got 7": lambda: GradCAM(relu_cnn(), "4", upsample=7),
    "upsample: expected an integer, at least 1": lambda: GradCAM(relu_cnn(), "4", upsample=(0, 3)),
    "upsample: expected False, or as many sizes as the map .* of recurrent": lambda: GradCAM(
        Tokens().eval(), "recurrent", upsample=(3, 3)
    ).attribute(torch.zeros(2, 3, dtype=torch.int64)),
    "model: expected evaluation mode": lambda: GradCAM(relu_cnn().train(), "4").attribute(X),
    "model: expected a score that depends differentiably on conv": lambda: GradCAM(Aside().eval(), "conv").attribute(X),
    "model: expected finite scores and attributions, got NaN or infinity for item 1; the inputs hold NaN or infinity "
    "in item 1": lambda: GradCAM(relu_cnn(), "4").attribute(torch.stack([X[0], X[0] * torch.nan]), 0),
    "internal_batch_size: expected": lambda: GradCAM(relu_cnn(), "4").attribute(X, internal_batch_size=0),
    "target: expected classes from 0 to 9": lambda: GradCAM(relu_cnn(), "4").attribute(X, 10),
    "inputs: expected a tensor": lambda: GradCAM(relu_cnn(), "4").attribute([X]),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(message: str) -> None:
    with pytest.raises((InputError, ModelError), match="^" + message):
        WRONG[message]()
