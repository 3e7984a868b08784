"""What interaction methods return: how strongly the cells of a feature map act together."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.interaction.geometry import CellGeometry

__all__ = ["BOXES", "Cell", "Interaction", "InteractionMap", "joined"]

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


@dataclass(frozen=True, eq=False)
class InteractionMap:
    """Interactions between the n cells of a layer's map, for a batch of B items.

    Attributes:
        saliency: (B, n, ..., n), with one n for each order; the squared interactions, in squared units of the score.
            Symmetric: the mutual sums in the strict upper triangle (i < j < q), zero elsewhere. Directed: the cell that
            carries x is the first index; zero where two cells are the same.
        grid: (h, w), or (n,) for tokens; cell i of n is cell ``(i // w, i % w)``.
        scores: (B,) the score of each item.
        layer: the dotted name of the layer.
        scope: "local" or "global".
        symmetric: whether each set of cells stands once.
        targets: (B,) int64, the class that was explained; None where the target is a callable.
        sums: like ``saliency`` but directed, before squaring, with their sign; None where they were not kept.
        remedy: what was swapped in the model against zero curvature, or None.
        geometry: where the cells lie in the image, or None where that was not found.

    Raises:
        InputError: the tensors do not fit one another.
    """

    saliency: Tensor
    grid: tuple[int, ...]
    scores: Tensor
    layer: str
    scope: str = "local"
    symmetric: bool = True
    targets: Tensor | None = None
    sums: Tensor | None = None
    remedy: str | None = None
    geometry: CellGeometry | None = None

    def __post_init__(self) -> None:
        check_choice("scope", self.scope, ("local", "global"))
        cells = int(np.prod(self.grid))
        shape = tuple(self.saliency.shape)
        if self.saliency.dtype not in (torch.float32, torch.float64):
            raise bad_argument("saliency", "dtype float32 or float64", str(self.saliency.dtype))
        if len(shape) < 2 or set(shape[1:]) != {cells}:
            raise bad_argument("saliency", f"(B, {cells}, ...) for the grid {self.grid}", str(shape))
        for name, value, expected in (
            ("scores", self.scores, shape[:1]),
            ("targets", self.targets, shape[:1]),
            ("sums", self.sums, shape),
        ):
            if value is not None and tuple(value.shape) != expected:
                raise bad_argument(name, f"shape {expected}", str(tuple(value.shape)))
        if self.geometry is not None and int(np.prod(self.geometry.grid)) != cells:
            raise bad_argument("geometry", f"one for the grid {self.grid}", f"one for {self.geometry.grid}")

    @property
    def order(self) -> int:
        """How many cells act together."""
        return self.saliency.ndim - 1

    @property
    def cells(self) -> int:
        """n, the number of cells."""
        return self.saliency.shape[1]

    def __len__(self) -> int:
        return self.saliency.shape[0]

    def __getitem__(self, items: int | slice) -> InteractionMap:
        """Give some items; one item still has a batch of one."""
        if not isinstance(items, slice):
            position = operator.index(items)
            if not -len(self) <= position < len(self):
                raise IndexError(f"item {position} of {len(self)}")
            position %= len(self)
            items = slice(position, position + 1)
        return replace(
            self,
            saliency=self.saliency[items],
            scores=self.scores[items],
            targets=None if self.targets is None else self.targets[items],
            sums=None if self.sums is None else self.sums[items],
        )

    def to(self, device: str | torch.device) -> InteractionMap:
        """Move the tensors to a device."""
        return replace(
            self,
            saliency=self.saliency.to(device),
            scores=self.scores.to(device),
            targets=None if self.targets is None else self.targets.to(device),
            sums=None if self.sums is None else self.sums.to(device),
        )

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
        values = self.saliency.detach().cpu().numpy()
        if not np.isfinite(values).all():
            raise bad_argument("saliency", "finite values", "NaN or infinity")
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
            For each item, for each interaction of `top_k`, a box (x0, y0, x1, y1) in pixels of the input for each cell.

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
        """Sum, for each cell, the salience of all interactions that it takes part in.

        Returns:
            (B, h, w), or (B, n) for tokens.
        """
        axes = range(1, self.order + 1)
        total = sum(self._summed_over([other for other in axes if other != axis]) for axis in axes)
        return torch.as_tensor(total).reshape(len(self), *self.grid)

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
            raise bad_argument("saliency", "order 2 or more", f"order {self.order}")
        if len(cell) != len(self.grid) or not all(0 <= i < n for i, n in zip(cell, self.grid, strict=True)):
            raise bad_argument("cell", f"a position in the grid {self.grid}", repr(tuple(cell)))
        index = int(np.ravel_multi_index(tuple(cell), self.grid))
        total = self.saliency.new_zeros(len(self), self.cells)
        for axis in range(1, self.order + 1):
            chosen = self.saliency.select(axis, index)
            for kept in range(1, self.order):
                others = [other for other in range(1, self.order) if other != kept]
                total += chosen.sum(others) if others else chosen
        return total.reshape(len(self), *self.grid)

    def _summed_over(self, axes: list[int]) -> Tensor:
        return self.saliency.sum(axes) if axes else self.saliency

    def normalized(self) -> InteractionMap:
        """Divide each item's salience by its largest one, and the sums by the root of that; zeros stay zeros."""
        largest = self.saliency.flatten(1).amax(1) if self.cells else self.scores.new_zeros(len(self))
        scale = torch.where(largest > 0, largest, torch.ones_like(largest)).reshape(-1, *[1] * self.order)
        sums = None if self.sums is None else self.sums / scale.sqrt()
        return replace(self, saliency=self.saliency / scale, sums=sums)

    def save(self, path: str | Path) -> None:
        """Write the map to a file of its own kind, of which only the values that are not zero take space.

        Args:
            path: where to; the name is used as it is, and a file that is there is replaced.
        """
        from xai_fast.interaction.storage import save  # the storage knows this class

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> InteractionMap:
        """Read a map that `save` wrote.

        Args:
            path: the file.

        Returns:
            The same map, on the CPU.

        Raises:
            InputError: the file holds something else, is damaged, or is of a version that is not known here.
        """
        from xai_fast.interaction.storage import load

        return load(Path(path))


def joined(parts: Sequence[InteractionMap]) -> InteractionMap:
    """Put maps of the same layer one after the other.

    Args:
        parts: one or more, explained alike.

    Returns:
        The map of all their items.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    return replace(
        first,
        saliency=torch.cat([p.saliency for p in parts]),
        scores=torch.cat([p.scores for p in parts]),
        targets=None if first.targets is None else torch.cat([p.targets for p in parts if p.targets is not None]),
        sums=None if first.sums is None else torch.cat([p.sums for p in parts if p.sums is not None]),
    )
