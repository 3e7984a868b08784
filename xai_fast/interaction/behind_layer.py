"""What methods share that ask how the cells of a layer's map act together in the rest of the network."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer, name_items
from xai_fast.engine.axes import LAYOUTS, LayerAxes, MapAxes
from xai_fast.engine.call import Call
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.layers import Layer
from xai_fast.errors import ModelError, UnsupportedOperation, ZeroCurvatureError, bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph import ScoreFunction
from xai_fast.graph.cut import Downstream, check_cut
from xai_fast.interaction.geometry import CellGeometry
from xai_fast.interaction.interaction_map import InteractionMap
from xai_fast.interaction.receptive_field import geometry_of
from xai_fast.method import Method

__all__ = ["BehindLayer", "CellBaseline", "Cut"]

CellBaseline: TypeAlias = float | Sequence[float] | Tensor
"""What stands for nothing at a cell: a number, values (C,), one per channel, or a tensor that broadcasts to the layer's
output for one item."""


@dataclass(frozen=True)
class Cut:
    """A batch, cut at the layer.

    Attributes:
        output: of the layer, (B, n, d), (B, d, h, w) or (B, h, w, d).
        baseline: like one item of it.
        axes: the grid of its positions.
        function: the score as a function of the output.
        outputs: of the model.
        classes: (B,) int64; None where the score has none.
        scores: (B,).
        rows: the most rows that go through the function at once.
    """

    output: Tensor
    baseline: Tensor
    axes: MapAxes
    function: ScoreFunction
    outputs: object
    classes: Tensor | None
    scores: Tensor
    rows: int

    @property
    def positions(self) -> int:
        """The number of positions n."""
        return math.prod(self.axes.grid)


class BehindLayer(Method[InteractionMap]):
    """Interactions of the positions of a feature map in what comes after it; arguments as for `xai_fast.TaylorCAM`."""

    integers = True
    rows = 32

    def __init__(
        self,
        model: nn.Module,
        layer: Layer,
        *,
        baseline: CellBaseline,
        layout: str | None,
        grid: Sequence[int] | None,
        skip_tokens: int | None,
        smooth: str | None = None,
    ) -> None:
        super().__init__(model)
        self.baseline = baseline
        self._baseline = _checked_baseline(baseline)
        self.grid = None if grid is None else tuple(check_integer("grid", size, 1) for size in grid)
        self.layout = None if layout is None else check_choice("layout", layout, LAYOUTS)
        self.skip_tokens = None if skip_tokens is None else check_integer("skip_tokens", skip_tokens, 0)
        self.smooth = smooth
        first = Downstream(model, layer, smooth)
        self.layer = first.name
        self._axes = LayerAxes(first.module, self.layout, self.grid, self.skip_tokens)
        self._downstreams: dict[tuple[tuple[str, ...], int], Downstream] = {((), 0): first}
        self._geometry: dict[tuple[int, ...], CellGeometry | None] = {}

    @abc.abstractmethod
    def _found(self, cut: Cut) -> dict[str, Any]:
        """Find the interactions of a batch: fields of an `InteractionMap`, at least attributions and evaluations."""

    def _explain(self, call: Call) -> InteractionMap:
        if call.narrow is not None:
            raise bad_argument("model", "parameters in float32 or float64", str(call.narrow))
        with torch.autocast(call.device.type, enabled=False):  # small differences and derivatives are exact
            shape = tuple(call.values[0].shape[1:])
            if shape not in self._geometry:
                found = None if "#" in self.layer else geometry_of(call, self.layer, self._axes.of(call))
                self._geometry[shape] = found
            return Explanation.cat([self._interactions(call, c, self._geometry[shape]) for c in call.chunks()])

    def _interactions(self, call: Call, chunk: range, geometry: CellGeometry | None) -> InteractionMap:
        cut = self._cut(call, chunk)
        try:
            with frozen_parameters(self.model):
                found = self._found(cut)
        except (UnsupportedOperation, ZeroCurvatureError) as error:
            raise type(error)(f"{error} (behind {self.layer})") from error
        return InteractionMap(
            grid=cut.axes.grid, layer=self.layer, scores=cut.scores, targets=cut.classes, geometry=geometry, **found
        )

    def _cut(self, call: Call, chunk: range) -> Cut:
        item = call.positions(chunk)
        arguments = (*call.take(chunk), *call.extra.rows(item))
        axes = self._axes.of(call)
        downstream = self._downstream(call.extra.keywords, 1 if axes.layout == "sequence_first" else 0)
        if axes.layout == "sequence_first":
            axes = replace(axes, layout="channels_last")  # with the batch in front
        output, outputs = downstream.split(*arguments)
        check_cut(output, len(chunk), self.layer)
        classes = call.targets(outputs, chunk)
        scores = call.objective(outputs, classes)
        bad = call.host.items(~torch.isfinite(scores))
        if bad:
            wrong = name_items([chunk.start + i for i in bad])
            raise ModelError(f"model: expected finite scores, got NaN or infinity for {wrong}")
        function = ScoreFunction.of_call(downstream, call, arguments, classes)
        baseline = self._like(output, axes)
        return Cut(output, baseline, axes, function, outputs, classes, scores, call.rows)

    def _downstream(self, keywords: tuple[str, ...], batch_axis: int) -> Downstream:
        """Give the function behind the layer, always the same one, since it is traced once."""
        key = (keywords, batch_axis)
        if key not in self._downstreams:
            made = Downstream(self.model, self.layer, self.smooth, keywords=keywords, batch_axis=batch_axis)
            self._downstreams[key] = made
        return self._downstreams[key]

    def _like(self, output: Tensor, axes: MapAxes) -> Tensor:
        """Give the baseline the shape of the layer's output for one item."""
        value, shape = self._baseline.to(output), output.shape[1:]
        if value.ndim == 1 and axes.layout == "channels_first":
            value = value.reshape(-1, *[1] * (len(shape) - 1))
        try:
            return value.expand(shape)
        except RuntimeError as error:
            channels = shape[0 if axes.layout == "channels_first" else -1]
            expected = f"a number, {channels} values, one per channel, or what broadcasts to {tuple(shape)}"
            raise bad_argument("baseline", expected, f"shape {tuple(self._baseline.shape)}") from error


def _checked_baseline(baseline: CellBaseline) -> Tensor:
    try:
        value = torch.as_tensor(baseline, dtype=None if isinstance(baseline, Tensor) else torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        value = torch.tensor(torch.nan)
    if value.is_complex() or not bool(value.isfinite().all()):
        raise bad_argument("baseline", "a finite number, or a tensor of some", repr(baseline)[:200])
    return value
