"""Second derivatives of scores that begin with a chain of layers: fused kernels in the place of the interpreter.

Where layers have some hundred units the interpreter's calls cost more than its arithmetic. With z the values before the
elementwise functions s of the chain, and mu the adjoints of s(z),

    V^T H U = sum over units of mu s''(z) z_i z_j  +  what the graph behind the chain adds

so that the values and derivatives of all units take one kernel, their rows and adjoints another, and the sum one matrix
product per item. What is behind the chain adds W_i^T G W_j, with G the Hessian of the score in the few units of the
chain's neck (the logits of a classifier); it takes the interpreter, recorded (`xai_fast.taylor.replay`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast import backends
from xai_fast.graph import run
from xai_fast.taylor.feedforward import Chain, Neck
from xai_fast.taylor.numbering import Numbering, Subsets
from xai_fast.taylor.replay import Replay

__all__ = ["chain_bytes", "chain_hessian", "chain_operations", "chain_pairs"]


@functools.lru_cache(maxsize=16)
def _singles(count: int, device: torch.device) -> Subsets:
    return Numbering(count, device).complete(1)


def chain_operations(chain: Chain, rows: int) -> int:
    """Count floating-point operations per item."""
    return 2 * rows * (chain.weights.numel() + chain.layers[0].weight.numel() + rows * chain.units)


def chain_bytes(chain: Chain, x: Tensor, rows: int) -> int:
    """Count the bytes that are taken per item."""
    return x.element_size() * (chain.units * (2 * rows + 8) + rows**2)


def chain_hessian(chain: Chain, x: Tensor) -> Tensor:
    """Compute the Hessians (B, N, N) of items (B, ...) of a chain whose last linear map is the same for all items."""
    if chain.weight is None:
        raise ValueError("expected a chain whose last linear map is the same for all items")
    entries = x[0].numel()
    first = chain.transposed[: entries * chain.widths[0]].view(1, entries, chain.widths[0])
    derivatives = chain.derivatives(x, 2)
    rows, adjoints = _rows(chain, derivatives, first, chain.weight)
    return torch.bmm(rows * (derivatives[:, 2:3] * adjoints), rows.mT)


def chain_pairs(
    chain: Chain, neck: Neck, replay: Replay, x: Tensor, inputs: Sequence[Tensor], first: Tensor, left: int, right: int
) -> Tensor:
    """Compute V^T H U for each item.

    Args:
        chain: with which the score begins.
        neck: behind it.
        replay: of what is behind the neck.
        x: (B, ...), B >= 1.
        inputs: the extras of the graph.
        first: (B, R, U_0) the rows of the directions behind the first matrix: V, then U where that is another.
        left: nV.
        right: nU.

    Returns:
        (B, nV, nU).
    """
    columns = chain.columns[-1]
    derivatives = chain.derivatives(x, 2)
    values = torch.nn.functional.linear(derivatives[:, 0, columns], neck.weight, neck.bias)
    behind = _behind(chain, neck, replay, values, inputs)
    rows, adjoints = _rows(chain, derivatives, first, behind[:, 0] @ neck.weight)
    sums = torch.bmm(rows[:, :left] * (derivatives[:, 2:3] * adjoints), rows[:, -right:].mT)
    if neck.curved:
        at_neck = torch.bmm(rows[:, :, columns], (derivatives[:, 1:2, columns] * neck.weight).mT)
        sums.baddbmm_(torch.bmm(at_neck[:, :left], behind[:, 1:]), at_neck[:, -right:].mT)
    return sums


def _behind(chain: Chain, neck: Neck, replay: Replay, values: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Compute the gradient and the Hessian of the score in the units of the neck: (B, 1 + K, K), or (B, 1, K)."""
    program, count = chain.program, values.shape[1]
    shape = program.graph.nodes[neck.node].shape or ()
    wanted = {i for index in neck.curved for i in program.rules[index].inputs}

    def derivatives(values: Tensor, *inputs: Tensor) -> Tensor:
        state = run(program.graph, values.reshape(-1, *shape[1:]), inputs, neck.node)
        adjoints = program.adjoints(state, (neck.node, *neck.curved))
        parts = [adjoints[neck.node].reshape(-1, 1, count)]
        eye = torch.eye(count, dtype=values.dtype, device=values.device)
        eye = eye.reshape(count, 1, *shape).expand(-1, len(values), *(-1 for _ in shape))
        rows = program.tangents(state, {neck.node: eye}, wanted)
        pairs = [program.rules[i].pair(state, adjoints[i][0], rows, rows) for i in neck.curved if i in adjoints]
        if pairs:
            parts.append(functools.reduce(torch.add, pairs))
        return torch.cat(parts, 1)

    given = [tensor.contiguous() for tensor in (values, *inputs)]  # a record is for one layout
    return replay.run(tuple(tensor.shape for tensor in given), derivatives, *given)


def _rows(chain: Chain, derivatives: Tensor, first: Tensor, last_adjoint: Tensor) -> tuple[Tensor, Tensor]:
    """Make the rows (B, R, U) and the adjoints (B, 1, U) of all units."""
    batch, count = derivatives.shape[0], first.shape[1]
    rows = derivatives.new_empty(batch, count, chain.units)
    adjoints = derivatives.new_empty(batch, 1, chain.units)
    subsets = _singles(count, derivatives.device)
    backends.select("feed_forward_rows", (rows,)).run(
        rows,
        adjoints,
        derivatives,
        first,
        last_adjoint,
        chain.weights,
        chain.transposed_behind_first,
        chain.widths,
        subsets.pairs,
        subsets.triples,
        subsets.triple_pairs,
    )
    return rows, adjoints
