"""Mixed derivatives of any order up to six, for many sets of directions that share subsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.engine.memory import checked_limit, is_out_of_memory, usable_bytes
from xai_fast.errors import bad_argument
from xai_fast.graph import ScoreFunction
from xai_fast.kernels.partition_sum import MAX_ORDER
from xai_fast.taylor.cost import Cost, cost_of
from xai_fast.taylor.differentiable import Differentiable, differentiable
from xai_fast.taylor.lattice import Lattice, Set
from xai_fast.taylor.planner import Plan, plan_sets
from xai_fast.taylor.prepare import Given, check_batch, prepare
from xai_fast.taylor.program import Program

__all__ = ["checked_directions", "cross_derivatives", "plan_cross_derivatives"]


def cross_derivatives(
    fn: Callable[..., object],
    x: Tensor,
    directions: Tensor,
    sets: Sequence[Sequence[int]],
    *,
    orders: tuple[int, int] | None = None,
    memory_limit: int | None = None,
    **given: Unpack[Given],
) -> Tensor:
    """Compute F_T = D^k F [v_t : t in T] for each item and each set T.

    Args:
        fn: see `xai_fast.taylor.bilinear_form`.
        x: (B, ...) float32 or float64.
        directions: (D, ...) for all items, or (B, D, ...).
        sets: sets T of one to six indices of directions; an index that is repeated stands for a repeated derivative.
        orders: (n, m), the largest sets whose tangents and adjoints are computed (the 2n+1 rule, see
            `xai_fast.taylor.lattice`); None for whichever is counted cheapest.
        memory_limit: in bytes, for what is computed here; None for half of what is free.
        **given: ``target``, ``score`` and ``additional_forward_args``, see `xai_fast.taylor.prepare`.

    Returns:
        (B, len(sets)) in the dtype of x.

    Raises:
        InputError: an argument does not fit, or the memory limit is too small.
        ModelError: the function cannot be traced.
        UnsupportedOperation: an operation has no rule.
    """
    out = x.new_zeros(check_batch("x", x).shape[0], len(sets))
    work = _Work.of(fn, x, directions, sets, orders, memory_limit, given)
    with torch.no_grad():
        while work is not None:
            plans = work.plans(checked_limit(memory_limit, x.device))
            try:
                for (lattice, columns), plan in zip(work.lattices, plans, strict=True):
                    _in_chunks(work, lattice, columns, plan, out)
                break
            except RuntimeError as error:
                largest = max(plan.items for plan in plans)
                if not is_out_of_memory(error) or largest == 1:
                    raise
                work.rules.row_limit = max(1, largest // 2)
    return out


def plan_cross_derivatives(
    fn: Callable[..., object],
    x: Tensor,
    directions: Tensor,
    sets: Sequence[Sequence[int]],
    *,
    orders: tuple[int, int] | None = None,
    memory_limit: int | None = None,
    **given: Unpack[Given],
) -> tuple[Plan, ...]:
    """Say what `cross_derivatives` will do, and what it costs: one plan for each chunk of the sets.

    The arguments are those of `cross_derivatives`.

    Returns:
        The plans.
    """
    check_batch("x", x)
    work = _Work.of(fn, x, directions, sets, orders, memory_limit, given)
    return () if work is None else tuple(work.plans(checked_limit(memory_limit, x.device)))


@dataclass(frozen=True)
class _Work:
    """What is to be computed: the sets, cut into lattices that fit, each with the columns of the result it is for."""

    function: ScoreFunction
    rules: Differentiable
    x: Tensor
    directions: Tensor
    lattices: list[tuple[Lattice, Tensor]]

    @classmethod
    def of(
        cls,
        fn: Callable[..., object],
        x: Tensor,
        directions: Tensor,
        sets: Sequence[Sequence[int]],
        orders: tuple[int, int] | None,
        memory_limit: int | None,
        given: Given,
    ) -> _Work | None:
        """Check the arguments and cut the work; None where there is nothing to do."""
        directions = checked_directions(directions, x)
        wanted, copies = _distinct(sets, directions.shape[1])
        function = prepare(fn, x, **given)
        if not wanted or not x.shape[0]:
            return None
        rules = differentiable(function, x)
        chosen = _orders(rules.program, wanted, orders)
        lattices = _split(rules.program, x, wanted, chosen, checked_limit(memory_limit, x.device))
        return cls(function, rules, x, directions[:, copies], lattices)

    def plans(self, limit: int) -> list[Plan]:
        return [_plan(self.rules, self.x, lattice, limit) for lattice, _ in self.lattices]


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


def _orders(program: Program, wanted: Sequence[Set], orders: tuple[int, int] | None) -> tuple[int, int]:
    largest = max(len(s) for s in wanted)
    if orders is not None:
        n, m = orders
        if n < 1 or m < 0 or largest > max(n, min(2 * n + 1, n + m + 1)):
            raise bad_argument("orders", f"(n, m) with {largest} <= min(2 n + 1, n + m + 1)", repr(orders))
        return n, m
    if largest == 1 or not program.curved:
        return largest, 0
    choices = [(n, largest - n - 1) for n in range(largest // 2, largest) if n >= 1 and largest <= 2 * n + 1]
    sample = list(dict.fromkeys(wanted))[:_SAMPLE]
    cost = cost_of(program)

    def operations(choice: tuple[int, int]) -> int:
        return _operations(Lattice(sample, *choice), cost)

    return min(choices, key=operations)


_SAMPLE = 256
"""Sets by which the orders are chosen."""


def _split(
    program: Program, x: Tensor, wanted: list[Set], orders: tuple[int, int], limit: int
) -> list[tuple[Lattice, Tensor]]:
    """Cut the sets into chunks whose lattices fit for one item; neighbours share the most subsets."""
    order = sorted(range(len(wanted)), key=lambda t: wanted[t])

    def fits(lattice: Lattice) -> bool:
        base, row = _sizes(program, x)
        return base + _rows(lattice) * row <= usable_bytes(limit)

    def cut(columns: list[int]) -> list[tuple[Lattice, Tensor]]:
        lattice = Lattice([wanted[t] for t in columns], *orders)
        if len(columns) == 1 or fits(lattice):
            return [(lattice, torch.tensor(columns, device=x.device))]
        middle = len(columns) // 2
        return cut(columns[:middle]) + cut(columns[middle:])

    return cut(order)


def _rows(lattice: Lattice) -> int:
    return len(lattice.sets) + len(lattice.adjoint_sets)


def _operations(lattice: Lattice, cost: Cost) -> int:
    """Count floating-point operations per item."""
    terms = lattice.contracted_terms.term_order.numel() + lattice.forward_terms.term_order.numel()
    return _rows(lattice) * cost.row_operations + terms * cost.row_kept


def _sizes(program: Program, x: Tensor) -> tuple[int, int]:
    """Return bytes per item, and bytes per item and row."""
    cost = cost_of(program)
    width = x.element_size()
    return width * cost.values, width * (cost.row_peak + cost.row_kept)


def _plan(rules: Differentiable, x: Tensor, lattice: Lattice, limit: int) -> Plan:
    cost = cost_of(rules.program)
    base, row = _sizes(rules.program, x)
    rows = _rows(lattice)
    items, peak, least = plan_sets(
        items=x.shape[0], rows=rows, base=base, row=row, limit=limit, on_cpu=x.device.type == "cpu"
    )
    if rules.row_limit is not None:
        items = max(1, min(items, rules.row_limit))
    return Plan(
        route="lattice",
        orders=(lattice.forward, lattice.backward),
        rows=rows,
        operations=x.shape[0] * _operations(lattice, cost),
        bytes=peak,
        memory_limit=limit,
        least_bytes=least,
        items=items,
        row_chunk=rows,
        group=rows,
        chunks=-(-x.shape[0] // items),
        curved_units=cost.row_kept,
    )


def _in_chunks(work: _Work, lattice: Lattice, columns: Tensor, plan: Plan, out: Tensor) -> None:
    x, program = work.x, work.rules.program
    for start in range(0, x.shape[0], plan.items):
        items = slice(start, min(start + plan.items, x.shape[0]))
        state = program.run(x[items], tuple(extra[items] for extra in work.function.inputs))
        rows = x.new_zeros(len(lattice.sets), state.items, 1, *x.shape[1:])
        for row, chosen in enumerate(lattice.sets):
            if len(chosen) == 1:
                rows[row, :, 0] = work.directions[items, chosen[0]]
        wanted = program.curved_inputs | ({program.graph.output} if lattice.direct else set())
        tangents = program.tangents(state, {0: rows}, wanted, lattice)
        part = x.new_zeros(state.items, len(lattice.targets))
        if any(len(chosen) > lattice.forward for chosen in lattice.targets):
            adjoints = program.adjoints(state, program.curved, lattice=lattice, rows=tangents)
            for index in program.curved:
                if index in adjoints:
                    program.rules[index].contract(state, adjoints[index], tangents, lattice, part)
        for target, row in lattice.direct:
            part[:, target] = tangents[program.graph.output][row, :, 0]
        out[items, columns] = part
