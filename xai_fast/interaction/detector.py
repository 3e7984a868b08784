"""The one shape of methods that rank sets of columns of a table by how they act together."""

from __future__ import annotations

import abc
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.engine.checks import check_eval_mode, wrong_model
from xai_fast.engine.context import frozen_parameters, undisturbed
from xai_fast.errors import bad_argument
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table, read_table
from xai_fast.options import HasOptions
from xai_fast.terminal import tell

__all__ = ["Detector", "Effects", "Groups", "all_pairs", "pair_effects", "read_regression"]

Effects: TypeAlias = "dict[tuple[int, ...], float]"
"""Effect of each set of places among the columns, rising."""

Groups: TypeAlias = "Mapping[str, Sequence[str | int]]"
"""Names to columns, by name or place, that make one feature together."""


class Detector(HasOptions, abc.ABC):
    """A method that ranks sets of columns of a table by how they act together.

    A subclass takes the model, where it explains one, and its options; it checks them, keeps each as an attribute of
    the same name, and implements ``_rank``. `detect` does what is common: it reads the rows, checks that the model is
    in evaluation mode, and leaves it as it was found. The result does not depend on the caller's autocast, inference
    mode or ``no_grad``.

    Args:
        model: a module in evaluation mode, or a function, from rows to outputs; None for a method that fits a model of
            its own.

    Attributes:
        takes_groups: whether columns may be put together to groups.

    Raises:
        InputError: the model is neither.
    """

    takes_groups: ClassVar[bool] = False

    def __init__(self, model: Callable[..., Any] | None = None) -> None:
        if model is not None and not callable(model):
            raise wrong_model("a module or a function", model)
        self.model: Any = model

    def detect(
        self,
        rows: object,
        target: object = None,
        groups: Groups | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> InteractionRanking:
        """Rank the interactions between the columns of a table.

        Args:
            rows: an array, a tensor or a DataFrame (N, D), or (N, ...) as the model takes it, finite numbers; brought
                to the model's dtype and device.
            target: for a method that explains a model, the output to explain: None for the class that is predicted at
                each row, an int, a class for each row, or a callable on the outputs; with one output there is nothing
                to choose. For a method that fits a model of its own, the column to fit: (N,) numbers.
            groups: names to columns that make one feature together, such as the one-hot columns of a category, an
                embedding or a patch of pixels, by name or place; of a method that takes groups.
            feature_names: of the columns; None for those of a DataFrame, else x0, x1, ...

        Returns:
            The ranking. A warning says what its facts say.

        Raises:
            InputError: an argument does not fit, or a value is missing.
            ModelError: the model is in training mode, cannot be explained by this method, or gives values that are not
                finite.
        """
        with undisturbed(), frozen_parameters(self.model):
            table = read_table("rows", rows, feature_names)
            if len(table.names) < 2:
                raise bad_argument("rows", "two columns or more", len(table.names))
            if groups is not None and not self.takes_groups:
                raise bad_argument("groups", f"None, since {self.name} takes no groups of columns", repr(groups)[:100])
            check_eval_mode(self.model)
            ranking = self._rank(table, target, groups or {})
        settings = {"method": self.name, **self.settings, "target": _described(target), **ranking.settings}
        ranking = replace(ranking, settings=settings)
        for note in ranking.notes:
            tell(note, ranking, stacklevel=2)
        return ranking

    def outputs(self, rows: Tensor) -> object:
        """Run the model on a copy of the rows, since it may work in place."""
        return self.model(rows.clone())

    @abc.abstractmethod
    def _rank(self, table: Table, target: Any, groups: Groups) -> InteractionRanking:
        """Rank the interactions; the target is that of `detect`, not yet checked. `detect` adds the settings."""


def _described(target: object) -> object:
    if target is None:
        return None
    if isinstance(target, numbers.Integral):
        return int(target)
    return "a callable" if callable(target) else "by row"


def all_pairs(features: int) -> Tensor:
    """Give all pairs of features, (pairs, 2) int64, each rising, in lexicographic order."""
    return torch.combinations(torch.arange(features), 2)


def pair_effects(values: Tensor) -> Effects:
    """Read the effects of all pairs off a symmetric matrix (D, D)."""
    pairs = all_pairs(values.shape[0])
    found = values.detach().double().cpu()[pairs[:, 0], pairs[:, 1]]
    return {(i, j): effect for (i, j), effect in zip(pairs.tolist(), found.tolist(), strict=True)}


def read_regression(table: Table, target: object, *, varying: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the rows (N, D) and the column to fit (N,) as float64; with ``varying``, no column may be constant."""
    if target is None or callable(target):
        raise bad_argument("target", f"the column to fit, ({len(table)},) numbers", _described(target))
    x: NDArray[Any] = table.values.detach().double().cpu().numpy()
    try:
        y = np.asarray(target.detach().cpu() if isinstance(target, Tensor) else target, dtype=np.float64)
    except (TypeError, ValueError):
        raise bad_argument("target", f"({len(table)},) numbers", type(target).__name__) from None
    if y.shape != (len(table),):
        raise bad_argument("target", f"({len(table)},), one value per row", str(y.shape))
    if not np.isfinite(y).all():
        raise bad_argument("target", "finite values", "NaN or infinity")
    if varying:
        for column, name in zip(x.T, table.names, strict=True):
            if column.min() == column.max():
                raise bad_argument("rows", "columns that vary", f"{name!r}, constant")
        if y.min() == y.max():
            raise bad_argument("target", "values that vary", "a constant")
    return x, y
