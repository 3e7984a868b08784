"""LRP against its literal reference: every rule, every way to treat biases, on all architectures without an RNN."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, Architecture
from literal_relevance import RULES, SeenLRP, everywhere, joined, literal, relative
from torch import Tensor, nn

from xai_fast.attribution.lrp import LRP
from xai_fast.errors import InputError, ModelError, XaiFastError
from xai_fast.relevance.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus

BIASES = ("absorb", "zero", "keep")


def one_bias(*case: str) -> str:
    """Choose a way to treat biases, so that all of them occur."""
    return BIASES[sum(map(len, case)) % 3]


RECURRENT = {"lstm", "before lstm", "gru", "tied"}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@functools.cache
def built(name: str) -> tuple[nn.Module, Any, Any]:
    row = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = row.make()
    model = model.to(row.narrow) if row.narrow else model
    inputs, extra = row.inputs(), row.extra()
    return model.eval(), inputs.to(row.narrow) if row.narrow else inputs, extra


# Every rule on every architecture, every way to treat biases with each of both.
CASES = [
    pytest.param(
        name,
        rule,
        BIASES[(row + column) % 3],
        marks=pytest.mark.slow if rule not in ("epsilon", "w2") else (),  # together they take a minute
    )
    for row, name in enumerate(name for name in ARCHITECTURES if name not in RECURRENT)
    for column, rule in enumerate(RULES)
]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("name", "rule", "bias"), CASES)
def test_every_architecture_and_rule(name: str, rule: str, bias: str) -> None:
    row: Architecture = ARCHITECTURES[name]
    model, inputs, extra = built(name)
    method = SeenLRP(model, composite=RULES[rule], bias=bias, embeddings=row.embeddings)
    if "lrp" in row.refuses:
        with pytest.raises(XaiFastError, match=row.refuses["lrp"]):
            method.explain(inputs, additional_forward_args=extra)
        return
    found = method.explain(inputs, additional_forward_args=extra)
    # Without a stabiliser the terms of a norm, which cancel, are as large as they come.
    most = 1e-9 if rule == "epsilon, attention constant" else 1e-10
    assert relative(joined(found), literal(method)[0]) < most


@functools.cache  # each is traced once
def network(*first: nn.Module, channels: int = 3, last: int = 6) -> nn.Sequential:
    """Build a small CNN whose activations have both signs, behind some modules."""
    torch.manual_seed(0)
    body = [nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, last, 1, bias=False), nn.GELU()]
    return nn.Sequential(*first, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, 4)).eval()


def images(batch: int = 3, side: int = 6) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


ODD: dict[str, Callable[[], Tensor]] = {
    "one pixel": lambda: images(side=1),
    "one item": lambda: images(1),
    "strided": lambda: images(6)[::2],
    "transposed": lambda: images().transpose(2, 3),
    "channels last": lambda: images().to(memory_format=torch.channels_last),
    "expanded": lambda: images(1).expand(3, -1, -1, -1),
    "zero": lambda: torch.zeros_like(images()),
    "an item is zero": lambda: images() * torch.tensor([1.0, 0.0, 1.0])[:, None, None, None],
    "huge": lambda: images() * 1e150,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ODD)
def test_odd_inputs(kind: str, rule: str) -> None:
    method = SeenLRP(network(), composite=RULES[rule], bias=one_bias(kind, rule))
    assert relative(method.explain(ODD[kind]()).attributions, literal(method)[0]) < 1e-10


BEFORE: dict[str, list[nn.Module]] = {
    "padding": [nn.ZeroPad2d(1)],
    "reflection": [nn.ReflectionPad2d(2)],
    "batch norm": [nn.BatchNorm2d(3)],
    "relu": [nn.ReLU()],
    "average pooling": [nn.AvgPool2d(2)],
    "max pooling": [nn.MaxPool2d(2)],
    "upsampling": [nn.Upsample(scale_factor=2)],
    "padding and pooling": [nn.ZeroPad2d(1), nn.MaxPool2d(3, 2), nn.ZeroPad2d((0, 1, 0, 1))],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", BEFORE)
def test_what_lies_before_the_first_layer(kind: str, rule: str) -> None:
    model = network(*BEFORE[kind]).double()
    method = SeenLRP(model, composite=RULES[rule], bias=one_bias(kind, rule), low=-4.0, high=3.0)
    assert relative(method.explain(images()).attributions, literal(method)[0]) < 1e-10


@pytest.mark.parametrize("kind", [None, *BEFORE])
def test_bounds_of_each_channel(kind: str | None) -> None:
    model = network(*BEFORE.get(kind, ())).double()
    method = SeenLRP(model, composite="deep_taylor_box", low=[-4.0, -5.0, -6.0], high=[3.0, 4.0, 5.0])
    assert relative(method.explain(images()).attributions, literal(method)[0]) < 1e-10
    other = LRP(model, composite="deep_taylor_box", low=-4.0, high=3.0).attribute(images())
    assert relative(method.attribute(images()), other) > 1e-3
    with pytest.raises(InputError, match="low: expected one number, or one for each of 3 channels, got 2"):
        LRP(model, low=[0.0, 0.0], high=1.0).explain(images())


@functools.cache
def narrow(name: str) -> nn.Module:
    """The same model in float32, which is the default dtype then."""
    torch.manual_seed(0)
    model = ARCHITECTURES[name].make().eval()
    model.load_state_dict(built(name)[0].state_dict())
    return model


@pytest.mark.parametrize("name", ["resnet", "efficientnet", "encoder", "vgg"])
@pytest.mark.parametrize("rule", RULES)
def test_float32(name: str, rule: str) -> None:
    model, inputs, extra = built(name)
    exact = SeenLRP(model, composite=RULES[rule])
    exact.explain(inputs, additional_forward_args=extra)
    torch.set_default_dtype(torch.float32)
    found = LRP(narrow(name), composite=RULES[rule]).explain(inputs.float(), additional_forward_args=extra)
    assert found.attributions.dtype == torch.float32
    assert relative(found.attributions.double(), literal(exact)[0]) < 1e-4


@pytest.mark.parametrize("rule", RULES)
def test_float64_where_it_is_not_the_default(rule: str) -> None:
    model = network()
    torch.set_default_dtype(torch.float32)
    method = SeenLRP(model, composite=RULES[rule])
    found = method.explain(images())
    torch.set_default_dtype(torch.float64)
    assert found.attributions.dtype == torch.float64
    assert relative(found.attributions, literal(method)[0]) < 1e-10


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["vgg", "encoder", "image and table"])
def test_a_batch_is_its_items(name: str, rule: str) -> None:
    model, inputs, extra = built(name)
    method = LRP(model, composite=RULES[rule], bias="keep")

    def explained(items: slice) -> Tensor:
        cut = tuple(x[items] for x in inputs) if isinstance(inputs, tuple) else inputs[items]
        return joined(method.explain(cut, additional_forward_args=None if extra is None else extra[items]))

    one_by_one = torch.cat([explained(slice(i, i + 1)) for i in range(3)])
    assert relative(explained(slice(3)), one_by_one) < 1e-12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["vgg", "resnet", "encoder"])
def test_several_classes_are_each_alone(name: str, rule: str) -> None:
    model, inputs, extra = built(name)
    method = SeenLRP(model, composite=RULES[rule], classes=[2, 0])
    found = method.explain(inputs, additional_forward_args=extra)
    expected = torch.stack([literal(method, index)[0] for index in (2, 0)], 1)
    assert relative(found.attributions, expected) < 1e-10
    alone = LRP(model, composite=RULES[rule]).explain(inputs, 2, additional_forward_args=extra)
    assert relative(found.attributions[:, 0], alone.attributions) < 1e-12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vgg", ["0.1", "1.0", "3.1"]),
        ("resnet", ["stem", "blocks.0", "blocks.1"]),
        ("densenet", ["layers.2.2", "layers.1.1"]),
        ("encoder", ["encoder.layers.0", "encoder.layers.1.norm1"]),
    ],
)
def test_inner_layers(name: str, layers: list[str], rule: str) -> None:
    model, inputs, extra = built(name)
    method = SeenLRP(model, composite=RULES[rule], layer=layers, start="one")
    found = method.explain(inputs, additional_forward_args=extra)
    expected = literal(method)
    for got, node in zip(found.inner, method.nodes, strict=True):
        assert relative(got, expected[node]) < 1e-10


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(value: float) -> None:
    x = images()
    x[1, 0, 0, 0] = value
    with pytest.raises((InputError, ModelError), match="1"):
        LRP(network(), composite="epsilon").explain(x)


def test_arguments_by_name() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
            return self.body(x * scale)

    scale = torch.rand(3, 3, 1, 1)
    for rule in (Epsilon(), Gamma(), ZBox(), Flat()):
        method = SeenLRP(Scaled().eval(), composite=everywhere(ZPlus(), rule))
        found = method.explain(images(), additional_forward_args={"scale": scale})
        assert relative(found.attributions, literal(method)[0]) < 1e-10


LITTLE = {"nothing negative": 1.0, "nothing positive": -1.0}


@pytest.mark.parametrize("rule", [ZPlus(), AlphaBeta(), Gamma(), WSquare()], ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("kind", LITTLE)
def test_units_to_which_contributions_of_one_sign_come_in_float32(kind: str, rule: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1, groups=3, bias=False), nn.GELU(), nn.Flatten(), nn.Linear(108, 4)).eval()
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight.abs() * LITTLE[kind])
    x = images()
    exact = SeenLRP(model, composite=everywhere(Epsilon(), rule))
    exact.explain(x)
    found = LRP(model.float(), composite=everywhere(Epsilon(), rule)).explain(x.float())
    model.double()
    assert relative(found.attributions.double(), literal(exact)[0]) < 1e-4
