from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import physics_functions
import pytest
import torch
from torch import Tensor

from xai_fast.datasets import synthetic_functions
from xai_fast.datasets.known_functions import KnownFunction
from xai_fast.errors import InputError

FUNCTIONS = synthetic_functions.FUNCTIONS
EVERY = [*FUNCTIONS.values(), *physics_functions.FUNCTIONS.values()]
NAMES = [function.name for function in EVERY]

# The formulas as printed, for one row and with numpy.
LITERAL = {
    "F1": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        np.pi ** (x1 * x2) * np.sqrt(2 * x3) - np.arcsin(x4) + np.log(x3 + x5) - x9 / x10 * np.sqrt(x7 / x8) - x2 * x7
    ),
    "F2": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        np.pi ** (x1 * x2) * np.sqrt(2 * abs(x3))
        - np.arcsin(0.5 * x4)
        + np.log(abs(x3 + x5) + 1)
        + x9 / (1 + abs(x10)) * np.sqrt(abs(x7) / (1 + abs(x8)))
        - x2 * x7
    ),
    "F3": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        np.exp(abs(x1 - x2))
        + abs(x2 * x3)
        - abs(x3) ** (2 * abs(x4))
        + np.log(x4**2 + x5**2 + x7**2 + x8**2)
        + x9
        + 1 / (1 + x10**2)
    ),
    "F4": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        np.exp(abs(x1 - x2))
        + abs(x2 * x3)
        - abs(x3) ** (2 * abs(x4))
        + (x1 * x4) ** 2
        + np.log(x4**2 + x5**2 + x7**2 + x8**2)
        + x9
        + 1 / (1 + x10**2)
    ),
    "F5": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        1 / (1 + x1**2 + x2**2 + x3**2) + np.sqrt(np.exp(x4 + x5)) + abs(x6 + x7) + x8 * x9 * x10
    ),
    "F6": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        np.exp(abs(x1 * x2) + 1) - np.exp(abs(x3 + x4) + 1) + np.cos(x5 + x6 - x8) + np.sqrt(x8**2 + x9**2 + x10**2)
    ),
    "F7": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        (np.arctan(x1) + np.arctan(x2)) ** 2
        + max(x3 * x4 + x6, 0)
        - 1 / (1 + (x4 * x5 * x6 * x7 * x8) ** 2)
        + (abs(x7) / (1 + abs(x9))) ** 5
        + (x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10)
    ),
    "F8": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        x1 * x2 + 2 ** (x3 + x5 + x6) + 2 ** (x3 + x4 + x5 + x7) + np.sin(x7 * np.sin(x8 + x9)) + np.arccos(0.9 * x10)
    ),
    "F9": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        np.tanh(x1 * x2 + x3 * x4) * np.sqrt(abs(x5))
        + np.exp(x5 + x6)
        + np.log((x6 * x7 * x8) ** 2 + 1)
        + x9 * x10
        + 1 / (1 + abs(x10))
    ),
    "F10": lambda x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
        np.sinh(x1 + x2) + np.arccos(np.tanh(x3 + x5 + x7)) + np.cos(x4 + x5) + 1 / np.cos(x7 * x9)
    ),
    "borehole": lambda rw, r, Tu, Hu, Tl, Hl, L, Kw: (
        2 * np.pi * Tu * (Hu - Hl) / (np.log(r / rw) * (1 + 2 * L * Tu / (np.log(r / rw) * rw**2 * Kw) + Tu / Tl))
    ),
    "otl-circuit": lambda Rb1, Rb2, Rf, Rc1, Rc2, beta: (
        (12 * Rb2 / (Rb1 + Rb2) + 0.74) * beta * (Rc2 + 9) / (beta * (Rc2 + 9) + Rf)
        + 11.35 * Rf / (beta * (Rc2 + 9) + Rf)
        + 0.74 * Rf * beta * (Rc2 + 9) / ((beta * (Rc2 + 9) + Rf) * Rc1)
    ),
    "wing-weight": lambda Sw, Wfw, A, Lam, q, lam, tc, Nz, Wdg, Wp: (
        0.036
        * Sw**0.758
        * Wfw**0.0035
        * (A / np.cos(np.radians(Lam)) ** 2) ** 0.6
        * q**0.006
        * lam**0.04
        * (100 * tc / np.cos(np.radians(Lam))) ** -0.3
        * (Nz * Wdg) ** 0.49
        + Sw * Wp
    ),
}


