"""Grad-CAM and Grad-CAM++: which places of a layer's feature map speak for a class.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017. Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: Generalized
Gradient-based Visual Explanations for Deep Convolutional Networks", WACV 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.axes import LAYOUTS, LayerAxes, MapAxes
from xai_fast.engine.call import Call
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.gradients import gradient_through_checkpoints
from xai_fast.engine.layers import Layer, capture_gradient, capture_output, find_layer
from xai_fast.engine.objective import SCORES, at_least_float32
from xai_fast.errors import ModelError, bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method

__all__ = ["GradCAM", "GradCAMPlusPlus"]


class GradCAM(Method[Explanation]):
    """Class activation maps weighted by the mean gradient of each channel.

    With A the output of the layer and y the score, alpha_k is the mean over the positions of dy/dA_k (Eq. 1), and the
    map is ReLU(sum over k of alpha_k A_k) (Eq. 2). The pass back ends at the layer, so it costs less than a gradient
    with respect to the input. Attributions are (B, h, w) for a layer with a map, or as large as ``upsample`` says; (B,
    n) for tokens. Inputs may be integers, such as token numbers.

    Args:
        model: a module in evaluation mode.
        layer: a submodule of it or its dotted name; its output A is a map (B, C, ...) or (B, ..., C) of one to three
            dimensions, tokens (B, n, d) or (n, B, d), where d counts as channels, or a tuple that starts with one.
        score: y: "logit" (the papers), "probability" or "log_probability" of the target.
        relu: keep only what speaks for the target (the papers); without, what speaks against it is negative.
        upsample: True for maps as large as the (first) input, a size such as (H, W), or False for the size of the
            layer's map. Linear, with the corners of the pictures in the same place.
        layout: "channels_first" (B, C, ...), "channels_last" (B, ..., C) or "sequence_first" (n, B, C) where A has
            another layout than the modules that made it tell; None to find out.
        grid: (h, w) of tokens that stand for the cells of a picture; None to find out from its patches.
        skip_tokens: tokens at the beginning that stand for no cell, such as a class token; None to find out.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    name = "gradcam"
    integers = True

    def __init__(
        self,
        model: Callable[..., object],
        layer: Layer,
        *,
        score: str = "logit",
        relu: bool = True,
        upsample: bool | tuple[int, ...] = False,
        layout: str | None = None,
        grid: Sequence[int] | None = None,
        skip_tokens: int | None = None,
    ) -> None:
        super().__init__(model)
        self.layer, self._module = find_layer(model, layer)
        self.score = check_choice("score", score, SCORES)
        self.relu = bool(relu)
        self.upsample = _checked_size(upsample)
        self.layout = None if layout is None else check_choice("layout", layout, LAYOUTS)
        self.grid = None if grid is None else tuple(check_integer("grid", side, 1) for side in grid)
        self.skip_tokens = None if skip_tokens is None else check_integer("skip_tokens", skip_tokens, 0)
        self._axes = LayerAxes(self._module, self.layout, self.grid, self.skip_tokens)

    def _explain(self, call: Call) -> Explanation:
        axes = self._axes.of(call)
        return Explanation.cat([self._maps(call, chunk, axes) for chunk in call.chunks()])

    def _maps(self, call: Call, chunk: range, axes: MapAxes) -> Explanation:
        inputs, item = call.take(chunk), call.positions(chunk)
        with capture_output(self.model, self._module, cut=True) as captured:
            outputs = call.run(inputs, item)
            targets = call.targets(outputs, chunk)
            scores = call.objective(outputs, targets)
            activation, gradient = captured.tensor, None
            if scores.requires_grad:
                gradient = gradient_through_checkpoints(self.model, scores, activation)
        if gradient is None:
            activation, gradient = self._in_checkpoint(call, chunk, targets)
        activation, gradient = at_least_float32(activation.detach()), at_least_float32(gradient)
        with torch.autocast(call.device.type, enabled=False):
            maps = self._resized(self._combined(activation, gradient, axes), inputs[0])
        ones = torch.ones(len(chunk), dtype=torch.int64, device=call.device)
        return Explanation(attributions=maps, scores=scores.detach(), targets=targets, evaluations=ones)

    def _in_checkpoint(self, call: Call, chunk: range, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Give A and dy/dA of a layer inside a reentrant checkpoint, by a pass back to the inputs."""
        inputs = [v.requires_grad_() if v.is_floating_point() else v for v in call.take(chunk)]
        frozen = frozen_parameters(self.model)
        with frozen, torch.enable_grad(), capture_gradient(self.model, self._module) as seen:
            scores = call.objective(call.run(inputs, call.positions(chunk)), targets)
            if scores.requires_grad:
                scores.sum().backward()  # type: ignore[no-untyped-call]  # torch
        if len(seen) != 2:
            raise ModelError(
                f"model: expected a score that depends differentiably on {self.layer}, got one that does not"
            )
        return seen[0], seen[1]

    def _combined(self, activation: Tensor, gradient: Tensor, axes: MapAxes) -> Tensor:
        a, g = (axes.tokens(value).transpose(1, 2) for value in (activation, gradient))
        maps = torch.einsum("bk,bkn->bn", self._weights(a, g), a)
        maps = maps.relu() if self.relu else maps
        return maps.reshape(-1, *axes.grid)

    def _weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Give alpha_k (Eq. 1): (B, C) from A and dy/dA, both (B, C, n)."""
        return gradient.mean(2)

    def _resized(self, maps: Tensor, inputs: Tensor) -> Tensor:
        if self.upsample is False:
            return maps
        sides = maps.ndim - 1
        size = tuple(inputs.shape[1:][-sides:]) if self.upsample is True else self.upsample
        if len(size) != sides:
            expected = f"False, or as many sizes as the map {tuple(maps.shape[1:])} of {self.layer} has"
            raise bad_argument("upsample", expected, f"{self.upsample!r} for inputs {tuple(inputs.shape)}")
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[sides]
        return torch.nn.functional.interpolate(maps[:, None], size, mode=mode, align_corners=False)[:, 0]


def _checked_size(upsample: object) -> bool | tuple[int, ...]:
    if isinstance(upsample, bool):
        return upsample
    if not isinstance(upsample, list | tuple) or not 1 <= len(upsample) <= 3:
        raise bad_argument("upsample", "True, False, or a size such as (H, W)", repr(upsample))
    return tuple(check_integer("upsample", side, 1) for side in upsample)


class GradCAMPlusPlus(GradCAM):
    """Class activation maps in which each position's positive gradient has a weight of its own.

    With g = dS/dA the weight of a channel is w_k = sum over the positions of alpha * ReLU(g), where
    alpha = g^2 / (2 g^2 + g^3 sum over all positions of A_k) (Eq. 19), for the score Y = exp(S). The derivative of Y
    has the factor exp(S), one positive number per item, which overflows for large scores and changes no picture; it is
    left out. A weight is 0 where alpha is 0 / 0.

    Arguments as for `GradCAM`; S is ``score``.
    """

    name = "gradcam_plus_plus"

    def _weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Give w_k: (B, C) from A and dS/dA, both (B, C, n)."""
        # For g > 0 alpha * g is g / (2 + g sum A): the same number, without squares and cubes of small gradients.
        divisor = 2 + gradient * activation.sum(2, keepdim=True)
        counts = (gradient > 0) & (divisor != 0)
        return torch.where(counts, gradient / divisor, 0.0).sum(2)
