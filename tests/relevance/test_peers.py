"""LRP against zennit, captum, and a transformer whose relevance is its gradient times its input."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from literal_relevance import everywhere, relative
from peers import zennit
from torch import Tensor, nn
from torch.nn import functional as F

from xai_fast.attribution.lrp import LRP
from xai_fast.relevance.composite import COMPOSITES, Composite
from xai_fast.relevance.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus

LOW, HIGH = -3.0, 3.0
CLASSES = 4


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 12), nn.ReLU(),
        nn.Linear(12, CLASSES),
    )  # fmt: skip


def vgg_bn() -> nn.Module:
    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs, eps=1e-14), nn.ReLU()]

    pools = [nn.MaxPool2d(2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)]
    layers = [*stage(3, 6), pools[0], *stage(6, 8), *stage(8, 8), pools[1], pools[2], nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 10), nn.ReLU(), nn.Linear(10, CLASSES))


def resnet() -> nn.Module:
    """Build a ResNet of two blocks that zennit takes for one of torchvision's."""
    basic_block = zennit().torchvision.ResNetBasicBlock

    class Block(basic_block, nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            nn.Module.__init__(self)
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs, eps=1e-14)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs, eps=1e-14)
            self.relu = nn.ReLU()
            self.downsample = None
            if stride > 1:
                projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs, eps=1e-14))

        def forward(self, x: Tensor) -> Tensor:
            residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(residual + (x if self.downsample is None else self.downsample(x)))

    stem = [nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6, eps=1e-14), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = [Block(6, 6, 1), Block(6, 8, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))


MODELS: dict[str, Callable[[], nn.Module]] = {"cnn": cnn, "vgg with batch norm": vgg_bn, "resnet": resnet}


def built(name: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS[name]().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.weight.data, module.bias.data):
                values.copy_(torch.randn_like(values))
            module.running_var.uniform_(0.5, 2)
    return model.to(dtype)


def _of_zennit(name: str, z: Any, canonizers: list[Any]) -> Any:
    """Build zennit's composite of a name, or of layer maps."""
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    if name in z.composites.COMPOSITES:
        options = {"low": low, "high": high} if name == "epsilon_gamma_box" else {}
        return z.composites.COMPOSITES[name](canonizers=canonizers, **options)
    r = z.rules
    if name == "w2_gamma":
        layers = [(z.types.Convolution, r.Gamma(0.05)), (nn.Linear, r.Epsilon())]
        base, first = z.composites.layer_map_base() + layers, [(z.types.Convolution, r.WSquare())]
        return z.composites.SpecialFirstLayerMapComposite(base, first, canonizers)
    rule, first = {
        "epsilon everywhere": (r.Epsilon(), None),
        "gamma everywhere": (r.Gamma(0.25), None),
        "alpha-beta everywhere": (r.AlphaBeta(2, 1), None),
        "deep_taylor": (r.ZPlus(), r.WSquare()),
        "deep_taylor_box": (r.ZPlus(), r.ZBox(low, high)),
        "z+ and flat": (r.ZPlus(), r.Flat()),
    }[name]
    layers = [(z.types.Convolution, rule), (nn.Linear, rule)]
    base = z.composites.layer_map_base() + layers
    if first is None:
        return z.composites.LayerMapComposite(base, canonizers)
    return z.composites.SpecialFirstLayerMapComposite(base, [(z.types.Convolution, first)], canonizers)


OURS: dict[str, Composite] = {
    "epsilon everywhere": everywhere(Epsilon()),
    "gamma everywhere": everywhere(Gamma()),
    "alpha-beta everywhere": everywhere(AlphaBeta()),
    "deep_taylor": everywhere(ZPlus(), WSquare()),
    "deep_taylor_box": everywhere(ZPlus(), ZBox()),
    "z+ and flat": everywhere(ZPlus(), Flat()),
} | {
    name: COMPOSITES[name]
    for name in (
        "epsilon_gamma_box", "w2_gamma", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1",
        "epsilon_alpha2_beta1_flat",
    )
}  # fmt: skip


def tolerance(composite: str, dtype: torch.dtype) -> float:
    if dtype == torch.float64:
        return 5e-6 if "box" in composite else 1e-10
    return 2e-4 if composite in ("epsilon everywhere", "gamma everywhere") else 5e-6


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("composite", OURS)
@pytest.mark.parametrize("name", MODELS)
def test_zennit(name: str, composite: str, dtype: torch.dtype) -> None:
    z = zennit()
    model = built(name, dtype)
    x = torch.randn(3, 3, 20, 20, dtype=torch.float64).clamp(LOW, HIGH).to(dtype)
    target = torch.tensor([0, 1, 3])
    found = LRP(model, composite=OURS[composite], start="one", low=LOW, high=HIGH).explain(x, target)
    canonizers = [z.torchvision.ResNetCanonizer()] if name == "resnet" else [z.canonizers.SequentialMergeBatchNorm()]
    with z.attribution.Gradient(model, _of_zennit(composite, z, canonizers)) as attributor:
        _, expected = attributor(x.clone(), torch.eye(CLASSES, dtype=dtype)[target])
    assert relative(found.attributions, expected.detach()) < tolerance(composite, dtype)


