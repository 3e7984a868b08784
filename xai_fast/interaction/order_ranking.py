"""The sets of one order, ranked."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xai_fast.errors import bad_argument
from xai_fast.kernels import combinations
from xai_fast.terminal import ShortRepr

__all__ = ["FeatureInteraction", "OrderRanking"]


@dataclass(frozen=True)
class FeatureInteraction:
    """A set of features, and how strongly they act together.

    Attributes:
        features: their names.
        indices: their places among the features.
        effect: as the ranking's ``effect`` and ``aggregate`` say.
        spread: standard deviation of the effect over the representatives or rows; 0 where the method measures once.
        rank: place among the sets of the same order, from 1.
    """

    features: tuple[str, ...]
    indices: tuple[int, ...]
    effect: float
    spread: float
    rank: int

    @property
    def order(self) -> int:
        """How many features act together."""
        return len(self.features)


@dataclass(frozen=True, eq=False, repr=False)
class OrderRanking(ShortRepr, Sequence[FeatureInteraction]):
    """The sets of one order, the strongest first; of equals the lexicographically first.

    Attributes:
        sets: (T, k) int64, features rising within a set.
        effects: (T,) float64.
        spread: (T,) float64.
        names: of all features.
        candidates: how many sets were looked at; more than T where only the strongest were kept.
        exhaustive: whether these were all sets of this order.

    Raises:
        InputError: the arrays do not fit one another.
    """

    sets: NDArray[np.int64]
    effects: NDArray[np.float64]
    spread: NDArray[np.float64]
    names: tuple[str, ...]
    candidates: int
    exhaustive: bool

    def __post_init__(self) -> None:
        count = len(self.effects)
        if self.sets.ndim != 2 or self.sets.shape[0] != count or self.spread.shape != (count,):
            got = f"{self.sets.shape}, {self.effects.shape} and {self.spread.shape}"
            raise bad_argument("sets", "(T, k) with effects and spread (T,)", got)
        if not (np.isfinite(self.effects).all() and np.isfinite(self.spread).all()):
            raise bad_argument("effects", "finite values", "NaN or infinity")
        if count and (self.sets.min() < 0 or self.sets.max() >= len(self.names)):
            raise bad_argument("sets", f"features from 0 to {len(self.names) - 1}", "others")
        if (np.diff(self.sets, axis=1) <= 0).any():
            raise bad_argument("sets", "features that rise within a set", "a set where they do not")
        if (np.diff(self.strength) > 0).any():
            raise bad_argument("effects", "the strongest first", "another order")
        if (np.diff(self._numbers[0]) == 0).any():
            raise bad_argument("sets", "each set once", "a set twice")
        if self.candidates < count:
            raise bad_argument("candidates", f"at least {count}, as many as there are sets", self.candidates)

    @property
    def order(self) -> int:
        """How many features act together."""
        return int(self.sets.shape[1])

    @property
    def strength(self) -> NDArray[np.float64]:
        """(T,) magnitude of the effects, by which the sets are ranked."""
        return np.abs(self.effects)

    def __len__(self) -> int:
        return len(self.effects)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        if isinstance(position, bool) or not isinstance(position, numbers.Integral):
            raise bad_argument("position", "a place or a slice (sets are found by ranking[...] itself)", repr(position))
        position = int(position)
        if not -len(self) <= position < len(self):
            raise IndexError(f"place {position} of {len(self)}")
        place = position % len(self)
        indices = tuple(int(i) for i in self.sets[place])
        return FeatureInteraction(
            tuple(self.names[i] for i in indices),
            indices,
            float(self.effects[place]),
            float(self.spread[place]),
            place + 1,
        )

    def __iter__(self) -> Iterator[FeatureInteraction]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def _numbers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The sets' combinatorial numbers, rising, and the place of each."""
        numbers = combinations.rank(torch.from_numpy(np.ascontiguousarray(self.sets, np.int64))).numpy()
        places = np.argsort(numbers, kind="stable")
        return numbers[places], places

    def places(self, sets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the places (S,) of sets (S, k), rising within a set; -1 where a set is not there."""
        numbers, places = self._numbers
        if not len(numbers):
            return np.full(len(sets), -1)
        wanted = combinations.rank(torch.from_numpy(np.ascontiguousarray(sets, np.int64))).numpy()
        at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
        return np.where(numbers[at] == wanted, places[at], -1)
