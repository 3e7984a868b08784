"""BiLRP: which parts of two inputs make them similar.

Eberle, Büttner, Kräutli, Müller, Valleriani and Montavon, "Building and Interpreting Deep Similarity Models", IEEE
Transactions on Pattern Analysis and Machine Intelligence, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.graph import State
from xai_fast.graph.cut import LayerOutput
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.graph.whole import WholeModel
from xai_fast.interaction.pair_relevance import PairRelevance
from xai_fast.method import Method, check_finite
from xai_fast.references import import_reference
from xai_fast.relevance.composite import Composite, check_bounds, check_composite, outside_bounds
from xai_fast.relevance.walk import Layers, Walk
from xai_fast.terminal import short

__all__ = ["BiLRP"]

SIMILARITIES = ("dot", "cosine")
SIDES = ("auto", "dimensions", "cells")
TOKENS = "tokens"
_ROWS = 4  # rows that go back at once, times those of a call: coefficients are kept of two layers, values of all
_LOST = 0.01  # of the similarity

Inputs = Tensor | NDArray[Any]
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class _Dimensions(PairRelevance):
    """The relevance (B, n, D) of cells of one input for the dimensions of its embedding ``phi`` (B, D)."""

    phi: Tensor


class BiLRP(Method[PairRelevance]):
    """Relevance of pairs of parts, one of each input, for the similarity of two inputs.

    With phi the encoder and s = <phi(x), phi(y)>, R_ij is the sum over the dimensions m of R_i(phi_m(x)) R_j(phi_m(y)),
    where R is relevance propagation (Eq. 8): of s, what cell i of x and cell j of y contribute together. All dimensions
    count; there is no projection. The maps are linear in the coefficients of the dimensions, so that a whole side is
    found either by going back with rows of dimensions, or forward with rows of cells through the transposed map.

    Cost: ``2`` evaluations per pair, and walks with a row per dimension of phi, or per cell where these are fewer.
    Limits: biases keep a share of the similarity, nearly all at the fact "lost_relevance". No targets.

    Args:
        model: the encoder, a module in evaluation mode; phi is its output, flattened.
        composite: the rules, as in `xai_fast.LRP`.
        second_order: "relevance", or "hessian" for plain second-order Taylor expansion of s: x_i y_j times its
            derivative by both; no rules.
        cells: (rows, columns) of cells into which pictures (B, C, H, W) are parted; "tokens" for one part per position
            of (B, n, d); None for each entry by itself.
        similarity: "dot", or "cosine", in which the lengths of phi count as constants.
        layer: the layer whose output is phi, such as the one before the head of a classifier; None for the model's.
        output: from the model's or layer's output to embeddings (B, ...), a function or "package.module:function"; None
            for an output that is one, or has ``pooler_output`` or ``last_hidden_state``.
        side: "dimensions" goes back, "cells" goes forward, "auto" takes what needs fewer rows.
        low: the smallest value that an input can have, or one per channel, for the rule zB; None for that of each item.
        high: the largest.
        bias: "absorb", "zero" or "keep", as in `xai_fast.LRP`.
        embeddings: the layer whose output takes the place of the inputs, such as that of token ids.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    name = "bilrp"
    pairs = True

    def __init__(
        self,
        model: Callable[..., object],
        *,
        composite: str | Composite = "epsilon_gamma_box",
        second_order: str = "relevance",
        cells: tuple[int, int] | str | None = (8, 8),
        similarity: str = "dot",
        layer: Layer | None = None,
        output: Callable[[Any], Tensor] | str | None = None,
        side: str = "auto",
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        bias: str = "absorb",
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model)
        self.composite = composite
        self._composite = check_composite(composite)
        self.second_order = check_choice("second_order", second_order, ("relevance", "hessian"))
        self.cells = _checked_cells(cells)
        self.similarity = check_choice("similarity", similarity, SIMILARITIES)
        part = None if layer is None else LayerOutput(model, layer)
        self.layer = None if part is None else part.layer
        self.output = output
        self._chosen: Any = import_reference("output", output) if isinstance(output, str) else output
        self.side = check_choice("side", side, SIDES)
        self.low, self.high = low, high
        self._bounds = check_bounds(low, high)
        self.bias = check_choice("bias", bias, ("absorb", "zero", "keep"))
        self.embeddings = embedding_layer(model, embeddings)
        self._whole = WholeModel(model, ("layer_norm",))
        rest = {name: getattr(self, name) for name in self.options() if name != "layer"}
        self._encoder = None if part is None else type(self)(part, **rest)

    def explain(  # type: ignore[override]  # as `Method` has it, but with the second input where the target would be
        self,
        x: Inputs | tuple[Inputs, Inputs],
        y: Inputs | None = None,
        x_args: object = None,
        y_args: object = None,
        internal_batch_size: int | None = None,
        *,
        target: Target = None,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
    ) -> PairRelevance:
        """Explain the similarities of B pairs.

        Args:
            x: (B, ...) the first inputs; or, without y, the pairs: a tuple (x, y), or (B, 2, ...).
            y: (B, ...) the second inputs; their shape may differ from that of x.
            x_args: additional arguments of the model for x, such as masks: one value, a tuple or a dict.
            y_args: the same for y.
            internal_batch_size: items that go through the model at once.
            target: None, as a similarity has no classes.
            additional_forward_args: arguments of the model for both x and y.
            item_ids: see `Method.explain`; nothing here is random.

        Returns:
            The relevance of pairs.

        Raises:
            InputError: an argument does not fit.
            ModelError: the model is in training mode, cannot be traced, or something is not finite.
        """
        if target is not None:
            raise bad_argument("target", "None, as a similarity has no classes", repr(target))
        if additional_forward_args is not None:
            x_args = y_args = additional_forward_args
        first: Any
        second: Any
        first, second = _pair(x) if y is None else (x, y)
        if isinstance(first, tuple) or isinstance(second, tuple):
            raise bad_argument("inputs", "one tensor (further ones go to x_args and y_args)", "a tuple")
        method, rest = self._encoder or self, (item_ids, internal_batch_size)
        one: Any = Method.explain(method, first, self._total, x_args, *rest)
        other: Any = Method.explain(method, second, self._total, y_args, *rest)
        phi_x, phi_y = one.phi, other.phi
        if phi_x.shape != phi_y.shape:
            expected = f"as many items and dimensions as x, {tuple(phi_x.shape)}"
            raise bad_argument("y", expected, str(tuple(phi_y.shape)))
        scale = torch.ones_like(phi_x[:, 0])
        if self.similarity == "cosine":
            scale = phi_x.norm(dim=1) * phi_y.norm(dim=1)
        scores = (phi_x * phi_y).sum(1) / scale
        pairs = one.attributions @ other.attributions.mT / scale[:, None, None]
        facts = {
            "no_relevance": pairs.flatten(1).eq(0).all(1),
            "lost_relevance": pairs.sum((1, 2)).abs() < _LOST * scores.abs(),
        }
        for fact in one.facts:
            facts[fact] = one.facts[fact] | other.facts[fact]
        found = PairRelevance(
            attributions=pairs,
            scores=scores,
            evaluations=torch.full_like(scores, 2, dtype=torch.int64),
            facts=facts,
            grid_x=one.grid_x,
            grid_y=other.grid_x,
            size_x=tuple(first.shape[2:]) if first.ndim == 4 else (),
            size_y=tuple(second.shape[2:]) if second.ndim == 4 else (),
            method=self.name,
            settings=self.settings,
        )
        check_finite(found, self._host)
        return found

    def _explain(self, call: Call) -> _Dimensions:
        with torch.autocast(call.device.type, enabled=False):
            found = [self._rows(call, chunk) for chunk in call.chunks()]
        rows, phi = (torch.cat(part) for part in zip(*found, strict=True))
        return _Dimensions(
            attributions=rows,
            scores=phi.sum(1),
            evaluations=torch.ones_like(phi[:, 0], dtype=torch.int64),
            facts={} if self._bounds is None else {"outside_bounds": outside_bounds(call.values[0], self._bounds)},
            grid_x=_grid(self.cells, call.values[0]),
            grid_y=tuple(phi.shape[1:]),
            phi=phi,
        )

    def _rows(self, call: Call, chunk: range) -> tuple[Tensor, Tensor]:
        relevance, phi = (self._derivative if self.second_order == "hessian" else self._relevance)(call, chunk)
        cells, dimensions, items = math.prod(_grid(self.cells, call.values[0])), phi.shape[1], len(chunk)
        if self.side == "dimensions" or (self.side == "auto" and dimensions <= cells):
            parts = []
            for index in torch.split(torch.arange(dimensions, device=phi.device), max(1, _ROWS * call.rows // items)):
                seeds = torch.nn.functional.one_hot(index, dimensions).to(phi)
                parts.append(_pooled(relevance(seeds[:, None].expand(-1, items, -1)), self.cells))
            return torch.cat(parts).permute(1, 2, 0), phi
        # The map from coefficients to cells is linear, so its transpose is what autograd makes of it.
        coefficients = torch.ones_like(phi)[None].requires_grad_()
        with torch.enable_grad():
            pooled = _pooled(relevance(coefficients), self.cells)
        seeds = torch.eye(cells, dtype=phi.dtype, device=phi.device)
        rows = [
            torch.autograd.grad(pooled, coefficients, seed.expand_as(pooled), retain_graph=True)[0][0] for seed in seeds
        ]
        return torch.stack(rows, 1), phi

    def _relevance(self, call: Call, chunk: range) -> tuple[Map, Tensor]:
        """Give the map from coefficients (T, B, D) to relevance (T, B, ...), and phi (B, D)."""
        values = self._whole.values(call, chunk)
        graph, layers = values.graph, values.traced.derived(Layers)
        (node,) = graph.nodes[graph.output].inputs  # of the sum in `_total`
        shape = (len(chunk), *call.values[0].shape[1:])

        def relevance(c: Tensor) -> Tensor:
            state = State(dict(values.state.values), values.state.items)  # a walk frees what it has used
            walk = Walk(layers, state, self._composite, self.bias, self._bounds, keep_ledger=False)
            found = walk.back({node: c.reshape(*c.shape[:2], *(graph.nodes[node].shape or ()))})
            return found[0].reshape(len(c), *shape) if 0 in found else c.sum() * c.new_zeros(len(c), *shape)

        return relevance, values.state.tensor(node).flatten(1)

    def _derivative(self, call: Call, chunk: range) -> tuple[Map, Tensor]:
        """Give the map from coefficients to derivatives times the input, and phi."""
        (x,) = call.take(chunk)
        x.requires_grad_()
        with torch.enable_grad():
            phi = self._embedding(call.run([x], call.positions(chunk)))

        def relevance(c: Tensor) -> Tensor:
            rows = (torch.autograd.grad(phi, x, row, retain_graph=True, create_graph=c.requires_grad)[0] for row in c)
            return torch.stack([row * x.detach() for row in rows])

        return relevance, phi.detach()

    def _embedding(self, outputs: Any) -> Tensor:
        """Give phi (R, D) of the model's outputs."""
        if self._chosen is not None:
            outputs = self._chosen(outputs)
        for name in ("pooler_output", "last_hidden_state"):
            if not isinstance(outputs, Tensor) and getattr(outputs, name, None) is not None:
                outputs = getattr(outputs, name)
        if not isinstance(outputs, Tensor) or outputs.ndim < 2 or not outputs.is_floating_point():
            expected = "embeddings (B, ...) of the model; else output=callable that makes them of its outputs"
            raise bad_argument("output", expected, type(outputs).__name__)
        return outputs.flatten(1)

    def _total(self, outputs: Any) -> Tensor:
        return self._embedding(outputs).sum(1)


def _pair(pairs: Any) -> tuple[Any, Any]:
    """Part pairs: (x, y), or (B, 2, ...)."""
    if isinstance(pairs, tuple) and len(pairs) == 2:
        return pairs
    if not isinstance(pairs, Tensor | np.ndarray) or pairs.ndim < 2 or pairs.shape[1] != 2:
        raise bad_argument("inputs", "a tensor (B, 2, ...) of pairs, or a tuple (x, y)", short(pairs))
    return pairs[:, 0], pairs[:, 1]


def _checked_cells(cells: object) -> tuple[int, int] | str | None:
    if cells is None or (isinstance(cells, str) and cells == TOKENS):
        return cells
    if not isinstance(cells, list | tuple) or len(cells) != 2:
        raise bad_argument("cells", f'(rows, columns), "{TOKENS}" or None', repr(cells))
    return check_integer("cells", cells[0], 1), check_integer("cells", cells[1], 1)


def _grid(cells: tuple[int, int] | str | None, inputs: Tensor) -> tuple[int, ...]:
    """Give the grid of the cells of inputs (B, ...)."""
    shape = tuple(inputs.shape[1:])
    if cells is None:
        return shape
    if isinstance(cells, str):
        return shape[:1]
    if len(shape) != 3 or any(n > size for n, size in zip(cells, shape[1:], strict=True)):
        raise bad_argument("cells", f"cells of pictures (B, C, H, W); inputs are {tuple(inputs.shape)}", repr(cells))
    return cells


def _pooled(rows: Tensor, cells: tuple[int, int] | str | None) -> Tensor:
    """Sum relevance (T, B, ...) over each cell: (T, B, n)."""
    if cells is None:
        return rows.flatten(2)
    if isinstance(cells, str):
        return rows.flatten(3).sum(3) if rows.ndim > 3 else rows
    rows = rows.sum(2)
    for dim, n in zip((2, 3), cells, strict=True):
        # Where a side is no multiple of the number of cells, these differ by one pixel at most.
        owner = torch.arange(rows.shape[dim], device=rows.device) * n // rows.shape[dim]
        shape = (*rows.shape[:dim], n, *rows.shape[dim + 1 :])
        rows = rows.new_zeros(shape).index_add(dim, owner, rows)
    return rows.flatten(2)
