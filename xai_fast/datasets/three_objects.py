"""Three objects must meet: a constructed task whose answer turns on a triple that no pair reveals.

A board of 4 x 4 cells holds eight objects, no two in a cell, and every cell has a level. Three of the objects are keys,
two are partners, the others do nothing. An object has moved by ``1 - level`` of its cell, and the score is

    score = moved(key 0) * moved(key 1) * moved(key 2) + moved(partner 0) * moved(partner 1) / 2.

On a board at rest every level is 1. Nothing has moved there, so all first derivatives are zero, the second derivatives
join the two partners and nothing else, and the third derivatives of distinct cells join the three keys: second order
finds the partners and knows nothing of the keys, third order finds the keys.

The network learns the score from boards whose cells have moved at random; it is smooth, and is not told the formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.datasets.random_numbers import RandomNumbers

__all__ = [
    "BOARD",
    "KINDS",
    "Board",
    "board",
    "board_batch",
    "random_boards",
    "score",
]

BOARD = (4, 4)
"""Rows and columns of cells."""

KINDS = ("key 0", "key 1", "key 2", "partner 0", "partner 1", "bystander 0", "bystander 1", "bystander 2")
"""The objects; the channel of the board in which an object lives is its index here."""


@dataclass(frozen=True)
class Board:
    """Eight objects at rest: the cell of each, row by row from 0 to 15, in the order of `KINDS`."""

    cells: tuple[int, ...]

    @property
    def keys(self) -> tuple[int, int, int]:
        """The cells of the three keys, ascending: what third order has to find."""
        first, second, third = sorted(self.cells[:3])
        return first, second, third

    @property
    def partners(self) -> tuple[int, int]:
        """The cells of the two partners, ascending: what second order has to find."""
        first, second = sorted(self.cells[3:5])
        return first, second


def board(index: int, *, split: str = "test", seed: int = 0) -> Board:
    """Make a board, the same at each call; an `InputError` names an argument that is out of range."""
    numbers = RandomNumbers.of_item(index, split, seed)
    free = list(range(BOARD[0] * BOARD[1]))
    return Board(tuple(free.pop(numbers.below(len(free))) for _ in KINDS))


def board_batch(boards: Sequence[Board]) -> Tensor:
    """Return boards at rest as the network reads them, (B, 9, 4, 4) float32.

    Channel k < 8 is 1 where object k is and else 0; the last channel is the level, 1 everywhere.
    """
    cells = torch.tensor([item.cells for item in boards])
    return _with_objects(cells, torch.ones(len(boards), BOARD[0] * BOARD[1]))


def random_boards(count: int, generator: torch.Generator) -> Tensor:
    """Return boards that have moved, (count, 9, 4, 4) float32.

    Levels are uniform from -0.5 to 2.5, so that "at rest" is in the middle of the data, and the channels of the objects
    have normal noise of standard deviation 0.1, as derivatives along them matter too.
    """
    size = BOARD[0] * BOARD[1]
    cells = torch.rand(count, size, generator=generator).argsort(1)[:, : len(KINDS)]
    boards = _with_objects(cells, 3 * torch.rand(count, size, generator=generator) - 0.5)
    boards[:, :-1] += 0.1 * torch.randn(boards[:, :-1].shape, generator=generator)
    return boards


def score(boards: Tensor) -> Tensor:
    """Compute what the network has to learn, the formula of the module: (B,) from boards (B, 9, 4, 4)."""
    moved = (boards[:, :-1] * (1 - boards[:, -1:])).sum(dim=(2, 3))
    return moved[:, :3].prod(dim=1) + moved[:, 3] * moved[:, 4] / 2


def _with_objects(cells: Tensor, levels: Tensor) -> Tensor:
    """Put objects into cells (B, 8) of levels (B, 16)."""
    objects = torch.zeros(len(cells), len(KINDS), levels.shape[1]).scatter_(2, cells[..., None], 1.0)
    return torch.cat([objects, levels[:, None]], dim=1).reshape(len(cells), len(KINDS) + 1, *BOARD)
