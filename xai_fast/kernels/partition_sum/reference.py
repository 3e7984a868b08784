"""The sums in plain PyTorch, term by term: the definition of the kernel, and the fallback."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast.kernels.partition_sum.activations import derivatives
from xai_fast.kernels.partition_sum.program import Program, check_program

__all__ = ["run", "run_reduced"]


def _run(
    out: Tensor,
    values: Tensor,
    rows: Tensor,
    adjoints: Tensor | None,
    activation: str,
    parameters: Sequence[float],
    *program: Tensor | int,
    reduced: bool,
) -> None:
    steps = Program(*program)  # type: ignore[arg-type]
    check_program(steps, rows.shape[0], 0 if adjoints is None else adjoints.shape[0])
    s = derivatives(activation, parameters, values, steps.orders)
    term_offsets, order, adjoint, block_offsets, blocks = (index.tolist() for index in steps[:5])
    for target in range(len(term_offsets) - 1):
        c = torch.zeros_like(values)
        for k in range(term_offsets[target], term_offsets[target + 1]):
            product = s[order[k]]
            if adjoints is not None and adjoint[k] >= 0:
                product = product * adjoints[adjoint[k]]
            for row in blocks[block_offsets[k] : block_offsets[k + 1]]:
                product = product * rows[row]
            c += product
        if reduced:
            out[:, target] += c.sum(1, dtype=torch.float64).to(out.dtype)
        else:
            out[target] = c


run = functools.partial(_run, reduced=False)
run_reduced = functools.partial(_run, reduced=True)
