"""Training the small networks: Yield-or-Go (minutes of one core), three objects, generated shapes (half a minute).

Each training takes a number of steps, the seed of weights and data, and a function that is given 1 after each step, for
a progress bar. It gives the network in evaluation mode, and its card: the data, and how good it is on test data. An
argument that is out of range is an `InputError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_fast.arguments import check_integer
from xai_fast.datasets import generated_shapes as garments
from xai_fast.datasets import three_objects as meeting
from xai_fast.datasets import yield_or_go as road
from xai_fast.models.generated_shapes import ShapesNetwork, small_classifier
from xai_fast.models.three_objects import ThreeObjectsNetwork
from xai_fast.models.yield_or_go import YieldOrGoNetwork

__all__ = ["fit", "train_generated_shapes", "train_three_objects", "train_yield_or_go"]

_CELL_PIXELS = 16  # of Yield-or-Go
_CASES = ("neither", "cars only", "sign only", "sign and cars")


def train_yield_or_go(
    *,
    steps: int,
    seed: int = 0,
    test_pictures: int = 1000,
    advance: Callable[[int], None] = lambda steps: None,
) -> tuple[YieldOrGoNetwork, dict[str, Any]]:
    """Train the network of Yield-or-Go on pictures of which none is seen twice."""
    batch = 64
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_integer("seed", seed, 0, 2**63 - 1))
        model = YieldOrGoNetwork()

    def loss(step: int) -> Tensor:
        scenes = [road.road_scene(step * batch + number, seed=seed) for number in range(batch)]
        answers = torch.tensor([scene.answer for scene in scenes])
        features = model.features(road.image_batch(scenes))
        said, truth = model.evidence(features), _evidence(scenes)
        known = ~truth.isnan()
        seeing = functional.binary_cross_entropy_with_logits(said[known], truth[known])
        return functional.cross_entropy(model.decide(features), answers) + 10 * seeing

    fit(model.parameters(), loss, steps, advance)
    model.eval()
    card = {
        "network": "four convolutions, the strongest evidence of two kinds, an MLP; see xai_fast.datasets.yield_or_go",
        "data": "Yield-or-Go as drawn by xai_fast.datasets.yield_or_go; no training picture is seen twice",
        "trained on": "the answer, and the cells of sign and cars",
        "seed": seed,
        "steps of 64 pictures": steps,
        "test": f"test split, seed 0, {test_pictures} pictures",
        "accuracy": _road_accuracy(model, test_pictures),
    }
    return model, card


def _evidence(batch: Sequence[road.RoadScene]) -> Tensor:
    """Return where sign and cars are, (B, 2, 7, 7) float32, to train the network's evidence.

    It is 1 at the cell nearest to an object's middle, NaN at its eight neighbours, which see a part of it and may say
    either, and 0 elsewhere.
    """
    truth = torch.zeros(len(batch), 2, road.CELLS, road.CELLS)
    for number, scene in enumerate(batch):
        kinds = ((0, (scene.sign,) if scene.sign is not None else ()), (1, scene.cars))
        inside = [
            (kind, *(min((box[k] + box[k + 2] + _CELL_PIXELS) // (2 * _CELL_PIXELS), road.CELLS - 1) for k in (1, 0)))
            for kind, boxes in kinds
            for box in boxes
        ]
        for kind, row, column in inside:
            truth[number, kind, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = torch.nan
        for kind, row, column in inside:
            truth[number, kind, row, column] = 1
    return truth


def train_three_objects(
    *, steps: int, seed: int = 0, advance: Callable[[int], None] = lambda steps: None
) -> tuple[ThreeObjectsNetwork, dict[str, Any]]:
    """Train the network of the third-order task."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_integer("seed", seed, 0, 2**63 - 1))
        model = ThreeObjectsNetwork()
    generator = torch.Generator().manual_seed(seed)

    def loss(step: int) -> Tensor:
        boards = meeting.random_boards(256, generator)
        return functional.mse_loss(model(boards), meeting.score(boards))

    fit(model.parameters(), loss, steps, advance)
    model.eval()
    boards = meeting.random_boards(10_000, torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        error = (model(boards) - meeting.score(boards)).square().mean().sqrt().item()
        spread = meeting.score(boards).std().item()
    card = {
        "network": "a sum over cells and two hidden layers, see xai_fast.datasets.three_objects",
        "data": "boards drawn by xai_fast.datasets.three_objects.random_boards; none is seen twice",
        "seed": seed,
        "steps of 256 boards": steps,
        "test": "10,000 boards of another seed",
        "root mean square error": error,
        "standard deviation of the score": spread,
    }
    return model, card


def train_generated_shapes(
    *, steps: int, seed: int = 0, advance: Callable[[int], None] = lambda steps: None
) -> tuple[ShapesNetwork, dict[str, Any]]:
    """Train the network of the generated garments."""
    classifier = small_classifier(pretrained=False, seed=check_integer("seed", seed, 0, 2**63 - 1))
    model, batch = classifier.model, 64
    if not isinstance(model, ShapesNetwork):
        raise TypeError(f"expected a ShapesNetwork, got {type(model).__name__}")

    def pictures(first: int, count: int, of: int) -> tuple[Tensor, Tensor]:
        numbers = range(first, first + count)
        grey = [garments.draw(number, seed=of) for number in numbers]
        x = torch.stack([classifier.from_rgb(np.repeat(picture[..., None], 3, axis=2)) for picture in grey])
        return x, torch.tensor([garments.label_of(number) for number in numbers])

    def loss(step: int) -> Tensor:
        # Seeds other than 0 and 1, whose pictures users explain and the card tests.
        x, labels = pictures(step * batch, batch, seed + 2)
        # Smoothed, so that probabilities keep off 0 and 1, where there is nothing left to explain.
        return functional.cross_entropy(model(x), labels, label_smoothing=0.1)

    fit(model.parameters(), loss, steps, advance)
    model.eval()
    with torch.no_grad():
        x, labels = pictures(0, 1000, 1)
        accuracy = (model(x).argmax(1) == labels).float().mean().item()
    card = {
        "network": "three convolutions and two linear layers, see xai_fast.datasets.generated_shapes",
        "data": "pictures drawn by xai_fast.datasets.generated_shapes; none is seen twice",
        "seed": seed,
        "steps of 64 pictures": steps,
        "test": "1,000 pictures of seed 1",
        "accuracy": round(accuracy, 4),
    }
    return model, card


def fit(
    parameters: Iterable[Any],
    loss: Callable[[int], Tensor],
    steps: int,
    advance: Callable[[int], None] = lambda steps: None,
    *,
    highest: float = 3e-3,
    warm_up: int = 50,
    clip: float = math.inf,
) -> None:
    """Run AdamW, for parameters or groups of them, with a warm-up and half a cosine down to zero."""
    check_integer("steps", steps, 1)
    optimizer = torch.optim.AdamW(parameters, highest, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss(step))
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
        optimizer.step()
        schedule.step()
        advance(1)


def _road_accuracy(model: YieldOrGoNetwork, count: int) -> dict[str, float]:
    hits: dict[str, list[bool]] = {"all": []}
    with torch.no_grad():
        for start in range(0, count, 100):
            scenes = [road.road_scene(index, split="test") for index in range(start, min(start + 100, count))]
            answers = model(road.image_batch(scenes)).argmax(1).tolist()
            for scene, answer in zip(scenes, answers, strict=True):
                case = _CASES[2 * (scene.sign is not None) + bool(scene.cars)]
                hits["all"].append(answer == scene.answer)
                hits.setdefault(case, []).append(answer == scene.answer)
    return {name: sum(values) / len(values) for name, values in hits.items()}
