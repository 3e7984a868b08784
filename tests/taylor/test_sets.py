"""Mixed derivatives of many sets: both routes against the oracle, and the properties that they must have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from nested_derivatives import nested_derivatives
from taylor_networks import numbers
from torch import Tensor, nn

from xai_fast import use_backend
from xai_fast.errors import BackendUnavailable, InputError
from xai_fast.taylor.sets import SetDerivatives

FIRST, SECOND = numbers(7, 5, seed=1), numbers(5, 3, seed=2)


def general(x: Tensor) -> Tensor:
    """A score that is no chain: a product and a softmax."""
    hidden = torch.nn.functional.gelu(x @ FIRST.to(x.dtype))
    return ((hidden @ SECOND.to(x.dtype)).softmax(1)[:, 0] * hidden[:, 1]).sin()


class Residual(nn.Module):
    """Two blocks with a way around them, and a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(7, 6), nn.Linear(6, 6)
        self.norm, self.last = nn.LayerNorm(6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.nn.functional.silu(self.first(x))
        y = y + torch.tanh(self.second(self.norm(y)))
        return self.last(y)[:, 0]


def residual() -> Callable[[Tensor], Tensor]:
    torch.manual_seed(4)
    return Residual().double().eval().requires_grad_(False).forward


FUNCTIONS = {"general": general, "residual": residual()}
X, DIRECTIONS = numbers(2, 7), torch.eye(7, dtype=torch.float64)


def colexicographic(directions: int, order: int) -> Tensor:
    """All sets, in the order of their ranks."""
    sets = sorted(itertools.combinations(range(directions), order), key=lambda chosen: chosen[::-1])
    return torch.tensor(sets, dtype=torch.int64).reshape(-1, order)


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_sets_equal_the_oracle(name: str, order: int) -> None:
    function = FUNCTIONS[name]
    sets = torch.tensor(list(itertools.combinations(range(7), order)))[::3]
    got = SetDerivatives(function, X, DIRECTIONS).of(sets)
    assert relative(got, nested_derivatives(function, X, DIRECTIONS, sets)) < 1e-10


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_exhaustive_is_all_sets_in_the_order_of_their_ranks(order: int) -> None:
    sets = SetDerivatives(general, X, DIRECTIONS)
    blocks = list(sets.exhaustive(order))
    assert [begin for begin, *_ in blocks] == [0, *(end for _, end, _ in blocks[:-1])]
    assert blocks[-1][1] == math.comb(7, order)
    torch.testing.assert_close(
        torch.cat([values for *_, values in blocks], 1), sets.of(colexicographic(7, order)), rtol=1e-12, atol=1e-15
    )


def test_directions_of_each_point() -> None:
    directions = numbers(2, 5, 7, seed=9)
    sets = torch.tensor([[0, 2, 4], [1, 2, 3]])
    got = SetDerivatives(general, X, directions).of(sets)
    assert relative(got, nested_derivatives(general, X, directions, sets)) < 1e-10


@pytest.mark.parametrize("shape", [(0, 3), (0, 1)])
def test_no_sets(shape: tuple[int, int]) -> None:
    assert SetDerivatives(general, X, DIRECTIONS).of(torch.zeros(shape, dtype=torch.int64)).shape == (2, 0)


def test_no_points() -> None:
    assert SetDerivatives(residual(), X[:0], DIRECTIONS).of(torch.tensor([[0, 1]])).shape == (0, 1)


def test_operations_grow_with_the_sets() -> None:
    sets = SetDerivatives(general, X, DIRECTIONS)
    assert 0 < sets.operations(3, 1) < sets.operations(3)


def _sets(*rows: tuple[int, ...]) -> Tensor:
    return torch.tensor(rows)


ERRORS = {
    r"sets: expected an int64 tensor \(T, k\), got list": [(0, 1)],
    r"sets: expected an int64 tensor \(T, k\), got torch.int32": _sets((0, 1)).int(),
    "sets: expected 1 to 6 directions a set, got 7": torch.arange(7)[None],
    "sets: expected 1 to 6 directions a set, got 0": torch.zeros(3, 0, dtype=torch.int64),
    r"sets: expected directions from 0 to 6, got \(0, 7\)": _sets((0, 1), (0, 7)),
    r"sets: expected directions from 0 to 6, got \(-1, 0\)": _sets((-1, 0)),
    r"sets: expected directions that rise within a set, got \(2, 1\)": _sets((0, 1), (2, 1)),
    r"sets: expected directions that rise within a set, got \(3, 3\)": _sets((3, 3)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_bad_sets_name_what_is_wrong(message: str) -> None:
    with pytest.raises(InputError, match=message):
        SetDerivatives(general, X, DIRECTIONS).of(ERRORS[message])


@pytest.mark.parametrize("order", [0, 7, 2.0, True])
def test_bad_orders_name_what_is_wrong(order: object) -> None:
    sets = SetDerivatives(general, X, DIRECTIONS)
    with pytest.raises(InputError, match="order: expected an integer from 1 to 6"):
        next(sets.exhaustive(order))
    with pytest.raises(InputError, match="order: expected an integer from 1 to 6"):
        sets.operations(order)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("x", X.int(), "x: expected a float32 or float64 tensor"),
        ("directions", DIRECTIONS[:, :3], "directions: expected"),
        ("directions", DIRECTIONS.float(), "directions: expected torch.float64"),
        ("memory_limit", 0, "memory_limit: expected a positive number"),
        ("memory_limit", 64, "memory_limit: expected at least"),
    ],
)
def test_bad_arguments_name_what_is_wrong(argument: str, value: object, message: str) -> None:
    given = {"x": X, "directions": DIRECTIONS} | {argument: value}
    limit = given.pop("memory_limit", None)
    with pytest.raises(InputError, match=message):
        SetDerivatives(general, given["x"], given["directions"], memory_limit=limit).of(torch.tensor([[0, 1]]))


# --- What must not go unnoticed ---------------------------------------------------------------------------------------


def _mlp() -> nn.Sequential:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Linear(5, 9), nn.GELU(), nn.Linear(9, 7), nn.GELU(), nn.Linear(7, 2))
    return layers.double().eval().requires_grad_(False)


