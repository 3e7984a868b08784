"""Grad-CAM and Grad-CAM++: which places of a layer's feature map speak for a class.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017. Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: Generalized
Gradient-based Visual Explanations for Deep Convolutional Networks", WACV 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer, name_items
from xai_fast.engine.call import (
    ExtraArguments,
    check_device,
    check_eval_mode,
    check_inputs,
    default_rows,
    frozen_parameters,
    preferred_memory_format,
)
from xai_fast.engine.layers import Layer, capture_output, find_layer
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.errors import ModelError, bad_argument

__all__ = ["GradCAM", "GradCAMPlusPlus"]


class GradCAM:
    """Class activation maps weighted by the mean gradient of each channel.

    With A the output of the layer and y the score, alpha_k is the mean over the positions of dy/dA_k (Eq. 1), and the
    map is ReLU(sum over k of alpha_k A_k) (Eq. 2). The pass back ends at the layer, so it costs less than a gradient
    with respect to the input.

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

    def __init__(
        self,
        model: Callable[..., object],
        layer: Layer,
        *,
        score: str = "logit",
        relu: bool = True,
        upsample: bool | tuple[int, int] = False,
    ) -> None:
        check_choice("score", score, SCORES)
        if not isinstance(upsample, bool):
            if not isinstance(upsample, tuple) or len(upsample) != 2:
                raise bad_argument("upsample", "True, False, or a size (H, W)", repr(upsample))
            for side in upsample:
                check_integer("upsample", side, 1)
        self.model = model
        self.layer, self._module = find_layer(model, layer)
        self.score = score
        self.relu = bool(relu)
        self.upsample = upsample

    @property
    def settings(self) -> dict[str, object]:
        """The options of the method, by name."""
        return {
            "method": type(self).__name__,
            "layer": self.layer,
            "score": self.score,
            "relu": self.relu,
            "upsample": self.upsample,
        }

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        internal_batch_size: int | None = None,
    ) -> Tensor:
        """Compute maps.

        Args:
            inputs: (B, ...) in the model's input units, or a tuple of them; integers (token numbers) are fine.
            target: None for the predicted class, an int, a list or tensor (B,) of classes, or a callable from the
                model's output to scores (R,); see `xai_fast.engine.objective.Objective`.
            additional_forward_args: one value or a tuple, passed to the model after the inputs. Tensors whose first
                dimension is B go along with their items.
            internal_batch_size: rows that go through the model at once; bounds the memory. By default 8 on a CPU, 64
                elsewhere.

        Returns:
            (B, h, w) for a layer with a map, or as large as ``upsample`` says; (B, n) for tokens. In units of the score
            where no paper's constant is left out.

        Raises:
            InputError: an argument does not fit, or the layer runs more than once, or gives something else than a map.
            ModelError: the model is in training mode, its score does not depend on the layer, or is not finite.
        """
        values = check_inputs(inputs, integers=True)
        batch, device = values[0].shape[0], values[0].device
        objective = Objective(target, self.score)
        check_eval_mode(self.model)
        check_device(self.model, device)
        if internal_batch_size is not None:
            check_integer("internal_batch_size", internal_batch_size, 1)
        rows = internal_batch_size or default_rows(math.prod(values[0].shape[1:]), device)
        extra = ExtraArguments(additional_forward_args, batch)
        # Inside inference mode no graph could be built; leaving it does not change what the caller sees.
        with torch.inference_mode(False), torch.enable_grad(), frozen_parameters(self.model):
            maps = [
                self._maps(values, extra, objective, start, min(start + rows, batch))
                # An empty batch goes through the model too, for the size of the map.
                for start in range(0, max(batch, 1), rows)
            ]
        return torch.cat(maps)

    def _maps(
        self, values: tuple[Tensor, ...], extra: ExtraArguments, objective: Objective, start: int, stop: int
    ) -> Tensor:
        item = torch.arange(start, stop, device=values[0].device)
        memory = preferred_memory_format(self.model, item.device, "fp32")
        # Copies, so that a model that works in place does not reach the user's inputs.
        inputs = [value.detach()[start:stop].clone() for value in values]
        inputs = [value.contiguous(memory_format=memory) if value.ndim == 4 else value for value in inputs]
        with capture_output(self.model, self._module, cut=True) as captured:
            outputs = self.model(*inputs, *extra.rows(item))
        activation = captured.tensor
        with torch.no_grad():
            targets = objective.targets(outputs, start=start, batch=values[0].shape[0])
        scores = objective(outputs, targets)
        gradient = torch.autograd.grad(scores.sum(), activation, allow_unused=True)[0] if scores.requires_grad else None
        if gradient is None:
            raise ModelError(
                f"model: expected a score that depends differentiably on {self.layer}, got one that does not"
            )
        with torch.no_grad():
            maps = self.from_gradient(activation, gradient, values[0][start:stop])
            bad = (~(maps.flatten(1).isfinite().all(1) & scores.isfinite())).nonzero()[:, 0].tolist()
            if bad:
                wrong = name_items([start + i for i in bad])
                raise ModelError(f"model: expected finite scores and gradients, got NaN or infinity for {wrong}")
            return maps

    def from_gradient(self, activation: Tensor, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Compute maps from a pass through the model that was made elsewhere, which several methods can share.

        Args:
            activation: A, the layer's output: (B, C, h, w), or tokens (B, n, d).
            gradient: dy/dA, of the same shape.
            inputs: (B, ...) the model's input, whose size counts where ``upsample`` is True.

        Returns:
            As `attribute`.

        Raises:
            InputError: the layer gives something else than a map, or cannot be upsampled.
        """
        with torch.no_grad():
            self._check_map(activation, len(inputs))
            return self._resized(self._combined(activation.detach(), gradient), inputs)

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


class GradCAMPlusPlus(GradCAM):
    """Class activation maps in which each position's positive gradient has a weight of its own.

    With g = dS/dA the weight of a channel is w_k = sum over the positions of alpha * ReLU(g), where
    alpha = g^2 / (2 g^2 + g^3 sum over all positions of A_k) (Eq. 19), for the score Y = exp(S). The derivative of Y
    has the factor exp(S), one positive number an item, which overflows for large scores and changes no picture; it is
    left out. A weight is 0 where alpha is 0 / 0.

    Arguments as for `GradCAM`; S is ``score``.
    """

    def _weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Give w_k: (B, C) from A and dS/dA, both (B, C, n)."""
        # For g > 0 alpha * g is g / (2 + g sum A): the same number, without squares and cubes of small gradients.
        divisor = 2 + gradient * activation.sum(2, keepdim=True)
        counts = (gradient > 0) & (divisor != 0)
        return torch.where(counts, gradient / divisor, 0.0).sum(2)
