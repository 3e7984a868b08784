"""The narrowest node through which everything that bends is reached: where the reverse route starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xai_fast.taylor.program import Program

__all__ = ["Bottleneck", "bottleneck"]


@dataclass(frozen=True)
class Bottleneck:
    """A node that every path from the input to a curved node passes.

    Attributes:
        node: its index.
        units: the entries of its value for one item.
    """

    node: int
    units: int


def bottleneck(program: Program) -> Bottleneck | None:
    """Find the node with the fewest entries among those that every path to curvature passes; None without curvature."""
    # Immediate dominators are found in one pass, as the nodes are in topological order (Cooper, Harvey and Kennedy, "A
    # simple, fast dominance algorithm", 2001).
    if not program.curved:
        return None
    parent: dict[int, int] = {0: 0}
    depth: dict[int, int] = {0: 0}

    def common(a: int, b: int) -> int:
        while a != b:
            if depth[a] < depth[b]:
                a, b = b, a
            a = parent[a]
        return a

    def dominator(inputs: tuple[int, ...]) -> int:
        first, *rest = [i for i in inputs if i in parent]
        for other in rest:
            first = common(first, other)
        return first

    for index, rule in program.rules.items():
        parent[index] = dominator(rule.inputs)
        depth[index] = depth[parent[index]] + 1
    chain = [dominator(program.rules[program.curved[0]].inputs)]
    for index in program.curved[1:]:
        # A curved node's rows are needed at its inputs: the dominator of these, not of the node.
        chain = [common(chain[0], dominator(program.rules[index].inputs))]
    while chain[-1] != 0:
        chain.append(parent[chain[-1]])
    shapes = {index: program.graph.nodes[index].shape or () for index in chain}
    best = min(chain, key=lambda index: (math.prod(shapes[index]), index))
    return Bottleneck(best, math.prod(shapes[best]))
