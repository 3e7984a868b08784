"""Walks of graph networks against a loop over masked backward passes, which is timed on 100 walks."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.measure import in_turn, ratio
from xai_fast import GNNLRP
from xai_fast.datasets.grown_graphs import grown_graph
from xai_fast.models.grown_graphs import GraphIsomorphismNetwork

WALKS = 100
# Nodes, steps, width, graphs that are explained together, how many times faster.
# One small graph alone is bound by the fixed time of a call: about 600 operations, and 300 of all walks.
CASES = [(20, 3, 32, 1, 100), (20, 3, 32, 32, 300), (60, 5, 64, 1, 1000)]


def _masked(model: GraphIsomorphismNetwork, x: Tensor, adjacency: Tensor, walk: list[int]) -> float:
    """Go back through the nodes of a walk alone, by LRP-0 as gradients (Schnake et al. 2022)."""
    h = first = x.clone().requires_grad_()
    for mlp, node in zip(model.mlps, walk, strict=False):
        mask = torch.zeros(len(x), 1)
        mask[node] = 1
        h = h * mask + (h * (1 - mask)).detach()
        h = mlp(h + adjacency @ h)
    mask = torch.zeros(len(x), 1)
    mask[walk[-1]] = 1
    h = h * mask + (h * (1 - mask)).detach()
    (gradient,) = torch.autograd.grad(model.readout(h.mean(0))[1], first)
    return float((gradient * x).sum())


@pytest.mark.parametrize(("nodes", "steps", "width", "graphs", "goal"), CASES)
def test_all_walks(benchmark: BenchmarkFixture, nodes: int, steps: int, width: int, graphs: int, goal: int) -> None:
    """All walks of graphs of growth 2, computed at once."""
    torch.manual_seed(0)
    model = GraphIsomorphismNetwork(1, width, steps).eval()
    x = torch.rand(graphs, nodes, 1)
    adjacency = torch.stack([grown_graph(i, 2, nodes=nodes) for i in range(graphs)])
    method = GNNLRP(model, gamma=0.0)

    def ours() -> list[tuple[Tensor, Tensor]]:
        found = method.explain(x, adjacency, 1)
        return [found.all_walks(item) for item in range(graphs)]

    walks, relevance = ours()[0]
    chosen = walks[torch.linspace(0, len(walks) - 1, WALKS).long()].tolist()

    def loop() -> list[float]:
        return [_masked(model, x[0], adjacency[0], walk) for walk in chosen]

    picked = torch.linspace(0, len(walks) - 1, WALKS).long()
    torch.testing.assert_close(torch.tensor(loop()), relevance[picked].float(), rtol=1e-3, atol=1e-7)
    seconds = in_turn({"loop": loop, "ours": ours}, 5)
    total = sum(len(part) for part, _ in ours())
    faster = ratio(seconds, "loop", "ours") * total / WALKS
    benchmark.extra_info |= {"walks": total, "faster": faster}
    benchmark.pedantic(ours, rounds=1)
    assert faster >= goal, faster
