"""Mixed derivatives of many sets: against the oracle to order six, and the properties that they must have."""

from __future__ import annotations

import importlib
import itertools
import re

import pytest
import torch
from nested_derivatives import nested_derivatives
from taylor_networks import numbers
from torch import Tensor, nn

from xai_fast import taylor
from xai_fast.errors import InputError
from xai_fast.taylor.program import Program

cross_module = importlib.import_module("xai_fast.taylor.cross")
in_chunks = cross_module._in_chunks
FIRST, SECOND = numbers(4, 5, seed=1), numbers(5, 3, seed=2)


def score(x: Tensor) -> Tensor:
    """A small smooth network with a product and a softmax."""
    hidden = torch.nn.functional.gelu(x @ FIRST.to(x.dtype))
    return ((hidden @ SECOND.to(x.dtype)).softmax(1)[:, 0] * hidden[:, 1]).sin()


X = numbers(2, 4)
DIRECTIONS = numbers(6, 4, seed=7)


def oracle(directions: Tensor, chosen: tuple[int, ...], x: Tensor = X) -> Tensor:
    """The derivative along directions (D, ...) or (B, D, ...)."""
    return nested_derivatives(score, x, directions, [chosen])[:, 0]


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


SETS = {
    "singles": [(0,), (3,)],
    "pairs": list(itertools.combinations(range(4), 2)),
    "triples": list(itertools.combinations(range(5), 3)),
    "fives": [(0, 1, 2, 3, 4), (1, 2, 3, 4, 5)],
    "six": [(0, 1, 2, 3, 4, 5)],
    "mixed": [(2,), (0, 1), (0, 1, 4, 5), (2,), (5, 3, 1)],
    "repeated": [(0, 0), (1, 1, 1), (0, 0, 2), (3, 1, 3, 1), (0, 0, 0, 0, 0)],
}


@pytest.mark.parametrize("kind", SETS)
def test_mixed_derivatives_equal_the_oracle(kind: str) -> None:
    got = taylor.cross_derivatives(score, X, DIRECTIONS, SETS[kind])
    assert got.shape == (2, len(SETS[kind]))
    for column, chosen in enumerate(SETS[kind]):
        assert relative(got[:, column], oracle(DIRECTIONS, chosen)) < 1e-9, chosen


def test_directions_of_each_item() -> None:
    directions = numbers(2, 4, 4, seed=11)
    sets = [(0, 1), (1, 2, 3), (0, 0)]
    got = taylor.cross_derivatives(score, X, directions, sets)
    for column, chosen in enumerate(sets):
        assert relative(got[:, column], oracle(directions, chosen)) < 1e-9


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_order_of_a_set_does_not_matter(size: int) -> None:
    sets = list(itertools.permutations(range(size)))
    got = taylor.cross_derivatives(score, X, DIRECTIONS, sets)
    torch.testing.assert_close(got, got[:, :1].expand_as(got), rtol=1e-12, atol=0)


@pytest.mark.parametrize("others", [(1,), (1, 2), (1, 2, 3)])
def test_linear_in_each_direction(others: tuple[int, ...]) -> None:
    both = torch.cat([DIRECTIONS, (2.5 * DIRECTIONS[0] - 0.7 * DIRECTIONS[5])[None]])
    got = taylor.cross_derivatives(score, X, both, [(6, *others), (0, *others), (5, *others)])
    torch.testing.assert_close(got[:, 0], 2.5 * got[:, 1] - 0.7 * got[:, 2], rtol=1e-9, atol=1e-12)


def test_a_polynomial_has_its_closed_form() -> None:
    x = numbers(3, 3)
    eye = torch.eye(3, dtype=x.dtype)
    got = taylor.cross_derivatives(
        lambda y: y[:, 0] ** 2 * y[:, 1] * y[:, 2], x, eye, [(0, 1, 2), (0, 0, 1, 2), (1, 1)]
    )
    a = x[:, 0]
    torch.testing.assert_close(got, torch.stack([2 * a, torch.full_like(a, 2.0), torch.zeros_like(a)], 1))


def test_piecewise_linear_functions_have_first_derivatives_only() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1)).double().eval()
    got = taylor.cross_derivatives(lambda y: model(y)[:, 0], X, DIRECTIONS, [(0,), (0, 1), (0, 1, 2)])
    assert float(got[:, 0].abs().min()) > 0
    assert float(got[:, 1:].abs().max()) == 0


def test_a_small_memory_limit_cuts_the_sets_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [*itertools.combinations(range(6), 3), (0,), (1, 4)]
    expected = taylor.cross_derivatives(score, X, DIRECTIONS, sets)
    cut: list[int] = []
    monkeypatch.setattr(cross_module, "_in_chunks", lambda *given: cut.append(1) or in_chunks(*given))
    with pytest.raises(InputError, match="memory_limit: expected at least") as caught:
        taylor.cross_derivatives(score, X, DIRECTIONS, sets[:1], memory_limit=64)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])
    cut.clear()
    got = taylor.cross_derivatives(score, X, DIRECTIONS, sets, memory_limit=least)
    assert len(cut) > 1
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


def test_running_out_of_memory_halves_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbers(8, 4)
    expected = taylor.cross_derivatives(score, x, DIRECTIONS, [(0, 1, 2)])
    original, tried = Program.run, []

    def small(self: Program, part: Tensor, *rest: object, **more: object) -> object:
        tried.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("pretended")
        return original(self, part, *rest, **more)

    monkeypatch.setattr(Program, "run", small)
    got = taylor.cross_derivatives(score, x, DIRECTIONS, [(0, 1, 2)])
    torch.testing.assert_close(got, expected)
    assert max(tried) > 2


def test_float32_is_near() -> None:
    expected = taylor.cross_derivatives(score, X, DIRECTIONS, SETS["triples"])
    got = taylor.cross_derivatives(score, X.float(), DIRECTIONS.float(), SETS["triples"])
    assert got.dtype == torch.float32
    assert relative(got.double(), expected) < 1e-4


def test_nothing_to_do() -> None:
    assert taylor.cross_derivatives(score, X[:0], DIRECTIONS, [(0, 1)]).shape == (0, 1)
    assert taylor.cross_derivatives(score, X, DIRECTIONS, []).shape == (2, 0)


ERRORS = {
    r"sets\[1\]: expected 1 to 6 indices": {"sets": [(0,), ()]},
    r"sets\[0\]: expected 1 to 6 indices": {"sets": [tuple(range(7))]},
    r"sets\[0\]: expected indices from 0 to 5": {"sets": [(0, 6)]},
    "sets.*from 0 to 5": {"sets": [(-1,)]},
    "directions: expected": {"directions": DIRECTIONS[:, :3]},
    "directions: expected torch.float64": {"directions": DIRECTIONS.float()},
    "directions: expected .*got list": {"directions": [1.0]},
    "x: expected": {"x": X.int()},
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_name_the_argument(message: str) -> None:
    given = {"x": X, "directions": DIRECTIONS, "sets": [(0, 1, 2)]} | ERRORS[message]
    with pytest.raises(InputError, match=message):
        taylor.cross_derivatives(score, **given)
