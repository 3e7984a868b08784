"""Relevance of attention, from gradients of a forward pass whose every operation is differentiated as its rule says.

A rule gives the coefficient c of an input, R = c * value, from that of an output, so it is a derivative: what does not
take part in it is detached.
"""

from __future__ import annotations

import torch
from attention_models import HEADS, Block
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


def _with_derivative(value: Tensor, of: Tensor) -> Tensor:
    """Give a value, with the derivative of another one."""
    return of + (value - of).detach()


def _stabilised(z: Tensor) -> Tensor:
    return z + torch.where(z < 0, -EPS, EPS)


def by_contribution(z: Tensor) -> Tensor:
    """Share a sum among its terms, each term / (z + eps)."""
    return _with_derivative(z, z * (z / _stabilised(z)).detach())


def half(product: Tensor) -> Tensor:
    """Give each of two factors half the relevance."""
    return _with_derivative(product, product / 2)


def positive(layer: nn.Linear, x: Tensor) -> Tensor:
    """Share z among its positive contributions, (w x)+ / sum of (w x)+ and b+."""
    z = layer(x)
    contributions = layer.weight * x.unsqueeze(-2)  # (..., outputs, inputs)
    total = contributions.clamp(min=0).sum(-1) + layer.bias.clamp(min=0)
    weight = torch.where(contributions > 0, layer.weight, 0).detach()
    pulled = (weight * x.unsqueeze(-2)).sum(-1)
    return _with_derivative(z, pulled * (z / _stabilised(total)).detach())


def normed(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Take the deviation as a constant."""
    centred = by_contribution(x - by_contribution(x.mean(-1, keepdim=True)))
    deviation = (x.var(-1, correction=0, keepdim=True) + layer.eps).sqrt().detach()
    return centred / deviation * layer.weight + layer.bias


def activated(x: Tensor) -> Tensor:
    """Pass relevance on."""
    return x * (F.gelu(x) / x).detach()


def _attended(block: Block, x: Tensor, bias: Tensor, seen: list[Tensor]) -> Tensor:
    attention = block.attention
    q, k, v = positive(attention.qkv, x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    weights = (half(q @ k.mT) / q.shape[-1] ** 0.5 + bias).softmax(-1)
    seen.append(weights)
    return positive(attention.out, half(weights @ v).transpose(1, 2).flatten(2))


def _block(block: Block, x: Tensor, bias: Tensor, seen: list[Tensor]) -> Tensor:
    (first, second), layers = block.norms, (block.first, block.second)

    def fed_forward(x: Tensor) -> Tensor:
        return positive(layers[1], activated(positive(layers[0], x)))

    if block.norm_first:
        x = by_contribution(x + _attended(block, normed(first, x), bias, seen))
        return by_contribution(x + fed_forward(normed(second, x)))
    x = normed(first, by_contribution(x + _attended(block, x, bias, seen)))
    return normed(second, by_contribution(x + fed_forward(x)))


def relevance_of_attention(model: nn.Module, x: Tensor, bias: Tensor, classes: Tensor) -> list[Tensor]:
    """Compute the relevance of each layer's attention for a score whose relevance is 1.

    Args:
        model: one of `attention_models`.
        x: (B, n, d) the hidden states that go into the first layer.
        bias: what is added to the scores of attention.
        classes: (B,).

    Returns:
        (B, H, n, n) each.
    """
    seen: list[Tensor] = []
    x = x.detach().requires_grad_()
    for block in model.blocks:
        x = _block(block, x, bias, seen)
    last = normed(model.norm, x) if hasattr(model, "norm") else x
    scores = positive(model.head, last[:, 0]).gather(1, classes[:, None])
    coefficients = torch.autograd.grad((scores / scores.detach()).sum(), seen)
    return [(c * weights).detach() for c, weights in zip(coefficients, seen, strict=True)]
