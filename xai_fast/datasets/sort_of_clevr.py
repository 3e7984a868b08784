"""Sort-of-CLEVR: six coloured objects on white, and questions about one of them or about how it relates to the others.

Santoro et al., "A simple neural network module for relational reasoning", NIPS 2017, Section 4.2 and supplement; it is
the data of Section 5.3 of the Taylor-CAM paper. An image has 75 x 75 pixels and one object of each of six colours, a
square or a circle of 11 pixels, whose boxes do not overlap. A question names a colour:

=====================  =======================================================  ==========================
kind                   question                                                 answers
=====================  =======================================================  ==========================
non-relational, 0      What is the shape of the red object?                     square, circle
non-relational, 1      Is the red object on the left?                           yes, no
non-relational, 2      Is the red object at the top?                            yes, no
relational, 0          What is the shape of the object closest to the red one?  square, circle
relational, 1          What is the shape of the object furthest from it?        square, circle
relational, 2          How many objects have the shape of the red object?       1 to 6, itself counted
=====================  =======================================================  ==========================

Distances are between centres; of objects that are equally far, the first in the order of `COLORS` is taken. There are
18 questions of each kind about an image, and as in public implementations 10 of each are drawn with repetition.
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

from xai_fast.arguments import check_choice, check_integer
from xai_fast.datasets.random_numbers import RandomNumbers

__all__ = [
    "ANSWERS",
    "COLORS",
    "IMAGE_SIZE",
    "KINDS",
    "SHAPES",
    "SPLIT_SIZES",
    "Question",
    "Scene",
    "SceneObject",
    "all_questions",
    "ask",
    "image_batch",
    "question_batch",
    "sample_questions",
    "scene",
    "scenes",
]

IMAGE_SIZE = 75
"""Pixels per side."""

COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "gray": (128, 128, 128),
    "yellow": (255, 255, 0),
}
"""The six colours, 8-bit RGB, in the order of the question's bits."""

SHAPES = ("square", "circle")
KINDS = ("non-relational", "relational")
ANSWERS = ("yes", "no", "square", "circle", "1", "2", "3", "4", "5", "6")
"""The ten classes."""

SPLIT_SIZES = {"train": 9800, "test": 200}
"""Images of the published data set; a split can be read beyond its size."""

_TEXTS = {
    ("non-relational", 0): "What is the shape of the {} object?",
    ("non-relational", 1): "Is the {} object on the left?",
    ("non-relational", 2): "Is the {} object at the top?",
    ("relational", 0): "What is the shape of the object closest to the {} object?",
    ("relational", 1): "What is the shape of the object furthest from the {} object?",
    ("relational", 2): "How many objects have the shape of the {} object?",
}
_RADIUS = 5  # an object covers its centre and this many pixels at each side
_BACKGROUND = (255, 255, 255)
_COLOR_NAMES = tuple(COLORS)


