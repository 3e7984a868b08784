"""Small networks from (B, 2, 7, 5) to three outputs, in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def random(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch_norm() -> nn.Module:
    norm = nn.BatchNorm2d(4)
    norm.running_mean.normal_(generator=torch.Generator().manual_seed(1))
    norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    return norm


class Net(nn.Module):
    """Layers of a kind, and what becomes of them in a function of its own."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = forward, nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.layers)


def net(function: Callable[..., Tensor], **layers: nn.Module) -> nn.Module:
    """Make a network from (B, 2, 7, 5) to three outputs; what the function gives is summed over its middle."""
    torch.manual_seed(0)
    head = nn.LazyLinear(3)
    model = Net(lambda x, head, **rest: head(function(x, **rest).flatten(1)), head=head, **layers).double()
    model(random(1, 2, 7, 5))
    return model.eval()


def convolution() -> nn.Module:
    torch.manual_seed(1)
    return nn.Conv2d(2, 2, 3, padding=1)
