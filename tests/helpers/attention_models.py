"""Small transformers, written by hand in the ways in which attention is written."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, LAYERS, CLASSES = 8, 2, 3, 4


def _by_hand(attend: nn.Module, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return attend((q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1)) @ v


def _einsum(attend: nn.Module, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    z = torch.einsum("bhqd,bhkd->bqkh", q, k) / q.shape[-1] ** 0.5 + bias.permute(0, 2, 3, 1)
    return torch.einsum("bqkh,bhkd->bhqd", F.softmax(z, 2), v)


def _fused(attend: nn.Module, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, bias)


def _transposed(attend: nn.Module, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    weights = (k @ q.mT / q.shape[-1] ** 0.5 + bias.mT).softmax(-2)
    return (v.mT @ weights).mT.contiguous()


def _exponentials(attend: nn.Module, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    e = (q @ k.mT / q.shape[-1] ** 0.5 + bias).exp()
    return torch.dropout(e / e.sum(-1, keepdim=True), 0.1, train=False).flatten(0, 1).bmm(v.flatten(0, 1)).view_as(v)


WAYS: dict[str, Callable[..., Tensor]] = {
    "by hand": _by_hand,
    "einsum": _einsum,
    "fused": _fused,
    "transposed": _transposed,
    "exponentials": _exponentials,
}


class Attention(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.weights = nn.Identity()
        self.way = way

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.out(WAYS[self.way](self.weights, q, k, v, bias).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A layer, with its norms before or behind."""

    def __init__(self, way: str, norm_first: bool) -> None:
        super().__init__()
        self.attention = Attention(way)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.first, self.second = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)
        self.norm_first = norm_first

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        first, second = self.norms
        if self.norm_first:
            x = x + self.attention(first(x), bias)
            return x + self.second(F.gelu(self.first(second(x))))
        x = first(x + self.attention(x, bias))
        return second(x + self.second(F.gelu(self.first(x))))


class ViT(nn.Module):
    """Photos in patches of 4, behind a class token; norms before."""

    def __init__(self, way: str = "by hand") -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.start = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(torch.randn(17, WIDTH) / 2)
        self.blocks = nn.ModuleList([Block(way, norm_first=True) for _ in range(LAYERS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1)
        x = x + self.places[: x.shape[1]]
        for block in self.blocks:
            x = block(x, x.new_zeros(1, 1, 1, 1))
        return self.head(self.norm(x)[:, 0])


class Text(nn.Module):
    """Token ids (B, 5) and which of them count; norms behind."""

    def __init__(self, way: str = "by hand") -> None:
        super().__init__()
        self.words = nn.Embedding(20, WIDTH)
        self.places = nn.Parameter(torch.randn(5, WIDTH) / 2)
        self.blocks = nn.ModuleList([Block(way, norm_first=False) for _ in range(LAYERS)])
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words(ids) + self.places
        bias = torch.where(mask, 0.0, -1e9)[:, None, None].to(x.dtype)
        for block in self.blocks:
            x = block(x, bias)
        return self.head(x[:, 0])


def photos() -> Tensor:
    return torch.randn(4, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def sentences() -> tuple[Tensor, Tensor]:
    ids = torch.randint(20, (4, 5), generator=torch.Generator().manual_seed(2))
    return ids, torch.arange(5) < torch.tensor([[5], [3], [2], [4]])


@functools.cache
def transformer(kind: Callable[[str], nn.Module], way: str = "by hand", scale: float = 2.0) -> nn.Module:
    """Build a model in float64 whose attention is not flat, the same for each way."""
    torch.manual_seed(0)
    model = kind(way).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("qkv.weight"):
                parameter.mul_(scale)
    return model
