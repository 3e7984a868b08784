"""What interaction methods return: how strongly the cells of a feature map act together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.explanation import Explanation
from xai_fast.interaction.geometry import CellGeometry

__all__ = ["BOXES", "Cell", "Interaction", "InteractionMap"]

BOXES = ("cell", "field")
"""What a box shows: the cell (as large as the layer's stride), or its receptive field."""

Cell = tuple[int, ...]
"""(row, column) in the map, or (position,) of a sequence."""


class Interaction(NamedTuple):
    """Cells that act together.

    Attributes:
        cells: one (row, column) for each index of the salience; where it is directed, the first carries x.
        saliency: how strongly.
    """

    cells: tuple[Cell, ...]
    saliency: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class InteractionMap(Explanation):
    """Interactions between the n cells of a layer's map, for a batch of B items.

    ``attributions`` are the salience (B, n, ..., n), with one n for each order: the squared interactions, in squared
    units of the score. Symmetric: the mutual sums in the strict upper triangle (i < j < q), zero elsewhere. Directed:
    the cell that carries x is the first index; zero where two cells are the same.

    Attributes:
        grid: (h, w), or (n,) for tokens; cell i of n is cell ``(i // w, i % w)``.
        layer: the dotted name of the layer.
        scope: "local" or "global".
        symmetric: whether each set of cells stands once.
        sums: like ``attributions`` before squaring, with their sign, and directed; None where they were not kept.
        remedy: what was swapped in the model against zero curvature, or None.
        geometry: where the cells lie in the image, or None where that was not found.
        directed: whether one cell of a sum carries x; else the sums stand once, like ``attributions``.
        rank_one_share: (B,) of Taylor-CAM of order 2: the share of the squared Frobenius norm of S, with its diagonal,
            that its best approximation of rank 1 has; 0 without interactions. At 1, S_ij is a_i b_j: no more than how
            much each cell matters by itself. None for others.

    Raises:
        InputError: the tensors do not fit one another.
    """

    attributions: Tensor
    grid: tuple[int, ...]
    layer: str
    scope: str = "local"
    symmetric: bool = True
    sums: Tensor | None = None
    remedy: str | None = None
    geometry: CellGeometry | None = None
    directed: bool = True
    rank_one_share: Tensor | None = None

    not_stored = frozenset({"sums"})

    def __post_init__(self) -> None:
        check_choice("scope", self.scope, ("local", "global"))
        cells = int(np.prod(self.grid))
        shape = tuple(self.attributions.shape)
        if self.attributions.dtype not in (torch.float32, torch.float64):
            raise bad_argument("attributions", "dtype float32 or float64", str(self.attributions.dtype))
        if len(shape) < 2 or set(shape[1:]) != {cells}:
            raise bad_argument("attributions", f"(B, {cells}, ...) for the grid {self.grid}", str(shape))
        for name, value, expected in (
            ("scores", self.scores, shape[:1]),
            ("targets", self.targets, shape[:1]),
            ("sums", self.sums, shape),
            ("rank_one_share", self.rank_one_share, shape[:1]),
        ):
            if value is not None and tuple(value.shape) != expected:
                raise bad_argument(name, f"shape {expected}", str(tuple(value.shape)))
        if self.geometry is not None and int(np.prod(self.geometry.grid)) != cells:
            raise bad_argument("geometry", f"one for the grid {self.grid}", f"one for {self.geometry.grid}")

    @classmethod
    def _to_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        geometry = values.get("geometry")
        return {**values, "grid": list(values["grid"]), "geometry": None if geometry is None else geometry.to_dict()}

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        geometry = values.get("geometry")
        placed = None if geometry is None else CellGeometry.from_dict(geometry)
        return {**values, "grid": tuple(int(side) for side in values["grid"]), "geometry": placed}

    @property
    def saliency(self) -> Tensor:
        """The ``attributions`` by the paper's name."""
        return self.attributions

    @property
    def order(self) -> int:
        """How many cells act together."""
        return self.attributions.ndim - 1

    @property
    def cells(self) -> int:
        """n, the number of cells."""
        return self.attributions.shape[1]

    def top_k(self, k: int) -> list[list[Interaction]]:
        """Give the strongest interactions of each item.

        Args:
            k: how many, at least 1.

        Returns:
            For each item at most k interactions, the strongest first; of equals the one with the smaller cells comes
            first. Those with zero salience are left out.

        Raises:
            InputError: k is no positive integer, or the salience is not finite.
        """
        check_integer("k", k, 1)
        values = self.attributions.detach().cpu().numpy()
        if not np.isfinite(values).all():
            raise bad_argument("attributions", "finite values", "NaN or infinity")
        return [self._strongest(item, k) for item in values]

    def _strongest(self, values: np.ndarray, k: int) -> list[Interaction]:
        flat = values.ravel()
        positions = np.flatnonzero(flat > 0)
        if len(positions) > k:  # all that tie with the last one stay, so that the order among them is always the same
            strengths = flat[positions]
            positions = positions[strengths >= np.partition(strengths, len(strengths) - k)[-k]]
        best = positions[np.argsort(-flat[positions], kind="stable")][:k]
        return [
            Interaction(
                tuple(self.cell(int(i)) for i in np.unravel_index(position, values.shape)), float(flat[position])
            )
            for position in best
        ]

    def cell(self, index: int) -> Cell:
        """Give the (row, column) of the cell with an index from 0 to n - 1."""
        return tuple(int(i) for i in np.unravel_index(index, self.grid))

    def boxes(self, k: int, of: str = "cell") -> list[list[tuple[tuple[float, ...], ...]]]:
        """Give the strongest interactions of each item as boxes in the image.

        Args:
            k: how many, at least 1.
            of: "cell" for the part that a cell stands for, "field" for all that it depends on; see `CellGeometry`.

        Returns:
            For each item, for each interaction of `top_k`, a box for each cell, as in `CellGeometry`.

        Raises:
            InputError: there is no geometry, or an argument is out of range.
        """
        check_choice("of", of, BOXES)
        geometry = self.geometry
        if geometry is None:
            raise InputError(f"geometry: expected where the cells of {self.layer} lie in the image, got None")
        box = geometry.cell_box if of == "cell" else geometry.field_box
        return [[tuple(box(self.image_cell(cell)) for cell in found.cells) for found in item] for item in self.top_k(k)]

    def image_cell(self, cell: Cell) -> Cell:
        """Give a cell's place in the geometry's grid, which for tokens (n,) is that of the image they came from."""
        if self.geometry is None or self.geometry.grid == self.grid:
            return cell
        index = np.ravel_multi_index(cell, self.grid)
        return tuple(int(i) for i in np.unravel_index(index, self.geometry.grid))

    def marginal(self) -> Tensor:
        """Sum, for each cell, the salience of all its interactions: (B, h, w), or (B, n) for tokens."""
        axes = range(1, self.order + 1)
        total = self.attributions.new_zeros(len(self), self.cells)
        for axis in axes:
            total += self.attributions.movedim(axis, 1).flatten(2).sum(2) if self.order > 1 else self.attributions
        return total.reshape(len(self), *self.grid)

    def partners(self, cell: Sequence[int]) -> Tensor:
        """Sum, for each other cell, the salience of all interactions that it has with one cell.

        Args:
            cell: (row, column), or (position,) for tokens.

        Returns:
            (B, h, w), or (B, n) for tokens: zero at the cell itself.

        Raises:
            InputError: there is no such cell, or the order is 1.
        """
        if self.order < 2:
            raise bad_argument("attributions", "order 2 or more", f"order {self.order}")
        if len(cell) != len(self.grid) or not all(0 <= i < n for i, n in zip(cell, self.grid, strict=True)):
            raise bad_argument("cell", f"a position in the grid {self.grid}", repr(tuple(cell)))
        index = int(np.ravel_multi_index(tuple(cell), self.grid))
        total = self.attributions.new_zeros(len(self), self.cells)
        for axis in range(1, self.order + 1):
            chosen = self.attributions.select(axis, index)
            for kept in range(1, self.order):
                others = [other for other in range(1, self.order) if other != kept]
                total += chosen.sum(others) if others else chosen
        return total.reshape(len(self), *self.grid)
