"""Grad-CAM and Grad-CAM++: which places of a layer's feature map speak for a class.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017. Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: Generalized
Gradient-based Visual Explanations for Deep Convolutional Networks", WACV 2018.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import Unpack, override

from xai_fast.attribution.channels import channels, weighted_sum
from xai_fast.attribution.layer_maps import LayerMaps, LayerOptions, Maps
from xai_fast.engine.axes import MapAxes
from xai_fast.engine.call import Call
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.gradients import gradients_through_checkpoints
from xai_fast.engine.layers import CapturedOutput, Layer, capture_gradient, capture_output
from xai_fast.errors import ModelError

__all__ = ["GradCAM", "GradCAMPlusPlus"]


class GradCAM(LayerMaps):
    """Class activation maps weighted by the mean gradient of each channel.

    With A the output of the layer and y the score, alpha_k is the mean over the positions of dy/dA_k (Eq. 1), and the
    map is ReLU(sum over k of alpha_k A_k) (Eq. 2). Attributions are (B, h, w) for a layer with a map, or as large as
    ``upsample`` says; (B, n) for tokens. Inputs may be integers, such as token numbers.

    Arguments as for `xai_fast.attribution.layer_maps.LayerMaps`.

    Cost: ``6 if smooth else 1`` gradients per item, whose pass back ends at the (first) layer.
    Limits: as coarse as the layer; as a channel has one weight, places light up that the score does not use.

    Args:
        against: use -dy/dA in the place of dy/dA: the places that speak against the target, whose score rises without
            them (the paper's counterfactual explanations).
    """

    name = "gradcam"

    def __init__(
        self,
        model: Callable[..., object],
        layer: Layer | Sequence[str] | Sequence[nn.Module],
        *,
        against: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(model, layer, **options)
        self.against = bool(against)

    @override
    def _maps(self, call: Call, chunk: range, axes: Sequence[MapAxes]) -> Maps:
        with contextlib.ExitStack() as stack:
            captured: list[CapturedOutput] = []
            for _, module in self._layers:
                cut = capture_output(self.model, module, cut=True, others=captured)
                captured.append(stack.enter_context(cut))
            outputs = call.run(call.take(chunk), call.positions(chunk))
            targets = call.targets(outputs, chunk)
            scores = call.objective(outputs, targets)
            activations = [one.tensor for one in captured]
            found: Sequence[Tensor | None] = [None] * len(activations)
            if scores.requires_grad:
                found = gradients_through_checkpoints(self.model, scores, activations)
        maps = []
        for i, (activation, gradient) in enumerate(zip(activations, found, strict=True)):
            if gradient is None:
                activation, gradient = self._in_checkpoint(call, chunk, targets, *self._layers[i])
            a, g = (channels(value, axes[i]) for value in (activation, gradient))
            with torch.autocast(call.device.type, enabled=False):
                maps.append(self._map(a, -g if self.against else g))
        return Maps(maps, scores.detach(), targets, torch.ones_like(call.positions(chunk)))

    def _in_checkpoint(
        self, call: Call, chunk: range, targets: Tensor | None, name: str, module: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Give A and dy/dA of a layer inside a reentrant checkpoint, by a pass back to the inputs."""
        inputs = [v.requires_grad_() if v.is_floating_point() else v for v in call.take(chunk)]
        frozen = frozen_parameters(self.model)
        with frozen, torch.enable_grad(), capture_gradient(self.model, module) as seen:
            scores = call.objective(call.run(inputs, call.positions(chunk)), targets)
            if scores.requires_grad:
                scores.sum().backward()  # type: ignore[no-untyped-call]  # torch
        if len(seen) != 2:
            raise ModelError(f"model: expected a score that depends differentiably on {name}, got one that does not")
        return seen[0], seen[1]

    def _map(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Combine A and dy/dA, both (R, C, n), into maps (R, n)."""
        return weighted_sum(gradient.mean(2), activation)


class GradCAMPlusPlus(GradCAM):
    """Class activation maps in which each position's positive gradient has a weight of its own.

    With g = dS/dA the weight of a channel is w_k = sum over the positions of alpha * ReLU(g), where
    alpha = g^2 / (2 g^2 + g^3 sum over all positions of A_k) (Eq. 19), for the score Y = exp(S). The derivative of Y
    has the factor exp(S), one positive number per item, which overflows for large scores and changes no picture; it is
    left out. A weight is 0 where alpha is 0 / 0.

    Arguments as for `GradCAM`; S is ``score``, or -``score`` with ``against``.

    Limits: as of `GradCAM`; alpha is exact where the score is piecewise linear in the layer's output, as behind ReLUs.
    """

    name = "gradcam_plus_plus"

    @override
    def _map(self, activation: Tensor, gradient: Tensor) -> Tensor:
        # For g > 0 alpha * g is g / (2 + g sum A): the same number, without squares and cubes of small gradients.
        divisor = 2 + gradient * activation.sum(2, keepdim=True)
        counts = (gradient > 0) & (divisor != 0)
        return weighted_sum(torch.where(counts, gradient / divisor, 0.0).sum(2), activation)
