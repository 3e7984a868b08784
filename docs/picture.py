"""Draw the README's picture: ``python docs/picture.py`` (needs the extra ``demo``).

Photos of scikit-image that are in the public domain (astronaut: NASA) or under CC0 (chelsea, coffee; rocket: SpaceX).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import torch

from xai_fast import NeFLAG
from xai_fast.datasets import sample_photos
from xai_fast.models import load
from xai_fast.plot import overlay

mpl.use("Agg")
from matplotlib import pyplot as plt

NAMES = ("chelsea.png", "rocket.jpg", "coffee.png", "astronaut.png")


def main() -> None:
    """Explain four photos and write ``neflag.png`` beside this file."""
    network = load("efficientnet-lite0")
    photos = {Path(photo.name).name: photo for photo in sample_photos(["scikit-image"])}
    pictures = [photos[name].open() for name in NAMES]
    inputs = torch.stack([network.transform(picture) for picture in pictures])
    result = NeFLAG(network.model, radius=0.3, points=10, aggregate="magnitude").explain(inputs)
    figure, axes = plt.subplots(2, len(NAMES), figsize=(10, 5.3), layout="constrained")
    for column, picture in enumerate(pictures):
        rgb = network.to_rgb(inputs[column])
        axes[0, column].imshow(network.crop(picture, scale=2))
        axes[0, column].axis("off")
        name = network.class_names[int(result.targets[column])].split(",")[0]
        axes[1, column].imshow(overlay(rgb, result.attributions[column], smooth=2.0))
        axes[1, column].set(xticks=[], yticks=[])
        axes[1, column].set_xlabel(f"{name}, {float(result.scores[column]):.0%}", fontsize=11)
        for spine in axes[1, column].spines.values():
            spine.set_visible(False)
    figure.savefig(Path(__file__).with_name("neflag.png"), dpi=100)


if __name__ == "__main__":
    main()
