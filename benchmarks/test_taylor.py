"""Speed of second derivatives, as ratios of times taken in turn.

Against the full Hessian by nested autograd (as the paper of Taylor-CAM computes it), against batched Hessian-vector
products, and against compiled Hessians of PyTorch and JAX.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.jax_networks import jitted
from benchmarks.measure import in_turn, ratio
from xai_fast import TaylorCAM, taylor
from xai_fast.datasets.photos import sample_photos
from xai_fast.models.classifiers import load
from xai_fast.models.relation_network import RelationNetwork

BATCH = 16


def _relation_network() -> tuple[RelationNetwork, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = RelationNetwork().eval().requires_grad_(False)
    questions = (torch.rand(BATCH, 11, generator=generator) > 0.5).float()
    return network, torch.rand(BATCH, 3, 75, 75, generator=generator), questions


def _directions(objects: Tensor) -> tuple[Tensor, Tensor]:
    """The x_i and the ones of Hessian-CAM, written out: (B, n, n, d) each."""
    eye = torch.eye(objects.shape[1])[None, :, :, None]
    return objects[:, None] * eye, eye.expand(*objects.shape[:2], *objects.shape[1:])


def test_relation_network(benchmark: BenchmarkFixture) -> None:
    """250 times less an image than the full Hessian by nested autograd, 15 times less than batched products."""
    network, images, questions = _relation_network()
    with torch.no_grad():
        objects = network.objects(images)
        classes = network.relate(objects, questions).argmax(1)
    V, U = _directions(objects)

    def score(x: Tensor, q: Tensor, target: Tensor) -> Tensor:
        return network.relate(x, q).softmax(1).gather(1, target[:, None])[:, 0]

    def nested() -> Tensor:
        """The paper's way: the Hessian of one image, 650 x 650."""
        first = objects[0].clone()
        return torch.autograd.functional.hessian(
            lambda x: score(x[None], questions[:1], classes[:1])[0], first, create_graph=False
        )

    fast = taylor.prepare(_Scores(network), objects, target=classes, additional_forward_args=questions)

    def ours() -> Tensor:
        return taylor.bilinear_form(fast, objects, V, U)

    def products() -> Tensor:
        return taylor.bilinear_form(fast, objects, V, U, method="hvp")

    seconds = in_turn({"ours": ours, "hvp": products}, 5)
    seconds |= in_turn({"nested": nested}, 1, warm_up=0)
    benchmark.pedantic(ours, rounds=3)
    hessian = nested().reshape(650, 650)
    wanted = V[0].flatten(1) @ hessian @ U[0].flatten(1).T
    got = ours()[0]
    per_image = min(seconds["ours"]) / BATCH
    against_products = ratio(seconds, "hvp", "ours")
    benchmark.extra_info |= {
        "seconds": seconds,
        "milliseconds_an_image": per_image * 1e3,
        "hvp_over_ours": against_products,
        "nested_hessian_over_ours": seconds["nested"][0] / per_image,
        "relative_error": float((got - wanted).abs().max() / wanted.abs().max()),
        "plan": str(taylor.plan_bilinear_form(fast, objects, 25, 25)),
        "threads": torch.get_num_threads(),
    }
    assert against_products >= 15
    assert seconds["nested"][0] / per_image >= 250


class _Scores(nn.Module):
    """The part behind the objects, as a module of its own."""

    def __init__(self, network: RelationNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, objects: Tensor, questions: Tensor) -> Tensor:
        return self.network.relate(objects, questions)


def test_efficientnet_14_by_14(benchmark: BenchmarkFixture) -> None:
    """1.5 times less than batched Hessian-vector products on 196 positions, under the same memory limit."""
    network = load("efficientnet-lite0")
    photo = network.transform(sample_photos(["foolbox"])[0].open())[None]
    limit = 2 << 30
    ours = TaylorCAM(network.model, "_blocks.10", memory_limit=limit)
    products = TaylorCAM(network.model, "_blocks.10", method="hvp", memory_limit=limit)
    seconds = in_turn({"ours": lambda: ours.explain(photo), "hvp": lambda: products.explain(photo)}, 3)
    one, other = ours.explain(photo).sums, products.explain(photo).sums
    benchmark.pedantic(lambda: ours.explain(photo), rounds=1)
    factor = ratio(seconds, "hvp", "ours")
    assert one is not None
    assert other is not None
    benchmark.extra_info |= {
        "seconds": seconds,
        "hvp_over_ours": factor,
        "difference": float((one - other).abs().max() / other.abs().max()),
    }
    assert factor >= 1.5


