"""`partition_sum` on a GPU: the derivatives of the units, then the sums of each target for a block of units.

The derivatives are elementwise operations of torch on one array of units: little beside the rows, of which there are
many. Sums over units are in parts, one a program, that a second pass adds up: the order is always the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xai_fast.kernels import triton_launch
from xai_fast.kernels.partition_sum import triton_kernels as kernels
from xai_fast.kernels.partition_sum.activations import derivatives

__all__ = ["run", "run_reduced"]

# Eight entries a thread, two 128-bit loads of each row in flight. In float64 two, one load: with more, compilers spill.
BLOCK = {torch.float32: 1024, torch.float64: 256}
NUM_WARPS = 4
TARGETS = 8  # of a program, which finds the rows that they share in its cache
ADDED = 256


def _run(
    out: Tensor,
    values: Tensor,
    rows: Tensor,
    adjoints: Tensor | None,
    activation: str,
    parameters: Sequence[float],
    term_offsets: Tensor,
    term_order: Tensor,
    term_adjoint: Tensor,
    block_offsets: Tensor,
    blocks: Tensor,
    orders: int,
    *,
    reduced: bool,
) -> None:
    s = torch.stack(derivatives(activation, parameters, values, orders))
    sizes = (rows.shape[0], 0 if adjoints is None else adjoints.shape[0], term_order.numel(), blocks.numel(), orders)
    program = (term_offsets, term_order, term_adjoint, block_offsets, blocks)
    # Where nothing is read there is still an address.
    arguments = (s, rows if rows.shape[0] else s, adjoints, *program, *sizes)
    (_reduced if reduced else _written)(out, values, arguments, term_offsets.numel() - 1)


def _written(out: Tensor, values: Tensor, arguments: tuple[Any, ...], targets: int) -> None:
    block = BLOCK[values.dtype]
    groups = -(-targets // TARGETS)
    entries = values.numel()
    with triton_launch.device_of(values):
        kernels.write_targets[(-(-entries // block) * groups,)](
            out,
            *arguments,
            entries,
            targets,
            groups,
            TARGETS=TARGETS,
            BLOCK=block,
            **triton_launch.options(NUM_WARPS),
        )


def _reduced(out: Tensor, values: Tensor, arguments: tuple[Any, ...], targets: int) -> None:
    items, units = values.shape
    block = BLOCK[values.dtype]
    split = triton_launch.split(units, block)
    groups = -(-targets // TARGETS)
    partial = torch.empty((split.parts, items, targets), dtype=torch.float64, device=values.device)
    options = triton_launch.options(NUM_WARPS)
    with triton_launch.device_of(values):
        kernels.sum_targets[(items * split.parts * groups,)](
            partial,
            *arguments,
            items,
            units,
            targets,
            groups,
            split.parts,
            split.blocks_per_part,
            TARGETS=TARGETS,
            BLOCK=block,
            **options,
        )
        kernels.add_parts[(-(-out.numel() // ADDED),)](out, partial, out.numel(), split.parts, BLOCK=ADDED, **options)


run = functools.partial(_run, reduced=False)
run_reduced = functools.partial(_run, reduced=True)
