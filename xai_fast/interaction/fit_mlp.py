"""A smooth network for a table, so that a table is enough to look for interactions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.engine.context import undisturbed
from xai_fast.errors import bad_argument
from xai_fast.interaction.mlp_training import Epoch, Goal, Rows, Settings, Standardize, new_network, quality, train
from xai_fast.interaction.table import Table, read_rows_like, read_table
from xai_fast.progress import Progress
from xai_fast.terminal import ShortRepr

__all__ = ["TASKS", "FittedMLP", "fit_mlp"]

TASKS = ("auto", "regression", "classification")

_MOST_LOST = 1e-4  # of a standard deviation, in the rounding of a row to float32
_MOST_DIGITS = 12  # of a deviation or its inverse: third derivatives then stay in the range of float32


@dataclass(frozen=True, repr=False)
class FittedMLP(ShortRepr):
    """A network that was trained, and how well it fits.

    Attributes:
        model: in evaluation mode: standardisation, linear layers with GELU between them, and for a regression back to
            the unit of y. It takes rows in the units of X and gives (B, 1) predictions or the logit of the second of
            two classes, or (B, C) logits. It is in float32, or in float64 where float32 does not hold the table:
            columns, or y of a regression, with an offset that is large beside their deviation, or of extreme scale.
        task: "regression" or "classification".
        classes: the values of y that the outputs stand for, in order; None for a regression.
        validation_loss: mean squared error in units of y's variance, or cross-entropy, on the rows held back.
        validation_score: R^2 or the accuracy there. Interactions of a network that does not fit say nothing about the
            data.
        best_epoch: whose weights were kept, from 0.
        history: of all epochs.
        feature_names: of the columns of X.
        validation_counts: rows of each class among those held back; None for a regression.
    """

    model: nn.Sequential
    task: str
    classes: tuple[object, ...] | None
    validation_loss: float
    validation_score: float
    best_epoch: int
    history: tuple[Epoch, ...]
    feature_names: tuple[str, ...]
    validation_counts: tuple[int, ...] | None


@undisturbed()
def fit_mlp(
    X: object,
    y: object,
    *,
    task: str = "auto",
    hidden: Sequence[int] = (140, 100, 60, 20),
    epochs: int = 100,
    patience: int = 15,
    batch: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.0,
    l1: float = 0.0,
    validation: float | tuple[object, object] = 0.2,
    feature_names: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> FittedMLP:
    """Train a GELU network on a table by AdamW, and keep the weights with the least loss on rows held back.

    Columns of X, and y of a regression, are standardised inside the network that comes back, so it takes and explains X
    as it is. (`xai_fast.TNID` measures along standard deviations of the columns by itself.) Columns that are constant
    are only shifted.

    Args:
        X: an array, a tensor or a DataFrame (N, D) of finite numbers.
        y: (N,) or (N, 1) numbers of a regression, or classes: integers, booleans or strings.
        task: "regression" or "classification"; "auto" for a classification if y has two different values, or is made of
            strings, booleans, or integers with at most 20 different values, else a regression.
        hidden: widths of the hidden layers, those of the T-NID paper by default.
        epochs: at most. The learning rate rises over the first twentieth of them and falls to zero as half a cosine.
        patience: epochs without a smaller validation loss after which the training ends.
        batch: rows per step; never more than an eighth of the rows.
        learning_rate: the highest.
        weight_decay: of AdamW, on the weights.
        l1: factor of the sum of the absolute weights of all layers in the loss, as in Neural Interaction Detection
            (where 5e-5 is usual).
        validation: share of the rows that is held back, of each class as near to it as leaves a row to train on and
            one to hold back; or (X, y) of other rows; columns of a DataFrame go by their names.
        feature_names: of the columns; None for those of a DataFrame, else x0, x1, ...
        seed: of weights, split and order; results depend on it and on the machine's arithmetic only.
        device: where to train; None for where X is.
        progress: show a bar where standard error is a terminal.

    Returns:
        The network, how well it fits and how it came about.

    Raises:
        InputError: an argument does not fit.
        ModelError: the training diverged.
    """
    check_choice("task", task, TASKS)
    settings = Settings(
        hidden=tuple(check_integer("hidden", width, 1) for width in hidden),
        epochs=check_integer("epochs", epochs, 1),
        patience=check_integer("patience", patience, 1),
        batch=check_integer("batch", batch, 1),
        learning_rate=check_positive("learning_rate", learning_rate),
        weight_decay=_not_negative("weight_decay", weight_decay),
        l1=_not_negative("l1", l1),
    )
    generator = torch.Generator().manual_seed(check_integer("seed", seed, 0, 2**63 - 1))
    table = read_table("X", X, feature_names)
    if len(table.shape) != 1:
        raise bad_argument("X", "rows and columns (N, D)", f"rows of shape {table.shape}")
    labels = _labels(y, len(table))
    goal = Goal.of(labels, task)
    place = torch.device(device) if device is not None else table.values.device
    training, held = _split(table, goal.numbers(labels), goal, validation, generator, place)
    if goal.classes is None:
        goal = goal.standardized(training[1])
    known = Table(training[0], table.names, table.shape)
    standardize = Standardize(known.center(), known.deviation())
    double = _needs_double(*training, standardize.scale, goal)
    training, held = ((standardize(x).float(), y) for x, y in (training, held))
    model = new_network(len(table.names), goal, settings.hidden, generator).to(place)
    with Progress(settings.epochs, "training, epochs") if progress else nullcontext() as bar:
        history, best_epoch = train(model, training, held, goal, settings, generator, bar)
    loss, score = quality(model, held, goal)
    model = nn.Sequential(standardize, *model)
    if goal.classes is None:
        model.append(goal.back_to_units().to(place))
    return FittedMLP(
        model.to(torch.float64 if double else torch.float32).eval(),
        "regression" if goal.classes is None else "classification",
        goal.classes,
        loss,
        score,
        best_epoch,
        history,
        table.names,
        None if goal.classes is None else tuple(torch.bincount(held[1], minlength=len(goal.classes)).tolist()),
    )


def _needs_double(x: Tensor, y: Tensor, scale: Tensor, goal: Goal) -> bool:
    """Say whether rows, or numbers to predict, lose too much in float32, or derivatives by them leave its range."""
    x, scale = torch.cat((x, y[:, None]), 1), torch.cat((scale, scale.new_tensor([goal.scale])))
    kept = ((x.float() - x) / scale).abs().max() <= _MOST_LOST
    return not bool(kept & (scale.log10().abs() <= _MOST_DIGITS).all())


def _not_negative(name: str, value: float) -> float:
    return 0.0 if not isinstance(value, bool) and value == 0 else check_positive(name, value)


def _labels(y: object, rows: int, name: str = "y") -> np.ndarray:
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (rows,):
        raise bad_argument(name, f"({rows},), one value per row of X", str(values.shape))
    if values.dtype.kind == "O":
        values = np.asarray(values.tolist())
    if values.dtype.kind not in "biufUS":
        raise bad_argument(name, "numbers, booleans or strings", str(values.dtype))
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise bad_argument(name, "finite values", f"{values[~np.isfinite(values)][0]}")
    return values


def _split(
    table: Table,
    y: Tensor,
    goal: Goal,
    validation: float | tuple[object, object],
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Rows, Rows]:
    """Give the rows to train on and those held back, of each class a share: each (rows, D) float64 and y."""
    x, y = table.values.double().to(device), y.to(device)
    if isinstance(validation, tuple | list):
        if len(validation) != 2:
            raise bad_argument("validation", "a share, or (X, y)", f"{len(validation)} values")
        other = read_rows_like("validation", validation[0], table)
        labels = _labels(validation[1], len(other), "validation")
        held = other.values.double().to(device), goal.numbers(labels).to(device)
        return (x, y), held
    if isinstance(validation, bool) or not isinstance(validation, int | float) or not 0 < validation < 1:
        raise bad_argument("validation", "a share between 0 and 1, or (X, y)", repr(validation))
    order = torch.randperm(len(table), generator=generator)
    kinds = torch.zeros(len(table), dtype=torch.int64) if goal.classes is None else y.cpu()
    chosen = torch.zeros(len(table), dtype=torch.bool, device=device)
    for kind in set(kinds.tolist()):
        rows = order[kinds[order] == kind]
        chosen[rows[: min(max(1, round(len(rows) * validation)), len(rows) - 1)]] = True
    if not chosen.any():
        raise bad_argument("y", "a class with two rows, one of them to hold back", f"{len(table)} rows, all different")
    return (x[~chosen], y[~chosen]), (x[chosen], y[chosen])
