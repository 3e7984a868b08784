"""Functions of independent, uniform inputs whose interactions are known: their rows, splits and standard units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument

__all__ = ["KnownFunction", "Split", "Table"]


@dataclass(frozen=True)
class Split:
    """Rows of a part of a table: (rows, features) and (rows,), float32, in standard units of the training rows."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Table:
    """A third of the rows to train on, a third to stop by, a third to test on.

    Means and standard deviations are those of the training rows, in the units of the function, whose input is
    ``x * x_scale + x_mean``; of x they are (features,) float64.
    """

    train: Split
    validation: Split
    test: Split
    x_mean: Tensor
    x_scale: Tensor
    y_mean: float
    y_scale: float


@dataclass(frozen=True)
class KnownFunction:
    """One function, the ranges of its inputs, and the sets of features that interact in it.

    ``formula`` takes (rows, features) to (rows,), in PyTorch's operations, so that it can be differentiated. Features
    are independent and uniform from ``low`` to ``high``. ``interactions`` are the largest sets of features, by position
    and rising, that do not add up; all their subsets of two or more interact as well. ``stream`` tells the random
    numbers of this function from those of others.
    """

    name: str
    formula: Callable[[Tensor], Tensor]
    low: tuple[float, ...]
    high: tuple[float, ...]
    interactions: tuple[tuple[int, ...], ...]
    feature_names: tuple[str, ...]
    stream: int

    @property
    def features(self) -> int:
        """Number of inputs."""
        return len(self.low)

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the function (rows,) of ``x`` (rows, features) in its units; else raise an `InputError`."""
        if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != self.features or not x.is_floating_point():
            got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise bad_argument("x", f"(rows, {self.features}) of a floating type", got)
        return self.formula(x)

    def inputs(self, rows: int, *, seed: int = 0) -> Tensor:
        """Draw inputs (rows, features) float64 in the units of the function; the first of many are the first of few."""
        check_integer("rows", rows, 1)
        check_integer("seed", seed, 0, 2**64 - 1)
        # Raw words of Philox4x64, whose stream no version of numpy changes; 53 bits are a double's mantissa.
        words = np.random.Philox(key=np.array([seed, self.stream], dtype=np.uint64)).random_raw(rows * self.features)
        unit = torch.from_numpy((words >> np.uint64(11)).astype(np.float64) * 2.0**-53).view(rows, self.features)
        low, high = (torch.tensor(side, dtype=torch.float64) for side in (self.low, self.high))
        return low + (high - low) * unit

    def table(self, rows: int = 30_000, *, seed: int = 0) -> Table:
        """Draw a table of at least 6 rows in standard units, split in thirds; the rest goes to the test."""
        check_integer("rows", rows, 6)
        x = self.inputs(rows, seed=seed)
        y = self(x)
        third = rows // 3
        x_mean, x_scale = x[:third].mean(0), x[:third].std(0, correction=0)
        y_mean, y_scale = y[:third].mean(), y[:third].std(correction=0)
        x, y = ((x - x_mean) / x_scale).float(), ((y - y_mean) / y_scale).float()
        train, validation, test = (
            Split(x[part], y[part]) for part in (slice(third), slice(third, 2 * third), slice(2 * third, None))
        )
        return Table(train, validation, test, x_mean, x_scale, float(y_mean), float(y_scale))

    def pair_strength(self, rows: int = 1000) -> Tensor:
        """Return how strongly each two features interact over some rows, from the formula's own second derivatives.

        It is (features, features) float64, symmetric, zero on the diagonal: the mean of |d2f / dx_i dx_j| with features
        and function in units of their standard deviations.
        """
        x = self.inputs(rows)
        second = torch.func.vmap(torch.func.hessian(lambda row: self(row[None])[0]))(x)
        x_scale = x.std(0, correction=0)
        strength: Tensor = second.abs().mean(0) * x_scale * x_scale[:, None] / self(x).std(correction=0)
        return strength.fill_diagonal_(0)

    def interacts(self, features: Sequence[int]) -> bool:
        """Tell whether a set of two or more features is part of an interaction."""
        return len(set(features)) >= 2 and any(set(features) <= set(known) for known in self.interactions)