ALL_TRIPLES = torch.tensor([[0, 1, 2], [1, 2, 4]])


def test_no_points_give_no_rows_in_every_order() -> None:
    network = _mlp()
    derivatives = SetDerivatives(lambda x: network(x)[:, 0], torch.randn(2, 5).double(), torch.eye(5).double())
    nowhere = derivatives.at(torch.randn(0, 5).double())
    for order in (1, 2, 3):
        blocks = list(nowhere.exhaustive(order))
        assert sum(values.shape[1] for *_, values in blocks) == math.comb(5, order)
        assert all(values.shape[0] == 0 for *_, values in blocks)
    assert nowhere.of(ALL_TRIPLES).shape == (0, 2)


def test_another_callable_or_constant_is_refused_at_other_points() -> None:
    network, x, along = _mlp(), torch.randn(2, 5).double(), torch.eye(5).double()
    by_output = SetDerivatives(network, x, along, target=lambda outputs: outputs[:, 0])
    with pytest.raises(InputError, match="target"):
        by_output.at(x, target=lambda outputs: outputs[:, 1])
    scaled = SetDerivatives(lambda y, c: network(y * c)[:, 0], x, along, additional_forward_args=2.0)
    with pytest.raises(InputError, match="additional_forward_args"):
        scaled.at(x, additional_forward_args=3.0)


def test_directions_and_points_that_are_changed_in_place_are_read_again() -> None:
    network, x, along = _mlp(), torch.randn(2, 5).double(), torch.eye(5).double()
    derivatives = SetDerivatives(lambda y: network(y)[:, 0], x, along)
    before = derivatives.of(ALL_TRIPLES)
    along.mul_(2)
    assert torch.allclose(derivatives.at(x, directions=along).of(ALL_TRIPLES), 8 * before, rtol=1e-12)
    x.add_(1)
    fresh = SetDerivatives(lambda y: network(y)[:, 0], x, along)
    assert torch.allclose(derivatives.at(x).of(ALL_TRIPLES), fresh.of(ALL_TRIPLES), rtol=1e-12)


def test_a_backend_that_is_forced_later_is_used() -> None:
    network, x = _mlp(), torch.randn(2, 5).double()
    derivatives = SetDerivatives(lambda y: network(y)[:, 0], x, torch.eye(5).double())
    with use_backend("cuda"), pytest.raises(BackendUnavailable):
        derivatives.of(ALL_TRIPLES)


def test_the_callers_gradient_mode_is_left_alone_between_blocks() -> None:
    network, x = _mlp(), torch.randn(2, 5).double()
    derivatives = SetDerivatives(lambda y: network(y)[:, 0], x, torch.eye(5).double())
    assert all(torch.is_grad_enabled() for _ in derivatives.exhaustive(3))


def test_first_derivatives_obey_the_memory_limit_and_do_not_depend_on_the_batch() -> None:
    network, x = _mlp(), torch.randn(500, 5).double()
    derivatives = SetDerivatives(lambda y: network(y)[:, 0], x, torch.eye(5).double(), memory_limit=100_000)
    (whole,) = (values for *_, values in derivatives.exhaustive(1))
    assert torch.equal(whole[3:4], derivatives.at(x[3:4]).of(torch.arange(5)[:, None]))
    with pytest.raises(InputError, match="memory_limit"):
        list(SetDerivatives(lambda y: network(y)[:, 0], x, torch.eye(5).double(), memory_limit=1000).exhaustive(1))
