"""What a graph costs an item and a row: floating-point operations, and bytes alive at once."""

from __future__ import annotations

from dataclasses import dataclass

from xai_fast.taylor.program import Program

__all__ = ["Cost", "cost_of"]


@dataclass(frozen=True)
class Cost:
    """Counts for one item.

    Attributes:
        values: entries of all values, and of the derivatives that are kept.
        row_operations: floating-point operations to carry one row from its start to what is wanted.
        row_peak: entries of one row that are alive at once on the way.
        row_kept: entries of one row at the inputs of the curved nodes.
        pair_operations: floating-point operations to contract one pair of rows at all curved nodes.
    """

    values: int
    row_operations: int
    row_peak: int
    row_kept: int
    pair_operations: int


def cost_of(program: Program, start: int = 0) -> Cost:
    """Count, for rows that start at a node."""
    if start not in program.costs:
        program.costs[start] = _counted(program, start)
    found: Cost = program.costs[start]
    return found


def _counted(program: Program, start: int) -> Cost:
    nodes = program.graph.nodes
    wanted = program.curved_inputs
    needed = program.ancestors(wanted)
    reached = {start}
    peak = nodes[start].size
    alive = {start: peak}
    operations = 0
    last = {i: index for index in program.rules if index in needed for i in program.rules[index].inputs}
    for index, rule in program.rules.items():
        if index not in needed or index in reached or not any(i in reached for i in rule.inputs):
            continue
        reached.add(index)
        operations += rule.row_operations
        alive[index] = nodes[index].size
        peak = max(peak, sum(alive.values()))
        for i in set(rule.inputs):
            if last.get(i) == index and i not in wanted:
                alive.pop(i, None)
    kept = sum(nodes[i].size for i in wanted if i in reached)
    pairs = sum(2 * nodes[i].size for index in program.curved for i in program.rules[index].inputs)
    values = sum(node.size for node in nodes if node.per_item)
    derivatives = sum(nodes[index].size for index, rule in program.rules.items() if rule.keeps_derivatives)
    return Cost(values + 2 * derivatives, operations, peak, kept, pairs)
