"""What the rules of all operations share: the values that they read, and what a rule can be asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from xai_fast.graph.interpreter import State
from xai_fast.graph.nodes import Graph, Node
from xai_fast.taylor.lattice import Lattice
from xai_fast.taylor.touched import Touched

__all__ = ["Rows", "Rule", "State", "expanded", "unsupported"]

Rows = Mapping[int, Tensor]
"""Rows by node."""


class Rule(ABC):
    """The derivatives of one node with respect to the nodes that it reads.

    Args:
        graph: the graph.
        node: the node.

    Attributes:
        inputs: the active nodes that it reads, each once.
        curved: whether it has a second derivative.
        keeps_derivatives: whether derivatives as large as the value are kept with it.
    """

    curved = False
    keeps_derivatives = False

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph = graph
        self.node = node
        self.inputs = tuple(dict.fromkeys(i for i in node.inputs if graph.nodes[i].active))
        self.shape = node.shape or ()

    @abstractmethod
    def tangent(self, state: State, rows: Rows) -> Tensor:
        """Apply the first derivative: (R, B, *shape) from those of the inputs; inputs that have none are left out."""

    def touched_tangent(self, state: State | None, rows: Mapping[int, Touched]) -> Touched | None:
        """Apply the first derivative where few places are kept, or follow these only; None where all are needed."""
        return None

    @abstractmethod
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        """Apply the transpose of the first derivative to adjoints (R, B, *shape): one result an active input."""

    def pair(self, state: State, adjoint: Tensor, left: Rows, right: Rows) -> Tensor:
        """Contract the second derivative: (B, L, R) = <adjoint, D^2 node [left_l, right_r]>."""
        raise NotImplementedError(f"{self.node.name} has no second derivative")

    def lattice_tangent(self, state: State, rows: Rows, lattice: Lattice) -> Tensor:
        """Compute all rows of the lattice: (R, B, *shape); a rule that is linear treats every set alike."""
        return self.tangent(state, rows)

    def lattice_pull(self, state: State, adjoints: Tensor, rows: Rows, lattice: Lattice) -> dict[int, Tensor]:
        """Compute the adjoint rows of the inputs from those of the node, (Q, B, *shape)."""
        return self.pull(state, adjoints)

    def contract(self, state: State, adjoints: Tensor, rows: Rows, lattice: Lattice, out: Tensor) -> None:
        """Add the node's share of the 2n+1 rule to ``out`` (B, T)."""
        raise NotImplementedError(f"{self.node.name} has no second derivative")

    @property
    def row_operations(self) -> int:
        """Floating-point operations that the first derivative takes per row and item."""
        return self.node.size

    def _shape_of(self, index: int) -> tuple[int, ...]:
        return self.graph.nodes[index].shape or ()


def expanded(rows: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Expand rows to the shape of the node, where broadcasting did not."""
    if rows is None:
        raise ValueError("rows of at least one input are needed")
    return rows if rows.shape[2:] == shape else rows.expand(*rows.shape[:2], *shape)


def unsupported(node: Node, detail: str = "") -> str:
    """Write the message of `UnsupportedOperation`."""
    return (
        f"model: expected operations that xai_fast.taylor has rules for, got {node.target}"
        f'{" " + detail if detail else ""} (at {node.name}); second derivatives by method="hvp" need none'
    )
