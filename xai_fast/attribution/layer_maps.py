"""What all class activation maps share: layers and their layouts, passes forward, the size of maps, smoothing."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from typing_extensions import override

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.axes import LAYOUTS, LayerAxes, MapAxes
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer, capture_output, find_layer
from xai_fast.engine.objective import SCORES
from xai_fast.engine.places import input_positions, resized
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method

__all__ = ["LayerMaps", "LayerOptions", "Maps"]

_SMOOTHING = tuple((flip, factor) for flip in (False, True) for factor in (1.0, 0.9, 1.1))


@dataclass(frozen=True)
class Maps:
    """The maps of R items, (R, n) before the ReLU for each layer, with scores (R,), targets and evaluations (R,)."""

    maps: Sequence[Tensor]
    scores: Tensor
    targets: Tensor | None
    evaluations: Tensor


class LayerOptions(TypedDict, total=False):
    """Options of `LayerMaps`, which subclasses pass on."""

    score: str
    relu: bool
    upsample: bool | tuple[int, ...]
    layout: str | None
    grid: Sequence[int] | None
    skip_tokens: int | None
    smooth: bool


class LayerMaps(Method[Explanation]):
    """Maps of the places of a layer: a sum over its channels, weighted as the method says.

    Attributions are (B, h, w) for a layer with a map, or as large as ``upsample`` says; (B, n) for tokens. Of several
    layers each map, after its ReLU, is divided by its item's largest magnitude and resized; the attributions are the
    mean of these over the layers, and have no units.

    Args:
        model: a module in evaluation mode.
        layer: a submodule of it or its dotted name, or a list of several; its output A is a map (B, C, ...) or (B, ...,
            C) of one to three dimensions, tokens (B, n, d) or (n, B, d), where d counts as channels, or a tuple that
            starts with one.
        score: y: "logit" (the papers), "probability" or "log_probability" of the target.
        relu: keep only what speaks for the target (the papers); without, what speaks against it is negative.
        upsample: True for maps as large as the (first) input, whose places are those of inputs (B, C, ...), or of
            tokens (B, n, ...) as many as the layer has; a size such as (H, W), or False for the size of the layer's
            map. Linear, with the corners of the pictures in the same place.
        layout: "channels_first" (B, C, ...), "channels_last" (B, ..., C) or "sequence_first" (n, B, C) where A has
            another layout than the modules that made it tell; None to find out.
        grid: (h, w) of tokens that stand for the cells of a picture; None to find out from its patches.
        skip_tokens: tokens at the beginning that stand for no cell, such as a class token; None to find out.
        smooth: average the attributions of six inputs: the (first) input times 0.9, 1.0 and 1.1, each also flipped
            along its last axis of places (left and right), whose maps are flipped back. The target is that of the
            input itself.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    integers = True

    def __init__(
        self,
        model: Callable[..., object],
        layer: Layer | Sequence[str] | Sequence[nn.Module],
        *,
        score: str = "logit",
        relu: bool = True,
        upsample: bool | tuple[int, ...] = False,
        layout: str | None = None,
        grid: Sequence[int] | None = None,
        skip_tokens: int | None = None,
        smooth: bool = False,
    ) -> None:
        super().__init__(model)
        layers: Sequence[Any] = layer if isinstance(layer, list | tuple) else (layer,)
        if not layers:
            raise bad_argument("layer", "at least one layer", "an empty list")
        self._layers = [find_layer(model, one) for one in layers]
        names = tuple(name for name, _ in self._layers)
        self.layer = names if isinstance(layer, list | tuple) else names[0]
        self.score = check_choice("score", score, SCORES)
        self.relu = bool(relu)
        self.upsample = _checked_size(upsample)
        if self.upsample is False and len(layers) > 1:
            raise bad_argument("upsample", "True or a size, in which the maps of several layers are averaged", "False")
        self.layout = None if layout is None else check_choice("layout", layout, LAYOUTS)
        self.grid = None if grid is None else tuple(check_integer("grid", side, 1) for side in grid)
        self.skip_tokens = None if skip_tokens is None else check_integer("skip_tokens", skip_tokens, 0)
        self.smooth = bool(smooth)
        self._axes = [LayerAxes(one, self.layout, self.grid, self.skip_tokens) for _, one in self._layers]

    @abc.abstractmethod
    def _maps(self, call: Call, chunk: range, axes: Sequence[MapAxes]) -> Maps:
        """Compute the maps of a chunk of items, ``axes`` those of the layers."""

    @override
    def _explain(self, call: Call) -> Explanation:
        axes = [one.of(call) for one in self._axes]
        attributions, found = self._attributions(call, axes)
        evaluations = found.evaluations
        if self.smooth:
            x, rest = call.values[0], call.values[1:]
            places = input_positions(x, axes[0])
            if places is None or not x.is_floating_point():
                expected = f"False, or floating-point inputs with the axes of the map {axes[0].grid} behind (B, C)"
                raise bad_argument("smooth", expected, f"True for {x.dtype} {tuple(x.shape)}")
            call = call.with_targets(found.targets)
            for flip, factor in _SMOOTHING[1:]:
                changed = (x.flip(places[-1]) if flip else x) * factor
                maps, other = self._attributions(replace(call, values=(changed, *rest)), axes)
                attributions = attributions + (maps.flip(-1) if flip else maps)
                evaluations = evaluations + other.evaluations
            attributions = attributions / len(_SMOOTHING)
        return Explanation(
            attributions=attributions, scores=found.scores, targets=found.targets, evaluations=evaluations
        )

    def _attributions(self, call: Call, axes: Sequence[MapAxes]) -> tuple[Tensor, Maps]:
        """Compute the attributions of all items, and what else is known of them."""
        attributions, found = [], []
        for chunk in call.chunks():
            part = self._maps(call, chunk, axes)
            with torch.autocast(call.device.type, enabled=False):
                sized = [self._sized(one, i, axes, call.values[0]) for i, one in enumerate(part.maps)]
            attributions.append(torch.stack(sized).mean(0) if len(sized) > 1 else sized[0])
            found.append(part)
        targets = [one.targets for one in found if one.targets is not None]
        scores, evaluations = (torch.cat([getattr(one, name) for one in found]) for name in ("scores", "evaluations"))
        return torch.cat(attributions), Maps((), scores, torch.cat(targets) if targets else None, evaluations)

    def _sized(self, maps: Tensor, layer: int, axes: Sequence[MapAxes], inputs: Tensor) -> Tensor:
        """Bring maps (R, n) of a layer to their size."""
        grid = axes[layer].grid
        maps = (maps.relu() if self.relu else maps).reshape(-1, *grid)
        if len(self._layers) > 1:
            largest = maps.flatten(1).abs().amax(1).view(-1, *[1] * len(grid))
            maps = maps / largest.where(largest > 0, 1)
        if self.upsample is False:
            return maps
        size: Sequence[int] = () if self.upsample is True else self.upsample
        if self.upsample is True:
            size = [inputs.shape[axis] for axis in input_positions(inputs, axes[0]) or ()]
        if len(size) != len(grid):
            expected = f"False, or as many sizes as the map {grid} of {self._layers[layer][0]} has"
            raise bad_argument("upsample", expected, f"{self.upsample!r} for inputs {tuple(inputs.shape)}")
        return resized(maps, size)

    def _run(self, call: Call, chunk: range) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Run a chunk forward: the outputs of the layers as they are, scores (R,) and targets."""
        with contextlib.ExitStack() as stack:
            captured = [stack.enter_context(capture_output(self.model, module)) for _, module in self._layers]
            outputs = call.run(call.take(chunk), call.positions(chunk))
        targets = call.targets(outputs, chunk)
        return [one.tensor for one in captured], call.objective(outputs, targets), targets


def _checked_size(upsample: object) -> bool | tuple[int, ...]:
    if isinstance(upsample, bool):
        return upsample
    if not isinstance(upsample, list | tuple) or not 1 <= len(upsample) <= 3:
        raise bad_argument("upsample", "True, False, or a size such as (H, W)", repr(upsample))
    return tuple(check_integer("upsample", side, 1) for side in upsample)
