"""Class activation maps as their papers define them: one item, one channel, one position at a time, by hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def at_layer(model: nn.Module, layer: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put something in place of the first tensor of a layer's output."""

    def hook(_module: nn.Module, _inputs: object, output: Any) -> Any:
        return change(output) if isinstance(output, Tensor) else (change(output[0]), *output[1:])

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@dataclass
class Literal:
    """One item and a layer.

    Attributes:
        run: from the item's first input (1, ...) to logits (1, classes), as the model's owner calls it.
        model: which has the layer.
        layer: its dotted name.
        x: the item's first input.
        target: the class.
        reads: where the layer's output has its channels: "first", "last", or "sequence" for (n, B, C).
        skip: tokens in front that are no positions.
        grid: of the positions; None for that of the output.
        score: "logit", "probability" or "log_probability".
        axes: of the inputs, which are the positions; None for those behind (B, C).
    """

    run: Callable[[Tensor], Tensor]
    model: nn.Module
    layer: str
    x: Tensor
    target: int
    reads: str = "first"
    skip: int = 0
    grid: tuple[int, ...] | None = None
    score: str = "logit"
    axes: tuple[int, ...] | None = None

    def y(self, x: Tensor, change: Callable[[Tensor], Tensor] = lambda output: output) -> Tensor:
        with at_layer(self.model, self.layer, change):
            z = self.run(x.clone())[0]
        return {"logit": z, "probability": z.softmax(0), "log_probability": z.log_softmax(0)}[self.score][self.target]

    def channel(self, output: Tensor, k: int) -> Tensor:
        """Give channel k of the layer's output, (n,) or a map, as a view without the skipped tokens."""
        if self.reads == "first":
            return output[0, k]
        return output[self.skip :, 0, k] if self.reads == "sequence" else output[0, ..., k][self.skip :]

    def output(self) -> Tensor:
        seen = []
        with torch.no_grad():
            self.y(self.x, lambda output: seen.append(output.detach().clone()) or output)
        return seen[0]

    def parts(self) -> tuple[list[Tensor], list[Tensor]]:
        """Give A_k and dy/dA_k for each channel."""
        leaf = self.output().requires_grad_()
        (gradient,) = torch.autograd.grad(self.y(self.x, lambda _: leaf.clone()), leaf)
        count = leaf.shape[1 if self.reads == "first" else -1]
        return ([self.channel(value, k) for k in range(count)] for value in (leaf.detach(), gradient))

    def __call__(self, name: str, against: bool = False) -> Tensor:
        """Compute the map of a method by its name, before the ReLU."""
        a, g = self.parts()
        g = [-one for one in g] if against else g
        found = sum(getattr(self, name)(a, g))
        return found if self.grid is None else found.reshape(self.grid)

    def gradcam(self, a: list[Tensor], g: list[Tensor]) -> list[Tensor]:
        return [sum(g_k.flatten()) / g_k.numel() * a_k for a_k, g_k in zip(a, g, strict=True)]

    def hires_cam(self, a: list[Tensor], g: list[Tensor]) -> list[Tensor]:
        return [g_k * a_k for a_k, g_k in zip(a, g, strict=True)]

    def layer_cam(self, a: list[Tensor], g: list[Tensor]) -> list[Tensor]:
        return [
            torch.stack([d.clamp(min=0) for d in g_k.flatten()]).view_as(a_k) * a_k
            for a_k, g_k in zip(a, g, strict=True)
        ]

    @torch.no_grad()
    def score_cam(self, a: list[Tensor], _g: object) -> list[Tensor]:
        axes = self.axes or tuple(range(2, self.x.ndim))
        size = [self.x.shape[axis] for axis in axes]
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(axes)]
        increases = []
        for a_k in a:
            image = a_k if self.grid is None else a_k.reshape(self.grid)
            mask = nn.functional.interpolate(image[None, None], size, mode=mode, align_corners=False)[0, 0]
            mask = torch.zeros(size).to(mask) if bool((a_k == a_k.flatten()[0]).all()) else scaled(mask)
            for axis in range(1, self.x.ndim):
                mask = mask if axis in axes else mask.unsqueeze(axis - 1)
            increases.append(self.y(self.x * mask) - self.y(self.x * 0))
        total = sum(increase.exp() for increase in increases)
        return [increase.exp() / total * a_k for increase, a_k in zip(increases, a, strict=True)]

    @torch.no_grad()
    def ablation_cam(self, a: list[Tensor], _g: object) -> list[Tensor]:
        def without(k: int) -> Callable[[Tensor], Tensor]:
            def change(output: Tensor) -> Tensor:
                output = output.clone()
                self.channel(output, k).zero_()
                return output

            return change

        y = self.y(self.x)
        return [(y - self.y(self.x, without(k))) / y.abs() * a_k for k, a_k in enumerate(a)]

    def eigen_cam(self, a: list[Tensor], _g: object) -> list[Tensor]:
        """Find v by the power method on O^T O."""
        o = torch.stack([a_k.flatten() for a_k in a], 1)
        v = torch.ones(o.shape[1], dtype=o.dtype) + torch.arange(o.shape[1]) / 7
        for _ in range(2000):
            v = o.T @ (o @ v)
            v = v / v.norm()
        found = o @ v
        found = found if found.max() > -found.min() else -found
        return [found.view_as(a[0])]


def scaled(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())
