"""Graph networks as people write them: dense, by batches, and over edges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from literal_walk_relevance import Literal
from torch import Tensor, nn

Multiply = Callable[[Tensor, Tensor], Tensor]


def dense(adjacency: Tensor, h: Tensor) -> Tensor:
    return adjacency @ h


def by_einsum(adjacency: Tensor, h: Tensor) -> Tensor:
    return torch.einsum("ij,jd->id", adjacency, h)


def transposed(adjacency: Tensor, h: Tensor) -> Tensor:
    return (h.T @ adjacency.T).T


def index_add(edges: Tensor, h: Tensor) -> Tensor:
    return torch.zeros_like(h).index_add(0, edges[1], h[edges[0]])


def scatter_add(edges: Tensor, h: Tensor) -> Tensor:
    messages = h.index_select(0, edges[0])
    return torch.zeros_like(h).scatter_add_(0, edges[1][:, None].expand_as(messages), messages)


def index_put(edges: Tensor, h: Tensor) -> Tensor:
    return torch.zeros_like(h).index_put((edges[1],), h[edges[0]], accumulate=True)


class GCN(nn.Module):
    """relu(A H W + b), with the product on either side."""

    def __init__(self, multiply: Multiply = dense, *, first: bool = False, bias: bool = True, steps: int = 3) -> None:
        super().__init__()
        self.multiply, self.first = multiply, first
        self.weights = nn.ModuleList(nn.Linear(4 if i else 2, 4, bias=False) for i in range(steps))
        self.biases = nn.ParameterList(nn.Parameter(0.1 * bias * torch.randn(4)) for _ in range(steps))
        self.readout = nn.Linear(4, 3, bias=bias)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if self.first:
                x = self.multiply(adjacency, weight(x)) + bias
            else:
                x = nn.functional.linear(self.multiply(adjacency, x), weight.weight, bias)
            x = torch.relu(x)
        out: Tensor = self.readout(x.mean(-2))
        return out

    def literal(self, gammas: list[float], eps: float) -> Literal:
        blocks = [[(w.weight.T, b)] for w, b in zip(self.weights, self.biases, strict=True)]  # type: ignore[union-attr]
        return _literal(blocks, self.readout, 0.0, gammas, eps)


def normalised(edges: Tensor, h: Tensor) -> Tensor:
    """Multiply by D^-1/2 (A + 1) D^-1/2 as PyTorch Geometric does: loops are taken out and put in."""
    edges = edges[:, edges[0] != edges[1]]
    loops = torch.arange(len(h))
    begin, end = torch.cat([edges, torch.stack([loops, loops])], 1)
    ones = torch.ones_like(h[:1, 0]).expand(len(end))
    degrees = torch.zeros_like(h[:, 0]).scatter_add_(0, end, ones).pow(-0.5)
    messages = (degrees[begin] * degrees[end])[:, None] * h.index_select(0, begin)
    return torch.zeros_like(h).scatter_add_(0, end[:, None].expand_as(messages), messages)


def normalised_dense(adjacency: Tensor, h: Tensor) -> Tensor:
    matrix = torch.maximum(adjacency, torch.eye(len(h), dtype=h.dtype))
    scale = matrix.sum(1).rsqrt()
    return (scale[:, None] * matrix * scale) @ h


class GIN(nn.Module):
    """MLP((1 + e) H + A H), of two layers with a ReLU between."""

    def __init__(self, multiply: Multiply = dense, steps: int = 3, width: int = 4) -> None:
        super().__init__()
        self.multiply = multiply
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width if i else 2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            for i in range(steps)
        )
        self.readout = nn.Linear(width, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for mlp in self.mlps:
            x = mlp(1.3 * x + self.multiply(adjacency, x))
        out: Tensor = self.readout(x.mean(-2))
        return out

    def literal(self, gammas: list[float], eps: float) -> Literal:
        blocks = [[(layer.weight.T, layer.bias) for layer in (mlp[0], mlp[2])] for mlp in self.mlps]  # type: ignore[index]
        return _literal(blocks, self.readout, 1.3, gammas, eps)


class SAGE(nn.Module):
    """Two layers for each step, of a node and of the mean of its neighbours, and all steps side by side at the end."""

    def __init__(self, multiply: Multiply = dense, *, norm: bool = False) -> None:
        super().__init__()
        self.multiply = multiply
        self.own = nn.ModuleList(nn.Linear(4 if i else 2, 4) for i in range(2))
        self.others = nn.ModuleList(nn.Linear(4 if i else 2, 4) for i in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(4) if norm else nn.BatchNorm1d(4) for _ in range(2))
        self.readout = nn.Linear(8, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        degree = self.multiply(adjacency, torch.ones_like(x[:, :1])).clamp(min=1)
        seen = []
        for own, others, norm in zip(self.own, self.others, self.norms, strict=True):
            x = torch.tanh(norm(own(x) + others(self.multiply(adjacency, x) / degree)))
            seen.append(x)
        out: Tensor = self.readout(torch.cat(seen, 1).amax(0))
        return out


class GAT(nn.Module):
    """Attention over edges, or over the entries of an adjacency, with several heads."""

    def __init__(self, heads: int = 1, *, edges: bool = False) -> None:
        super().__init__()
        self.heads, self.edges = heads, edges
        self.layers = nn.ModuleList(nn.Linear(4 if i else 2, 4, bias=False) for i in range(2))
        self.scores = nn.ParameterList(nn.Parameter(torch.randn(2, heads, 4 // heads)) for _ in range(2))
        self.readout = nn.Linear(4, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        for layer, score in zip(self.layers, self.scores, strict=True):
            h = layer(x).view(len(x), self.heads, -1)
            to, begin = (h * score[0]).sum(-1), (h * score[1]).sum(-1)  # (n, heads)
            if self.edges:
                logits = torch.nn.functional.leaky_relu(to[adjacency[1]] + begin[adjacency[0]], 0.2).exp()
                total = torch.zeros_like(to).index_add(0, adjacency[1], logits)
                messages = h[adjacency[0]] * (logits / total[adjacency[1]]).unsqueeze(-1)
                h = torch.zeros_like(h).index_add(0, adjacency[1], messages)
            else:
                logits = torch.nn.functional.leaky_relu(to.T[:, :, None] + begin.T[:, None], 0.2)  # (heads, n, n)
                attention = logits.masked_fill(adjacency == 0, -torch.inf).softmax(-1)
                h = (attention @ h.transpose(0, 1)).transpose(0, 1)
            x = torch.relu(h.reshape(len(x), -1))
        out: Tensor = self.readout(x.sum(0))
        return out


def _literal(
    blocks: list[list[tuple[Tensor, Tensor]]], readout: nn.Linear, own: float, gammas: list[float], eps: float
) -> Literal:
    blocks = [[(w.detach(), b.detach()) for w, b in block] for block in blocks]
    return Literal(blocks, (readout.weight.T.detach(), readout.bias.detach()), own, gammas, eps)


def random_graph(seed: int, nodes: int = 0, own: bool = True) -> tuple[Tensor, Tensor]:
    """Draw features (n, 2), none negative, and an adjacency (n, n) of 3 to 5 nodes; symmetric for odd seeds."""
    generator = torch.Generator().manual_seed(seed)
    n = nodes or 3 + seed % 3
    edges = (torch.rand(n, n, generator=generator, dtype=torch.float64) < 0.5).double()
    edges = edges.triu(1) + edges.triu(1).T if seed % 2 else edges * (1 - torch.eye(n))
    return torch.rand(n, 2, generator=generator, dtype=torch.float64), edges + own * torch.eye(n)


def edge_index(adjacency: Tensor) -> Tensor:
    """List the edges (2, E), from where they begin to where they end."""
    return adjacency.T.nonzero().T.contiguous()