@dataclass(frozen=True)
class SceneObject:
    """One object: a key of `COLORS`, one of `SHAPES`, and (x, y), the pixel in its middle."""

    color: str
    shape: str
    center: tuple[int, int]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in pixels, right and bottom not included, as Pillow crops."""
        x, y = self.center
        return x - _RADIUS, y - _RADIUS, x + _RADIUS + 1, y + _RADIUS + 1


@dataclass(frozen=True)
class Scene:
    """Six objects, one of each colour in the order of `COLORS`, and their picture."""

    seed: int
    split: str
    index: int
    objects: tuple[SceneObject, ...]

    @functools.cached_property
    def image(self) -> Image.Image:
        """The picture, 75 x 75 RGB."""
        return self.draw()

    def draw(self, scale: int = 1) -> Image.Image:
        """Draw the scene, an RGB picture of ``75 * scale`` pixels per side."""
        picture = Image.new("RGB", (IMAGE_SIZE * scale, IMAGE_SIZE * scale), _BACKGROUND)
        pencil = ImageDraw.Draw(picture)
        for thing in self.objects:
            left, top, right, bottom = (side * scale for side in thing.box)
            corners = (left, top, right - 1, bottom - 1)  # Pillow draws the last pixel too
            (pencil.rectangle if thing.shape == "square" else pencil.ellipse)(corners, fill=COLORS[thing.color])
        return picture


@dataclass(frozen=True)
class Question:
    """A question about a scene, one of the table of the module, with its answer and what the answer rests on.

    Objects are named by their index in ``scene.objects``. ``relevant_objects`` decide the answer: the closest or
    furthest one; for the count all others of the same shape (none when it is the only one); for non-relational
    questions the named object, ``object_of_interest``. ``answer`` is an index in `ANSWERS`.
    """

    kind: str
    subtype: int
    object_of_interest: int
    relevant_objects: tuple[int, ...]
    answer: int

    @property
    def text(self) -> str:
        """The question in English."""
        return _TEXTS[self.kind, self.subtype].format(_COLOR_NAMES[self.object_of_interest])

    @property
    def answer_text(self) -> str:
        """The answer in English."""
        return ANSWERS[self.answer]

    @property
    def vector(self) -> Tensor:
        """The question as the network reads it, (11,) float32: bits for colour, kind and subtype."""
        vector = torch.zeros(len(COLORS) + len(KINDS) + 3)
        kind, subtype = len(COLORS) + KINDS.index(self.kind), len(COLORS) + len(KINDS) + self.subtype
        vector[[self.object_of_interest, kind, subtype]] = 1
        return vector


def scene(index: int, *, split: str = "train", seed: int = 0) -> Scene:
    """Make a scene of "train" or "test", the same at each call; the two never share random numbers."""
    numbers = RandomNumbers.of_item(index, split, seed)
    span = IMAGE_SIZE - 2 * _RADIUS
    objects: list[SceneObject] = []
    for color in COLORS:
        shape = SHAPES[numbers.below(2)]
        while True:
            center = _RADIUS + numbers.below(span), _RADIUS + numbers.below(span)
            if all(_apart(center, other.center) for other in objects):
                break
        objects.append(SceneObject(color, shape, center))
    return Scene(seed, split, index, tuple(objects))


def scenes(count: int, *, start: int = 0, split: str = "train", seed: int = 0) -> list[Scene]:
    """Make the scenes ``start`` to ``start + count - 1`` of a split; see `scene`."""
    return [scene(index, split=split, seed=seed) for index in range(start, start + count)]


def ask(of: Scene, color: int, kind: str, subtype: int) -> Question:
    """Ask about the object of a colour, by its index in `COLORS`, a question of a kind and subtype, and answer it."""
    check_integer("color", color, 0, len(COLORS) - 1)
    check_choice("kind", kind, KINDS)
    check_integer("subtype", subtype, 0, 2)
    named = of.objects[color]
    if kind == "non-relational":
        if subtype == 0:
            answer = _shape_answer(named)
        else:
            answer = ANSWERS.index("yes" if named.center[subtype - 1] < IMAGE_SIZE / 2 else "no")
        return Question(kind, subtype, color, (color,), answer)
    others = [index for index in range(len(COLORS)) if index != color]
    if subtype == 2:
        same = tuple(index for index in others if of.objects[index].shape == named.shape)
        return Question(kind, subtype, color, same, ANSWERS.index(str(1 + len(same))))
    distances = {i: sum((a - b) ** 2 for a, b in zip(of.objects[i].center, named.center, strict=True)) for i in others}
    relevant = (min if subtype == 0 else max)(others, key=distances.__getitem__)
    return Question(kind, subtype, color, (relevant,), _shape_answer(of.objects[relevant]))


def all_questions(of: Scene) -> list[Question]:
    """Ask all 36 questions: by kind, then by colour, then by subtype."""
    return [ask(of, color, kind, subtype) for kind in KINDS for color in range(len(COLORS)) for subtype in range(3)]


def sample_questions(of: Scene, kind: str, count: int = 10) -> list[Question]:
    """Draw questions of one kind with repetition, colour and subtype uniform; the first do not depend on ``count``."""
    check_choice("kind", kind, KINDS)
    numbers = RandomNumbers.of_item(of.index, of.split, of.seed, 1 + KINDS.index(kind))
    return [ask(of, numbers.below(len(COLORS)), kind, numbers.below(3)) for _ in range(count)]


def image_batch(batch: Sequence[Scene]) -> Tensor:
    """Give the pictures of scenes as the network reads them, (B, 3, 75, 75) float32, rgb / 255."""
    pixels = np.stack([np.asarray(item.image) for item in batch])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255


def question_batch(batch: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """Give questions as the network reads them, (B, 11) float32, and their answers, (B,) int64."""
    return torch.stack([item.vector for item in batch]), torch.tensor([item.answer for item in batch])


def _apart(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 2 * _RADIUS


def _shape_answer(thing: SceneObject) -> int:
    return ANSWERS.index(thing.shape)
