"""Models for tests of long jobs, which workers import by name."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from xai_fast.suites.models import ImageModel


def tiny() -> ImageModel:
    """A model of pictures of 8 x 8 pixels."""
    torch.manual_seed(0)
    return ImageModel(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4)), "tiny", size=(8, 8), margin=0)


def linear(weights: str) -> nn.Module:
    """A model whose weights are in a file of text."""
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, float(Path(weights).read_text()))
    nn.init.zeros_(model.bias)
    return model


class Sums:
    """Explains an item by the sum of what the model says."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def explain(self, inputs: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"sums": self.model(inputs).sum(1)}
