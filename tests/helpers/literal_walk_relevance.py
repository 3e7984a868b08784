"""The relevance of walks by its definition: one masked backward pass per walk.

Schnake et al., "Higher-Order Explanations of Graph Neural Networks via Relevant Walks", TPAMI 2022. A layer is applied
to the features of all nodes; what goes back passes at each level through the node of the walk alone. In z = W a + b,
relevance is shared by (w + gamma w+) a for units above zero (LRP-gamma), and by the other sign for units below.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Literal:
    """A network written out: GCN blocks relu((A H) W + b), or GIN blocks of two layers on (1 + e) H + A H.

    Attributes:
        blocks: of each step the layers, (W (d_in, d_out), b) each, with a ReLU behind.
        readout: (W, b) on the mean of the nodes.
        own: 1 + e, how much of a node's own features is added; 0 for a GCN.
        gammas: of each layer, the readout last.
        eps: the stabiliser.
    """

    blocks: list[list[tuple[Tensor, Tensor]]]
    readout: tuple[Tensor, Tensor]
    own: float
    gammas: list[float]
    eps: float

    def score(self, x: Tensor, adjacency: Tensor, masks: Tensor, target: int) -> Tensor:
        """Compute the score; only entries where masks (L + 1, n) are 1 let a gradient through."""
        gammas = iter(self.gammas)
        h = x
        for block, mask in zip(self.blocks, masks, strict=False):
            h = _masked(h, mask)
            h = adjacency @ h + self.own * h
            for weight, bias in block:
                h = _linear(h, weight, bias, next(gammas), self.eps)
                h = h * (h > 0)
        h = _masked(h, masks[-1]).mean(0)
        return _linear(h[None], *self.readout, next(gammas), self.eps)[0, target]

    def walks(self, x: Tensor, adjacency: Tensor, walks: Tensor, target: int) -> Tensor:
        """Compute the relevance (W,) of walks (W, L + 1), each by a pass of its own."""
        masks = torch.nn.functional.one_hot(walks, len(x)).to(x)
        gradient = torch.func.grad(self.score)
        found = torch.func.vmap(gradient, in_dims=(None, None, 0, None))(x, adjacency, masks, target)
        return (found * x).sum((1, 2))


def all_sequences(nodes: int, length: int) -> Tensor:
    """List all sequences of nodes, also those that are no walks."""
    return torch.cartesian_prod(*[torch.arange(nodes)] * length)


def _masked(h: Tensor, mask: Tensor) -> Tensor:
    return h * mask[:, None] + (h * (1 - mask)[:, None]).detach()


def _linear(a: Tensor, weight: Tensor, bias: Tensor, gamma: float, eps: float) -> Tensor:
    z = (a @ weight + bias).detach()
    above = z[:, None] > 0
    more = (a[:, :, None] * weight > 0).where(above, a[:, :, None] * weight < 0).to(a)
    shares = torch.einsum("ni,nio->no", a, weight * (1 + gamma * more))
    shares = shares + bias * (1 + gamma * ((bias > 0) == (z > 0)).to(a))
    divisor = shares + eps * torch.where(shares < 0, -1, 1).to(a)
    shares = shares * (z / divisor).detach()
    return shares + (z - shares).detach()  # the value is that of the network, whatever the stabiliser is
