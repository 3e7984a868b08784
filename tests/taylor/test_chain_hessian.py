"""The Hessian of small feed-forward networks, against autograd and against the interpreter."""

from __future__ import annotations

import importlib
import itertools

import pytest
import torch
from torch import Tensor, nn

from xai_fast import taylor
from xai_fast.errors import ZeroCurvatureError


def _network(widths: tuple[int, ...], activation: nn.Module, dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation]
    return nn.Sequential(*layers[:-1]).to(dtype).eval()


hessian_module = importlib.import_module("xai_fast.taylor.hessian")  # the package has a function of that name

NETWORKS = {
    "gelu": _network((7, 33, 17, 1), nn.GELU(), torch.float64),
    "one layer": _network((3, 5, 1), nn.Tanh(), torch.float64),
    "eight layers": _network((4, 9, 8, 7, 9, 8, 7, 6, 5, 1), nn.SiLU(), torch.float64),
    "relu and softplus": nn.Sequential(nn.Linear(5, 11), nn.ReLU(), nn.Linear(11, 6), nn.Softplus(), nn.Linear(6, 1))
    .double()
    .eval(),
    "one feature": _network((1, 6, 1), nn.Sigmoid(), torch.float64),
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that go through the chain."""
    seen: list[int] = []
    whole = hessian_module.chain_hessian

    def counted(chain: object, x: Tensor) -> Tensor:
        seen.append(x.shape[0])
        result: Tensor = whole(chain, x)
        return result

    monkeypatch.setattr(hessian_module, "chain_hessian", counted)
    return seen


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("items", [1, 5])
def test_equal_to_autograd(name: str, items: int, calls: list[int]) -> None:
    network = NETWORKS[name]
    x = torch.randn(items, network[0].in_features, dtype=torch.float64)
    got = taylor.hessian(lambda y: network(y)[:, 0], x)
    wanted = torch.stack([torch.autograd.functional.hessian(lambda v: network(v)[0], row) for row in x])
    assert calls == [items]
    assert float((got - wanted).abs().max()) <= 1e-12 * max(1e-3, float(wanted.abs().max()))


def test_a_module_with_a_target_and_a_shape(calls: list[int]) -> None:
    network = nn.Sequential(nn.Flatten(), _network((12, 20, 1), nn.GELU(), torch.float64)).eval()
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    got = taylor.hessian(network, x, score="logit")
    plain = taylor.bilinear_form(
        network, x, torch.eye(12, dtype=x.dtype).reshape(1, 12, 2, 6).repeat(3, 1, 1, 1), score="logit"
    )
    assert calls == [3]
    assert torch.allclose(got, plain, rtol=1e-12, atol=1e-14)


def test_an_item_does_not_depend_on_its_batch() -> None:
    network = _network((10, 140, 100, 60, 20, 1), nn.GELU(), torch.float32)
    x = torch.randn(6, 10)
    score = taylor.prepare(lambda y: network(y)[:, 0], x)
    whole = taylor.hessian(score, x)
    ones = torch.cat([taylor.hessian(score, x[i : i + 1]) for i in range(6)])
    assert torch.allclose(whole, ones, rtol=1e-5, atol=1e-7)


def test_a_piecewise_linear_chain_raises() -> None:
    network = _network((4, 8, 1), nn.ReLU(), torch.float64)
    with pytest.raises(ZeroCurvatureError):
        taylor.hessian(lambda y: network(y)[:, 0], torch.randn(2, 4, dtype=torch.float64))


def test_items_are_cut_to_the_memory_limit(calls: list[int]) -> None:
    network = _network((6, 40, 30, 1), nn.GELU(), torch.float64)
    x = torch.randn(64, 6, dtype=torch.float64)
    score = taylor.prepare(lambda y: network(y)[:, 0], x)
    whole = taylor.hessian(score, x)
    assert calls == [64]
    limited = taylor.hessian(score, x, memory_limit=200_000)
    assert len(calls) > 3
    assert sum(calls[1:]) == 64
    # Not to the last bit: plain PyTorch's matrix products may round otherwise for another number of items.
    assert torch.allclose(limited, whole, rtol=1e-12, atol=1e-15)


def test_weights_that_are_changed_in_place_are_read_again() -> None:
    network = _network((5, 9, 1), nn.GELU(), torch.float64)
    x = torch.randn(3, 5, dtype=torch.float64)
    score = taylor.prepare(lambda y: network(y)[:, 0], x)
    before = taylor.hessian(score, x)
    with torch.no_grad():
        network[2].weight.mul_(2)
    assert torch.allclose(taylor.hessian(score, x), 2 * before, rtol=1e-12, atol=1e-15)
