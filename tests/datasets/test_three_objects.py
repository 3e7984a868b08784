from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from xai_fast.datasets.three_objects import KINDS, Board, board, board_batch, random_boards, score
from xai_fast.errors import InputError
from xai_fast.models.three_objects import three_objects


def saliency(function: Callable[[Tensor], Tensor], at: Tensor, order: int) -> dict[tuple[int, ...], float]:
    """Sum of squares, over which cell carries x, of D F[x at i, ones at j, ones at q], by nested derivatives."""
    channels, cells = at.shape[0], at.shape[1] * at.shape[2]
    flat = at.reshape(channels, cells)

    def moved(with_x: Tensor, with_ones: Tensor) -> Tensor:
        return function((flat + flat * with_x + with_ones).reshape(1, *at.shape))[0]

    derivative = torch.func.jacrev(torch.func.jacrev(moved, 0), 1)
    if order == 3:
        derivative = torch.func.jacfwd(derivative, 1)
    zeros = torch.zeros(cells, dtype=at.dtype)
    effects = derivative(zeros, zeros).detach()
    return {
        group: sum(float(effects[index]) ** 2 for index in itertools.permutations(group))
        for group in itertools.combinations(range(cells), order)
    }


@pytest.mark.parametrize("function", [score, "network"], ids=["formula", "network"])
def test_second_order_finds_the_partners_and_third_order_the_keys(function: Callable[[Tensor], Tensor] | str) -> None:
    used = three_objects().double() if isinstance(function, str) else function
    boards = [board(index) for index in range(2)]
    for at, truth in zip(board_batch(boards).double(), boards, strict=True):
        pairs, triples = (saliency(used, at, order) for order in (2, 3))
        assert max(pairs, key=pairs.__getitem__) == truth.partners
        assert max(triples, key=triples.__getitem__) == truth.keys
        strongest_of_keys = max(pairs[pair] for pair in itertools.combinations(truth.keys, 2))
        limit = 0.1 if isinstance(function, str) else 1e-20
        assert strongest_of_keys <= limit * pairs[truth.partners]


def test_the_score_is_the_formula() -> None:
    boards = random_boards(5, torch.Generator().manual_seed(0)).double()
    for value, cells in zip(score(boards), boards, strict=True):
        moved = [
            sum(float(cells[k, r, c] * (1 - cells[8, r, c])) for r in range(4) for c in range(4)) for k in range(5)
        ]
        assert float(value) == pytest.approx(moved[0] * moved[1] * moved[2] + moved[3] * moved[4] / 2, rel=1e-12)


def test_the_network_learned_the_score() -> None:
    boards = random_boards(2000, torch.Generator().manual_seed(5))
    with torch.no_grad():
        error = three_objects()(boards) - score(boards)
    assert error.square().mean().sqrt() < 0.1 * score(boards).std()


def test_a_board_depends_on_seed_split_and_index_only() -> None:
    assert board(3, seed=1) == board(3, seed=1)
    assert len({board(3, seed=1), board(4, seed=1), board(3, seed=2), board(3, split="train", seed=1)}) == 4
    at_rest = board_batch([board(3)])[0]
    assert (at_rest[-1] == 1).all()
    assert at_rest[:-1].flatten(1).argmax(1).tolist() == list(board(3).cells)
    assert at_rest[:-1].sum() == len(KINDS) == len(set(board(3).cells))


def test_keys_and_partners_are_ascending_cells() -> None:
    example = Board((9, 2, 5, 7, 1, 0, 3, 4))
    assert example.keys == (2, 5, 9)
    assert example.partners == (1, 7)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"index": -1}, "index"), ({"index": 0, "split": "x"}, "split"), ({"index": 0, "seed": -1}, "seed")],
)
def test_wrong_arguments_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        board(**arguments)
