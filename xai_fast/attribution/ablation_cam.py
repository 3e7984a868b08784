"""Ablation-CAM: channels are weighted by what the score loses without each of them, without gradients.

Desai and Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free Localization",
WACV 2020.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import override

from xai_fast.attribution.channels import channel_scores, channels, weighted_sum
from xai_fast.attribution.layer_maps import LayerMaps, Maps
from xai_fast.engine.axes import MapAxes
from xai_fast.engine.call import Call
from xai_fast.errors import ModelError, UnsupportedOperation
from xai_fast.graph import Graph, ScoreFunction, run, traced
from xai_fast.graph.cut import Downstream

__all__ = ["AblationCAM"]


class AblationCAM(LayerMaps):
    """Class activation maps weighted by the share of the score that is lost without a channel.

    With A the output of the layer, y the score and y_k the score where A_k is zero, the weight of a channel is
    ``w_k = (y - y_k) / |y|``, and the map is ReLU(sum over k of w_k A_k). The paper divides by y, which is positive for
    the class that is predicted: a negative one would turn the map into its opposite. Where y is 0, nothing is divided.

    Channels that are zero already are not run. What comes after the layer is traced and runs alone; a model that cannot
    be traced, or is in half precision, runs as a whole with the layer's output replaced. Arguments as for
    `xai_fast.attribution.layer_maps.LayerMaps`.

    Cost: at most ``1 + channels`` evaluations per item, of what follows the layer; 6 times that with ``smooth``.
    Limits: channels that stand in for one another get no weight; zero need not mean absent.
    """

    name = "ablation_cam"

    @functools.cached_property
    def _downstreams(self) -> dict[tuple[str, tuple[str, ...], int], Downstream]:
        """The functions behind the layers, always the same ones, since each is traced once."""
        return {}

    @functools.cached_property
    def _whole(self) -> set[Callable[..., object]]:
        """Those that cannot be traced."""
        return set()

    @override
    def _maps(self, call: Call, chunk: range, axes: Sequence[MapAxes]) -> Maps:
        outputs, scores, targets = self._run(call, chunk)
        maps, evaluations = [], torch.ones_like(call.positions(chunk))
        for (layer, _), output, one in zip(self._layers, outputs, axes, strict=True):
            activation, axis = channels(output, one), int(one.layout == "sequence_first")
            key = (layer, call.extra.keywords, axis)
            if key not in self._downstreams:
                self._downstreams[key] = Downstream(self.model, layer, keywords=key[1], batch_axis=axis)
            arguments = (*call.narrowed(call.take(chunk)), *call.extra.rows(call.positions(chunk)))
            function = ScoreFunction.of_call(self._downstreams[key], call, arguments, targets)
            if axis:
                output, one = output.transpose(0, 1), replace(one, layout="channels_last")
            ablated = _Ablated(function, output, one, scores, self._graph(function, output))
            active = (activation != 0).any(2)
            lost = ablated.all[:, None] - channel_scores(call, active, ablated.all, ablated.without)
            maps.append(weighted_sum(lost / scores.abs().where(scores != 0, 1)[:, None], activation))
            evaluations = evaluations + active.sum(1)
        return Maps(maps, scores, targets, evaluations)

    def _graph(self, function: ScoreFunction, output: Tensor) -> Graph | None:
        """Trace what comes after a layer; None where that cannot be."""
        wide = output.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(output.device.type)
        if wide and function.model not in self._whole:
            try:
                return traced(function, output).graph
            except (ModelError, UnsupportedOperation):
                self._whole.add(function.model)
        return None


class _Ablated:
    """The scores of items without channels of a layer's output (R, ...); ``all`` are those with all of them, (R,)."""

    def __init__(
        self, function: ScoreFunction, output: Tensor, axes: MapAxes, scores: Tensor, graph: Graph | None
    ) -> None:
        self.function, self.output, self.axes, self.graph = function, output, axes, graph
        self.tokens = axes.tokens(output)
        # A trace rounds in its own way, which must not be in the differences.
        every = torch.arange(len(output), device=output.device)
        self.all = scores if graph is None else self._scores(output, every)

    def without(self, of: Tensor, channel: Tensor) -> Tensor:
        """Score items (r,) without channels (r,): (r,)."""
        chosen = nn.functional.one_hot(channel, self.tokens.shape[2])[:, None].to(self.tokens.dtype)
        return self._scores(self.output[of] - self.axes.output(self.tokens[of] * chosen, self.output), of)

    def _scores(self, output: Tensor, of: Tensor) -> Tensor:
        inputs = [value[of] for value in self.function.inputs]
        if self.graph is None:
            return self.function(output, *inputs)
        return run(self.graph, output, inputs).tensor(self.graph.output)[:, 0]
