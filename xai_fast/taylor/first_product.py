"""The first matrix product of a score, and directions that touch few entries of the input.

A direction at one cell of a flattened feature map touches d of the map's n d entries, so its row behind the first
linear layer needs d rows of the weights, not all n d. This is where Taylor-CAM spends its time on a small head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast.graph import Ref
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules.bilinear import MatrixProduct
from xai_fast.taylor.rules.linear import RESHAPES

__all__ = ["FirstProduct", "first_product", "touched_columns"]

_WORTH_A_LOOK = 1 << 22
"""Operations of the product below which it does not pay to look which entries are touched."""

_SHARE_THAT_GAINS = 0.5
"""The largest share of touched entries at which picking them pays."""


class FirstProduct:
    """A product y = x W of all entries of an item, through which the score reads the input.

    Args:
        node: of y, (1, M).
        weight: (N, M).
    """

    def __init__(self, node: int, weight: Tensor) -> None:
        self.node = node
        self.weight = weight.contiguous()  # its rows are picked

    def rows(self, sides: Sequence[Tensor], columns: Tensor | None) -> Tensor:
        """Carry directions through the product.

        Args:
            sides: (B, n, ...) directions each.
            columns: (R, c) int64, the entries that each touches, one side after the other; None for all.

        Returns:
            (R, B, 1, M), R the directions of all sides.
        """
        flat = [side.flatten(2) for side in sides]
        if columns is None:
            return torch.cat([torch.matmul(side, self.weight).transpose(0, 1) for side in flat]).unsqueeze(2)
        counts = [side.shape[1] for side in flat]
        picked = [
            side.gather(2, index.expand(side.shape[0], *index.shape)).transpose(0, 1)
            for side, index in zip(flat, torch.split(columns, counts), strict=True)
        ]
        weights = self.weight.index_select(0, columns.flatten()).reshape(*columns.shape, -1)
        return torch.bmm(picked[0] if len(picked) == 1 else torch.cat(picked), weights).unsqueeze(2)


def first_product(program: Program) -> FirstProduct | None:
    """Find the product; None where the score reads its input in another way."""
    nodes, index = program.graph.nodes, 0
    while True:
        readers = [i for i in program.graph.users.get(index, ()) if nodes[i].active]
        if len(readers) != 1:
            return None
        node, rule = nodes[readers[0]], program.rules.get(readers[0])
        if node.target in RESHAPES and node.size == nodes[0].size:
            index = node.index
            continue
        if not isinstance(rule, MatrixProduct) or rule.curved or nodes[index].shape != (1, nodes[0].size):
            return None
        first, second = rule.operands
        if first != Ref(index) or not isinstance(second, Ref) or nodes[second.index].per_item:
            return None
        weight = program.graph.constants[second.index]
        return FirstProduct(node.index, weight) if isinstance(weight, Tensor) else None


def touched_columns(product: FirstProduct | None, sides: tuple[Tensor, ...], limit: int) -> Tensor | None:
    """Find the entries (R, c) int64 of the input that directions touch; None where picking them does not pay."""
    if product is None:
        return None
    entries, width = product.weight.shape
    count = sum(side.shape[1] for side in sides)
    if 2 * count * sides[0].shape[0] * entries * width < _WORTH_A_LOOK:
        return None
    # Faster than any(0), which runs through the batch entry by entry.
    by_side = [side.amax(0).logical_or(side.amin(0)).flatten(1) for side in sides]
    touched = by_side[0] if len(sides) == 1 else torch.cat(by_side)
    most = int(touched.sum(1).max())
    if most > _SHARE_THAT_GAINS * entries or count * most * width * product.weight.element_size() > limit // 16:
        return None  # a sixteenth of the memory is left for what is not planned, see `usable_bytes`
    # Directions that touch fewer are filled up with entries where they are zero.
    return touched.to(torch.uint8).topk(max(1, most), 1).indices
