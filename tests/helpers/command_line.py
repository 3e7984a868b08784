"""A small model, pictures, and runs of the command line, for its tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xai_fast import cli

MODELS = """
import torch
from torch import nn
from xai_fast.suites import ImageModel

class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(6 * x)

def network(seed=0):
    # Bumpy, so that the random points matter: in a smooth one all of them step to the same corner.
    torch.manual_seed(seed)
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 32), Sine(), nn.Linear(32, 3))

def build(model=None):
    half = (0.5, 0.5, 0.5)
    return ImageModel(model or network(), "tiny", (16, 16), half, half, ("ant", "b<i>ee</i>", "cricket"), margin=2)

def other_weights():
    return build(network(1))

class FailsOnWhite(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()
    def forward(self, x):
        white = (x.flatten(1).amin(1, keepdim=True) > 0.9)
        return torch.where(white, torch.nan, self.network(x))

def fails_on_white():
    return build(FailsOnWhite())

class Detached(nn.Module):
    def forward(self, x):
        return x.detach().mean((2, 3))

def detached():
    return build(Detached())

class Flat(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) * 0

def flat():
    return build(Flat())

class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x

def two_outputs():
    return build(TwoOutputs())

class Binary(nn.Module):
    def forward(self, x):
        return x.flatten(1).tanh().mean(1)

def binary():
    return build(Binary())
"""
QUICK = ("--model", "cli_models:build", "--points", "3", "--max-steps", "9")


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (20, 30), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def run(*arguments: object) -> int:
    return cli.main(["neflag", *map(str, arguments), *QUICK])


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def attribution(out: Path, name: str) -> np.ndarray:
    with np.load(out / "maps" / (name + ".npz")) as stored:
        return stored["attribution"]
