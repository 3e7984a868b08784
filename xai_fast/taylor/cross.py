"""Mixed derivatives of any order up to six, for many sets of directions that share subsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.engine.memory import checked_limit, is_out_of_memory, usable_bytes
from xai_fast.errors import bad_argument
from xai_fast.kernels.partition_sum import MAX_ORDER
from xai_fast.taylor.cost import cost_of
from xai_fast.taylor.differentiable import Differentiable, differentiable
from xai_fast.taylor.lattice import Lattice, Set
from xai_fast.taylor.planner import plan_sets
from xai_fast.taylor.prepare import Given, check_batch, prepare
from xai_fast.taylor.program import Program

__all__ = ["checked_directions", "cross_derivatives"]


def cross_derivatives(
    fn: Callable[..., object],
    x: Tensor,
    directions: Tensor,
    sets: Sequence[Sequence[int]],
    *,
    memory_limit: int | None = None,
    **given: Unpack[Given],
) -> Tensor:
    """Compute F_T = D^k F [v_t : t in T] for each item and each set T.

    Args:
        fn: see `xai_fast.taylor.bilinear_form`.
        x: (B, ...) float32 or float64.
        directions: (D, ...) for all items, or (B, D, ...).
        sets: sets T of one to six indices of directions; an index that is repeated stands for a repeated derivative.
        memory_limit: in bytes, for what is computed here; None for half of what is free.
        **given: ``target``, ``score`` and ``additional_forward_args``, see `xai_fast.taylor.prepare`.

    Returns:
        (B, len(sets)) in the dtype of x.

    Raises:
        InputError: an argument does not fit, or the memory limit is too small; the message says the least that would
            do.
        ModelError: the function cannot be traced.
        UnsupportedOperation: an operation has no rule.
    """
    out = x.new_zeros(check_batch("x", x).shape[0], len(sets))
    directions = checked_directions(directions, x)
    wanted, copies = _distinct(sets, directions.shape[1])
    function = prepare(fn, x, **given)
    if not wanted or not x.shape[0]:
        return out
    rules = differentiable(function, x)
    inputs = (x, directions[:, copies], *function.inputs)
    limit = checked_limit(memory_limit, x.device)
    with torch.no_grad():
        for lattice, columns in _split(rules.program, x, wanted, limit):
            out[:, columns] = _in_chunks(rules, lattice, inputs, limit)
    return out


def checked_directions(directions: object, x: Tensor) -> Tensor:
    """Check directions (D, ...) or (B, D, ...), and give every item its own: (B, D, ...), a view."""
    expected = f"(D, {', '.join(map(str, x.shape[1:]))}) or (B, D, {', '.join(map(str, x.shape[1:]))}), {x.dtype}"
    if not isinstance(directions, Tensor):
        raise bad_argument("directions", expected, type(directions).__name__)
    if directions.dtype != x.dtype or directions.device != x.device:
        raise bad_argument("directions", f"{x.dtype} on {x.device}", f"{directions.dtype} on {directions.device}")
    if directions.ndim == x.ndim and directions.shape[1:] == x.shape[1:]:
        return directions.expand(x.shape[0], *directions.shape)
    if directions.ndim == x.ndim + 1 and (directions.shape[0], *directions.shape[2:]) == tuple(x.shape):
        return directions
    raise bad_argument("directions", expected, str(tuple(directions.shape)))


def _distinct(sets: Sequence[Sequence[int]], count: int) -> tuple[list[Set], list[int]]:
    """Give repeated indices a copy of their direction each, and the list of which direction each index stands for."""
    copies = list(range(count))
    place: dict[tuple[int, int], int] = {}
    wanted = []
    for position, given in enumerate(sets):
        members = sorted(int(i) for i in given)
        if not 1 <= len(members) <= MAX_ORDER:
            raise bad_argument(f"sets[{position}]", f"1 to {MAX_ORDER} indices", repr(tuple(given)))
        if members[0] < 0 or members[-1] >= count:
            raise bad_argument(f"sets[{position}]", f"indices from 0 to {count - 1}", repr(tuple(given)))
        distinct = []
        for at, member in enumerate(members):
            repeat = at - members.index(member)
            if repeat and (member, repeat) not in place:
                place[member, repeat] = len(copies)
                copies.append(member)
            distinct.append(place[member, repeat] if repeat else member)
        wanted.append(tuple(sorted(distinct)))
    return wanted, copies


def _split(program: Program, x: Tensor, wanted: list[Set], limit: int) -> list[tuple[Lattice, Tensor]]:
    """Cut the sets into chunks whose lattices fit for one item, each with its columns of the result."""

    def cut(columns: list[int]) -> list[tuple[Lattice, Tensor]]:
        lattice = Lattice([wanted[t] for t in columns])
        base, row = _sizes(program, x)
        if len(columns) == 1 or base + _rows(lattice) * row <= usable_bytes(limit):
            return [(lattice, torch.tensor(columns, device=x.device))]
        middle = len(columns) // 2
        return cut(columns[:middle]) + cut(columns[middle:])

    return cut(sorted(range(len(wanted)), key=lambda t: wanted[t]))  # neighbours share the most subsets


def _rows(lattice: Lattice) -> int:
    return len(lattice.sets) + len(lattice.adjoint_sets)


def _sizes(program: Program, x: Tensor) -> tuple[int, int]:
    """Return bytes per item, and bytes per item and row."""
    cost = cost_of(program)
    width = x.element_size()
    return width * cost.values, width * (cost.row_peak + cost.row_kept)


def _in_chunks(rules: Differentiable, lattice: Lattice, given: Sequence[Tensor], limit: int) -> Tensor:
    """Compute (B, T) from the items, their directions and the other inputs of the graph, (B, ...) each."""
    x, parts, start = given[0], [], 0
    base, row = _sizes(rules.program, x)
    items = plan_sets(
        items=x.shape[0], rows=_rows(lattice), base=base, row=row, limit=limit, on_cpu=x.device.type == "cpu"
    )
    items = min(items, rules.row_limit or items)
    while start < x.shape[0]:
        part = [tensor[start : start + items] for tensor in given]
        try:
            parts.append(_chunk(rules.program, lattice, *part))
        except RuntimeError as error:
            if not is_out_of_memory(error) or items == 1:
                raise
            items = rules.row_limit = items // 2
        else:
            start += items
    return torch.cat(parts)


def _chunk(program: Program, lattice: Lattice, x: Tensor, directions: Tensor, *extras: Tensor) -> Tensor:
    state = program.run(x, extras)
    rows = x.new_zeros(len(lattice.sets), state.items, 1, *x.shape[1:])
    for row, chosen in enumerate(lattice.sets):
        if len(chosen) == 1:
            rows[row, :, 0] = directions[:, chosen[0]]
    wanted = program.curved_inputs | ({program.graph.output} if lattice.direct else set())
    tangents = program.tangents(state, {0: rows}, wanted, lattice)
    out = x.new_zeros(state.items, len(lattice.targets))
    if len(lattice.direct) < len(lattice.targets):
        adjoints = program.adjoints(state, program.curved, lattice=lattice, rows=tangents)
        for index in program.curved:
            if index in adjoints:
                program.rules[index].contract(state, adjoints[index], tangents, lattice, out)
    for target, row in lattice.direct:
        out[:, target] = tangents[program.graph.output][row, :, 0]
    return out
