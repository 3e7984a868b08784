"""Small models, pictures and a method of another package, for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

MODELS = """
import torch
from torch import nn
from xai_fast.images import ImageModel

class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(6 * x)

def network(seed=0):
    # Bumpy, so that the random points matter: in a smooth one all of them step to the same corner.
    torch.manual_seed(seed)
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 32), Sine(), nn.Linear(32, 3)).eval()

def image_model(model):
    half = (0.5, 0.5, 0.5)
    return ImageModel(model.eval(), "tiny", (16, 16), half, half, ("ant", "b<i>ee</i>", "cricket"), margin=2)

def build():
    return image_model(network())

def other_weights():
    return image_model(network(1))

def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(147, 3))

class FailsOnWhite(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()
    def forward(self, x):
        white = (x.flatten(1).amin(1, keepdim=True) > 0.9)
        return torch.where(white, torch.nan, self.network(x))

def fails_on_white():
    return image_model(FailsOnWhite())

class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 3, stride=4, padding=1)
        self.body = nn.Sequential(nn.GELU(), nn.Conv2d(5, 6, 1), nn.GELU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
    def forward(self, x):
        return self.head(self.body(self.stem(x)))

def with_maps():
    return image_model(Maps())
"""

TOY = '''
import torch
from xai_fast import Explanation, Method

class Toy(Method):
    """Inputs, scaled.

    Args:
        model: a module.
        strength: factor of the input.
    """

    def __init__(self, model, *, strength: float = 1.0) -> None:
        super().__init__(model)
        self.strength = strength

    def _explain(self, call):
        everything = range(call.batch)
        x, items = call.take(everything), call.positions(everything)
        outputs = call.run([value.clone() for value in x], items)
        targets = call.targets(outputs, everything)
        scores = call.objective(outputs, targets)
        ones = torch.ones_like(items)
        return Explanation(attributions=self.strength * x[0], scores=scores, targets=targets, evaluations=ones)
'''

QUICK = ("--model", "cli_models:build", "--points", "3", "--max-steps", "9")


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (20, 30), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def install_toy(folder: Path) -> None:
    """Write the package of a toy method and what makes it installed, into a folder on the path."""
    (folder / "toy_package.py").write_text(TOY)
    about = folder / "toy_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[xai_fast.methods]\ntoy = toy_package:Toy\n")
