"""The network of `xai_fast.datasets.yield_or_go`."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from xai_fast.datasets.yield_or_go import ANSWERS, CELLS
from xai_fast.models.pretrained import with_weights

__all__ = ["YieldOrGoNetwork", "yield_or_go"]


class YieldOrGoNetwork(nn.Module):
    """Four convolutions to a map of 7 x 7 cells, the strongest evidence of two kinds anywhere on it, and a small MLP.

    The two kinds are taught to be the sign and the cars. Left to itself the network also answers right, but from
    corners and empty road as well, and then there would be no truth to compare an explanation with.

    Explanations cut it at ``features``, whose output is the map (B, 16, 7, 7). Cell (r, c) is centred at pixel
    (16 r, 16 c) and sees 15 pixels around it. Behind the map activations are GELU, so that the logits have curvature.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 3
        for number, outputs in enumerate((8, 16, 16, 16), start=1):
            layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1)
            layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
            layers[f"relu{number}"] = nn.ReLU()
            inputs = outputs
        self.features = nn.Sequential(layers)
        self.evidence = nn.Conv2d(inputs, 2, kernel_size=1)  # of the sign, of a car
        self.strongest = nn.MaxPool2d(CELLS)
        self.readout = nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.GELU(), nn.Linear(16, len(ANSWERS)))

    def decide(self, features: Tensor) -> Tensor:
        """Compute logits (B, 2) from the map (B, 16, 7, 7): what is downstream of ``features``."""
        logits: Tensor = self.readout(self.strongest(self.evidence(features)))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, 2) of `ANSWERS` from images (B, 3, 112, 112), rgb / 255."""
        return self.decide(self.features(images))


def yield_or_go(*, pretrained: bool = True) -> YieldOrGoNetwork:
    """Build the network in evaluation mode, on the CPU, with the weights of the package or else with random ones."""
    return with_weights(YieldOrGoNetwork(), "yield-or-go", pretrained)
