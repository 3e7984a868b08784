"""The network of `xai_fast.datasets.generated_shapes`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai_fast.datasets.generated_shapes import CLASSES, SIDE
from xai_fast.images import ImageModel
from xai_fast.models.pretrained import load_weights

__all__ = ["ShapesNetwork", "small_classifier"]


class ShapesNetwork(nn.Module):
    """Three convolutions and two linear layers, smooth (GELU), from (B, 3, 28, 28) to logits (B, 10).

    Explanations of a layer take ``features``, whose output is a map of 7 x 7 cells.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(8, 16, kernel_size=3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(16, 8, kernel_size=3, stride=2, padding=1),
            nn.GELU(),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 7 * 7, 32), nn.GELU(), nn.Linear(32, len(CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (B, 10) of pictures (B, 3, 28, 28)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def small_classifier(*, pretrained: bool = True, seed: int = 0) -> ImageModel:
    """Return the classifier of these pictures in evaluation mode, on the CPU, with its own weights or with random ones.

    Its input is ``(rgb / 255 - 0.5) / 0.5``, float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ShapesNetwork()
    if pretrained:
        load_weights(network, "generated-shapes")
    half = (0.5, 0.5, 0.5)
    return ImageModel(network.eval(), "generated-shapes", (SIDE, SIDE), half, half, CLASSES, margin=0)
