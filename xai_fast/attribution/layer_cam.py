"""LayerCAM: each position of each channel has its own gradient as its weight, so that early layers have maps, too.

Jiang, Zhang, Hou, Cheng and Wei, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE
Transactions on Image Processing 2021.
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.gradcam import GradCAM

__all__ = ["LayerCAM"]


class LayerCAM(GradCAM):
    """Class activation maps of the positive gradients times the output of a layer.

    With A the output of the layer and y the score, the map is ReLU(sum over k of ReLU(dy/dA_k) A_k), position by
    position (Eq. 6 to 8). Maps of several layers are scaled and averaged as `GradCAM` does; the paper takes their
    maximum, after a tanh of those of early layers.

    Arguments as for `GradCAM`.

    Limits: nothing in the map speaks against the target; maps of early layers are grainy.
    """

    name = "layer_cam"

    @override
    def _map(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.relu() * activation).sum(1)
