"""Networks with batch norm behind convolutions, most of which use the convolution in some way of their own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

__all__ = ["NETWORKS", "PairOf", "depends_on_the_batch", "plain", "randomized", "read_twice"]


def randomized(model: nn.Module) -> nn.Module:
    """Give batch norms statistics and weights of their own, and put the model in evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


class PairOf(nn.Module):
    """A convolution and its batch norm, used as ``how`` says, before a linear head.

    Args:
        how: from this module and the input to a map.
        bias: of the convolution.
        norm: options of the batch norm.
    """

    def __init__(self, how: Callable[..., Tensor], bias: bool = False, **norm: Any) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(4, **norm)
        self.head = nn.Linear(4, 3)
        self.how = how
        self.kept: object = None

    def forward(self, x: Tensor) -> Any:
        found = self.how(self, x)
        return found if not isinstance(found, Tensor) else self.head(F.softplus(found).mean((2, 3)))


def plain(net: PairOf, x: Tensor) -> Tensor:
    return net.norm(net.convolution(x))


def functional(net: PairOf, x: Tensor) -> Tensor:
    norm = net.norm
    x = F.conv2d(x, net.convolution.weight, None, 1, 1)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


def read_twice(net: PairOf, x: Tensor) -> Tensor:
    made = net.convolution(x)
    return net.norm(made) + made.sigmoid()


def kept(net: PairOf, x: Tensor) -> Tensor:
    net.kept = net.convolution(x)
    return net.norm(net.kept)


def given_out(net: PairOf, x: Tensor) -> Any:
    features = net.convolution(x)
    return SimpleNamespace(logits=net.head(net.norm(features).sigmoid().mean((2, 3))), features=features)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


def own_function(net: PairOf, x: Tensor) -> Tensor:
    made = net.convolution(x)
    return net.norm(made) + Doubled.apply(made)


def in_place(net: PairOf, x: Tensor) -> Tensor:
    return net.norm(net.convolution(x).sigmoid_())


def in_place_after(net: PairOf, x: Tensor) -> Tensor:
    return F.relu_(net.norm(net.convolution(x)))


def three_runs(net: PairOf, x: Tensor) -> Tensor:
    return net.norm(net.convolution(x)) + net.norm(net.convolution(x.flip(2))) + net.convolution(x.flip(3))


def two_norms(net: PairOf, x: Tensor) -> Tensor:
    norm = net.norm
    other = F.batch_norm(net.convolution(x.flip(3)), norm.running_var, norm.running_var, norm.bias, norm.weight)
    return norm(net.convolution(x)) * other


def checkpointed(net: PairOf, x: Tensor) -> Tensor:
    return checkpoint(lambda x: plain(net, x), x + 0, use_reentrant=False)


def checkpointed_reentrant(net: PairOf, x: Tensor) -> Tensor:
    return checkpoint(lambda x: plain(net, x), x + 0, use_reentrant=True)


def writes(net: PairOf, x: Tensor) -> Tensor:
    return plain(net, x.mul_(2))


def depends_on_values(net: PairOf, x: Tensor) -> Tensor:
    made = net.convolution(x)
    return net.norm(made) if made.mean() > 0 else net.norm(-made)


def depends_on_the_batch(net: PairOf, x: Tensor) -> Tensor:
    return plain(net, x) if len(x) == 1 else plain(net, x) + net.convolution(x).tanh()


def views(net: PairOf, x: Tensor) -> Tensor:
    return plain(net, x).view(len(x), 4, -1)[..., None]


def _hooked(kind: str) -> nn.Module:
    model = PairOf(plain)
    outputs: list[object] = []
    getattr(model.convolution, kind)(lambda *seen: outputs.append(seen[-1]))
    return model


def _parametrized() -> nn.Module:
    computed = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    return nn.Sequential(
        computed, nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 3)
    )


def _scripted() -> nn.Module:
    model = PairOf(plain)
    model.norm = torch.jit.script(model.norm.eval())  # type: ignore[assignment]
    return model


def _of_dimensions(convolution: type[nn.Module], norm: type[nn.Module], count: int) -> nn.Module:
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[count - 1]
    return nn.Sequential(convolution(3, 4, 2), norm(4), nn.Tanh(), pool(1), nn.Flatten(), nn.Linear(4, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "one after the other": (lambda: PairOf(plain), 0),
    "with a bias": (lambda: PairOf(plain, bias=True), 0),
    "a norm without weights": (lambda: PairOf(plain, bias=True, affine=False), 0),
    "functions": (lambda: PairOf(functional), 0),
    "in place behind the norm": (lambda: PairOf(in_place_after), 0),
    "one convolution, two norms": (lambda: PairOf(two_norms), 0),
    "view behind the norm": (lambda: PairOf(views), 0),
    "1-d": (lambda: _of_dimensions(nn.Conv1d, nn.BatchNorm1d, 1), 0),
    "3-d": (lambda: _of_dimensions(nn.Conv3d, nn.BatchNorm3d, 3), 0),
    "a convolution that runs three times": (lambda: PairOf(three_runs), 0),
    "read twice": (lambda: PairOf(read_twice), 1),
    "read by a function of autograd": (lambda: PairOf(own_function), 1),
    "changed in place before the norm": (lambda: PairOf(in_place), 1),
    "kept by the model": (lambda: PairOf(kept), 1),
    "given out beside the logits": (lambda: PairOf(given_out), 1),
    "writes into its input": (lambda: PairOf(writes), 1),
    "depends on values": (lambda: PairOf(depends_on_values), 1),
    "statistics of the batch": (lambda: PairOf(plain, track_running_stats=False), 1),
    "a hook": (lambda: _hooked("register_forward_hook"), 1),
    "a hook on the way back": (lambda: _hooked("register_full_backward_hook"), 1),
    "a weight that is computed, and one that is not": (_parametrized, 1),
    "a part that is scripted": (_scripted, 0),  # whose norm calls no function that could be seen
    "a checkpoint": (lambda: PairOf(checkpointed), 1),
    "a reentrant checkpoint": (lambda: PairOf(checkpointed_reentrant), 0),
}
"""Name to a network for (B, 3, 6, 6), or other dimensions, and how many batch norms are left in a pass."""
