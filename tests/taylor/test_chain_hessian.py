"""Second derivatives of scores that begin with small layers, against autograd and against the interpreter."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from xai_fast import taylor
from xai_fast.errors import ZeroCurvatureError
from xai_fast.taylor.first_product import FirstProduct, touched_columns


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


TAILS = {
    "probability": (nn.Linear(17, 4), "probability"),
    "log-probability": (nn.Linear(17, 4), "log_probability"),
    "logit": (nn.Linear(17, 4), "logit"),
    "one output": (nn.Linear(17, 1), "probability"),
    "normalised": (nn.Sequential(nn.LayerNorm(17), nn.Linear(17, 4)), "probability"),
    "more layers": (nn.Sequential(nn.Linear(17, 9), nn.LayerNorm(9), nn.SiLU(), nn.Linear(9, 4)), "probability"),
}


@pytest.mark.parametrize("two_sides", [True, False])
@pytest.mark.parametrize("tail", TAILS)
def test_pairs_of_cells_equal_autograd(tail: str, two_sides: bool) -> None:
    torch.manual_seed(1)
    head, score = TAILS[tail]
    network = nn.Sequential(nn.Flatten(), nn.Linear(600, 33), nn.GELU(), nn.Linear(33, 17), nn.Tanh(), head)
    network = network.double().eval()
    x = torch.randn(3, 25, 24, dtype=torch.float64)
    cells = torch.eye(25, dtype=x.dtype)[None, :, :, None]
    V = x[:, None] * cells  # one cell each
    U = cells.expand(3, 25, 25, 24) * torch.randn(3, 25, 25, 24, dtype=x.dtype) if two_sides else None
    got = taylor.bilinear_form(network, x, V, U, score=score)
    expected = taylor.bilinear_form(network, x, V, U, score=score, method="hvp")
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_a_score_that_changes_its_dtype_on_the_way() -> None:
    torch.manual_seed(3)
    before, after = nn.Linear(6, 9), nn.Linear(9, 7).double()
    last = torch.randn(7, dtype=torch.float64)

    def score(x: Tensor) -> Tensor:
        return (torch.tanh(after(torch.tanh(before(x)).double())) @ last).float()

    x, V = torch.randn(3, 6), torch.randn(3, 4, 6)
    torch.testing.assert_close(taylor.bilinear_form(score, x, V), taylor.bilinear_form(score, x, V, method="hvp"))


@pytest.mark.parametrize("first", [0, 4, 9])
def test_rows_of_some_cells_of_the_first_product(first: int) -> None:
    torch.manual_seed(2)
    V = torch.randn(64, 5, 5, 4) * torch.eye(5)[None, :, :, None]
    product = FirstProduct(1, torch.randn(20, 300))
    touched = touched_columns(product, (V, V), 1 << 30)
    assert touched is not None
    assert touched.in_order
    part = V[:, first % 5 : first % 5 + 2]
    found = product.rows([part], touched, first)
    torch.testing.assert_close(found, product.rows([part], None))
    torch.testing.assert_close(found, product.rows([part], replace(touched, in_order=False), first))


def test_cells_of_different_sizes_and_directions_without_an_entry() -> None:
    network = nn.Sequential(nn.Linear(64, 40), nn.GELU(), nn.Linear(40, 5)).double().eval()
    x = torch.randn(40, 64, dtype=torch.float64)
    V = torch.zeros(40, 9, 64, dtype=x.dtype)
    for i in range(8):
        V[:, i, 3 * i : 4 * i + 1] = torch.randn(40, i + 1, dtype=x.dtype)
    got = taylor.bilinear_form(network, x, V)
    torch.testing.assert_close(got, taylor.bilinear_form(network, x, V, method="hvp"), rtol=1e-10, atol=1e-13)
    assert not got[:, 8].any()


def test_directions_that_touch_other_entries_at_the_next_call() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(60, 256), nn.GELU(), nn.Linear(256, 3)).double()
    x = torch.randn(64, 5, 12, dtype=torch.float64)
    cells = x[:, None] * torch.eye(5, dtype=torch.float64)[None, :, :, None]
    one_more = cells.clone()
    one_more[63, 2, 4, 7] = torch.nan
    for V in (cells, cells.roll(1, 2), one_more, cells):
        got = taylor.bilinear_form(network.eval(), x, V, target=0)
        expected = taylor.bilinear_form(network, x, V, target=0, method="hvp")
        torch.testing.assert_close(got[:63], expected[:63])
        torch.testing.assert_close(got[63].isnan().any(), V[63].isnan().any())
