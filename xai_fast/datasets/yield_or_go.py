"""Yield-or-Go: a car must stop at a crossing if there is a yield sign and another car comes; either alone means go.

The task of the Taylor-CAM paper on which a single position never decides, drawn with Pillow: our road leads up to a
crossing road; there may be a yield sign beside ours and up to two cars on the other. Trees, a house and a parking sign
are there to be mistaken for them. A picture has 112 x 112 pixels; half of all pictures say "stop", the others have the
sign only, cars only, or neither, a third each.

Everything is a function of (seed, split, index), so scene 7 is the same however many are made.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from xai_fast.datasets.random_numbers import RandomNumbers

__all__ = [
    "ANSWERS",
    "CELLS",
    "IMAGE_SIZE",
    "RoadScene",
    "image_batch",
    "road_scene",
]

IMAGE_SIZE = 112
"""Pixels per side."""

ANSWERS = ("go", "stop")
"""The two classes."""

Box = tuple[int, int, int, int]

_SKY, _GRASS, _ROAD, _LINE = (168, 205, 235), (112, 165, 84), (105, 105, 110), (235, 235, 225)
_CAR_COLORS = ((200, 40, 40), (40, 70, 190), (240, 240, 240), (30, 30, 35), (230, 170, 30))
_CROSSING_TOP, _CROSSING_BOTTOM = 44, 68  # rows of the crossing road
_CAR_WIDTH, _CAR_HEIGHT = 24, 12
_SIGN_SIDE = 14
CELLS = 7
"""Rows and columns of the network's map."""


@dataclass(frozen=True)
class RoadScene:
    """One crossing; boxes are (left, top, right, bottom) in pixels, right and bottom not included.

    ``sign`` is the yield sign, ``parking_sign`` one that means nothing here; the cars are on the crossing road, their
    colours 8-bit RGB. ``trees`` are the middles (x, y) of each, ``house`` is its left side, and our road is
    ``road_shift`` pixels off the middle.
    """

    sign: Box | None
    cars: tuple[Box, ...]
    car_colors: tuple[tuple[int, int, int], ...]
    parking_sign: Box | None
    trees: tuple[tuple[int, int], ...]
    house: int | None
    road_shift: int

    @property
    def answer(self) -> int:
        """Class, an index in `ANSWERS`: stop if there are both a sign and a car."""
        return int(self.sign is not None and bool(self.cars))

    @functools.cached_property
    def image(self) -> Image.Image:
        """The picture, 112 x 112 RGB."""
        picture = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), _GRASS)
        pencil = _Pencil(ImageDraw.Draw(picture))
        pencil.rectangle((0, 0, IMAGE_SIZE, 26), _SKY)
        for x, y in self.trees:
            pencil.rectangle((x - 1, y, x + 2, y + 10), (96, 66, 40))
            pencil.ellipse((x - 6, y - 9, x + 7, y + 4), (46, 110, 50))
        if self.house is not None:
            pencil.rectangle((self.house, 20, self.house + 22, 38), (214, 190, 160))
            pencil.polygon(((self.house - 2, 20), (self.house + 11, 10), (self.house + 24, 20)), (150, 70, 55))
        _draw_roads(pencil, self.road_shift)
        for box, color in zip(self.cars, self.car_colors, strict=True):
            _draw_car(pencil, box, color)
        if self.parking_sign is not None:
            _draw_pole(pencil, self.parking_sign)
            pencil.rectangle(self.parking_sign, (40, 80, 200))
            left, top, right, bottom = self.parking_sign
            pencil.rectangle((left + 5, top + 3, right - 5, bottom - 3), (255, 255, 255))
        if self.sign is not None:
            _draw_pole(pencil, self.sign)
            _draw_yield_sign(pencil, self.sign)
        return picture


def road_scene(index: int, *, split: str = "train", seed: int = 0) -> RoadScene:
    """Make a scene of a split, the same at each call; an `InputError` names an argument that is out of range."""
    numbers = RandomNumbers.of_item(index, split, seed)
    case = numbers.below(6)  # 0 to 2: both, 3: sign only, 4: cars only, 5: neither
    shift = numbers.between(-6, 6)
    sides = [shift + 72, shift + 24]  # left edges of the places for signs, right and left of our road
    first_side = numbers.below(2)
    sign = _sign_box(sides[first_side], numbers) if case <= 3 else None
    parking = _sign_box(sides[1 - first_side], numbers) if numbers.below(2) else None
    cars = _car_boxes(numbers) if case in {0, 1, 2, 4} else ()
    colors = tuple(_CAR_COLORS[numbers.below(len(_CAR_COLORS))] for _ in cars)
    trees = tuple((numbers.below(IMAGE_SIZE), numbers.between(28, 34)) for _ in range(numbers.below(4)))
    house = numbers.between(4, 84) if numbers.below(2) else None
    return RoadScene(sign, cars, colors, parking, trees, house, shift)


