"""DeepLIFT and FullGrad as the papers define them, an item and an entry at a time.

Contributions are carried forward here: each value knows its multipliers to every entry of the input, (its entries, N).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

Operation = Callable[[Tensor], Tensor]


@dataclass
class Two:
    """A value at the item and at the baseline, (1, ...) each, with its multipliers."""

    x: Tensor
    x0: Tensor
    m: Tensor

    @cached_property
    def steps(self) -> list[float]:
        return (self.x - self.x0).flatten().tolist()

    @classmethod
    def start(cls, x: Tensor, x0: Tensor) -> Two:
        return cls(x, x0, torch.eye(x.numel(), dtype=x.dtype))

    def affine(self, function: Operation) -> Two:
        """Eq. 3 for a function that is linear but for a bias: its weights are its values at unit vectors."""
        zero = function(torch.zeros_like(self.x))
        units = torch.eye(self.x.numel(), dtype=self.x.dtype).reshape(-1, *self.x.shape[1:])
        weights = torch.stack([(function(unit[None]) - zero).flatten() for unit in units], 1)
        return Two(function(self.x), function(self.x0), weights @ self.m)

    def entry(self, function: Operation) -> Two:
        """Rescale: (y - y') / (x - x'), and the derivative where the two are the same."""
        y, y0 = function(self.x), function(self.x0)
        slopes = []
        for i, step in enumerate(self.steps):
            if step == 0:
                point = self.x.flatten()[i].clone().requires_grad_()
                with torch.enable_grad():
                    slopes.append(float(torch.autograd.grad(function(point), point)[0]))
            else:
                slopes.append(float((y - y0).flatten()[i]) / step)
        return Two(y, y0, torch.tensor(slopes, dtype=y.dtype)[:, None] * self.m)

    def __add__(self, other: Two) -> Two:
        return Two(self.x + other.x, self.x0 + other.x0, self.m + other.m)

    def __mul__(self, other: Two) -> Two:
        """Each factor has the mean of the other."""
        means = [((f.x + f.x0) / 2).flatten()[:, None] for f in (self, other)]
        return Two(self.x * other.x, self.x0 * other.x0, means[1] * self.m + means[0] * other.m)

    def pooled(self, size: tuple[int, int], stride: tuple[int, int]) -> Two:
        """Take maxima over windows of maps (1, C, H, W): the entry of the larger maximum has the difference."""
        at = torch.arange(self.x.numel()).reshape(self.x.shape)
        windows = at.unfold(2, size[0], stride[0]).unfold(3, size[1], stride[1])
        return self._maxima(windows.flatten(4).flatten(0, 3).tolist(), windows.shape[:4])

    def _maxima(self, windows: Sequence[Sequence[int]], shape: Sequence[int]) -> Two:
        x, x0 = self.x.flatten().tolist(), self.x0.flatten().tolist()
        values, values0, rows = [], [], []
        for window in windows:
            at, at0 = max(window, key=x.__getitem__), max(window, key=x0.__getitem__)
            y, y0 = x[at], x0[at0]
            winner = at if y >= y0 else at0
            step = x[winner] - x0[winner]
            rows.append(self.m[winner] * (1.0 if step == 0 else (y - y0) / step))
            values.append(y)
            values0.append(y0)
        made = [torch.tensor(v, dtype=self.x.dtype).reshape(*shape) for v in (values, values0)]
        return Two(made[0], made[1], torch.stack(rows))

    def softmax(self) -> Two:
        """Take the softmax along the last dimension: p_k = exp(log p_k), and log p_k = z_k - L.

        The multiplier of exp is l_k = (p_k - p_k') / (log p_k - log p_k'), and that of z_j to L is l_j / sum l.
        """
        p, p0 = self.x.softmax(-1), self.x0.softmax(-1)
        width = p.shape[-1]
        rows: list[Tensor] = []
        for start in range(0, p.numel(), width):
            pairs = zip(*(v.flatten()[start : start + width].tolist() for v in (p, p0)), strict=True)
            means = [a if a == b else (a - b) / (math.log(a) - math.log(b)) for a, b in pairs]
            z = self.m[start : start + width]
            total = sum(mean * row for mean, row in zip(means, z, strict=True)) / sum(means)
            rows += [mean * (row - total) for mean, row in zip(means, z, strict=True)]
        return Two(p, p0, torch.stack(rows))


def literal_deeplift(layers: Sequence[nn.Module], x: Tensor, x0: Tensor, target: int) -> Tensor:
    """Run DeepLIFT through layers that follow each other: x and x0 (1, ...) to attributions like x."""
    value = Two.start(x, x0)
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            value = value.pooled(*(s if isinstance(s, tuple) else (s, s) for s in (layer.kernel_size, layer.stride)))
        elif isinstance(layer, nn.Softmax):
            value = value.softmax()
        elif isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.Flatten | nn.AvgPool2d):
            value = value.affine(layer)
        else:
            value = value.entry(layer)
    return value.m[target].reshape(x.shape) * (x - x0)


def literal_fullgrad(layers: Sequence[nn.Module], x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Run FullGrad on x (1, C, H, W) through layers that follow each other, with the gradient of each that has a bias.

    Returns:
        The map (H, W), and the sum of all terms.
    """
    value = point = x.clone().requires_grad_()
    found: list[tuple[Tensor, Tensor]] = []
    for layer in layers:
        before, value = value, layer(value)
        value.retain_grad()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            found.append((layer.bias, value))
        elif isinstance(layer, nn.BatchNorm2d):
            scale = layer.weight / (layer.running_var + layer.eps).sqrt()
            implicit = layer.bias - layer.running_mean * scale
            if found and found[-1][1] is before:  # one bias with that of the convolution before
                implicit = implicit + found.pop()[0] * scale
            found.append((implicit, value))
        elif isinstance(layer, nn.GELU):
            leaf = before.detach().requires_grad_()
            (slope,) = torch.autograd.grad(layer(leaf).sum(), leaf)
            found.append(((value - slope * before).detach(), value))
    value[0, target].backward()
    terms = [x * point.grad]
    for bias, value in found:
        shaped = bias.reshape(1, -1, *[1] * (value.ndim - 2)) if bias.ndim == 1 else bias
        terms.append((shaped * value.grad).detach())
    total = torch.zeros_like(x[0, 0])
    for term in terms:
        if term.ndim == 4 and term[0, 0].numel() > 1:
            total += _psi(term, x.shape[2:])
    return total, torch.stack([term.sum() for term in terms]).sum()


def _psi(term: Tensor, size: Sequence[int]) -> Tensor:
    """Take magnitudes, scale all channels to [0, 1], resize and sum: (H, W)."""
    size_of = term.abs()
    span = size_of.max() - size_of.min()
    scaled = (size_of - size_of.min()) / (span if span > 0 else 1.0)
    channels = [
        nn.functional.interpolate(scaled[:, k : k + 1], tuple(size), mode="bilinear") for k in range(term.shape[1])
    ]
    return torch.cat(channels, 1).sum(1)[0]