@pytest.mark.parametrize("function", EVERY, ids=NAMES)
def test_values_are_those_of_the_formula_as_printed(function: KnownFunction) -> None:
    x = function.inputs(200, seed=5)
    want = torch.tensor([LITERAL[function.name](*row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(function(x), want, rtol=1e-12, atol=1e-12)


def values_at_corners(function: KnownFunction, x: Tensor, other: Tensor) -> Tensor:
    """Values of f at the corners of the box between two points: an axis of two for each feature, and one for points."""
    sides = torch.cartesian_prod(*[torch.tensor([False, True])] * function.features)
    corners = torch.where(sides[:, None], other, x)
    return function(corners.flatten(0, 1)).view(*[2] * function.features, len(x))


def mixed_difference(values: Tensor, features: tuple[int, ...]) -> Tensor:
    """Differences of f over the corners of a box in these features: zero everywhere if they do not interact."""
    for axis in reversed(range(values.ndim - 1)):
        first, second = values.unbind(axis)
        values = second - first if axis in features else first
    return values.abs()


# Of the formulas of physics orders 2 and 3: exponents such as 0.0035 leave nothing of higher ones but rounding.
@pytest.mark.parametrize(
    ("function", "order"),
    [(f, order) for f in EVERY for order in (2, 3, 4, 5) if order < 4 or f.name in FUNCTIONS],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_true_interactions_are_exactly_those_of_the_formula(function: KnownFunction, order: int) -> None:
    x, other = function.inputs(60, seed=1), function.inputs(60, seed=2)
    values = values_at_corners(function, x, other) / function(x).std()
    for features in itertools.combinations(range(function.features), order):
        largest = float(mixed_difference(values, features).max())
        assert (largest > 1e-10) == function.interacts(features), (features, largest)


def test_interactions_are_the_largest_sets_and_rising() -> None:
    for function in EVERY:
        for one, other in itertools.permutations(function.interactions, 2):
            assert not set(one) <= set(other)
        assert all(list(s) == sorted(set(s)) for s in function.interactions)
    assert not FUNCTIONS["F1"].interacts([0])
    assert not FUNCTIONS["F1"].interacts([0, 0])


@pytest.mark.parametrize("function", EVERY, ids=NAMES)
def test_inputs_are_uniform_in_their_ranges_and_independent(function: KnownFunction) -> None:
    x = function.inputs(20_000, seed=3)
    low, high = torch.tensor(function.low), torch.tensor(function.high)
    unit = (x - low) / (high - low)
    assert bool((unit >= 0).all())
    assert bool((unit < 1).all())
    assert float((unit.mean(0) - 0.5).abs().max()) < 0.01
    assert float((unit.var(0) - 1 / 12).abs().max()) < 0.002
    assert float(torch.corrcoef(unit.T).fill_diagonal_(0).abs().max()) < 0.035


def test_ranges_of_f1_are_its_own() -> None:
    assert FUNCTIONS["F1"].low == (0, 0, 0, 0.6, 0.6, 0, 0, 0.6, 0, 0.6)
    assert {(f.low, f.high) for f in FUNCTIONS.values() if f.name != "F1"} == {((-1.0,) * 10, (1.0,) * 10)}


def test_inputs_are_a_function_of_seed_and_name() -> None:
    f3 = FUNCTIONS["F3"]
    assert torch.equal(f3.inputs(7, seed=1), f3.inputs(9, seed=1)[:7])
    assert not torch.equal(f3.inputs(7, seed=1), f3.inputs(7, seed=2))
    assert not torch.equal(f3.inputs(7, seed=1), FUNCTIONS["F4"].inputs(7, seed=1))
    # Written down once, so that no version changes them unseen.
    assert f3.inputs(1, seed=1)[0, :3].tolist() == pytest.approx(
        [0.2729963442820156, 0.23889622504511165, -0.8308620736616765], abs=1e-15
    )


def test_a_table_is_in_thirds_and_in_standard_units_of_its_training_rows() -> None:
    function = FUNCTIONS["F8"]
    table = function.table(seed=4)
    splits = (table.train, table.validation, table.test)
    assert [split.x.shape for split in splits] == [(10_000, 10)] * 3
    assert {split.x.dtype for split in splits} == {torch.float32}
    for values in (table.train.x, table.train.y):
        torch.testing.assert_close(values.double().mean(0), torch.zeros(values.shape[1:]).double(), atol=1e-6, rtol=0)
        torch.testing.assert_close(
            values.double().std(0, correction=0), torch.ones(values.shape[1:]).double(), atol=1e-6, rtol=0
        )
    rows = torch.cat([split.x for split in splits]).double() * table.x_scale + table.x_mean
    torch.testing.assert_close(rows, function.inputs(30_000, seed=4), rtol=0, atol=1e-6)
    values = torch.cat([split.y for split in splits]).double() * table.y_scale + table.y_mean
    torch.testing.assert_close(values, function(rows), rtol=0, atol=1e-5)
    small = function.table(8)
    assert [len(split.y) for split in (small.train, small.validation, small.test)] == [2, 2, 4]


def test_pair_strength_of_a_product_is_its_factor_in_standard_units() -> None:
    function = KnownFunction(
        "product", lambda x: 3 * x[:, 0] * x[:, 1] + x[:, 2] ** 2, (0, 0, 0), (1, 2, 4), ((0, 1),), ("a", "b", "c"), 99
    )
    got = function.pair_strength(500)
    x = function.inputs(500)
    want = 3 * x.std(0, correction=0)[0] * x.std(0, correction=0)[1] / function(x).std(correction=0)
    assert float(got[0, 1]) == pytest.approx(float(want), rel=1e-12)
    assert float(got[1, 0]) == pytest.approx(float(want), rel=1e-12)
    assert float(got[2].abs().max()) == 0
    assert float(got.diagonal().abs().max()) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f(torch.ones(3, 9)), r"x: expected \(rows, 10\)"),
        (lambda f: f(torch.ones(10)), r"x: expected \(rows, 10\)"),
        (lambda f: f(torch.ones(3, 10, dtype=torch.int64)), "floating type"),
        (lambda f: f(np.ones((3, 10))), "got ndarray"),
        (lambda f: f.inputs(0), "rows: expected an integer"),
        (lambda f: f.inputs(3, seed=-1), "seed: expected an integer"),
        (lambda f: f.table(5), "rows: expected an integer, at least 6"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[KnownFunction], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(FUNCTIONS["F2"])


def test_the_functions_of_the_published_code_differ_in_two_terms() -> None:
    ours, theirs = FUNCTIONS, synthetic_functions.TNID_FUNCTIONS
    assert [name for name in ours if ours[name] is not theirs[name]] == ["F5", "F7"]
    x = theirs["F7"].inputs(50)
    assert all(theirs[name].interactions == ours[name].interactions for name in ours)
    root = (x[:, 3] + x[:, 4]).abs().sqrt() - ((x[:, 3] + x[:, 4]) / 2).exp()
    torch.testing.assert_close(theirs["F5"](x) - ours["F5"](x), root, rtol=1e-12, atol=1e-12)
    p = x[:, 3] * x[:, 4] * x[:, 5] * x[:, 6] * x[:, 7]
    torch.testing.assert_close(theirs["F7"](x) - ours["F7"](x), 1 / (1 + p**2) - (1 + p) ** -2, rtol=1e-12, atol=1e-12)


def test_no_formula_gives_nan_on_its_ranges() -> None:
    for function in EVERY:
        assert math.isfinite(float(function(function.inputs(20_000, seed=9)).abs().max()))
