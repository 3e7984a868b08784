"""Grad-CAM and Grad-CAM++: which places of a layer's feature map speak for a class.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017. Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: Generalized
Gradient-based Visual Explanations for Deep Convolutional Networks", WACV 2018.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer, capture_output, find_layer
from xai_fast.engine.objective import SCORES
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
        layer: a submodule of it or its dotted name; its output A is a map (B, C, h, w), tokens (B, n, d), where d
            counts as channels, or a tuple that starts with one of these.
        score: y: "logit" (the papers), "probability" or "log_probability" of the target.
        relu: keep only what speaks for the target (the papers); without, what speaks against it is negative.
        upsample: True for maps as large as the (first) input, a size (H, W), or False for the size of the layer's map.
            Bilinear, with the corners of the pictures in the same place.

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
        upsample: bool | tuple[int, int] = False,
    ) -> None:
        super().__init__(model)
        self.layer, self._module = find_layer(model, layer)
        self.score = check_choice("score", score, SCORES)
        self.relu = bool(relu)
        self.upsample = _checked_size(upsample)

    def _explain(self, call: Call) -> Explanation:
        return Explanation.cat([self._maps(call, chunk) for chunk in call.chunks()])

    def _maps(self, call: Call, chunk: range) -> Explanation:
        inputs = call.take(chunk)
        with torch.enable_grad(), capture_output(self.model, self._module, cut=True) as captured:
            outputs = call.run(inputs, call.positions(chunk))
            targets = call.targets(outputs, chunk)
            scores = call.objective(outputs, targets)
            activation, gradient = captured.tensor, None
            if scores.requires_grad:
                gradient = torch.autograd.grad(scores.sum(), activation, allow_unused=True)[0]
        if gradient is None:
            raise ModelError(
                f"model: expected a score that depends differentiably on {self.layer}, got one that does not"
            )
        self._check_map(activation, len(chunk))
        maps = self._resized(self._combined(activation.detach(), gradient), inputs[0])
        ones = torch.ones(len(chunk), dtype=torch.int64, device=call.device)
        return Explanation(attributions=maps, scores=scores.detach(), targets=targets, evaluations=ones)

    def _check_map(self, activation: Tensor, rows: int) -> None:
        if activation.ndim not in (3, 4) or activation.shape[0] != rows:
            raise bad_argument(
                "layer",
                "a layer whose output is a map (B, C, h, w) or tokens (B, n, d)",
                f"{self.layer}: {tuple(activation.shape)} for {rows} items",
            )

    def _combined(self, activation: Tensor, gradient: Tensor) -> Tensor:
        tokens = activation.ndim == 3
        a, g = (value.transpose(1, 2) if tokens else value.flatten(2) for value in (activation, gradient))
        maps = torch.einsum("bk,bkn->bn", self._weights(a, g), a)
        maps = maps.relu() if self.relu else maps
        return maps if tokens else maps.reshape(-1, *activation.shape[2:])

    def _weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Give alpha_k (Eq. 1): (B, C) from A and dy/dA, both (B, C, n)."""
        return gradient.mean(2)

    def _resized(self, maps: Tensor, inputs: Tensor) -> Tensor:
        if self.upsample is False:
            return maps
        if maps.ndim != 3:
            raise bad_argument("upsample", f"False for the tokens of {self.layer}", repr(self.upsample))
        if self.upsample is True and inputs.ndim != 4:
            raise bad_argument("upsample", "a size (H, W) where the input is no picture (B, C, H, W)", "True")
        size = inputs.shape[-2:] if self.upsample is True else self.upsample
        return torch.nn.functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _checked_size(upsample: object) -> bool | tuple[int, int]:
    if isinstance(upsample, bool):
        return upsample
    if not isinstance(upsample, list | tuple) or len(upsample) != 2:
        raise bad_argument("upsample", "True, False, or a size (H, W)", repr(upsample))
    height, width = (check_integer("upsample", side, 1) for side in upsample)
    return height, width


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
