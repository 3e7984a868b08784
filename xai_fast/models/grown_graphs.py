"""The network of `xai_fast.datasets.grown_graphs`, trained where it is needed: it takes seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai_fast.datasets.grown_graphs import ANSWERS, grown_graphs

__all__ = ["GraphIsomorphismNetwork", "grown_graphs_network"]


class GraphIsomorphismNetwork(nn.Module):
    """GIN (Xu et al. 2019): H <- MLP(H + A H), three times, and a linear layer on the mean of the nodes.

    Args:
        features: of a node.
        width: of the hidden layers.
        steps: of message passing.
        classes: outputs.
    """

    def __init__(self, features: int = 1, width: int = 32, steps: int = 3, classes: int = len(ANSWERS)) -> None:
        super().__init__()
        sizes = [features, *[width] * steps]
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()) for size in sizes[:-1]
        )
        self.readout = nn.Linear(width, classes)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Compute logits (B, C), or (C,), from features (B, n, d), or (n, d), and adjacencies (B, n, n), or (n, n)."""
        for mlp in self.mlps:
            x = mlp(x + adjacency @ x)
        logits: Tensor = self.readout(x.mean(-2))
        return logits


def grown_graphs_network(*, steps: int = 200, seed: int = 0) -> GraphIsomorphismNetwork:
    """Train the network on 512 graphs, on the CPU; it is in evaluation mode."""
    with torch.random.fork_rng([]), torch.enable_grad():
        torch.manual_seed(seed)
        model = GraphIsomorphismNetwork()
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        x, adjacency, classes = grown_graphs(range(512), seed=seed)
        for step in range(steps):
            batch = torch.arange(64 * step, 64 * (step + 1)) % len(x)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[batch], adjacency[batch]), classes[batch])
            torch.autograd.backward([loss])
            optimizer.step()
    return model.eval()
