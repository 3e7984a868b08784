"""Attention in the traced graph: which nodes are weights with which tokens read tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.errors import ModelError
from xai_fast.graph import Graph, Ref
from xai_fast.graph.overloads import overloads_of
from xai_fast.taylor.dominators import Dominators
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules.bilinear import MatrixProduct, Product
from xai_fast.taylor.rules.choice import Choice
from xai_fast.taylor.rules.elementwise import Softmax
from xai_fast.taylor.rules.linear import RESHAPES

__all__ = ["AttentionMap", "AttentionMaps", "row_of_product"]

aten = torch.ops.aten

_SHAPED = RESHAPES | overloads_of(aten.expand, aten.permute, aten.transpose, aten.t, aten._to_copy)


@dataclass(frozen=True)
class AttentionMap:
    """The attention of one layer.

    Attributes:
        node: the weights as a factor of the product with the values.
        is_second: whether the values are the first factor, and the weights are transposed.
        hidden: the hidden states that the layer starts from: the last tensor before the weights that every path to the
            score passes, such as the residual stream of a pre-norm transformer.
        tokens: n.
    """

    node: int
    is_second: bool
    hidden: int
    tokens: int

    def of(self, values: Tensor) -> Tensor:
        """Read values at the node of the weights, (B, *shape), as (B, H, n, n): by head, query and key."""
        heads = values.unsqueeze(1) if values.ndim == 3 else values
        return heads.mT if self.is_second else heads

    def of_hidden(self, values: Tensor) -> Tensor:
        """Read values at the hidden states, (B, *shape), as (B, n, d)."""
        n, shape = self.tokens, [size for size in values.shape[1:] if size != 1]
        if shape[:1] != [n] or len(shape) > 2:
            got = tuple(values.shape[1:])
            raise ModelError(f"model: expected hidden states ({n}, d) of an item before each attention, got {got}")
        return values.reshape(len(values), n, -1)


class AttentionMaps:
    """The attention of a graph.

    A map is a softmax that is, but for its shape and masks, a factor of a product of matrices; every way to write it
    is the same, be it a fused function, einsum or products by hand.

    Args:
        graph: of a score.

    Attributes:
        program: the graph with its rules.
        maps: in the order in which they are computed.
        tokens: n.

    Raises:
        ModelError: there is none, or one is not of n tokens among themselves.
    """

    def __init__(self, graph: Graph) -> None:
        self.program = Program(graph, 2)
        dominators = Dominators(self.program)
        found: dict[int, AttentionMap] = {}
        shapes: list[tuple[int, ...]] = []
        sizes: set[tuple[int, ...]] = set()
        for rule in self.program.rules.values():
            for which, operand in enumerate(rule.operands if isinstance(rule, MatrixProduct) else ()):
                softmax = _softmax(self.program, operand)
                if softmax is None or softmax.node.index in found:
                    continue
                node = graph.nodes[operand.index]  # type: ignore[attr-defined]
                queries, keys = (node.shape or ())[-2:]
                hidden = dominators.of((softmax.node.index, graph.output))
                found[softmax.node.index] = AttentionMap(node.index, which == 1, hidden, keys)
                shapes.append(softmax.shape)
                # Of four axes the first is the item's own; where there are more than one, they are windows.
                sizes.add((softmax.shape[0] if len(softmax.shape) > 3 else 1, queries, keys))
        self.maps = tuple(found.values())
        self.tokens = max((n for _, _, n in sizes), default=0)
        if sizes != {(1, self.tokens, self.tokens)}:
            got = ", ".join(map(str, shapes)) if shapes else "none"
            raise ModelError(
                "model: expected attention, a softmax (1, heads, n, n) that multiplies values in a product of "
                f"matrices, with the same n in each layer, got {got}"
            )


def _softmax(program: Program, operand: object) -> Softmax | None:
    """Give the softmax that an operand is, but for its shape and masks."""
    rule = program.rules.get(operand.index) if isinstance(operand, Ref) else None
    while rule is not None and not isinstance(rule, Softmax):
        masks = isinstance(rule, Product | Choice) and len(rule.inputs) == 1
        rule = program.rules.get(rule.inputs[0]) if masks or rule.node.target in _SHAPED else None
    return rule


def row_of_product(matrices: Sequence[Tensor], token: int | None) -> Tensor:
    """Compute a row of A_L ... A_2 A_1.

    Args:
        matrices: A_1 to A_L, (B, n, n) each.
        token: which row; None for the mean of all.

    Returns:
        (B, n).
    """
    rows = matrices[-1].mean(1) if token is None else matrices[-1][:, token]
    for matrix in reversed(matrices[:-1]):
        rows = torch.einsum("bq,bqk->bk", rows, matrix)
    return rows
