"""The part that the transformers of this package share: class token, positions and pre-norm blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Block", "SelfAttention", "TransformerEncoder"]


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to each other, Vaswani et al. 2017, Section 3.2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix tokens (B, n, d); with a mask (B, 1, 1, n) bool only the values of tokens where it is True."""
        split = self.query_key_value(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)  # (B, heads, n, d / heads) each
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class Block(nn.Module):
    """A pre-norm block: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute tokens (B, n, d) from tokens (B, n, d); see `SelfAttention` for the mask."""
        tokens = tokens + self.attention(self.attention_norm(tokens), mask)
        mixed: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return mixed


class TransformerEncoder(nn.Module):
    """Puts a class token before the others, adds positions, and runs blocks and a last norm.

    Args:
        length: the most tokens, without the class token.
        width: d.
        depth: number of blocks.
        heads: of each attention; a divisor of the width.
    """

    def __init__(self, length: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(1 + length, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Compute what the class token becomes, (B, d), of tokens (B, n, d), where not ``present`` (B, n) padding."""
        mask = None if present is None else functional.pad(present, (1, 0), value=True)[:, None, None]
        class_token = self.class_token.expand(len(tokens), 1, -1)
        tokens = torch.cat([class_token, tokens], dim=1) + self.positions[: 1 + tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens, mask)
        encoded: Tensor = self.norm(tokens)[:, 0]
        return encoded
