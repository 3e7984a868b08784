"""Pictures of garments drawn by rule, ten classes as in Fashion-MNIST, and a small network that tells them apart.

They are there to try long jobs with: as many small files as one likes, the same on every machine, and a model that
other processes can make again by its name, ``xai_fast.models.generated_shapes:small_classifier``.

    python -m xai_fast.datasets.generated_shapes FOLDER 2000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_fast.arguments import check_integer
from xai_fast.datasets.random_numbers import RandomNumbers
from xai_fast.errors import XaiFastError

__all__ = ["CLASSES", "SIDE", "draw", "label_of", "write_pictures"]

SIDE = 28
"""Width and height of a picture in pixels."""

CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
"""The garments; the label of a picture is an index into them."""

_FINER = 3
_Polygon = tuple[tuple[int, int], ...]

# Corners in hundredths of the picture, x to the right and y down: what is filled, and what is cut out of it.
_SHORT_SLEEVES = (
    (30, 15), (42, 15), (50, 22), (58, 15), (70, 15), (95, 38), (82, 50), (72, 42), (72, 90), (28, 90), (28, 42),
    (18, 50), (5, 38),
)  # fmt: skip
_LONG_SLEEVES = (
    (33, 12), (67, 12), (85, 25), (98, 85), (84, 88), (73, 45), (73, 92), (27, 92), (27, 45), (16, 88), (2, 85),
    (15, 25),
)  # fmt: skip
_FRONT = ((49, 12), (52, 12), (52, 92), (49, 92))
_FILLED: tuple[tuple[_Polygon, ...], ...] = (
    (_SHORT_SLEEVES,),
    (((30, 8), (70, 8), (78, 95), (58, 95), (50, 40), (42, 95), (22, 95)),),
    (_LONG_SLEEVES,),
    (((38, 5), (62, 5), (60, 40), (82, 95), (18, 95), (40, 40)),),
    (_LONG_SLEEVES,),
    (
        ((3, 75), (97, 62), (97, 74), (60, 80), (3, 86)),
        ((33, 40), (43, 40), (60, 72), (50, 74)),
        ((75, 33), (85, 33), (80, 66), (70, 68)),
    ),
    (_SHORT_SLEEVES,),
    (((3, 60), (30, 55), (50, 40), (62, 35), (70, 45), (92, 42), (97, 72), (3, 75)),),
    (((10, 45), (90, 45), (95, 92), (5, 92)), ((25, 20), (75, 20), (80, 47), (20, 47))),
    (((5, 70), (35, 58), (50, 42), (50, 10), (90, 10), (92, 90), (5, 88)),),
)
_CUT: dict[int, tuple[_Polygon, ...]] = {4: (_FRONT,), 6: (_FRONT,), 8: (((34, 28), (66, 28), (71, 45), (29, 45)),)}


def label_of(index: int) -> int:
    """Give the label of a picture, an index into `CLASSES`; they take turns."""
    return check_integer("index", index, 0) % len(CLASSES)


def draw(index: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Draw a bright garment of random proportions, place, brightness and pattern on black, (28, 28) uint8."""
    label = label_of(index)
    numbers = RandomNumbers(check_integer("seed", seed, 0, 2**64 - 1), index)
    wide, high = numbers.between(75, 100), numbers.between(75, 100)
    right, down, shear = numbers.between(-6, 6), numbers.between(-6, 6), numbers.between(-8, 8)

    # Whole numbers throughout, so that no rounding differs between machines; one unit is a pixel / 3 / 10,000.
    centers = 10_000 * (2 * np.arange(SIDE * _FINER, dtype=np.int64) + 1) // (2 * SIDE * _FINER)
    y, x = np.meshgrid(centers, centers, indexing="ij")
    y = (y - 5000 - 100 * down) * 100 // high
    x = (x - 5000 - 100 * right - y * shear // 100) * 100 // wide
    inside = np.any([_inside(x + 5000, y + 5000, part) for part in _FILLED[label]], axis=0)
    for part in _CUT.get(label, ()):
        inside &= ~_inside(x + 5000, y + 5000, part)
    cover = inside.reshape(SIDE, _FINER, SIDE, _FINER).sum((1, 3))

    brightness = np.full((SIDE, SIDE), numbers.between(120, 255), dtype=np.int64)
    if numbers.below(3) == 0:
        stripe = numbers.between(2, 4)
        across = np.arange(SIDE)[:, None] if numbers.below(2) else np.arange(SIDE)[None, :]
        brightness = brightness - np.where(across // stripe % 2, numbers.between(30, 80), 0)
    grain = np.array([numbers.below(17) - 8 for _ in range(SIDE)])[:, None]
    grain = grain + np.array([numbers.below(17) - 8 for _ in range(SIDE)])[None, :]
    values = np.where(cover > 0, (brightness + grain) * cover // _FINER**2, 0)
    return values.clip(0, 255).astype(np.uint8)


def write_pictures(folder: str | Path, count: int, *, seed: int = 0) -> Path:
    """Write pictures in a folder for each class, in the order of the labels, such as ``9-ankle-boot/000009.png``."""
    folder = Path(folder)
    for index in range(check_integer("count", count, 1)):
        label = label_of(index)
        path = folder / f"{label}-{CLASSES[label].replace(' ', '-')}" / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(index, seed=seed)).save(path)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Write pictures: the command ``python -m xai_fast.datasets.generated_shapes``."""
    parser = argparse.ArgumentParser(
        prog="python -m xai_fast.datasets.generated_shapes", description=write_pictures.__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    options = parser.parse_args(arguments)
    try:
        print(write_pictures(options.folder, options.count, seed=options.seed))
    except XaiFastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _inside(x: NDArray[np.int64], y: NDArray[np.int64], corners: _Polygon) -> NDArray[np.bool_]:
    """Tell which points are inside a polygon: those from which a ray to the right crosses its border an odd number."""
    inside = np.zeros(x.shape, dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y0 == y1:
            continue
        low, high = (y0, y1) if y0 < y1 else (y1, y0)
        side = (x - 100 * x0) * (y1 - y0) - (y - 100 * y0) * (x1 - x0)
        left = side < 0 if y1 > y0 else side > 0
        inside ^= (y >= 100 * low) & (y < 100 * high) & left
    return inside


if __name__ == "__main__":
    sys.exit(main())
