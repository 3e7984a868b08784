"""The network of `xai_fast.datasets.three_objects`."""

from __future__ import annotations

from torch import Tensor, nn

from xai_fast.datasets.three_objects import KINDS
from xai_fast.models.pretrained import with_weights

__all__ = ["ThreeObjectsNetwork", "three_objects"]


class ThreeObjectsNetwork(nn.Module):
    """Encodes each cell by a gated layer, sums the cells, and computes the score with two hidden layers of GELU.

    Explanations cut it at ``board``, whose output is the input (B, 9, 4, 4).
    """

    def __init__(self) -> None:
        super().__init__()
        self.board = nn.Identity()
        self.values = nn.Conv2d(len(KINDS) + 1, 16, kernel_size=1)
        self.gates = nn.Conv2d(len(KINDS) + 1, 16, kernel_size=1)
        self.readout = nn.Sequential(
            nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1), nn.Flatten(0)
        )

    def forward(self, boards: Tensor) -> Tensor:
        """Compute scores (B,) of boards (B, 9, 4, 4)."""
        cells = self.board(boards)
        scores: Tensor = self.readout((self.values(cells) * self.gates(cells)).sum(dim=(2, 3)))
        return scores


def three_objects(*, pretrained: bool = True) -> ThreeObjectsNetwork:
    """Build the network in evaluation mode, on the CPU, with the weights of the package or else with random ones."""
    return with_weights(ThreeObjectsNetwork(), "three-objects", pretrained)
