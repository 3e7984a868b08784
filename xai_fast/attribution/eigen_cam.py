"""Eigen-CAM: the first principal component of a layer's output, whatever the class.

Muhammad and Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", IJCNN 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import Unpack, override

from xai_fast.attribution.channels import channels
from xai_fast.attribution.layer_maps import LayerMaps, LayerOptions, Maps
from xai_fast.engine.axes import MapAxes
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer

__all__ = ["EigenCAM"]


class EigenCAM(LayerMaps):
    """Maps of the direction of the channels in which a layer's output is largest.

    With O the layer's output as a matrix of its n positions and C channels, and v the first right singular vector of
    O = U S V^T, the map is O v. It does not depend on the score, which is reported only. A singular vector has no sign:
    here the entry of the map with the largest magnitude is positive. Behind a ReLU that makes the whole map positive.

    Attributions are in the units of the layer's output. Arguments as for `xai_fast.attribution.layer_maps.LayerMaps`.

    Cost: ``6 if smooth else 1`` evaluations per item, and a singular value decomposition of the layer's map.
    Limits: the same for every target; where the two largest singular values are equal, any of several maps.

    Args:
        centered: subtract the mean over the positions from each channel first, which makes v the first principal
            component, as pytorch-grad-cam does; the paper does not.
    """

    name = "eigen_cam"

    def __init__(
        self,
        model: Callable[..., object],
        layer: Layer | Sequence[str] | Sequence[nn.Module],
        *,
        centered: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(model, layer, **options)
        self.centered = bool(centered)

    @override
    def _maps(self, call: Call, chunk: range, axes: Sequence[MapAxes]) -> Maps:
        outputs, scores, targets = self._run(call, chunk)
        with torch.autocast(call.device.type, enabled=False):
            maps = [self._map(channels(*pair)) for pair in zip(outputs, axes, strict=True)]
        return Maps(maps, scores, targets, torch.ones_like(call.positions(chunk)))

    def _map(self, activation: Tensor) -> Tensor:
        """Project (R, C, n) on its first singular vector: (R, n)."""
        if self.centered:
            activation = activation - activation.mean(2, keepdim=True)
        # What is not finite has no decomposition; it is an error of its item later.
        bad = ~activation.isfinite().flatten(1).all(1)
        _, values, right = torch.linalg.svd(activation.masked_fill(bad[:, None, None], 0), full_matrices=False)
        maps: Tensor = values[:, :1] * right[:, 0]  # of the transposed matrix, so that right is O v / s
        largest = maps.gather(1, maps.abs().argmax(1, keepdim=True))
        return (maps * largest.sign()).masked_fill(bad[:, None], torch.nan)
