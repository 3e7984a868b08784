"""Features: single columns, or named groups of columns, each with the directions along which it is moved.

A single column has one direction, its unit vector; with ``scale="std"`` as long as the column's standard deviation in
the data, so that effects have the unit of the score and do not depend on the units of the columns (on standardised
data it makes no difference).

A group has several directions, and the effect of a set with groups is the Euclidean norm of the mixed derivatives over
all combinations of one direction of each. Its directions are the principal axes of its columns in the data, each as
long as the standard deviation along it. Why not one direction: the obvious one for the one-hot columns of a category,
all ones, is the one along which data never moves, since the columns always add up to one, so there the network's
derivative is an accident of its training; and any other single one singles out a category. Why not the columns
themselves: each of them alone leaves the data too. The principal axes span exactly what the data does, all ones not
among them, and the norm over them does not depend on how the group is coded: half the mean square of the derivative
along the move from one category to another, both drawn from the data, whether there is a column for each category or
one is left out. The same holds for the coordinates of an embedding, under any rotation of it, and for the pixels of a
patch. More exactly, the axes are those of the columns' correlation, brought to the units of the columns: which of them
is the largest, or too small to be more than rounding, then does not depend on these units.
With ``scale="unit"`` the directions are the group's columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.interaction.table import Table, column_of

__all__ = ["SCALES", "Features", "make_features"]

SCALES = ("std", "unit")

_SMALLEST_VARIANCE = 1e-10
"""Of the largest of the correlation: a smaller one is the rounding of a linear relation, as columns that add to 1."""

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Features:
    """What interacts.

    A feature has columns, and axes (directions, columns) float64: what its directions have in them; zero elsewhere.
    """

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    axes: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def offsets(self) -> tuple[int, ...]:
        """(F + 1,) where the directions of each feature begin, and P, how many there are."""
        return tuple(itertools.accumulate((len(a) for a in self.axes), initial=0))

    @property
    def grouped(self) -> bool:
        """Whether a feature has more than one direction."""
        return any(len(a) > 1 for a in self.axes)

    def grouped_columns(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Name the columns of the features that have several."""
        of_each = zip(self.names, self.columns, strict=True)
        return {name: [names[c] for c in columns] for name, columns in of_each if len(columns) > 1}

    def directions(self, width: int, like: Tensor) -> Tensor:
        """Write out the directions (P, D), feature after feature, in the dtype and on the device of ``like``."""
        directions = like.new_zeros(self.offsets[-1], width)
        for begin, columns, axes in zip(self.offsets, self.columns, self.axes, strict=False):
            directions[begin : begin + len(axes), list(columns)] = axes.to(like)
        return directions

    def combinations(self, order: int) -> int:
        """Count the combinations of directions of all sets of an order."""
        counts = [1] + [0] * order
        for begin, end in itertools.pairwise(self.offsets):
            for k in range(order, 0, -1):
                counts[k] += counts[k - 1] * (end - begin)
        return counts[order]

    def expanded(self, sets: Tensor) -> tuple[Tensor, Tensor]:
        """Write out the combinations (C, k) of directions of sets (T, k), and how many each set has (T,)."""
        offsets = torch.tensor(self.offsets, device=sets.device)
        widths = (offsets[1:] - offsets[:-1])[sets]
        counts = widths.prod(1)
        of_set = torch.repeat_interleave(counts)
        place = torch.arange(of_set.numel(), device=sets.device) - (counts.cumsum(0) - counts)[of_set]
        directions = torch.empty(of_set.numel(), sets.shape[1], dtype=torch.int64, device=sets.device)
        for position in range(sets.shape[1] - 1, -1, -1):
            width = widths[of_set, position]
            directions[:, position] = offsets[sets[of_set, position]] + place % width
            place = place // width
        return directions, counts


def make_features(
    table: Table, groups: Mapping[str, Sequence[str | int]] | None, scale: str, largest: int | None = None
) -> Features:
    """Make features of the columns of a table: groups, at the places of their first columns, and all other columns."""
    members = _members(table, groups or {})
    group_of = {column: name for name, columns in members.items() for column in columns}
    deviation = table.deviation()
    names: list[str] = []
    columns: list[tuple[int, ...]] = []
    axes: list[Tensor] = []
    for column, column_name in enumerate(table.names):
        name = group_of.get(column)
        if name is None:
            names.append(column_name)
            columns.append((column,))
            axes.append(deviation[column].reshape(1, 1) if scale == "std" else torch.ones(1, 1, dtype=torch.float64))
        elif column == members[name][0]:
            names.append(name)
            columns.append(members[name])
            axes.append(_axes(table, members[name], scale, largest))
    return Features(tuple(names), tuple(columns), tuple(axes))


def _members(table: Table, groups: Mapping[str, Sequence[str | int]]) -> dict[str, tuple[int, ...]]:
    if not isinstance(groups, Mapping):
        raise bad_argument("groups", "a mapping from names to columns", type(groups).__name__)
    index = {name: i for i, name in enumerate(table.names)}
    taken: dict[int, str] = {}
    members: dict[str, tuple[int, ...]] = {}
    for name, wanted in groups.items():
        if not isinstance(name, str) or not name:
            raise bad_argument("groups", "names that are strings", repr(name))
        if isinstance(wanted, str) or not wanted:
            raise bad_argument(f"groups[{name!r}]", "a list of at least one column", repr(wanted))
        members[name] = tuple(sorted(column_of(f"groups[{name!r}]", column, index) for column in wanted))
        for column in members[name]:
            if column in taken:
                raise bad_argument(
                    f"groups[{name!r}]",
                    "columns that are in one group, once",
                    f"{table.names[column]!r}, which is in {taken[column]!r}",
                )
            taken[column] = name
    for name in members:
        if name in index and taken.get(index[name]) != name:
            raise bad_argument("groups", "names that no column outside the group has", repr(name))
    return members


def _axes(table: Table, columns: Sequence[int], scale: str, largest: int | None) -> Tensor:
    """Compute the principal axes (m, columns) of the correlation, in the units of the columns; the largest first."""
    # A root of the covariance, as its own axes are. A cut among those would take columns in small units for rounding.
    chosen = list(columns)
    varies = table.values[:, chosen].amax(0) > table.values[:, chosen].amin(0)
    if scale == "unit" or not bool(varies.any()):  # constant groups are moved by one, as constant columns are
        return torch.eye(len(chosen), dtype=torch.float64)[:largest]
    center, deviation = table.center()[chosen], table.deviation()[chosen]
    correlation = torch.zeros(len(chosen), len(chosen), dtype=torch.float64, device=center.device)
    for rows in torch.split(table.values, _ROWS_AT_ONCE):
        # Decided on the values, as in Table.deviation: the rounding of a constant is no direction.
        part = torch.where(varies, (rows[:, chosen] - center) / deviation, 0.0)
        correlation += part.T @ part / len(table)
    variances, axes = torch.linalg.eigh(correlation)
    kept = variances > _SMALLEST_VARIANCE * variances[-1].clamp(min=0)
    axes = (axes[:, kept] * variances[kept].sqrt()).T.flip(0)[:largest] * deviation
    # An axis has no sign of its own: its largest entry is positive.
    signs: Tensor = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    signed: Tensor = axes * signs
    return signed
