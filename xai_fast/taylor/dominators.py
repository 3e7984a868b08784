"""Nodes that every path passes: where the reverse route of second derivatives starts, and where a model is cut."""

from __future__ import annotations

from collections.abc import Sequence

from xai_fast.taylor.program import Program

__all__ = ["Dominators", "bottleneck"]


class Dominators:
    """The nodes that every path from the input to a node passes.

    Found in one pass, as nodes are in topological order (Cooper, Harvey and Kennedy, "A simple, fast dominance
    algorithm", 2001).

    Args:
        program: the graph.

    Attributes:
        parent: by active node, the last node before it that every path passes.
    """

    def __init__(self, program: Program) -> None:
        self.parent: dict[int, int] = {0: 0}
        self._depth: dict[int, int] = {0: 0}
        for index, rule in program.rules.items():
            self.parent[index] = self.of(rule.inputs)
            self._depth[index] = self._depth[self.parent[index]] + 1

    def of(self, nodes: Sequence[int]) -> int:
        """Return the last node that every path to each of these passes; one of them if all pass it."""
        last, *rest = [i for i in nodes if i in self.parent]
        for other in rest:
            while last != other:
                if self._depth[last] < self._depth[other]:
                    last, other = other, last
                last = self.parent[last]
        return last


def bottleneck(program: Program) -> int | None:
    """Find the node with the fewest entries among those that every path to curvature passes; None without curvature."""
    if not program.curved:
        return None
    dominators = Dominators(program)
    # A curved node's rows are needed at its inputs: the dominator of these, not of the node.
    chain = [dominators.of([i for index in program.curved for i in program.rules[index].inputs])]
    while chain[-1] != 0:
        chain.append(dominators.parent[chain[-1]])
    return min(chain, key=lambda index: (program.graph.nodes[index].size, index))
