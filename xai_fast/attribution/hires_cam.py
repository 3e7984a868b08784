"""HiResCAM: Grad-CAM without the mean of the gradients, so that only places that a model used are shown.

Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks", 2020.
"""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.gradcam import GradCAM

__all__ = ["HiResCAM"]


class HiResCAM(GradCAM):
    """Class activation maps of the gradient times the output of a layer.

    With A the output of the layer and y the score, the map is the sum over the channels of dy/dA_k A_k, position by
    position. With ``relu=False``, the paper's definition, the sum of the map is the logit without its bias where one
    linear layer follows, such as ``Flatten`` and ``Linear``; by default the positive part is given, as of Grad-CAM.

    Arguments as for `GradCAM`.

    Limits: as coarse as the layer's map; further layers behind it than a linear one make the map an approximation.
    """

    name = "hires_cam"

    @override
    def _map(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).sum(1)
