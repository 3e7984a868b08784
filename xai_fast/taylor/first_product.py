"""The first matrix product of a score, and directions that touch few entries of the input.

A direction at one cell of a flattened feature map touches d of the map's n d entries, so its row behind the first
linear layer needs d rows of the weights, not all n d. This is where Taylor-CAM spends its time on a small head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.graph import Ref
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules.bilinear import MatrixProduct
from xai_fast.taylor.rules.linear import RESHAPES

__all__ = ["FirstProduct", "Touched", "first_product", "touched_columns"]

_WORTH_A_LOOK = 1 << 22
"""Operations of the product below which it does not pay to look which entries are touched."""

_SHARE_THAT_GAINS = 0.5
"""The largest share of touched entries at which picking them pays."""


@dataclass(frozen=True)
class Touched:
    """What directions touch of an item of N entries.

    Attributes:
        columns: (R, c) int64, the entries that each direction touches, one side after the other.
        in_order: whether each side has N / c directions, of which number k touches the entries from k c to k c + c - 1,
            as one direction per cell does: then nothing has to be picked.
    """

    columns: Tensor
    in_order: bool


class FirstProduct:
    """A product y = x W of all entries of an item, by which the score reads the input: the node of y, and W (N, M)."""

    def __init__(self, node: int, weight: Tensor) -> None:
        self.node = node
        self.weight = weight.contiguous()  # its rows are picked
        # By the numbers of directions: which entries they touched at the last call, and what that is.
        self.seen: dict[tuple[int, ...], tuple[bytes, Touched | None]] = {}

    def rows(self, sides: Sequence[Tensor], touched: Touched | None, first: int = 0) -> Tensor:
        """Return directions (B, n, ...) each, carried through the product: (R, B, 1, M), R the directions of all sides.

        ``touched`` is what they touch, None for all entries, ``first`` the number of the first of them among all.
        """
        flat = [side.flatten(2) for side in sides]
        if touched is None:
            return torch.cat([torch.matmul(side, self.weight).transpose(0, 1) for side in flat]).unsqueeze(2)
        counts = [side.shape[1] for side in flat]
        columns = touched.columns[first : first + sum(counts)]
        if touched.in_order:
            cells = self.weight.view(-1, columns.shape[1], self.weight.shape[1])
            start = first % cells.shape[0]
            rows = self.weight.new_empty(sum(counts), flat[0].shape[0], cells.shape[2])
            for side, count, part in zip(flat, counts, torch.split(rows, counts), strict=True):
                by_cell = side.reshape(*side.shape[:2], *cells.shape[:2])
                own = by_cell[:, :, start : start + count].diagonal(0, 1, 2)
                torch.bmm(own.permute(2, 0, 1), cells[start : start + count], out=part)
            return rows.unsqueeze(2)
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


def touched_columns(product: FirstProduct | None, sides: tuple[Tensor, ...], limit: int) -> Touched | None:
    """Find the entries of the input that directions touch; None where picking them does not pay."""
    if product is None:
        return None
    if 2 * sum(side.shape[0] * side.shape[1] for side in sides) * product.weight.numel() < _WORTH_A_LOOK:
        return None
    # Faster than any(0), which runs through the batch entry by entry.
    by_side = [side.flatten(2).bool().view(torch.uint8).amax(0) for side in sides]
    touched = by_side[0] if len(sides) == 1 else torch.cat(by_side)
    counts, content = tuple(map(len, by_side)), touched.cpu().numpy().tobytes()
    last = product.seen.get(counts)
    if last is None or last[0] != content:
        last = product.seen[counts] = content, _touched(touched, len(sides))
    found = last[1]
    # A sixteenth of the memory is left for what is not planned, see `usable_bytes`.
    fits = found is None or found.columns.numel() * product.weight[0].nbytes <= limit // 16
    return found if fits else None


def _touched(touched: Tensor, sides: int) -> Touched | None:
    least, most = map(int, touched.sum(1).aminmax())
    if most > _SHARE_THAT_GAINS * touched.shape[1]:
        return None
    if least == most > 0:
        columns = touched.nonzero()[:, 1].view(-1, most)
        order = torch.arange(touched.shape[1], device=columns.device).repeat(sides)
        return Touched(columns, torch.equal(columns.flatten(), order))
    # Directions that touch fewer are filled up with entries where they are zero.
    return Touched(touched.topk(max(1, most), 1).indices, False)