def test_captum() -> None:
    captum = pytest.importorskip("captum.attr")
    model = built("cnn", torch.float64)
    x, target = torch.randn(3, 3, 20, 20, dtype=torch.float64), torch.tensor([0, 1, 3])
    exact = Composite({"convolution": Epsilon(1e-9), "dense": Epsilon(1e-9)}, eps=0.0)
    found = LRP(model, composite=exact).explain(x, target)
    other = copy.deepcopy(model)
    rules = pytest.importorskip("captum.attr._utils.lrp_rules")
    for module in other.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.AvgPool2d | nn.Flatten):
            module.rule = rules.EpsilonRule(epsilon=1e-9)
    expected = captum.LRP(other).attribute(x.clone().requires_grad_(), target).detach()
    assert relative(found.attributions, expected) < 1e-6


class Transformer(nn.Module):
    """A block of attention and one of two layers, before a linear head on the mean token."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(2))
        self.queries, self.keys, self.values, self.out = (nn.Linear(6, 6) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(6, 9), nn.Linear(9, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norms[0](x))
        x = x + self.down(F.gelu(self.up(self.norms[1](x))))
        return self.head(x.mean(1))

    def attend(self, x: Tensor) -> Tensor:
        weights = (self.queries(x) @ self.keys(x).transpose(1, 2) / 6**0.5).softmax(-1)
        return self.out(weights @ self.values(x))


class Linearised(Transformer):
    """The same values, with a gradient that times the input is its relevance by AttnLRP, or by CP-LRP."""

    constant = False

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.normed(0, x))
        up = self.up(self.normed(1, x))
        x = x + self.down(up * (F.gelu(up) / up).detach())
        return self.head(x.mean(1))

    def normed(self, at: int, x: Tensor) -> Tensor:
        norm = self.norms[at]
        deviation = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt().detach()
        return (x - x.mean(-1, keepdim=True)) / deviation * norm.weight + norm.bias

    def attend(self, x: Tensor) -> Tensor:
        scores = self.half(self.queries(x) @ self.keys(x).transpose(1, 2)) / 6**0.5
        weights = scores.softmax(-1)
        if self.constant:
            return self.out(weights.detach() @ self.values(x))
        return self.out(self.half(weights @ self.values(x)))

    @staticmethod
    def half(product: Tensor) -> Tensor:
        return product / 2 + (product / 2).detach()


@pytest.mark.parametrize("composite", ["attn_lrp", "cp_lrp"])
def test_a_transformer_with_a_gradient_that_is_its_relevance(composite: str) -> None:
    torch.manual_seed(0)
    model = Transformer().double().eval()
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    exact = dataclasses.replace(COMPOSITES[composite], rules={"dense": Epsilon(eps=1e-12)})
    found = LRP(model, composite=exact).explain(x, 2)
    literal = Linearised().double()
    literal.load_state_dict(model.state_dict())
    literal.constant = composite == "cp_lrp"
    point = x.clone().requires_grad_()
    scores = literal(point)[:, 2]
    assert relative(found.scores, scores.detach()) < 1e-12
    (gradient,) = torch.autograd.grad(scores.sum(), point)
    assert relative(found.attributions, x * gradient) < 1e-6


class Joined(nn.Module):
    """A residual sum, a module that runs twice, and a concatenation, all written as functions; no biases."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.again = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.head = nn.Linear(12 if kind == "concatenation" else 6, CLASSES, bias=False)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.again(x))
        if self.kind == "residual sum":
            y = F.relu(x + self.again(x))
        elif self.kind == "reused module":
            y = F.relu(self.again(y))
        elif self.kind == "concatenation":
            y = torch.cat([x, y], 1)
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "epsilon_gamma_box", "deep_taylor", "attn_lrp"])
@pytest.mark.parametrize("kind", ["residual sum", "reused module", "concatenation"])
def test_without_biases_relevance_sums_to_one(kind: str, composite: str) -> None:
    torch.manual_seed(0)
    model = Joined(kind).double().eval()
    for weight in model.parameters():
        weight.data *= 4  # next to large values the stabilisers are nothing
    found = LRP(model, composite=composite, start="one").explain(torch.rand(3, 3, 8, 8, dtype=torch.float64) + 1)
    torch.testing.assert_close(found.attributions.sum((1, 2, 3)), torch.ones(3).double(), atol=1e-4, rtol=0)


class Normed(nn.Module):
    """Root mean square norm, written in several ways."""

    def __init__(self, inverse: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.inverse = nn.Linear(5, 6), nn.Linear(6, 2), inverse

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(h * self.inverse(h.square().mean(1, keepdim=True) + 1e-5))


INVERSES: dict[str, Callable[[Tensor], Tensor]] = {
    "rsqrt": torch.rsqrt,
    "pow": lambda v: v.pow(-0.5),
    "division": lambda v: 1 / v.sqrt(),
}


@pytest.mark.parametrize("inverse", INVERSES)
def test_a_norm_passes_relevance_on_however_it_is_written(inverse: str) -> None:
    torch.manual_seed(0)
    model = Normed(INVERSES[inverse]).double().eval()
    x = torch.randn(3, 5, dtype=torch.float64)
    with torch.no_grad():
        h = model.first(x)
        coefficient = model.last.weight[0] * (h.square().mean(1, keepdim=True) + 1e-5).rsqrt()
        expected = x * (coefficient @ model.first.weight)
    found = LRP(model, composite="attn_lrp").explain(x, 0)
    torch.testing.assert_close(found.attributions, expected, rtol=0, atol=1e-4)  # but for the stabilisers of the layers
