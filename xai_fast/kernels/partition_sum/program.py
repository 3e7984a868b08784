"""Programs of `partition_sum`: which terms each target sums, as compressed rows of int32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import check_range
from xai_fast.kernels.partition_sum.activations import MAX_ORDER
from xai_fast.kernels.partition_sum.partitions import set_partitions

__all__ = ["MAX_BLOCKS", "Program", "Term", "check_program", "forward_program", "program_of"]

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
    """Build the program of targets that are given as lists of terms.

    Args:
        targets: the terms of each target. Terms with the same order and adjoint are put side by side, so that their
            common factors are multiplied once.

    Returns:
        The program, on the CPU.

    Raises:
        InputError: an order or a number of blocks is out of range, or an index negative.
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


def forward_program(sets: Sequence[int] | Sequence[frozenset[Any]], index_of: Mapping[Any, int]) -> Program:
    """Build the program of ``y_S``, the mixed derivatives of a node, for many sets S.

    ``y_S = sum over the partitions p of S of s^(len p)(z) * product over the blocks B of p of z_B``.

    Args:
        sets: the sets, of up to six elements, as bit masks or as frozensets.
        index_of: the row of ``z_B`` of each block, keyed like ``sets``. All non-empty subsets of the sets are needed.

    Returns:
        The program, on the CPU; target t is ``sets[t]``.

    Raises:
        InputError: a set is too large, or a subset has no row.
    """
    return program_of([_terms_of_set(chosen, index_of) for chosen in sets])


def _terms_of_set(chosen: int | frozenset[Any], index_of: Mapping[Any, int]) -> list[Term]:
    members = [] if isinstance(chosen, int) else list(chosen)
    mask = chosen if isinstance(chosen, int) else (1 << len(members)) - 1
    if mask.bit_count() > MAX_ORDER:
        raise bad_argument("sets", f"sets of at most {MAX_ORDER} elements", repr(chosen))

    def row(block: int) -> int:
        key = block if isinstance(chosen, int) else frozenset(m for i, m in enumerate(members) if block >> i & 1)
        if key not in index_of:
            raise bad_argument("index_of", f"a row for {key!r}, which is part of {chosen!r}", "none")
        return index_of[key]

    return [Term(len(partition), tuple(row(block) for block in partition)) for partition in set_partitions(mask)]


def check_program(program: Program, rows: int, adjoints: int) -> None:
    """Check every index of a program. It reads them all, and so waits for a GPU that holds them.

    Args:
        program: the program.
        rows: R.
        adjoints: Q; zero where there are none.

    Raises:
        InputError: an index is out of range.
    """
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
