"""GNN-LRP: the relevance of walks in a graph for the prediction of a graph network.

Schnake, Eberle, Lederer, Nakajima, Schütt, Müller and Montavon, "Higher-Order Explanations of Graph Neural Networks via
Relevant Walks", IEEE Transactions on Pattern Analysis and Machine Intelligence, 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_positive, name_items
from xai_fast.engine.call import Call
from xai_fast.engine.extra import shared
from xai_fast.engine.layers import ModelPart
from xai_fast.engine.objective import SCORES, Target
from xai_fast.errors import ModelError, UnsupportedOperation, bad_argument
from xai_fast.graph.whole import WholeModel
from xai_fast.interaction.message_passing import MessagePassing
from xai_fast.interaction.walk_relevance import WalkRelevance, joined
from xai_fast.method import Method
from xai_fast.relevance.composite import Composite, Position
from xai_fast.relevance.rules import Epsilon, Gamma, Rule
from xai_fast.relevance.walk import Walk

__all__ = ["GNNLRP"]


class GNNLRP(Method[WalkRelevance]):
    """Relevance of walks (J, K, L, ...): of what node J tells node K in the first step, what K tells L of it, and on.

    The model is any network whose message passing is a product of features with an adjacency: ``A @ H``, an einsum, or
    messages that are gathered along edges and added, as PyTorch Geometric does; GCN, GIN, GraphSAGE and such with skip
    connections, batch norm, and networks of any kind for each node between. A connection that passes by some steps is a
    walk that stays at its node. A layer without bias right before a product is one linear map with it, so that
    ``A @ (H @ W) + b`` and ``(A @ H) @ W + b`` have the same relevance.

    Cost: ``1`` evaluation per graph, and products of its layers; walks are searched when asked for.
    Limits: attention (GAT) counts as a constant; the fact ``constant_attention`` tells so. Maxima over neighbours, and
    messages that depend on both ends, are refused.

    Args:
        model: a module in evaluation mode, called as ``model(x, adjacency)`` or ``model(x, edge_index)``.
        gamma: of the rule LRP-gamma, for all layers with weights, or one for each in the order in which they run; 0 is
            LRP-0. The paper lets it fall from the input to the output.
        eps: the stabiliser.
        score: see `xai_fast.engine.objective.SCORES`; by default the target's output.

    Raises:
        InputError: an option is out of range.
    """

    name = "gnn_lrp"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        gamma: float | Sequence[float] = 0.0,
        eps: float = 1e-9,
        score: str = "output",
    ) -> None:
        super().__init__(model)
        values = gamma if isinstance(gamma, list | tuple) else [gamma]
        if not values or not all(isinstance(g, int | float) and 0 <= g < float("inf") for g in values):
            raise bad_argument("gamma", "a number, or one for each layer with weights, at least 0", repr(gamma))
        self.gamma = gamma
        self.eps = check_positive("eps", eps)
        self.score = check_choice("score", score, SCORES)
        self._whole = WholeModel(model)
        self._single: dict[bool, GNNLRP] = {}
        self._fixed = False

    def explain(  # type: ignore[override]  # as `Method` has it, but with the graph where the target would be
        self,
        x: Any,
        adjacency: Tensor | Sequence[Tensor] | None = None,
        target: Target = None,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
        internal_batch_size: int | None = None,
    ) -> WalkRelevance:
        """Explain the predictions for graphs.

        Args:
            x: (n, d) the features of a graph's nodes, n >= 2; or a list of such, of any sizes; or (B, n, d) for a model
                that takes batches. Without ``adjacency`` a tuple of both, as jobs have it.
            adjacency: the model's second argument: (n, n), or (2, E) int64 edges from the first row to the second; a
                list of such, or one for all graphs; or (B, n, n) with (B, n, d).
            target: the class, or a class per graph; None for the predicted one; or a callable from the outputs of
                graphs, with their number in front, to scores, such as ``lambda out: out[:, node, 3]`` for a node.
            additional_forward_args: a tensor or a tuple of some that the model takes next, such as weights of edges; a
                list of such for a list of graphs.
            item_ids: see `Method.explain`; nothing here is random.
            internal_batch_size: graphs that go through the model at once.

        Returns:
            The relevance of walks; graphs of different sizes are padded with nodes that no walk visits.

        Raises:
            InputError: an argument does not fit.
            ModelError: the model is in training mode or cannot be traced, or has no message passing.
            UnsupportedOperation: relevance cannot be written as that of walks; the operation is named.
        """
        if adjacency is None and isinstance(x, tuple) and len(x) == 2:
            x, adjacency = x
        if adjacency is None:
            raise bad_argument(
                "adjacency", "the graphs' adjacency or edges, or inputs that are a tuple of both", "None"
            )
        if isinstance(x, list | tuple):
            columns = {"adjacency": adjacency, "target": target, "additional_forward_args": additional_forward_args}
            graphs = zip(x, *(_per_graph(name, values, len(x)) for name, values in columns.items()), strict=True)
            return joined([self.explain(*graph) for graph in graphs])
        if not isinstance(x, Tensor) or x.ndim not in (2, 3):
            raise bad_argument("x", "features (n, d), a list of such, or (B, n, d)", str(getattr(x, "shape", type(x))))
        if x.shape[-2] < 2:
            raise bad_argument("x", "at least 2 nodes in a graph", str(x.shape[-2]))
        more = additional_forward_args
        if isinstance(more, list):
            raise bad_argument("additional_forward_args", "a tensor or a tuple, as x is no list of graphs", "a list")
        arguments = (adjacency, *(() if more is None else more if isinstance(more, tuple) else (more,)))
        if x.ndim == 3:
            return super().explain(x, target, arguments, item_ids, internal_batch_size)
        if not self._fixed:
            try:
                return self._alone(x, arguments, target, fixed=False)
            except UnsupportedOperation:
                if not any(map(_is_index, arguments)):
                    raise
        # Edges of which some are left out or added, such as loops, or a count of the graphs: that of this one.
        found = self._alone(x, arguments, target, fixed=True)
        self._fixed = True
        return found

    def _alone(self, x: Tensor, arguments: tuple[Any, ...], target: Target, *, fixed: bool) -> WalkRelevance:
        """Explain one graph; where its indices are fixed, they are a part of the trace."""
        if fixed not in self._single:
            self._single[fixed] = self.with_model(_OneGraph(self.model, fixed))
        rows = (shared(v) if fixed and _is_index(v) else v[None] if isinstance(v, Tensor) else v for v in arguments)
        return Method.explain(self._single[fixed], x[None], target, tuple(rows))

    def attribute(self, *arguments: Any, **named: Any) -> Tensor:
        """Give the relevance of the nodes, (B, n); arguments as for `explain`."""
        return self.explain(*arguments, **named).attributions

    def _explain(self, call: Call) -> WalkRelevance:
        with torch.autocast(call.device.type, enabled=False):
            return joined([self._chunk(call, chunk) for chunk in call.chunks()])

    def _chunk(self, call: Call, chunk: range) -> WalkRelevance:
        values = self._whole.values(call, chunk)
        bad = call.host.items(~values.scores.isfinite())
        if bad:
            wrong = name_items([chunk.start + i for i in bad])
            raise ModelError(f"model: expected finite scores, got NaN or infinity for {wrong}")
        passing = values.traced.derived(MessagePassing)
        composite = Composite({"dense": self._rule}, "constant", 0.0)
        layers = len(passing.layers.positions)
        if isinstance(self.gamma, list | tuple) and len(self.gamma) != layers:
            raise bad_argument("gamma", f"one for each of {layers} layers with weights", str(len(self.gamma)))
        walk = Walk(passing.layers, values.state, composite, keep_ledger=False)
        top, terms, inputs = passing.transitions(walk)
        ones = torch.ones(len(chunk), dtype=torch.int64, device=top.device)
        found = WalkRelevance(
            attributions=top.sum(2),
            scores=values.scores,
            targets=values.targets,
            evaluations=ones,
            nodes_per_graph=ones * top.shape[1],
            top=top,
            adjacencies=tuple(term.adjacency for term in terms),
            maps=tuple(term.maps for term in terms),
            inputs=inputs,
            levels=tuple(term.level for term in terms),
        )
        nodes = found.nodes()
        attention = torch.full_like(ones, passing.attends, dtype=torch.bool)
        facts = {"no_relevance": nodes.eq(0).all(1), "constant_attention": attention}
        return replace(found, attributions=nodes, facts=facts)

    def _rule(self, position: Position) -> Rule:
        gamma = self.gamma[position.index] if isinstance(self.gamma, list | tuple) else self.gamma
        return Gamma(float(gamma), eps=self.eps) if gamma else Epsilon(self.eps)  # type: ignore[arg-type]


class _OneGraph(ModelPart):
    """A model that takes one graph, as one that takes a batch of one, but for indices that are fixed."""

    def __init__(self, model: Callable[..., object], fixed: bool) -> None:
        super().__init__(model)
        self.fixed = fixed

    def forward(self, *arguments: Any) -> object:
        """Run the model."""
        output = self.model(
            *(v[0] if isinstance(v, Tensor) and not (self.fixed and _is_index(v)) else v for v in arguments)
        )
        is_row = isinstance(output, Tensor) and output.ndim == 2 and len(output) == 1
        return output if is_row or not isinstance(output, Tensor) else output[None]


def _is_index(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point()


def _per_graph(name: str, values: object, count: int) -> Sequence[Any]:
    """Give a value per graph: those of a list, or one for all; classes may come in a tensor."""
    if name == "target" and isinstance(values, Tensor) and values.ndim:
        values = values.tolist()
    if not isinstance(values, list):
        return [values] * count
    if len(values) != count:
        raise bad_argument(name, f"one per graph, so {count}", str(len(values)))
    return values
