"""Graphs that grow, the network that tells them apart, and the walks by which it does."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from xai_fast import GNNLRP
from xai_fast.datasets.grown_graphs import grown_graph, grown_graphs
from xai_fast.models.grown_graphs import GraphIsomorphismNetwork, grown_graphs_network


def on_cycles(adjacency: Tensor) -> Tensor:
    """Find the edges (n, n) without which their ends are still connected."""
    found = torch.zeros_like(adjacency, dtype=torch.bool)
    for i, j in adjacency.triu().nonzero().tolist():
        rest = adjacency.clone()
        rest[i, j] = rest[j, i] = 0
        reached = torch.linalg.matrix_power((rest + torch.eye(len(rest))).double(), len(rest))
        found[i, j] = found[j, i] = bool(reached[i, j] > 0)
    return found


def test_graphs() -> None:
    x, adjacency, classes = grown_graphs(range(6), split="test")
    assert (x.shape, classes.tolist()) == ((6, 20, 1), [0, 1] * 3)
    assert torch.equal(adjacency, adjacency.mT)
    assert adjacency.sum((1, 2)).tolist() == [38.0, 72.0] * 3
    assert torch.equal(adjacency[3], grown_graph(3, 2, split="test"))
    assert not torch.equal(adjacency[1], adjacency[3])
    assert not on_cycles(adjacency[0]).any()
    reached = torch.linalg.matrix_power(adjacency.double() + torch.eye(20), 20)
    assert bool((reached > 0).all())
    core = grown_graph(0, 2, core=8)
    assert core.sum() == 2 * (2 * 6 + 12)


@pytest.fixture(scope="module")
def network() -> GraphIsomorphismNetwork:
    return grown_graphs_network()


def test_the_network_tells_trees_apart(network: GraphIsomorphismNetwork) -> None:
    x, adjacency, classes = grown_graphs(range(100), split="test")
    assert torch.equal(network(x, adjacency).argmax(1), classes)


@pytest.mark.parametrize(("core", "least"), [(None, 90), (8, 85)])
def test_what_is_no_tree_lies_on_cycles(network: GraphIsomorphismNetwork, core: int | None, least: int) -> None:
    """The strongest walk for "not a tree", also where all but eight nodes have grown as a tree."""
    adjacency = torch.stack([grown_graph(i, 2, core=core, split="test") for i in range(100)])
    found = GNNLRP(network, gamma=0.1).explain(torch.ones(100, 20, 1), adjacency, 1)
    count = 0
    for walks, edges in zip(found.walks(20), map(on_cycles, adjacency), strict=True):
        nodes = next(walk.nodes for walk in walks if walk.relevance > 0)
        steps = [(i, j) for i, j in itertools.pairwise(nodes) if i != j]
        count += bool(steps) and all(bool(edges[step]) for step in steps)
    assert count >= least
