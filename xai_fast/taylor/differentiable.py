"""What the derivatives of a traced score need, made once per trace."""

from __future__ import annotations

from torch import Tensor

from xai_fast.graph import Graph, ScoreFunction, traced
from xai_fast.taylor.cost import cost_of
from xai_fast.taylor.dominators import bottleneck
from xai_fast.taylor.feedforward import Chain, chain_of
from xai_fast.taylor.first_product import first_product
from xai_fast.taylor.program import Program
from xai_fast.taylor.replay import Replay

__all__ = ["Differentiable", "differentiable"]


_SMALL_STEM = 1 << 20
"""Entries of the largest matrix of such layers."""


class Differentiable:
    """A graph with its rules, and what was learned while it was used.

    Args:
        graph: of a score.

    Attributes:
        program: the graph with its rules.
        second_order: the same for derivatives of the second order at most.
        bottleneck: the narrowest node through which all curvature is reached.
        first_product: see `xai_fast.taylor.first_product`.
        row_limit: the most rows times items at once that memory was found to hold; None while nothing is known.

    Raises:
        UnsupportedOperation: an operation has no rule.
    """

    def __init__(self, graph: Graph) -> None:
        self.program = Program(graph)
        self.second_order = Program(graph, 2)
        self.bottleneck = bottleneck(self.second_order)
        self.first_product = first_product(self.second_order)
        self.row_limit: int | None = None
        self._shares: dict[bytes, float] = {}
        self.replay = Replay()
        self._chains: dict[int, Chain | None] = {}

    def share_of_operations(self, touched: Tensor | None) -> float:
        """Return the share of a whole row's operations for rows that touch some places (R, P) bool; None for all."""
        if touched is None:
            return 1.0
        key = touched.cpu().numpy().tobytes()
        if key not in self._shares:
            whole = max(1, touched.shape[0] * cost_of(self.second_order).row_operations)
            self._shares[key] = self.second_order.tangent_operations(touched, self.second_order.curved_inputs) / whole
        return self._shares[key]

    def share_with_columns(self, columns: Tensor) -> float:
        """Return what part of a whole row's operations a row takes of which these entries (R, c) are touched."""
        if self.first_product is None:
            return 1.0
        saved = 2 * self.first_product.weight.numel()
        whole = cost_of(self.second_order).row_operations
        return 1 - saved * (1 - columns.shape[1] / self.first_product.weight.shape[0]) / max(1, whole)

    def chain(self, like: Tensor, most_weights: int = 1 << 26) -> Chain | None:
        """Return the layers that the score is, with matrices of so many entries at most; None for other scores."""
        found = self._chain(like, most_weights)
        return found if found is not None and found.is_whole else None

    def stem(self, like: Tensor) -> Chain | None:
        """Return the small smooth layers with which the score begins; None where it begins otherwise."""
        found = self._chain(like, _SMALL_STEM)
        return found if found is not None and found.functions is not None else None

    def _chain(self, like: Tensor, most_weights: int) -> Chain | None:
        if most_weights not in self._chains:
            self._chains[most_weights] = chain_of(self.program, like, most_weights)
        return self._chains[most_weights]


def differentiable(function: ScoreFunction, x: Tensor) -> Differentiable:
    """Return the rules of a score for items like ``x`` (B >= 1), made at the first call and kept with its trace."""
    return traced(function, x).derived(Differentiable)
