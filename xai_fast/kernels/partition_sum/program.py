"""Programs of `partition_sum`: which terms each target sums, as compressed rows of int32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import check_range
from xai_fast.kernels.partition_sum.activations import MAX_ORDER

__all__ = ["MAX_BLOCKS", "Program", "Term", "check_program", "program_of"]

MAX_BLOCKS = 6
"""The most rows in a term."""


class Term(NamedTuple):
    """One product: derivative ``order`` of the function, the rows ``blocks``, and an adjoint, or -1 for none."""

    order: int
    blocks: tuple[int, ...]
    adjoint: int = -1


class Program(NamedTuple):
    """The last arguments of `partition_sum`, which documents them."""

    term_offsets: Tensor
    term_order: Tensor
    term_adjoint: Tensor
    block_offsets: Tensor
    blocks: Tensor
    orders: int

    def to(self, device: torch.device | str) -> Program:
        """Return the same program on a device."""
        term_offsets, term_order, term_adjoint, block_offsets, blocks = (index.to(device) for index in self[:5])
        return Program(term_offsets, term_order, term_adjoint, block_offsets, blocks, self.orders)


def program_of(targets: Sequence[Iterable[Term]]) -> Program:
    """Return the program, on the CPU, of targets that are given as lists of terms.

    Terms with the same order and adjoint are put side by side, so that their common factors are multiplied once. An
    `InputError` shows a term of which an order, a number of blocks or an index is out of range.
    """
    in_order = [sorted(terms, key=lambda term: (term.order, term.adjoint)) for terms in targets]
    terms = [term for target in in_order for term in target]
    for term in terms:
        fits = 0 <= term.order <= MAX_ORDER and len(term.blocks) <= MAX_BLOCKS
        if not fits or term.adjoint < -1 or min(term.blocks, default=0) < 0:
            expected = (
                f"terms of order 0 to {MAX_ORDER}, at most {MAX_BLOCKS} blocks, and indices that are not negative"
            )
            raise bad_argument("targets", expected, repr(term))

    def integers(values: Iterable[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.int32)

    return Program(
        integers(accumulate((len(target) for target in in_order), initial=0)),
        integers(term.order for term in terms),
        integers(term.adjoint for term in terms),
        integers(accumulate((len(term.blocks) for term in terms), initial=0)),
        integers(block for term in terms for block in term.blocks),
        max((term.order for term in terms), default=0),
    )


def check_program(program: Program, rows: int, adjoints: int) -> None:
    """Check every index of a program. It reads them all, and so waits for a GPU that holds them."""
    for name, offsets, end in (
        ("term_offsets", program.term_offsets, program.term_order.numel()),
        ("block_offsets", program.block_offsets, program.blocks.numel()),
    ):
        values = offsets.tolist()
        if values[0] != 0 or values[-1] != end or any(a > b for a, b in pairwise(values)):
            raise bad_argument(name, f"offsets that rise from 0 to {end}", _shortened(values))
    check_range("term_order", program.term_order, 0, program.orders)
    check_range("term_adjoint", program.term_adjoint, -1, adjoints - 1)
    check_range("blocks", program.blocks, 0, rows - 1)
    longest = int(program.block_offsets.diff().max()) if program.term_order.numel() else 0
    if longest > MAX_BLOCKS:
        raise bad_argument("block_offsets", f"at most {MAX_BLOCKS} blocks a term", str(longest))


def _shortened(values: list[int]) -> str:
    return str(values) if len(values) <= 8 else f"[{', '.join(map(str, values[:4]))}, ..., {values[-1]}]"
