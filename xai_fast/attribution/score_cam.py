"""Score-CAM: channels are weighted by the score of the input behind each of them as a mask, without gradients.

Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu, "Score-CAM: Score-Weighted Visual Explanations for Convolutional
Neural Networks", CVPR 2020 (workshop).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.channels import channel_scores, channels, weighted_sum
from xai_fast.attribution.layer_maps import LayerMaps, Maps
from xai_fast.engine.axes import MapAxes
from xai_fast.engine.call import Call
from xai_fast.engine.places import at_positions, input_positions, resized
from xai_fast.errors import bad_argument

__all__ = ["ScoreCAM"]


class ScoreCAM(LayerMaps):
    """Class activation maps weighted by the scores of masked inputs.

    With A the output of the layer, H_k is A_k resized to the input and scaled to [0, 1] by its smallest and largest
    entry, alpha the softmax over the channels of y(x H_k), the score of the input times the mask, and the map is
    ReLU(sum over k of alpha_k A_k) (Algorithm 1; y of a black input, which the paper subtracts, is the same for all
    channels and leaves the softmax as it is). The mask of a constant channel is 0, so that all these share one run.

    Arguments as for `xai_fast.attribution.layer_maps.LayerMaps`.

    Cost: at most ``1 + channels`` evaluations per item, of the layers' channels; 6 times that with ``smooth``.
    Limits: large logits leave one channel in the softmax. Of several inputs the first is masked; no integers.
    """

    name = "score_cam"
    integers = False

    @override
    def _maps(self, call: Call, chunk: range, axes: Sequence[MapAxes]) -> Maps:
        outputs, scores, targets = self._run(call, chunk)
        maps, evaluations = [], torch.ones_like(call.positions(chunk))
        for output, one in zip(outputs, axes, strict=True):
            masked = _Masked(call, chunk, channels(output, one), one, targets)
            varies = masked.varies
            blank = ~varies & ((~varies).cumsum(1) == 1)  # the first constant channel of an item stands for all
            found = channel_scores(call, varies | blank, scores, masked.scores)
            found = torch.where(varies, found, found.where(blank, 0).sum(1, keepdim=True))
            maps.append(weighted_sum(found.softmax(1), masked.activation))
            evaluations = evaluations + (varies | blank).sum(1)
        return Maps(maps, scores, targets, evaluations)


class _Masked:
    """The scores of a chunk's items behind the channels (R, C, n) of a layer; ``varies`` (R, C): which have a mask."""

    def __init__(self, call: Call, chunk: range, activation: Tensor, axes: MapAxes, targets: Tensor | None) -> None:
        self.call, self.first, self.activation, self.axes, self.targets = call, chunk.start, activation, axes, targets
        self.varies = activation.amax(2) > activation.amin(2)
        inputs = call.values[0]
        places = input_positions(inputs, axes)
        if places is None:
            expected = f"a layer whose map has the axes of the inputs {tuple(inputs.shape)} behind (B, C)"
            raise bad_argument("layer", expected, f"a map {axes.grid}")
        self.places = places
        self.prepared = call.prepared()

    def scores(self, of: Tensor, channel: Tensor) -> Tensor:
        """Score items (r,) of the chunk behind channels (r,): (r,)."""
        item = self.first + of
        inputs = [value[item] for value in self.call.values]
        with torch.autocast(self.call.device.type, enabled=False):
            inputs[0] = inputs[0] * self._masks(of, channel, inputs[0])
        inputs = [self.call.formatted(value, self.prepared.memory_format) for value in inputs]
        outputs = self.call.run(inputs, item, self.prepared.forward)
        return self.call.objective(outputs, None if self.targets is None else self.targets[of])

    def _masks(self, of: Tensor, channel: Tensor, inputs: Tensor) -> Tensor:
        """Give H (r, ...) with the axes of the inputs (r, ...)."""
        maps = self.activation[of, channel].reshape(-1, *self.axes.grid)
        wide = resized(maps, [inputs.shape[axis] for axis in self.places]).to(inputs.dtype)
        low, high = (getattr(wide.flatten(1), name)(1, keepdim=True) for name in ("amin", "amax"))
        constant = ~self.varies[of, channel][:, None] | (high == low)
        mask = (wide.flatten(1) - low) / (high - low).masked_fill(constant, 1)
        return at_positions(mask.masked_fill(constant, 0), inputs, self.places)
