"""Networks behind whose layers interactions are looked for: small, in float64, in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xai_fast.models.relation_network import PairwiseRelation


class Head(nn.Module):
    """What comes after the map of a CNN."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            activation(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Residual(nn.Module):
    """A residual block under a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.two = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.GroupNorm(1, 3)
        self.last = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(torch.nn.functional.silu(self.norm(self.one(x))))
        return self.last((x + y).relu().mean((2, 3)))


class Encoder(nn.Module):
    """A transformer layer under a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(x).mean(1))


class Relation(nn.Module):
    """The relation network behind its objects, with a question."""

    def __init__(self) -> None:
        super().__init__()
        self.relation = PairwiseRelation(5, 3, width=12, layers=2)
        self.readout = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, objects: Tensor, question: Tensor) -> Tensor:
        return self.readout(self.relation(objects, question))


def made(build: Callable[[], nn.Module], seed: int = 3) -> nn.Module:
    """Build a network in float64, with statistics and weights that are not those of the start."""
    torch.manual_seed(seed)
    model = build().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model


def numbers(*shape: int, seed: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw normal numbers."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...] | None]] = {
    "relation": (Relation, (4, 5), (3,)),
    "conv_head_relu": (lambda: Head(nn.ReLU), (3, 4, 4), None),
    "conv_head_gelu": (lambda: Head(nn.GELU), (3, 4, 4), None),
    "transformer": (Encoder, (3, 8), None),
    "residual": (Residual, (3, 3, 3), None),
}
"""Name to builder, shape of an item, and shape of its additional argument."""


def network(name: str, batch: int = 3) -> tuple[nn.Module, Tensor, Tensor | None]:
    """Build one, with inputs and the additional argument."""
    build, shape, extra = NETWORKS[name]
    return made(build), numbers(batch, *shape), None if extra is None else numbers(batch, *extra, seed=6)
