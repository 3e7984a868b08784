"""DeepLIFT and DeepSHAP equal the literal rules and captum where that is right, and are complete on any network."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES
from deeplift_networks import batch_norm, convolution, net, random
from literal_deeplift import Two, literal_deeplift
from torch import Tensor, nn
from torch.nn import functional as F

from xai_fast import DeepLIFT, DeepSHAP, InputError
from xai_fast.engine.masked import gaussian_blur

CLASSES = [2, 0, 1]


X, X0, MANY = random(3, 2, 7, 5), random(1, 2, 7, 5, seed=4) / 2, random(5, 2, 7, 5, seed=5) / 2


def network(*between: nn.Module, width: int = 60) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), *between, nn.Flatten(), nn.Linear(width, 3)).double().eval()


SEQUENTIAL: dict[str, Callable[[], nn.Sequential]] = {
    "relu": lambda: network(nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), width=45),
    "sigmoid and tanh": lambda: network(nn.Sigmoid(), nn.Conv2d(4, 3, (2, 1)), nn.Tanh(), width=36),
    "leaky relu, elu and softplus": lambda: nn.Sequential(
        *network(nn.LeakyReLU(0.2), nn.Conv2d(4, 3, 2), nn.ELU(), width=24), nn.Softplus(), nn.Linear(3, 3)
    ).double(),
    "batch norm": lambda: network(batch_norm(), nn.ReLU()),
    "average pool": lambda: network(nn.ReLU(), nn.AvgPool2d((2, 3)), width=8),
    "dead units": lambda: network(nn.Threshold(0.5, 0.0), nn.Conv2d(4, 3, 1), nn.ReLU(), width=45),
    # captum leaves out what the difference of these is:
    "gelu": lambda: network(nn.GELU()),
    "silu": lambda: network(nn.SiLU()),
    "max pool": lambda: network(nn.ReLU(), nn.MaxPool2d(2, 2), width=8),
    "overlapping max pool": lambda: network(nn.Tanh(), nn.MaxPool2d(3, 1), nn.MaxPool2d((2, 1), 1), width=8),
    "softmax": lambda: nn.Sequential(*network(nn.ReLU()), nn.Softmax(-1)),
}
CAPTUM = list(SEQUENTIAL)[:5]
"""Of which captum's are complete."""


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_literal_rules(name: str) -> None:
    model = SEQUENTIAL[name]()
    found = DeepLIFT(model, baseline=X0).explain(X, CLASSES)
    with torch.no_grad():
        rows = [literal_deeplift(list(model), X[i : i + 1], X0, CLASSES[i]) for i in range(3)]
    torch.testing.assert_close(found.attributions, torch.cat(rows), rtol=1e-8, atol=1e-10)
    expected = [model(x).gather(1, torch.tensor(CLASSES)[:, None])[:, 0] for x in (X, X0.expand_as(X))]
    torch.testing.assert_close(found.scores, expected[0])
    torch.testing.assert_close(found.baseline_scores, expected[1])
    torch.testing.assert_close(found.attributions.sum((1, 2, 3)), expected[0] - expected[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CAPTUM)
def test_captum(name: str) -> None:
    attr = pytest.importorskip("captum.attr")
    model, target = SEQUENTIAL[name](), torch.tensor(CLASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        single = attr.DeepLift(model).attribute(X.clone(), X0, target=target).detach()
        mean = attr.DeepLiftShap(model).attribute(X.clone(), MANY, target=target).detach()
    torch.testing.assert_close(DeepLIFT(model, baseline=X0).attribute(X, CLASSES), single, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(DeepSHAP(model, baselines=MANY).attribute(X, CLASSES), mean, rtol=1e-8, atol=1e-10)


def attention(x: Tensor, q: nn.Module, k: nn.Module, v: nn.Module) -> Tensor:
    x = x.flatten(2)
    return F.scaled_dot_product_attention(q(x), k(x), v(x)) + x


def masked_attention(x: Tensor, q: nn.Module, k: nn.Module, v: nn.Module) -> Tensor:
    x = x.flatten(2).mT
    mask = torch.ones(35, 35, dtype=torch.bool).tril(-1)  # the first row is masked as a whole
    weights = (k(x) @ q(x).mT).masked_fill(~mask, -torch.inf).softmax(-1).nan_to_num(0.0)
    return weights @ v(x)


def linears(size: int) -> dict[str, nn.Module]:
    torch.manual_seed(1)
    return {name: nn.Linear(size, size) for name in "qkv"}


FAULTS: dict[str, Callable[[], nn.Module]] = {
    "functional relu": lambda: net(lambda x, c: F.relu(c(x)), c=convolution()),
    "a module that runs twice": lambda: net(lambda x, c, r: r(c(r(c(x)))), c=convolution(), r=nn.ReLU()),
    "a product of two": lambda: net(lambda x, c, s: c(x) * s(x), c=convolution(), s=nn.Sigmoid()),
    "gelu": SEQUENTIAL["gelu"],
    "max pool": SEQUENTIAL["max pool"],
    "overlapping max pool": SEQUENTIAL["overlapping max pool"],
    "softmax": SEQUENTIAL["softmax"],
    "layer norm": lambda: net(lambda x, n: n(x), n=nn.LayerNorm([7, 5])),
    "attention": lambda: net(attention, **linears(35)),
    "transformer": lambda: net(
        lambda x, e: e(x.flatten(2).mT), e=nn.TransformerEncoderLayer(2, 1, 4, batch_first=True, activation="gelu")
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_complete_where_captum_is_not(name: str) -> None:
    attr = pytest.importorskip("captum.attr")
    model = FAULTS[name]()
    found = DeepLIFT(model, baseline=X0).explain(X, CLASSES)
    assert found.delta.abs().max() < 1e-10
    difference = (found.scores - found.baseline_scores).abs().max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _, delta = attr.DeepLift(model).attribute(
                X.clone(), X0, target=torch.tensor(CLASSES), return_convergence_delta=True
            )
        except RuntimeError:  # of a module that runs twice
            return
    assert delta.abs().max() > 0.03 * difference


def gathered(x: Tensor) -> Tensor:
    return x.gather(3, x.argmax(3, keepdim=True)) * x.flip(3)[..., :1]


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "where of two": lambda x: torch.where(x > 0.2, x.sin(), x.flip(2)),
    "relu by a mask": lambda x: x * (x > 0),
    "rounded, with the gradient of x": lambda x: x + (x.round() - x).detach(),
    "detached factor": lambda x: x.flip(2) * x.sigmoid().detach(),
    "detached matrix": lambda x: x @ x.mT.detach(),
    "maximum": lambda x: torch.maximum(x, x.flip(3)),
    "minimum of a number": lambda x: torch.minimum(x, torch.tensor(0.1)),
    "largest": lambda x: x.amax((1, 3)),
    "smallest": lambda x: x.min(2).values,
    "cumulative maximum": lambda x: x.cummax(2).values,
    "masked maximum": lambda x: x.masked_fill(torch.arange(5) % 2 == 0, -torch.inf).amax(3),
    "sort": lambda x: x.flatten(2).sort(2).values,
    "top": lambda x: x.flatten(2).topk(4, 2).values,
    "median": lambda x: x.flatten(2).median(2).values,
    "gathered at the largest": gathered,
    "written": lambda x: torch.zeros_like(x).scatter(3, x.argsort(3), x),
    "quotient": lambda x: x / (1 + x.flip(3) ** 2),
    "norm": lambda x: F.normalize(x.flatten(2), dim=2),
    "clamp": lambda x: x.clamp(-0.3, 0.4) + F.hardtanh(x) + F.hardsigmoid(x) + F.hardswish(x) + F.elu(x),
    "powers": lambda x: (x**2 + 0.1).rsqrt() + (x**2 + 0.1).log() + x.exp() + (x**2 + 1) ** 0.3,
    "softmax": lambda x: (40 * x).softmax(1),
    "softmax by hand": lambda x: x.exp() / x.exp().sum(2, keepdim=True),
    "log softmax": lambda x: (40 * x).log_softmax(2),
    "logsumexp": lambda x: x.logsumexp((2, 3)),
    "log of a sum of exponentials": lambda x: x.exp().sum(2).log(),
    "log sigmoid": F.logsigmoid,
    "product of all": lambda x: x.prod(3),
    "variance": lambda x: x.var(3) + x.std(2).mean(2, keepdim=True),
    "kinks": lambda x: x.abs() + F.threshold(x, 0.2, -1.0) + F.prelu(x, torch.tensor([0.3]).double()) + F.relu6(9 * x),
}


@pytest.mark.parametrize("score", ["output", "log_odds"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_complete_for_operations(name: str, score: str) -> None:
    function = OPERATIONS[name]
    model = net(lambda x, c: function(c(x)), c=convolution())
    for baseline in (0.0, X0, X + 1e-5 * random(*X.shape), X):
        found = DeepLIFT(model, baseline=baseline, score=score).explain(X, CLASSES)
        assert found.delta.abs().max() < 1e-10
        assert (found.scores - found.baseline_scores - found.attributions.sum((1, 2, 3))).abs().max() < 1e-10


def test_complete_with_masked_attention() -> None:
    found = DeepLIFT(net(masked_attention, **linears(2)), baseline=X0).explain(X, CLASSES)
    assert found.delta.abs().max() < 1e-10
    assert found.attributions.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["resnet", "densenet", "efficientnet", "convnext", "vit", "gpt2", "functional"])
def test_complete_for_architectures(name: str) -> None:
    row = ARCHITECTURES[name]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        model, inputs, extra = row.make().eval(), row.inputs(), row.extra()
        method = DeepLIFT(model, score="log_odds", embeddings=row.embeddings)
        # In the ConvNeXt nothing is added before a layer norm, which divides a zero by sqrt(1e-12).
        assert method.explain(inputs, None, extra).delta.abs().max() < (1e-7 if name == "convnext" else 1e-9)
        method = DeepLIFT(model, baseline=0.3, embeddings=row.embeddings)
        assert method.explain(inputs, None, extra).delta.abs().max() < 1e-9
    finally:
        torch.set_default_dtype(default)


def test_residual_attention_equals_the_literal_rules() -> None:
    torch.manual_seed(0)
    x, x0 = random(1, 4, 3), random(1, 4, 3, seed=4)
    q, k, v, head = (nn.Linear(3, 3).double() for _ in range(4))

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([q, k, v, head])

        def forward(self, x: Tensor) -> Tensor:
            weights = (q(x) @ k(x).mT).softmax(-1)
            y = x + weights @ v(x)
            return head(F.relu(y).mean(1))

    def products(a: Two, b: Two, rows: int, inner: int, columns: int) -> Two:
        """Multiply matrices (1, rows, inner) and (1, inner, columns), one column of the first at a time."""
        total: Two | None = None
        for i in range(inner):
            left = a.affine(lambda t, i=i: t[:, :, i : i + 1].expand(-1, rows, columns).flatten(1))
            right = b.affine(lambda t, i=i: t[:, i : i + 1].expand(-1, rows, columns).flatten(1))
            total = left * right if total is None else total + left * right
        assert total is not None
        return total.affine(lambda t: t.reshape(-1, rows, columns))

    with torch.no_grad():
        start = Two.start(x, x0)
        keys = start.affine(k).affine(lambda t: t.mT)
        weights = products(start.affine(q), keys, 4, 3, 4).softmax()
        y = start + products(weights, start.affine(v), 4, 4, 3)
        out = y.entry(F.relu).affine(lambda t: head(t.mean(1)))
    found = DeepLIFT(Attention().eval(), baseline=x0).attribute(x, 1)
    torch.testing.assert_close(found, out.m[1].reshape(x.shape) * (x - x0), rtol=1e-8, atol=1e-10)


def test_equal_functions_have_equal_attributions() -> None:
    ways = {
        "modules": lambda x, c, r: r(c(r(c(x)))),
        "functions": lambda x, c, r: F.relu(F.conv2d(F.relu(c(x)), c.weight, c.bias, padding=1)),
        "in place": lambda x, c, r: c(c(x).relu_()).clamp_(min=0),
        "masks": lambda x, c, r: (lambda y: y * (y > 0))(c(torch.where(c(x) > 0, c(x), torch.zeros(())))),
        "maximum": lambda x, c, r: torch.maximum(c(c(x).clamp_min(0)), torch.zeros(())),
    }
    found = {
        n: DeepLIFT(net(way, c=convolution(), r=nn.ReLU()), baseline=X0).attribute(X, 1) for n, way in ways.items()
    }
    for name, attributions in found.items():
        torch.testing.assert_close(attributions, found["modules"], rtol=1e-10, atol=1e-12, msg=name)


def test_what_is_as_in_the_baseline_or_not_read_has_nothing() -> None:
    model = net(lambda x, c: c(x)[..., :3].softmax(2) * x[..., :3].sin(), c=nn.Conv2d(2, 2, 1))
    baseline = X0.expand_as(X).clone()
    baseline[:, 1, 2] = X[:, 1, 2]
    attributions = DeepLIFT(model, baseline=baseline).attribute(X, CLASSES)
    assert (attributions[:, 1, 2] == 0).all()
    assert (attributions[..., 3:] == 0).all()
    assert (attributions != 0).sum() == 3 * (2 * 7 * 3 - 3)


def test_linear_models_and_scores() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(70, 3)).double().eval()
    found = DeepLIFT(model, baseline=X0).attribute(X, CLASSES)
    torch.testing.assert_close(found, model[1].weight[CLASSES].reshape(X.shape) * (X - X0))
    assert DeepLIFT(model, score="probability").explain(X).scores.max() < 1


@pytest.mark.parametrize("score", ["probability", "log_probability", "log_odds"])
def test_far_scores_in_float32(score: str) -> None:
    """Logits of which the exponentials overflow, and that differ by more than float32 has exponents for."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[300.0, 0, 0], [0, 300, 0], [0, 0, -300], [1, 1, 1]]))
    found = DeepLIFT(model, score=score, baseline=torch.tensor([0.0, 1.0, 0.5])).explain(torch.eye(3), 0)
    scale = max(1.0, float(found.scores.abs().max()), float(found.baseline_scores.abs().max()))
    assert found.delta.abs().max() < 1e-5 * scale
    assert (found.scores[0] - found.baseline_scores[0]).abs() > 0.5


def test_deepshap_is_the_mean_of_deeplift() -> None:
    model = SEQUENTIAL["overlapping max pool"]()
    single = torch.stack([DeepLIFT(model, baseline=one).attribute(X, CLASSES) for one in MANY])
    for rows in (None, 1, 2, 4, 7):  # fewer and more than there are baselines
        found = DeepSHAP(model, baselines=MANY).explain(X, CLASSES, internal_batch_size=rows)
        torch.testing.assert_close(found.attributions, single.mean(0), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found.standard_error, single.std(0) / math.sqrt(5), rtol=1e-8, atol=1e-12)
        mean = model(MANY).mean(0)[CLASSES]
        torch.testing.assert_close(found.baseline_scores, mean, rtol=1e-10, atol=1e-12)
        assert found.delta.abs().max() < 1e-12
        assert (found.evaluations == 6).all()
    one = DeepSHAP(model, baselines=MANY[:1]).explain(X, CLASSES)
    assert one.standard_error is None
    torch.testing.assert_close(one.attributions, single[0], rtol=1e-10, atol=1e-12)


def test_baselines_in_all_forms() -> None:
    model = SEQUENTIAL["relu"]()
    forms: dict[str, tuple[Any, Tensor]] = {
        "number": (0.5, torch.full_like(X, 0.5)),
        "integer": (1, torch.ones_like(X)),
        "blur": ("blur", gaussian_blur(X, 20.0)),
        "each item its own": (X.flip(0), X.flip(0)),
        "array, float32": (np.float32([[[0.25]], [[0.5]]]), torch.tensor([0.25, 0.5])[:, None, None].expand_as(X)),
    }
    for name, (given, expected) in forms.items():
        found = DeepLIFT(model, baseline=given).attribute(X, 0)
        torch.testing.assert_close(found, DeepLIFT(model, baseline=expected.double()).attribute(X, 0), msg=name)
    mixed = DeepSHAP(model, baselines=["blur", 0.5, X0]).attribute(X, 0)
    parts = [DeepLIFT(model, baseline=one).attribute(X, 0) for one in ("blur", 0.5, X0)]
    torch.testing.assert_close(mixed, torch.stack(parts).mean(0))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.picture, self.table = nn.Conv2d(2, 4, 3), nn.Linear(5, 4)

    def forward(self, picture: Tensor, table: Tensor, *, weight: Tensor) -> Tensor:
        seen = F.gelu(self.picture(picture)).mean((2, 3)) * weight[:, None]
        return (seen * self.table(table).tanh()).softmax(1)


def test_several_inputs_and_arguments_of_items() -> None:
    model, table, given = Mixed().double().eval(), random(3, 5), {"weight": torch.tensor([1.0, 2.0, 3.0]).double()}
    for method in (
        DeepLIFT(model, baseline=(X0, 0.5)),
        DeepLIFT(model, baseline=0.5),
        DeepSHAP(model, baselines=[(X0, 0.5), 0.1, ("blur", random(5))]),
    ):
        found = method.explain((X, table), None, given, internal_batch_size=2)
        assert [part.shape for part in found.attributions] == [X.shape, table.shape]
        total = sum(part.flatten(1).sum(1) for part in found.attributions)
        torch.testing.assert_close(total, found.scores - found.baseline_scores, rtol=1e-10, atol=1e-12)
        assert found.delta.abs().max() < 1e-12
        for i in range(3):
            alone = method.explain((X[i : i + 1], table[i : i + 1]), None, {"weight": given["weight"][i : i + 1]})
            torch.testing.assert_close(alone.attributions[1], found.attributions[1][i : i + 1])


WRONG: dict[str, tuple[str, Callable[[nn.Module], object]]] = {
    "word": ("baseline: expected .*'grey'", lambda m: DeepLIFT(m, baseline="grey").explain(X)),
    "shape": ("baseline: expected a tensor that broadcasts", lambda m: DeepLIFT(m, baseline=random(4)).explain(X)),
    "several": (
        "baseline: expected one baseline for each of 1",
        lambda m: DeepLIFT(m, baseline=(0.0, 1.0)).explain((X,)),
    ),
    "flag": ("baseline: expected", lambda m: DeepLIFT(m, baseline=True).explain(X)),
    "score": ("score: expected one of", lambda m: DeepLIFT(m, score="loss")),
    "none": ("baselines: expected .* K >= 1", lambda m: DeepSHAP(m, baselines=MANY[:0])),
    "one number": ("baselines: expected a tensor", lambda m: DeepSHAP(m, baselines=0.5)),
    "one word": ("baselines: expected a tensor", lambda m: DeepSHAP(m, baselines="blur")),
    "second": (r"baselines\[1\]: expected", lambda m: DeepSHAP(m, baselines=[0.0, random(4)]).explain(X)),
    "layer": ("embeddings: ", lambda m: DeepLIFT(m, embeddings="nothing")),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_errors(wrong: str) -> None:
    message, call = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        call(SEQUENTIAL["relu"]())
