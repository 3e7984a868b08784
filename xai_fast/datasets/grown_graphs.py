"""Graphs that grow by preferential attachment (Barabási and Albert 1999), one edge per node, which makes trees, or two.

The task of the GNN-LRP paper: which of the two a graph is. Everything is a function of (seed, split, index).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from xai_fast.datasets.random_numbers import RandomNumbers

__all__ = ["ANSWERS", "grown_graph", "grown_graphs"]

ANSWERS = ("tree", "not a tree")
"""The two classes."""


def grown_graph(
    index: int, growth: int, *, nodes: int = 20, core: int | None = None, split: str = "train", seed: int = 0
) -> Tensor:
    """Grow a graph.

    Args:
        index: which one; the same at each call.
        growth: edges of each new node.
        nodes: n.
        core: from this node on, new ones have one edge; None for as many as the others.
        split: "train" or "test".
        seed: of all graphs.

    Returns:
        (n, n) float32, 1 where there is an edge, symmetric.
    """
    numbers = RandomNumbers.of_item(index, split, seed)
    adjacency = torch.zeros(nodes, nodes)
    ends = list(range(growth))  # each node as often as it has edges
    for new in range(growth, nodes):
        chosen: set[int] = set()
        while len(chosen) < (growth if core is None or new < core else 1):
            chosen.add(ends[numbers.below(len(ends))])
        ends = [*(ends if new > growth else []), *chosen, *[new] * len(chosen)]
        for old in chosen:
            adjacency[new, old] = adjacency[old, new] = 1
    return adjacency


def grown_graphs(indices: Iterable[int], *, split: str = "train", seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Grow graphs of either kind in turn: features (B, 20, 1), all 1; adjacencies (B, 20, 20); classes (B,)."""
    listed = list(indices)
    classes = torch.tensor([index % 2 for index in listed])
    adjacency = torch.stack([grown_graph(index, 1 + index % 2, split=split, seed=seed) for index in listed])
    return torch.ones(len(listed), adjacency.shape[1], 1), adjacency, classes
