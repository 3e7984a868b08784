"""Feed-forward networks: their chains, and their mixed derivatives against the oracle and the interpreter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from nested_derivatives import nested_derivatives
from taylor_networks import numbers
from torch import Tensor, nn

from xai_fast import backends, use_backend
from xai_fast.errors import InputError
from xai_fast.taylor.numbering import Numbering
from xai_fast.taylor.sets import SetDerivatives
from xai_fast.taylor.sets_general import GeneralSets

functional = torch.nn.functional

# Name to function and whether its arguments have to be positive.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "exp": (torch.exp, False),
    "expm1": (torch.expm1, False),
    "log": (torch.log, True),
    "log1p": (torch.log1p, True),
    "sqrt": (torch.sqrt, True),
    "rsqrt": (torch.rsqrt, True),
    "reciprocal": (torch.reciprocal, True),
    "pow": (lambda z: z**2.5, True),
    "tanh": (torch.tanh, False),
    "sigmoid": (torch.sigmoid, False),
    "log_sigmoid": (functional.logsigmoid, False),
    "softplus": (lambda z: functional.softplus(z, beta=1.5), False),
    "gelu": (functional.gelu, False),
    "gelu_tanh": (lambda z: functional.gelu(z, approximate="tanh"), False),
    "silu": (functional.silu, False),
    "mish": (functional.mish, False),
    "elu": (functional.elu, False),
    "sin": (torch.sin, False),
    "cos": (torch.cos, False),
    "erf": (torch.erf, False),
    "relu": (torch.relu, False),
}


class Network(nn.Module):
    """Linear layers with one elementwise function; returns a score an item."""

    def __init__(self, widths: tuple[int, ...], activation: str = "gelu", seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise((*widths, 1)))
        self.activation, positive = ACTIVATIONS[activation]
        if positive:
            for parameter in self.parameters():
                parameter.data = parameter.data.abs() + 0.05
        self.double().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.linear
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)[:, 0]


def eye(directions: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.eye(directions, dtype=dtype)


def all_sets(directions: int, order: int) -> Tensor:
    return torch.tensor(list(itertools.combinations(range(directions), order))).reshape(-1, order)


def oracle(function: Callable[[Tensor], Tensor], x: Tensor, sets: Tensor) -> Tensor:
    return nested_derivatives(function, x, eye(x.shape[1]), sets)


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def positive(x: Tensor, activation: str) -> Tensor:
    return x.abs() + 0.1 if ACTIVATIONS[activation][1] else x


# --- Against the oracle -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"relu"}))
def test_every_activation_equals_the_oracle(activation: str, order: int) -> None:
    function = Network((6, 7, 5), activation).forward
    x = positive(numbers(2, 6), activation)
    sets = all_sets(6, order)[:: 1 + order % 3]
    derivatives = SetDerivatives(function, x, eye(6))
    assert derivatives.route == "feed-forward"
    assert relative(derivatives.of(sets), oracle(function, x, sets)) < 1e-10


@pytest.mark.parametrize("order", range(2, 7))
@pytest.mark.parametrize("widths", [(7, 3), (7, 17, 1), (6, 33, 5, 9), (7, 3, 1, 2, 5), (7, *range(3, 11))], ids=str)
def test_every_depth_and_width_equals_the_oracle(widths: tuple[int, ...], order: int) -> None:
    function = Network(widths, "tanh", seed=len(widths)).forward
    x = numbers(2, widths[0])
    sets = all_sets(widths[0], order)[::3]
    derivatives = SetDerivatives(function, x, eye(widths[0]))
    assert derivatives.route == "feed-forward"
    assert relative(derivatives.of(sets), oracle(function, x, sets)) < 1e-10


@pytest.mark.parametrize("order", range(2, 7))
def test_few_sets_of_many_directions_equal_the_oracle(order: int) -> None:
    function = Network((60, 9, 5)).forward
    x = numbers(2, 60)
    sets = torch.stack([torch.randperm(60, generator=torch.Generator().manual_seed(i))[:order] for i in range(4)])
    sets = sets.sort(1).values
    assert relative(SetDerivatives(function, x, eye(60)).of(sets), oracle(function, x, sets)) < 1e-10


@pytest.mark.parametrize("order", range(2, 7))
def test_a_smooth_score_of_a_piecewise_linear_network(order: int) -> None:
    network = Network((6, 9, 7), "relu")

    def function(x: Tensor) -> Tensor:
        return torch.sigmoid(network(x))

    x, sets = numbers(2, 6), all_sets(6, order)
    derivatives = SetDerivatives(function, x, eye(6))
    assert derivatives.route == "feed-forward"
    assert relative(derivatives.of(sets), oracle(function, x, sets)) < 1e-10


@pytest.mark.parametrize("order", range(1, 7))
def test_both_routes_agree(order: int) -> None:
    function = Network((8, 11, 6)).forward
    x, directions = numbers(3, 8), numbers(3, 7, 8, seed=8)
    derivatives = SetDerivatives(function, x, directions)
    general = GeneralSets(derivatives._route.function, x, directions, None)
    sets = all_sets(7, order)
    torch.testing.assert_close(derivatives.of(sets), general.of(sets), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("order", range(2, 7))
def test_float32_is_near(order: int) -> None:
    network = Network((10, 140, 100, 60, 20))
    x, sets = numbers(4, 10), all_sets(10, order)
    expected = SetDerivatives(network.forward, x, eye(10)).of(sets)
    single = network.float()
    got = SetDerivatives(single.forward, x.float(), eye(10, torch.float32)).of(sets)
    assert got.dtype == torch.float32
    assert float((got.double() - expected).norm() / expected.norm()) < 1e-5


# --- Properties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(1, 7))
def test_exhaustive_equals_the_list_of_all(order: int) -> None:
    derivatives = SetDerivatives(Network((8, 11, 6)).forward, numbers(3, 8), eye(8))
    sets = sorted(itertools.combinations(range(8), order), key=lambda chosen: chosen[::-1])
    blocks = list(derivatives.exhaustive(order))
    assert [begin for begin, *_ in blocks] == [0, *(end for _, end, _ in blocks[:-1])]
    got = torch.cat([values for *_, values in blocks], 1)
    torch.testing.assert_close(got, derivatives.of(torch.tensor(sets)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("order", range(2, 7))
def test_symmetric_under_permutation_of_the_features(order: int) -> None:
    network, x = Network((7, 12, 5)), numbers(2, 7)
    permuted = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    sets = all_sets(7, order)
    moved = permuted[sets].sort(1).values
    one = SetDerivatives(network.forward, x, eye(7)).of(moved)
    other = SetDerivatives(network.forward, x, eye(7)[permuted]).of(sets)
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("order", range(2, 7))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_that_are_not_used_have_none(order: int, dtype: torch.dtype) -> None:
    network = Network((8, 12, 5)).to(dtype)
    network.linear[0].weight.data[:, 3] = 0
    x, sets = numbers(2, 8, dtype=dtype), all_sets(8, order)
    got = SetDerivatives(network.forward, x, eye(8, dtype)).of(sets)
    unused = (sets == 3).any(1)
    assert float(got[:, unused].abs().max()) == 0
    assert float(got[:, ~unused].abs().min()) > 0


@pytest.mark.parametrize("order", range(2, 7))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_additive_functions_have_no_interactions(order: int, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    first = torch.randn(14, 7, dtype=dtype) * torch.eye(7, dtype=dtype).repeat(2, 1)
    second = torch.randn(14, 14, dtype=dtype) * torch.eye(7, dtype=dtype).repeat(2, 2)
    last = torch.randn(14, dtype=dtype)

    def additive(x: Tensor) -> Tensor:
        return torch.tanh(functional.gelu(x @ first.T + 0.3) @ second.T) @ last

    derivatives = SetDerivatives(additive, numbers(3, 7, dtype=dtype), eye(7, dtype))
    assert derivatives.route == "feed-forward"
    assert float(derivatives.of(all_sets(7, order)).abs().max()) == 0


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compiled_kernels_run() -> bool:
    return backends.native_missing() is None and backends.forced_backend() in (None, "native")


@pytest.mark.skipif(not _compiled_kernels_run(), reason="to the last bit only with the compiled kernels")
@pytest.mark.parametrize("order", range(3, 7))
def test_a_point_depends_on_itself_only(order: int) -> None:
    network = Network((10, 67, 33)).float()
    x, unit = numbers(9, 10, dtype=torch.float32), eye(10, torch.float32)
    sets = all_sets(10, order)
    with threads(1):
        together = SetDerivatives(network.forward, x, unit).of(sets)
    for count, chosen in ((1, [4]), (2, [4, 8]), (3, [0, 1, 2, 3, 4])):
        with threads(count):
            alone = SetDerivatives(network.forward, x[chosen], unit).of(sets)
        assert torch.equal(alone, together[chosen]), chosen


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("order", range(1, 7))
def test_what_is_not_finite_shows_in_its_point_only(order: int, value: float) -> None:
    x = numbers(3, 7)
    function = Network((7, 9, 4), "sin").forward
    expected = SetDerivatives(function, x, eye(7)).of(all_sets(7, order))
    x[1, 2] = value
    got = SetDerivatives(function, x, eye(7)).of(all_sets(7, order))
    assert bool(got[1].isnan().all())
    assert torch.equal(got[[0, 2]], expected[[0, 2]])


def test_plain_pytorch_gives_the_same() -> None:
    function, x = Network((7, 9, 4)).forward, numbers(2, 7)
    for order in range(1, 7):
        expected = SetDerivatives(function, x, eye(7)).of(all_sets(7, order))
        with use_backend("reference"):
            got = SetDerivatives(function, x, eye(7)).of(all_sets(7, order))
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-14)


# --- Memory -----------------------------------------------------------------------------------------------------------


def least_limit(compute: Callable[[int], object]) -> int:
    """Ask the error what the least memory is."""
    with pytest.raises(InputError, match="memory_limit: expected at least") as error:
        compute(64)
    return int(str(error.value).split("at least ")[1].split()[0])


@pytest.mark.parametrize("order", [2, 3, 4, 5, pytest.param(6, marks=pytest.mark.slow)])
def test_a_small_memory_limit_gives_the_same(order: int) -> None:
    function, x = Network((9, 12, 5)).forward, numbers(5, 9)
    sets = all_sets(9, order)

    def of(limit: int | None) -> Tensor:
        return SetDerivatives(function, x, eye(9), memory_limit=limit).of(sets)

    def exhaustive(limit: int | None) -> list[Tensor]:
        return [v for *_, v in SetDerivatives(function, x, eye(9), memory_limit=limit).exhaustive(order)]

    torch.testing.assert_close(of(least_limit(of)), of(None), rtol=1e-12, atol=1e-15)
    blocks, whole = exhaustive(least_limit(exhaustive)), exhaustive(None)
    assert len(blocks) > len(whole)
    torch.testing.assert_close(torch.cat(blocks, 1), torch.cat(whole, 1), rtol=1e-12, atol=1e-15)


def test_the_limit_is_asked_before_tables_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    derivatives = SetDerivatives(Network((9, 6, 5)).forward, numbers(2, 9), eye(9), memory_limit=64)
    monkeypatch.setattr(Numbering, "complete", lambda *_: pytest.fail("tables were made"))
    for compute in (lambda: derivatives.of(all_sets(9, 4)), lambda: list(derivatives.exhaustive(4))):
        with pytest.raises(InputError, match="memory_limit: expected at least"):
            compute()


@pytest.mark.parametrize("order", [4, 6])
def test_lists_whose_rows_do_not_fit_are_halved(order: int) -> None:
    function, x = Network((60, 9, 5)).forward, numbers(2, 60)
    sets = torch.stack([torch.randperm(60, generator=torch.Generator().manual_seed(i))[:order] for i in range(12)])
    sets = sets.sort(1).values

    def of(chosen: Tensor, limit: int | None) -> Tensor:
        return SetDerivatives(function, x, eye(60), memory_limit=limit).of(chosen)

    limit = least_limit(lambda limit: of(sets, limit)) + 1000
    torch.testing.assert_close(of(sets, limit), of(sets, None), rtol=1e-12, atol=1e-15)


# --- What is a chain --------------------------------------------------------------------------------------------------


def _normalised() -> nn.Module:
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.BatchNorm1d(6), nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Tanh(),
        nn.Linear(5, 1),
    )  # fmt: skip
    for module in model:
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.double().eval().requires_grad_(False)


def _classes(count: int) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, count)).double().eval().requires_grad_(False)


NORMALISED, CLASSES, BINARY = _normalised(), _classes(3), _classes(1)
SHIFT, SCALE = numbers(6, seed=21), numbers(6, seed=22).abs() + 0.5
# Function, further arguments, route.
SCORES: dict[str, tuple[Callable[..., object], dict[str, object], str]] = {
    "batch norm": (lambda x: NORMALISED(x)[:, 0], {}, "feed-forward"),
    "standardised": (lambda x: BINARY((x - SHIFT) / SCALE)[:, 0], {}, "feed-forward"),
    "probability of one output": (BINARY, {}, "feed-forward"),
    "log-probability of one output": (BINARY, {"score": "log_probability"}, "feed-forward"),
    "logit of one output": (BINARY, {"score": "logit"}, "feed-forward"),
    "logit of the predicted class": (CLASSES, {"score": "logit"}, "feed-forward"),
    "logit of given classes": (CLASSES, {"score": "logit", "target": [2, 0, 1]}, "feed-forward"),
    "elementwise at once": (lambda x: x.sin().sum(1), {}, "feed-forward"),
    "probability of classes": (CLASSES, {}, "general"),
    "a product": (lambda x: BINARY(x)[:, 0] * x[:, 0], {}, "general"),
    "a square": (lambda x: (x * x).sum(1), {}, "general"),
    "a way around": (lambda x: BINARY(x)[:, 0] + x[:, 0], {}, "general"),
    "linear": (lambda x: x @ SHIFT, {}, "general"),
}


@pytest.mark.parametrize("name", SCORES)
def test_chains_are_recognised(name: str) -> None:
    function, more, route = SCORES[name]
    x, sets = numbers(3, 6), all_sets(6, 3)
    derivatives = SetDerivatives(function, x, eye(6), **more)
    assert derivatives.route == route
    general = GeneralSets(derivatives._route.function, x, eye(6).expand(3, 6, 6), None)
    for order in (1, 2, 3):
        sets = all_sets(6, order)
        torch.testing.assert_close(derivatives.of(sets), general.of(sets), rtol=1e-10, atol=1e-13)


# --- Other points -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCORES)
def test_at_other_points_it_is_as_if_made_there(name: str) -> None:
    function, more, _ = SCORES[name]
    first, second, sets = numbers(3, 6), numbers(5, 6, seed=31), all_sets(6, 2)
    given = {"target": [0, 1, 2, 1, 0]} if "target" in more else {}
    moved = SetDerivatives(function, first, eye(6), **more).at(second, **given)
    fresh = SetDerivatives(function, second, eye(6), **more | given)
    assert torch.equal(moved.of(sets), fresh.of(sets))
    directions = numbers(4, 6, seed=32)
    moved = moved.at(second, directions=directions)
    fresh = SetDerivatives(function, second, directions, **more | given)
    assert torch.equal(moved.of(all_sets(4, 3)), fresh.of(all_sets(4, 3)))


@pytest.mark.parametrize(
    ("x", "message"),
    [(numbers(2, 5), r"x: expected items \(6,\)"), (numbers(2, 6).float(), "x: expected items .* torch.float64")],
)
def test_other_points_have_to_be_alike(x: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SetDerivatives(BINARY, numbers(3, 6), eye(6)).at(x)
