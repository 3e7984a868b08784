"""Random numbers that depend on a seed, an item's identity and a number alone, not on the batch or the device."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels.random_points import random_points
from xai_fast.kernels.random_points.reference import philox4x32

__all__ = ["MAX_SEED", "random_entries", "random_orders", "random_words"]

MAX_SEED = 2**32 - 1
_WORDS_AT_A_TIME = 1 << 18
"""Philox has an order of magnitude more int64 temporaries than words."""


def random_words(item_ids: Tensor, number: Tensor, count: int, seed: int) -> Tensor:
    """Return (R, count) int64 words, uniform from 0 to 2**32 - 1, by Philox4x32-10.

    The key is (seed, id mod 2^32), the counter (block of four, number, 0, id div 2^32), of ``item_ids`` (R,) int64, not
    negative, and ``number`` (R,) int64 from 0 to 2**32 - 1, what is drawn for the item, such as the number of a mask.
    ``seed`` is from 0 to `MAX_SEED`.
    """
    block = torch.arange(-(-count // 4), device=item_ids.device)[None, :]
    words = torch.empty(len(item_ids), 4 * block.shape[1], dtype=torch.int64, device=item_ids.device)
    at_a_time = max(1, _WORDS_AT_A_TIME // max(1, words.shape[1]))
    for start in range(0, len(item_ids), at_a_time):
        rows = slice(start, start + at_a_time)
        ids, point = item_ids[rows, None], number[rows, None]
        key = (torch.full_like(ids, seed), ids & MAX_SEED)
        words[rows] = torch.stack(philox4x32((block, point, torch.zeros_like(ids), ids >> 32), key), -1).flatten(1)
    return words[:, :count]


def random_orders(words: Tensor) -> Tensor:
    """Make random permutations of random words (R, K): the places (R, K) int64, from 0 to K - 1, of each entry."""
    return words.argsort(dim=1, stable=True).argsort(dim=1)


def random_entries(like: Tensor, item_ids: Tensor, number: Tensor, kind: str, seed: int, step: int) -> Tensor:
    """Return a random number for every entry of rows ``like`` (R, N): (R, N); other arguments as of `random_words`.

    ``kind`` is "normal", standard normal, or "box", uniform from -1 to 1. ``step`` is for callers that draw more than
    once for a number; `random_words` is step 0.
    """
    found, zeros, row = torch.empty_like(like), torch.zeros_like(like), torch.arange(len(like), device=like.device)
    random_points(found, zeros, row, item_ids, number, torch.ones_like(row, dtype=torch.bool), 1.0, kind, seed, step)
    return found
