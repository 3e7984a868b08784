"""The network of `xai_fast.fit_mlp`, its goal, and the loop that trains it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_fast.errors import ModelError, bad_argument
from xai_fast.interaction.table import Table
from xai_fast.progress import Progress

__all__ = ["Epoch", "Goal", "Rows", "Settings", "Standardize", "new_network", "quality", "train"]

_CLASSES_OF_INTEGERS = 20
"""Integers with at most so many different values are classes where the user does not say."""

_ROWS_AT_ONCE = 4096

Rows = tuple[Tensor, Tensor]
"""x (rows, D) float32 in standard units and y, float64 numbers or int64 classes."""


class Standardize(nn.Module):
    """x to (x - center) / scale, entry by entry."""

    center: Tensor
    scale: Tensor

    def __init__(self, center: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Shift and scale (B, D)."""
        return (x - self.center) / self.scale


@dataclass(frozen=True)
class Epoch:
    """The losses of one epoch: the mean over its training steps, without the penalty, and of validation at its end."""

    training_loss: float
    validation_loss: float


@dataclass(frozen=True)
class Settings:
    """How to train; see `xai_fast.fit_mlp`."""

    hidden: tuple[int, ...]
    epochs: int
    patience: int
    batch: int
    learning_rate: float
    weight_decay: float
    l1: float


@dataclass(frozen=True)
class Goal:
    """What the network learns: classes, or numbers (None) with their mean and deviation over the training rows."""

    classes: tuple[object, ...] | None
    center: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, labels: np.ndarray, task: str) -> Goal:
        """Choose between regression and classification of y (N,); the goal is not yet standardised."""
        distinct = np.unique(labels)
        kind = labels.dtype.kind
        if task == "auto":
            few = kind in "iu" and len(distinct) <= _CLASSES_OF_INTEGERS
            task = "classification" if few or len(distinct) == 2 or kind not in "iuf" else "regression"
        if len(distinct) < 2:
            raise bad_argument("y", "at least two different values", repr(distinct.tolist()))
        if task == "classification":
            return cls(tuple(distinct.tolist()))
        if kind not in "iufb":
            raise bad_argument("y", "numbers, for a regression", f"{labels.dtype}")
        return cls(None)

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)

    def numbers(self, labels: np.ndarray) -> Tensor:
        """Give y as float64 numbers, or as int64 places among the classes."""
        if self.classes is None:
            return torch.from_numpy(labels.astype(np.float64))
        known = np.asarray(self.classes)
        places = np.searchsorted(known, labels).clip(max=len(known) - 1)
        if (known[places] != labels).any():
            strange = labels[known[places] != labels][0]
            raise bad_argument("validation", f"classes of the training rows, {list(self.classes)[:20]}", repr(strange))
        return torch.from_numpy(places)

    def standardized(self, y: Tensor) -> Goal:
        """Give the goal of a regression with center and scale of y (N,) float64."""
        column = Table(y[:, None], ("y",), (1,))
        return Goal(None, float(column.center()), float(column.deviation()))

    def back_to_units(self) -> Standardize:
        """Give what undoes the standardisation of y, in float64."""
        center, scale = torch.tensor([[-self.center / self.scale], [1 / self.scale]], dtype=torch.float64)
        return Standardize(center, scale)

    def wanted(self, y: Tensor) -> Tensor:
        """Give y as the loss takes it."""
        if self.classes is None:
            return ((y - self.center) / self.scale).float()
        return y.float() if self.outputs == 1 else y

    def loss(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        """Compute the mean loss of outputs (B, `outputs`)."""
        if self.outputs > 1:
            return functional.cross_entropy(outputs, wanted)
        if self.classes is None:
            return functional.mse_loss(outputs[:, 0], wanted)
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], wanted)


def new_network(features: int, goal: Goal, hidden: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """Make the network before training: linear layers and GELU between them, on the CPU."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((features, *hidden, goal.outputs)):
        with torch.random.fork_rng(devices=[]):  # a layer's own start takes the process's random numbers
            linear = nn.Linear(inputs, outputs)
        bound = 1 / math.sqrt(inputs)  # the same start, with random numbers of our own
        with torch.no_grad():
            for parameter in (linear.weight, linear.bias):
                parameter.copy_(bound * (2 * torch.rand(parameter.shape, generator=generator) - 1))
        layers += [linear, nn.GELU()]
    return nn.Sequential(*layers[:-1])


def train(
    model: nn.Sequential,
    training: Rows,
    held: Rows,
    goal: Goal,
    settings: Settings,
    generator: torch.Generator,
    bar: Progress | None,
) -> tuple[tuple[Epoch, ...], int]:
    """Train a network in place; give all epochs, and the best on the rows held back, whose weights it keeps."""
    run_epoch = _epochs(model, training, goal, settings, generator)
    history: list[Epoch] = []
    best, best_epoch, kept = math.inf, 0, {}
    for epoch in range(settings.epochs):
        loss = run_epoch()
        validation, _ = quality(model, held, goal)
        if not math.isfinite(validation):
            raise ModelError(f"the training diverged in epoch {epoch}; lower learning_rate={settings.learning_rate:g}")
        history.append(Epoch(loss, validation))
        if validation < best:
            best, best_epoch = validation, epoch
            kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if bar is not None:
            bar.advance(1)
        if epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(kept)
    return tuple(history), best_epoch


def _epochs(
    model: nn.Sequential, training: Rows, goal: Goal, settings: Settings, generator: torch.Generator
) -> Callable[[], float]:
    """Make the function that goes through all rows once and gives their mean loss, without the penalty."""
    x, wanted = training[0], goal.wanted(training[1])
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    weights, biases = [layer.weight for layer in linear], [layer.bias for layer in linear]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    batch = max(1, min(settings.batch, len(x) // 8))
    steps = settings.epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule((step + 1) / steps))

    def run() -> float:
        total = x.new_zeros(())
        for rows in torch.split(torch.randperm(len(x), generator=generator).to(x.device), batch):
            loss = goal.loss(model(x[rows]), wanted[rows])
            total += loss.detach() * len(rows)
            if settings.l1:
                loss = loss + settings.l1 * torch.stack([w.abs().sum() for w in weights]).sum()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        return float(total) / len(x)

    return run


def _schedule(progress: float) -> float:
    """Give the share of the learning rate: it rises at first, then falls to zero as half a cosine."""
    rising = 0.05
    if progress < rising:
        return progress / rising
    return 0.5 * (1 + math.cos(math.pi * (progress - rising) / (1 - rising)))


def quality(model: nn.Sequential, held: Rows, goal: Goal) -> tuple[float, float]:
    """Measure how well a network fits rows: mean loss (of standardised y), and R^2 or accuracy."""
    with torch.no_grad():
        outputs = torch.cat([model(rows) for rows in torch.split(held[0], _ROWS_AT_ONCE)]).double()
    wanted = goal.wanted(held[1])
    wanted = wanted.double() if wanted.is_floating_point() else wanted
    loss = float(goal.loss(outputs, wanted))
    if goal.classes is None:
        spread = float((wanted - wanted.mean()).square().mean())
        return loss, 1 - loss / spread if spread > 0 else -math.inf
    answers = (outputs[:, 0] > 0).long() if goal.outputs == 1 else outputs.argmax(1)
    return loss, float((answers == wanted.long()).double().mean())
