"""FullGrad equals the literal map, and its terms add up to the score of any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from deeplift_networks import batch_norm, convolution, net, random
from literal_deeplift import literal_fullgrad
from torch import Tensor, nn
from torch.nn import functional as F

from xai_fast import Explanation, FullGrad, InputError
from xai_fast.attribution.fullgrad import FullGradient

X, CLASSES = random(3, 2, 7, 5), [2, 0, 1]


def network(*layers: nn.Module, width: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, 3)).double().eval()


SEQUENTIAL: dict[str, Callable[[], nn.Sequential]] = {
    "convolutions": lambda: network(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU(), width=24),
    "batch norm": lambda: network(nn.Conv2d(2, 4, 3, bias=False), batch_norm(), nn.ReLU(), width=60),
    "bias and batch norm": lambda: network(nn.Conv2d(2, 4, 3), batch_norm(), nn.ReLU(), nn.Conv2d(4, 3, 2), width=24),
    "batch norm in front": lambda: network(
        nn.Conv2d(2, 4, 3), nn.ReLU(), batch_norm(), nn.ReLU(), nn.Conv2d(4, 3, 2), width=24
    ),
    "pools": lambda: network(
        nn.Conv2d(2, 4, 3), nn.MaxPool2d(2, 1), nn.ReLU(), nn.Conv2d(4, 3, 2, 2), nn.AvgPool2d((2, 1)), width=3
    ),
    "leaky relu": lambda: network(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.3), nn.Conv2d(4, 3, 2), width=24),
    "gelu": lambda: network(nn.Conv2d(2, 4, 3), nn.GELU(), nn.Conv2d(4, 3, 2), nn.GELU(), width=24),
    "one place": lambda: network(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, (5, 3)), nn.ReLU(), width=3),
}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_literal_map_and_terms(name: str) -> None:
    model = SEQUENTIAL[name]()
    found = FullGrad(model).explain(X, CLASSES, internal_batch_size=2)
    for i, target in enumerate(CLASSES):
        expected, total = literal_fullgrad(list(model), X[i : i + 1], target)
        torch.testing.assert_close(found.attributions[i], expected, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found.input_terms[i].sum() + found.bias_terms[i].sum(), total)
        torch.testing.assert_close(total, found.scores[i], rtol=1e-10, atol=1e-12)
    assert found.delta.abs().max() < 1e-12


ANY: dict[str, Callable[[], nn.Module]] = {
    "a layer that runs twice": lambda: net(lambda x, c: F.relu(c(F.relu(c(x)) + x)), c=convolution()),
    "concatenation with a constant": lambda: net(
        lambda x, c: torch.cat([c(x), torch.ones_like(x)], 1).relu(), c=convolution()
    ),
    "padding": lambda: net(lambda x, c: F.pad(c(x), (1, 1, 1, 1), value=0.7), c=convolution()),
    "where": lambda: net(lambda x, c: torch.where(c(x) > 0, c(x), torch.full((), 0.3).double()), c=convolution()),
    "written": lambda: net(lambda x, c: c(x).scatter(3, x.argsort(3)[..., :2], 0.4), c=convolution()),
    "products": lambda: net(lambda x, c: c(x) * c(x).mean((2, 3), keepdim=True).sigmoid(), c=convolution()),
    "norms": lambda: net(lambda x, c: F.group_norm(c(x), 1) + F.layer_norm(c(x), (5,)), c=convolution()),
    "masked softmax": lambda: net(
        lambda x, c: c(x).masked_fill(torch.arange(5) == 2, -torch.inf).softmax(3) @ x.mT, c=convolution()
    ),
    "saturated": lambda: net(lambda x, c: F.relu6(9 * c(x)) + c(x).clamp(-0.1, 0.1) - 0.3, c=convolution()),
}


@pytest.mark.parametrize("score", ["output", "log_odds"])
@pytest.mark.parametrize("name", ANY)
def test_terms_add_up_to_the_score(name: str, score: str) -> None:
    found = FullGrad(ANY[name](), score=score).explain(X, CLASSES)
    total = found.input_terms.sum((1, 2, 3)) + found.bias_terms.sum(1)
    torch.testing.assert_close(total, found.scores, rtol=1e-10, atol=1e-12)
    assert found.delta.abs().max() < 1e-12
    assert (found.attributions >= 0).all()


@pytest.mark.parametrize("name", ["resnet", "densenet", "efficientnet", "unet", "conv1d", "conv3d"])
def test_terms_add_up_for_architectures(name: str) -> None:
    row = ARCHITECTURES[name]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        model, inputs = row.make().eval(), row.inputs()
        found = FullGrad(model).explain(inputs)
    finally:
        torch.set_default_dtype(default)
    assert found.attributions.shape == (len(inputs), *inputs.shape[2:])
    assert found.delta.abs().max() < 1e-12


def test_functions_count_like_modules() -> None:
    """A layer that runs twice is two, wherever its code is."""
    ways = {
        "modules": lambda x, c, r: r(c(r(c(x)))),
        "functions": lambda x, c, r: F.relu(F.conv2d(F.relu(c(x)), c.weight, c.bias, padding=1)),
        "in place": lambda x, c, r: c(c(x).relu_()).clamp_(min=0),
    }
    found = {name: FullGrad(net(way, c=convolution(), r=nn.ReLU())).explain(X, 1) for name, way in ways.items()}
    for name, explanation in found.items():
        torch.testing.assert_close(explanation.attributions, found["modules"].attributions, msg=name)
        assert explanation.bias_terms.ne(0).all(0).sum() >= 3, name  # the convolution twice, and the head


def test_norms_and_layers_without_maps_are_in_the_terms_only() -> None:
    plain = net(lambda x, c: F.relu(c(x)), c=convolution())
    normed = net(lambda x, c: F.layer_norm(F.relu(c(x)), (2, 7, 5)), c=convolution())
    last = net(lambda x, c: F.gelu(F.relu(c(x)).permute(0, 2, 3, 1)), c=convolution())  # channels come last
    for model in (plain, normed, last):
        found = FullGrad(model).explain(X, 1)
        maps = _psi(found.input_terms) + _psi(_bias_of_convolution(model, X, 1))
        torch.testing.assert_close(found.attributions, maps)


def _bias_of_convolution(model: Any, x: Tensor, target: int) -> Tensor:
    kept: list[Tensor] = []
    layer = model.layers["c"]
    handle = layer.register_forward_hook(lambda module, args, output: kept.append(output))
    scores = model(x)[:, target].sum()
    handle.remove()
    return torch.autograd.grad(scores, kept[0])[0] * layer.bias.detach()[:, None, None]


def _psi(terms: Tensor) -> Tensor:
    sizes = terms.abs()
    low, high = sizes.amin((1, 2, 3), keepdim=True), sizes.amax((1, 2, 3), keepdim=True)
    return ((sizes - low) / (high - low)).sum(1)


def test_names_are_kept_in_files(tmp_path: Any) -> None:
    found = FullGrad(SEQUENTIAL["batch norm"]()).explain(X, CLASSES)
    assert len(found.operations) == found.bias_terms.shape[1]
    assert found.operations[0].endswith("convolution")
    found.save(tmp_path / "file")
    loaded = Explanation.load(tmp_path / "file")
    assert isinstance(loaded, FullGradient)
    assert loaded.operations == found.operations
    assert "input_terms" not in found.stored()


def test_errors() -> None:
    model = SEQUENTIAL["convolutions"]()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(70, 3)).double().eval()
    with pytest.raises(InputError, match="score: expected one of"):
        FullGrad(model, score="loss")
    with pytest.raises(InputError, match=r"inputs: expected one tensor .*spatial"):
        FullGrad(flat).explain(X.flatten(1))
    with pytest.raises(InputError, match="inputs: expected one tensor"):
        FullGrad(model).explain((X, X))
    with pytest.raises(InputError, match=r"model: expected .*convolutions"):
        FullGrad(flat).explain(X)
