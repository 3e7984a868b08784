"""Interactions between features, ranked: by order, with effects, their spread, and the subsets that support them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import combinations as subsets_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, ModelError, bad_argument, needs
from xai_fast.interaction.order_ranking import FeatureInteraction, OrderRanking
from xai_fast.interaction.ranking_exchange import read_fields, shapiq_values, write_fields
from xai_fast.interaction.table import column_of
from xai_fast.terminal import ShortRepr

if TYPE_CHECKING:
    import pandas
    import shapiq

__all__ = ["FACTS", "InteractionRanking"]

Key: TypeAlias = "str | int | tuple[str | int, ...]"

FACTS: dict[str, str] = {
    "no_interactions": "every interaction is exactly zero: the score is additive at the representatives, or saturated "
    "there",
    "piecewise_linear": "the score has {}: piecewise linear operations have no curvature and count as linear, so "
    'interactions through them alone are not found; smooth="gelu" or smooth="softplus" explains the model with smooth '
    "functions in the place of ReLU and clamp",
}
"""What has to be known of a ranking, by name, in a sentence. A method may have further facts."""


@dataclass(frozen=True, eq=False, repr=False)
class InteractionRanking(ShortRepr):
    """Interactions between features, as `xai_fast.TNID` and the other detectors find them.

    Main effects (order 1), where the method has them, are there to compare with, by ``ranking.order(1)`` and
    ``ranking["name"]``; they are no interactions, so they are not among those of `top`, ``len`` and iteration.

    Attributes:
        feature_names: of all features, groups among them.
        orders: order to its sets, the strongest first.
        representatives: what the points are at which effects were measured; empty where the method has no such points.
        representative_indices: their rows in the data; None where the user gave them.
        scores: the score at each of them.
        settings: the options of the method, by name, as JSON holds them; "method" is its name.
        remedy: what was swapped in the model against zero curvature, or None.
        facts: what has to be known of the ranking, by name, as JSON holds it: see `FACTS` and the method.

    Raises:
        InputError: parts do not fit one another.
    """

    feature_names: tuple[str, ...]
    orders: Mapping[int, OrderRanking]
    representatives: tuple[str, ...] = ()
    representative_indices: tuple[int, ...] | None = None
    scores: tuple[float, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    remedy: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.feature_names)) != len(self.feature_names):
            raise bad_argument("feature_names", "different names", "a name twice")
        for order, ranking in self.orders.items():
            if ranking.order != order or ranking.names != self.feature_names:
                raise bad_argument(f"orders[{order}]", f"sets of {order} of these features", "others")

    @classmethod
    def from_effects(
        cls,
        feature_names: Sequence[str],
        effects: Mapping[tuple[int, ...], float],
        spread: Mapping[tuple[int, ...], float] | None = None,
        **others: Any,
    ) -> InteractionRanking:
        """Rank sets of features by the magnitude of their effects.

        Args:
            feature_names: of all features.
            effects: of each set of places among the features, rising; of any orders.
            spread: of each set; None for zero.
            **others: further fields of the ranking.

        Returns:
            The ranking, equals in the order of their sets.

        Raises:
            ModelError: an effect is NaN or infinite.
        """
        names = tuple(feature_names)
        for members, effect in effects.items():
            if not math.isfinite(effect):
                raise ModelError(f"the effect of {', '.join(names[i] for i in members)} is {effect}, not finite")
        orders = {}
        for order in sorted({len(members) for members in effects}):
            sets = sorted((s for s in effects if len(s) == order), key=lambda s: (-abs(effects[s]), s))
            orders[order] = OrderRanking(
                sets=np.array(sets, np.int64),
                effects=np.array([effects[s] for s in sets], np.float64),
                spread=np.array([0.0 if spread is None else spread[s] for s in sets], np.float64),
                names=names,
                candidates=len(sets),
                exhaustive=len(sets) == math.comb(len(names), order),
            )
        return cls(names, orders, **others)

    @property
    def notes(self) -> tuple[str, ...]:
        """The facts that a reader of the ranking should know, in sentences."""
        known = ((FACTS[name], value) for name, value in self.facts.items() if value and name in FACTS)
        return tuple(text.format(", ".join(value) if isinstance(value, list) else value) for text, value in known)

    @property
    def max_order(self) -> int:
        """The highest order."""
        return max(self.orders, default=0)

    def order(self, order: int) -> OrderRanking:
        """Give the sets of one order, 1 for main effects, the strongest first; else an `InputError`."""
        if order not in self.orders:
            raise bad_argument("order", f"one of {', '.join(map(str, sorted(self.orders)))}", repr(order))
        return self.orders[order]

    def __len__(self) -> int:
        return sum(len(ranking) for order, ranking in self.orders.items() if order > 1)

    def __iter__(self) -> Iterator[FeatureInteraction]:
        """Go through all interactions, order after order, the strongest of each first."""
        return (found for order, ranking in sorted(self.orders.items()) if order > 1 for found in ranking)

    def top(self, k: int, *, mixed: bool = False) -> list[FeatureInteraction]:
        """Give the strongest interactions of each order.

        Effects of different orders are no common scale: pairs are in units of the score per two features, triples per
        three. Where features are in units of their standard deviation, as they are unless the method was told
        otherwise, the units agree, and ``mixed`` may be of use; a smooth score has small effects of high orders still.

        Args:
            k: how many of each order, at least 1.
            mixed: compare all orders by the magnitude of their effects, and give k in all.

        Returns:
            At most k of each order, order after order, the strongest of each first; with ``mixed`` at most k, the
            strongest first, of equals the smaller set, then the first in its order.

        Raises:
            InputError: k is no positive integer.
        """
        check_integer("k", k, 1)
        if mixed:
            return sorted(self, key=lambda found: -abs(found.effect))[:k]
        return [found for found in self if found.rank <= k]

    def __contains__(self, key: object) -> bool:
        if isinstance(key, FeatureInteraction):
            key = key.indices
        try:
            indices = self.indices(key)  # type: ignore[arg-type]  # of any type: what is no key is not there
        except InputError:
            return False
        return self._find(indices) is not None

    def __getitem__(self, key: Key) -> FeatureInteraction:
        """Give one set: ``ranking["a", "b"]``, ``ranking[0, 1]``, in any order of the features.

        Args:
            key: names or indices of features.

        Returns:
            The set with its effect.

        Raises:
            InputError: there is no such feature, or one comes twice.
            KeyError: the set is not there: it was no candidate, or it was not among the strongest that were kept.
        """
        indices = self.indices(key)
        found = self._find(indices)
        if found is None:
            names = ", ".join(self.feature_names[i] for i in indices)
            if len(indices) > self.max_order:
                raise KeyError(f"({names}) is not in the ranking, which goes up to order {self.max_order}")
            raise KeyError(f"({names}) is not in the ranking: it was no candidate, or not strong enough to be kept")
        return found

    def indices(self, key: Key) -> tuple[int, ...]:
        """Give the indices of features, rising, by names or indices; an `InputError` for others, or one twice."""
        members = key if isinstance(key, tuple | list) else (key,)
        found = sorted(column_of("key", member, self._index_of) for member in members)
        if not found or len(set(found)) != len(found):
            raise bad_argument("key", "different features, at least one", repr(key))
        return tuple(found)

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.feature_names)}

    def _find(self, indices: tuple[int, ...]) -> FeatureInteraction | None:
        ranking = self.orders.get(len(indices))
        if ranking is None:
            return None
        place = int(ranking.places(np.asarray([indices], np.int64))[0])
        return ranking[place] if place >= 0 else None

    def support(self, key: Key) -> list[FeatureInteraction]:
        """Return the proper subsets of a set that are in the ranking, also main effects, the largest first.

        The set is names or indices of features; where few sets were looked at, some subsets may be missing.
        """
        indices = self.indices(key)
        candidates = (s for size in range(len(indices) - 1, 0, -1) for s in subsets_of(indices, size))
        return [found for s in candidates if (found := self._find(s)) is not None]

    def pair_matrix(self) -> NDArray[np.float64]:
        """Give effects of pairs as a symmetric (F, F), 0 on the diagonal, NaN where one was not looked at, or kept."""
        count = len(self.feature_names)
        matrix = np.full((count, count), np.nan)
        np.fill_diagonal(matrix, 0.0)
        if 2 in self.orders:
            pairs = self.orders[2]
            matrix[pairs.sets[:, 0], pairs.sets[:, 1]] = pairs.effects
            matrix[pairs.sets[:, 1], pairs.sets[:, 0]] = pairs.effects
        return matrix

    def prune_redundant(self) -> InteractionRanking:
        """Leave out the interactions that a superset stands for already: those of which a superset is stronger.

        As Neural Interaction Detection does (Tsang et al., ICLR 2018, where a subset of an interaction that ranks
        higher is redundant): if x1, x2 and x3 act together, then their pairs do too as a rule, and say nothing new.
        A set is not left out because of a subset. Main effects stay.

        Returns:
            The ranking without them.
        """
        exceeded = {order: np.zeros(len(r)) for order, r in self.orders.items()}
        for order, ranking in self.orders.items():
            for size in (s for s in self.orders if 1 < s < order):
                for columns in subsets_of(range(order), size):
                    places = self.orders[size].places(ranking.sets[:, columns])
                    found = places >= 0
                    np.maximum.at(exceeded[size], places[found], ranking.strength[found])
        kept = {1: self.orders[1]} if 1 in self.orders else {}
        for order, r in self.orders.items():
            if order > 1:
                rows = exceeded[order] <= r.strength
                kept[order] = replace(r, sets=r.sets[rows], effects=r.effects[rows], spread=r.spread[rows])
        return replace(self, orders=kept)

    def to_pandas(self) -> pandas.DataFrame:
        """Make a DataFrame of all sets by order and rank: order, rank, features (a tuple of names), effect, spread."""
        rows = [
            (r.order, found.rank, found.features, found.effect, found.spread)
            for _, r in sorted(self.orders.items())
            for found in r
        ]
        return needs("pandas", "to_pandas", "pandas").DataFrame(
            rows, columns=["order", "rank", "features", "effect", "spread"]
        )

    def to_shapiq(self) -> shapiq.InteractionValues:
        """Make shapiq's record of the interactions, for its plots and its arithmetic.

        Its players are the features; main effects are there, the empty set is 0. The values are effects of the method,
        as a rule no Shapley interactions that add up to the score; the record's index is the name of the method.

        Returns:
            The InteractionValues.

        Raises:
            InputError: shapiq is not installed.
        """
        index, library = str(self.settings.get("method", "effects")), needs("shapiq", "to_shapiq", "shapiq")
        values: shapiq.InteractionValues = shapiq_values(self.orders, len(self.feature_names), index, library)
        return values

    def save(self, path: str | Path) -> None:
        """Write the ranking to a JSON file; the name is used as it is, and a file that is there is replaced."""
        write_fields({entry.name: getattr(self, entry.name) for entry in fields(self)}, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> InteractionRanking:
        """Read a ranking that `save` wrote; an `InputError` where the file is another, damaged, or newer."""
        ranking: InteractionRanking = read_fields(Path(path), cls)
        return ranking
