"""Speed of mixed derivatives of many sets of features, as ratios of times taken in turn.

Against nested autograd (every set, and only those of the published search), against jitted nested differentiation of
JAX, and as times of networks of 100 and 1,000 features. Beside each is the rate of arithmetic that was reached and the
machine's rate of matrix products in the same run.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.jax_networks import jitted
from benchmarks.measure import in_turn, ratio
from xai_fast import TNID
from xai_fast.engine.memory import peak_memory
from xai_fast.taylor.sets import SetDerivatives

WIDTHS = (140, 100, 60, 20, 1)
PAPER_K = 10
CALLS = 50


def _network(features: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((features, *WIDTHS)):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def _score(network: nn.Sequential) -> Callable[[Tensor], Tensor]:
    return lambda x: network(x)[:, 0]


def _points(items: int, features: int) -> Tensor:
    return torch.randn(items, features, generator=torch.Generator().manual_seed(1))


def _product_rate() -> float:
    """Operations a second of a large matrix product."""
    a, b = torch.randn(2000, 2000), torch.randn(2000, 2000)
    seconds = min(in_turn({"product": lambda: a @ b}, 5)["product"])
    return 2 * 2000**3 / seconds


def _rates(operations: int, seconds: float) -> dict[str, float]:
    return {
        "operations": operations,
        "gigaflops": operations / seconds / 1e9,
        "gigaflops_of_matrix_products": _product_rate() / 1e9,
        "threads": torch.get_num_threads(),
    }


def _enumerate(derivatives: SetDerivatives, x: Tensor, orders: tuple[int, ...]) -> list[Tensor]:
    """All derivatives of these orders at new points, block by block."""
    at = derivatives.at(x)
    return [values for order in orders for *_, values in at.exhaustive(order)]


# --- Nested autograd --------------------------------------------------------------------------------------------------


def _along(network: nn.Sequential, point: Tensor, chosen: tuple[int, ...]) -> Tensor:
    """Differentiate along each of these features in turn, and then along all."""
    x = point.clone().requires_grad_()
    value = network(x[None])[0, 0]
    for feature in chosen:
        value = torch.autograd.grad(value, x, create_graph=True)[0][feature]
    return torch.autograd.grad(value, x)[0]


def _search(network: nn.Sequential, point: Tensor, highest: int, k: int) -> int:
    """Compute derivatives as published: gradients of those of k sets of each order; return how many gradients.

    A gradient of F_T gives F of T and any one more feature. Which k sets are extended makes no difference to the time;
    here these are the first.
    """
    x = point.clone().requires_grad_()
    level: list[tuple[tuple[int, ...], Tensor]] = [((), network(x[None])[0, 0])]
    calls = 0
    for order in range(1, highest + 1):
        following = []
        for chosen, value in level:
            (gradient,) = torch.autograd.grad(value, x, create_graph=order < highest, retain_graph=True)
            calls += 1
            following += [((*chosen, i), gradient[i]) for i in range(max(chosen, default=-1) + 1, len(point))]
        level = following[:k]
    return calls


def _enumerate_nested(value: Tensor, x: Tensor, highest: int, first: int = 0) -> int:
    """Compute the derivatives of all sets of features from ``first`` on, added to what was differentiated before.

    Set by set, so that the graphs of one branch only are there at a time; one gradient for each set that is extended.
    """
    (gradient,) = torch.autograd.grad(value, x, create_graph=highest > 1, retain_graph=True)
    if highest == 1:
        return 1
    return 1 + sum(_enumerate_nested(gradient[i], x, highest - 1, i + 1) for i in range(first, len(x)))


def test_orders_two_to_five(benchmark: BenchmarkFixture) -> None:
    """5,000 times less than all sets by nested autograd, 200 times less than the published search; 6 points."""
    network, x = _network(10), _points(6, 10)
    derivatives = SetDerivatives(_score(network), x, torch.eye(10))
    orders = (5, 4, 3, 2)  # the rows of the largest serve the others

    def ours() -> list[Tensor]:
        return _enumerate(derivatives, x, orders)

    seconds = in_turn({"ours": ours}, 50, warm_up=5)
    benchmark.pedantic(ours, rounds=50)
    least = median(seconds["ours"])
    start = time.perf_counter()
    calls = sum(_search(network, point, 5, PAPER_K) for point in x)
    search = time.perf_counter() - start
    start = time.perf_counter()
    gradients = 0
    for point in x:
        leaf = point.clone().requires_grad_()
        gradients += _enumerate_nested(network(leaf[None])[0, 0], leaf, 5)
    everything = time.perf_counter() - start
    got = derivatives.of(torch.tensor([[0, 1, 2, 3, i] for i in range(4, 10)]))[0]
    wanted = _along(network, x[0], (0, 1, 2, 3))[4:]
    operations = sum(derivatives.operations(order) for order in orders)
    benchmark.extra_info |= {
        "milliseconds": least * 1e3,
        "published_search_seconds": search,
        "published_search_gradients": calls,
        "published_search_over_ours": search / least,
        "all_sets_seconds": everything,
        "all_sets_gradients": gradients,
        "all_sets_over_ours": everything / least,
        "relative_error_to_nested_autograd": float((got - wanted).abs().max() / wanted.abs().max()),
        **_rates(operations, least),
    }
    assert calls == 6 * (1 + 4 * PAPER_K)
    assert everything / least >= 5000
    assert search / least >= 200


def test_triples_against_jax(benchmark: BenchmarkFixture) -> None:
    """All 120 triples at 4 points in a tenth of the time of jitted nested forward-over-reverse differentiation."""
    jax = pytest.importorskip("jax", reason="JAX is not installed; it comes with the extra bench")
    network, x = _network(10), _points(4, 10)
    derivatives = SetDerivatives(_score(network), x, torch.eye(10))
    third = jitted(jax, network, x, lambda score: jax.jacfwd(jax.jacfwd(jax.grad(score))))

    def ours() -> list[Tensor]:
        return _enumerate(derivatives, x, (3,))

    # Some calls of each in turn: right after a call of one, its threads still keep the processors from the other.
    seconds = in_turn({"ours": lambda: _often(ours), "jax_jit": lambda: _often(third)}, 40)
    benchmark.pedantic(ours, rounds=50)
    i, j, k = torch.tensor(sorted(itertools.combinations(range(10), 3), key=lambda t: t[::-1])).unbind(1)
    wanted = torch.tensor(np.asarray(third()))[:, i, j, k]
    # The least of each: both run on all processors, and whatever else does adds to them.
    factor = min(seconds["jax_jit"]) / min(seconds["ours"])
    benchmark.extra_info |= {
        "microseconds": {name: min(times) / CALLS * 1e6 for name, times in seconds.items()},
        "jax_over_ours": factor,
        "jax_over_ours_median_of_rounds": ratio(seconds, "jax_jit", "ours"),
        "relative_difference": float((torch.cat(ours(), 1) - wanted).norm() / wanted.norm()),
        **_rates(derivatives.operations(3), min(seconds["ours"]) / CALLS),
    }
    assert factor >= 10


def _often(run: Callable[[], object]) -> None:
    for _ in range(CALLS):
        run()


# --- Large networks ---------------------------------------------------------------------------------------------------

# Features, order, seconds that all sets of that order may take at 4 points.
LARGE = [(100, 3, 0.5), (100, 4, 15.0), (1000, 2, 0.5)]


@pytest.mark.parametrize(("features", "order", "limit"), LARGE)
def test_all_sets_of_a_large_network(benchmark: BenchmarkFixture, features: int, order: int, limit: float) -> None:
    """161,700 triples in half a second, 3,921,225 quadruples in 15, 499,500 pairs in half a second."""
    network, x = _network(features), _points(4, features)
    derivatives = SetDerivatives(_score(network), x, torch.eye(features))

    def ours() -> int:
        return sum(values.shape[1] for *_, values in derivatives.at(x).exhaustive(order))

    rounds = 1 if limit > 1 else 5
    seconds = min(in_turn({"ours": ours}, rounds, warm_up=1)["ours"])
    benchmark.pedantic(ours, rounds=1)
    benchmark.extra_info |= {
        "sets": ours() if rounds > 1 else None,
        "seconds": seconds,
        **_rates(derivatives.operations(order), seconds),
    }
    assert seconds < limit


def _strongest_triples() -> dict[str, float]:
    """T-NID of a network of 1,000 features, in a process of its own."""
    TNID(_network(10), order=3).detect(_points(20, 10))  # the first call imports what torch loads when it is needed
    network = _network(1000)
    data = _points(200, 1000)
    before = peak_memory(torch.device("cpu"))
    start = time.perf_counter()
    ranking = TNID(network, order=3, exhaustive_order=2, top_k=1000).detect(data)
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": peak_memory(torch.device("cpu")),
        "bytes_before": before,
        "candidates": ranking.orders[3].candidates,
    }


def test_strongest_triples_of_a_thousand_features(benchmark: BenchmarkFixture) -> None:
    """All pairs, then a million triples, in 3 seconds and 2 GiB: the extensions of the 1,000 strongest pairs."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = benchmark.pedantic(lambda: pool.apply(_strongest_triples), rounds=1)
    benchmark.extra_info |= found | {"gigaflops_of_matrix_products": _product_rate() / 1e9}
    assert found["candidates"] > 900_000
    assert found["seconds"] < 3
    assert found["peak_bytes"] < 2 << 30