def image_batch(batch: Sequence[RoadScene]) -> Tensor:
    """Give the pictures of scenes as the network reads them, (B, 3, 112, 112) float32, rgb / 255."""
    pixels = np.stack([np.asarray(item.image) for item in batch])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255


@dataclass(frozen=True)
class _Pencil:
    """Draws half-open boxes."""

    to: ImageDraw.ImageDraw

    def rectangle(self, box: Box, color: tuple[int, int, int]) -> None:
        left, top, right, bottom = box
        self.to.rectangle((left, top, right - 1, bottom - 1), fill=color)

    def ellipse(self, box: Box, color: tuple[int, int, int]) -> None:
        left, top, right, bottom = box
        self.to.ellipse((left, top, right - 1, bottom - 1), fill=color)

    def polygon(self, points: Sequence[tuple[int, int]], color: tuple[int, int, int]) -> None:
        self.to.polygon(points, fill=color)


def _draw_roads(pencil: _Pencil, shift: int) -> None:
    middle = IMAGE_SIZE // 2 + shift
    near, far = 22, 13  # half the width of our road at the picture's bottom and at the crossing
    corners = ((middle - far, _CROSSING_BOTTOM), (middle + far, _CROSSING_BOTTOM))
    pencil.polygon((*corners, (middle + near, IMAGE_SIZE), (middle - near, IMAGE_SIZE)), _ROAD)
    pencil.rectangle((0, _CROSSING_TOP, IMAGE_SIZE, _CROSSING_BOTTOM), _ROAD)
    row = (_CROSSING_TOP + _CROSSING_BOTTOM) // 2
    for left in range(0, IMAGE_SIZE, 14):
        pencil.rectangle((left, row, left + 7, row + 1), _LINE)
    for top in range(_CROSSING_BOTTOM + 6, IMAGE_SIZE, 14):
        pencil.rectangle((middle, top, middle + 1, top + 7), _LINE)


def _draw_car(pencil: _Pencil, box: Box, color: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    pencil.rectangle((left, top + 5, right, bottom - 2), color)
    pencil.rectangle((left + 5, top, right - 5, top + 5), color)
    pencil.rectangle((left + 7, top + 1, right - 7, top + 5), (185, 215, 230))
    for wheel in (left + 3, right - 8):
        pencil.ellipse((wheel, bottom - 5, wheel + 5, bottom), (20, 20, 20))


def _draw_pole(pencil: _Pencil, sign: Box) -> None:
    middle = (sign[0] + sign[2]) // 2
    pencil.rectangle((middle - 1, sign[3] - 1, middle + 1, sign[3] + 10), (90, 90, 90))


def _draw_yield_sign(pencil: _Pencil, box: Box) -> None:
    left, top, right, bottom = box
    middle = (left + right) // 2
    pencil.polygon(((left, top), (right - 1, top), (middle, bottom - 1)), (205, 20, 30))
    pencil.polygon(((left + 4, top + 2), (right - 5, top + 2), (middle, bottom - 6)), (255, 255, 255))


def _sign_box(side: int, numbers: RandomNumbers) -> Box:
    left, top = side + numbers.between(-6, 6), numbers.between(72, 84)
    return left, top, left + _SIGN_SIDE, top + _SIGN_SIDE


def _car_boxes(numbers: RandomNumbers) -> tuple[Box, ...]:
    # One car to a half of the road, so that two never overlap.
    half = IMAGE_SIZE // 2
    halves = [numbers.below(2)] if numbers.below(2) else [0, 1]
    boxes = []
    for part in halves:
        left = part * half + numbers.between(2, half - _CAR_WIDTH - 2)
        top = numbers.between(_CROSSING_TOP - 2, _CROSSING_BOTTOM - _CAR_HEIGHT - 2)
        boxes.append((left, top, left + _CAR_WIDTH, top + _CAR_HEIGHT))
    return tuple(boxes)