def test_reverse_route(benchmark: BenchmarkFixture) -> None:
    """5 times less than batched products on a small ReLU network with ten classes, which has ten curved directions."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 64, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    network = network.eval().requires_grad_(False)
    x = torch.randn(BATCH, 16, 8, 8)
    eye = torch.eye(64).reshape(1, 64, 1, 8, 8)
    V, U = x[:, None] * eye, eye.expand(BATCH, 64, 16, 8, 8).contiguous()
    fast = taylor.prepare(network, x)
    runs: dict[str, Callable[[], object]] = {
        name: (lambda method=method: taylor.bilinear_form(fast, x, V, U, method=method))  # type: ignore[misc]
        for name, method in (("ours", "auto"), ("forward", "forward"), ("hvp", "hvp"))
    }
    seconds = in_turn(runs, 5)
    benchmark.pedantic(runs["ours"], rounds=3)
    plan = taylor.plan_bilinear_form(fast, x, 64, 64)
    factor = ratio(seconds, "hvp", "ours")
    benchmark.extra_info |= {
        "seconds": seconds,
        "hvp_over_ours": factor,
        "forward_over_ours": ratio(seconds, "forward", "ours"),
        "route": plan.route,
    }
    assert plan.route == "reverse"
    assert factor >= 5


@pytest.mark.parametrize(("two_sides", "least"), [(False, 3.2), (True, 2.5)], ids=["one_side", "two_sides"])
def test_head_without_a_trace(benchmark: BenchmarkFixture, two_sides: bool, least: float) -> None:
    """A second call takes a third of batched products at most on a 600-256-256-10 GELU head, 25 cells of 24 channels.

    The goal is a quarter. With other directions on the right side there are twice as many tangents, and as many
    products.
    """
    torch.manual_seed(0)
    layers = [nn.Linear(600, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10)]
    head = nn.Sequential(nn.Flatten(), *layers).eval().requires_grad_(False)
    x = torch.randn(BATCH, 25, 24)
    V, U = _directions(x)
    side = U.contiguous() if two_sides else None

    classes = head(x).argmax(1)

    def products() -> Tensor:
        gradient = torch.func.grad(lambda y: head(y).softmax(1).gather(1, classes[:, None]).sum())
        rows = torch.func.vmap(lambda v: torch.func.jvp(gradient, (x,), (v,))[1])(V.transpose(0, 1))
        return torch.matmul(rows.transpose(0, 1).flatten(2), (V if side is None else side).flatten(2).mT)

    runs = {"ours": lambda: taylor.bilinear_form(head, x, V, side, target=classes), "products": products}
    seconds = in_turn(runs, 5)
    benchmark.pedantic(runs["ours"], rounds=20)
    got, expected = runs["ours"](), products()
    factor = ratio(seconds, "products", "ours")
    benchmark.extra_info |= {
        "seconds": seconds,
        "products_over_ours": factor,
        "relative_error": float((got - expected).abs().max() / expected.abs().max()),
    }
    assert factor >= least


def test_hessian_of_an_mlp(benchmark: BenchmarkFixture) -> None:
    """No more time than jitted Hessians take after compilation: MLP 10-140-100-60-20-1, 4 points, one thread."""
    jax = pytest.importorskip("jax", reason="JAX is not installed; it comes with the extra bench")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _compare_with_compiled(benchmark, jax)
    finally:
        torch.set_num_threads(threads)


def _compare_with_compiled(benchmark: BenchmarkFixture, jax: Any) -> None:
    torch.manual_seed(0)
    sizes = (10, 140, 100, 60, 20, 1)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.GELU()]
    network = nn.Sequential(*layers[:-1]).eval().requires_grad_(False)
    x = torch.randn(4, 10)

    def scores(y: Tensor) -> Tensor:
        return network(y)[:, 0]

    compile_seconds: dict[str, float] = {}

    def compiled(name: str, function: Callable[[], object]) -> Callable[[], object]:
        start = time.perf_counter()
        function()
        compile_seconds[name] = time.perf_counter() - start
        return function

    fast = taylor.prepare(scores, x)
    autograd = torch.compile(torch.func.vmap(torch.func.jacrev(torch.func.jacrev(lambda v: network(v)[0]))))
    runs = {
        "ours": compiled("ours", lambda: taylor.hessian(fast, x)),
        "torch_compile": compiled("torch_compile", lambda: autograd(x)),
        "jax_jit": compiled("jax_jit", jitted(jax, network, x, jax.hessian)),
    }
    seconds = in_turn(runs, 300, warm_up=20)
    error = float((taylor.hessian(fast, x) - autograd(x)).abs().max())
    benchmark.pedantic(runs["ours"], rounds=50)
    factors = {name: ratio(seconds, "ours", name) for name in ("torch_compile", "jax_jit")}
    benchmark.extra_info |= {
        "microseconds": {name: sorted(times)[len(times) // 2] * 1e6 for name, times in seconds.items()},
        "compile_seconds": compile_seconds,
        "ours_over": factors,
        "difference": error,
    }
    assert factors["torch_compile"] <= 1
    assert factors["jax_jit"] <= 1
