"""Random integers that are a function of where they are used, on every machine and with every version of numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xai_fast.arguments import check_choice, check_integer

__all__ = ["SPLITS", "RandomNumbers"]

SPLITS = ("train", "test")


class RandomNumbers:
    """Uniform integers from the raw words of Philox4x64, whose stream no version of numpy changes.

    ``stream`` tells apart what is drawn for one item; streams never meet. All arguments are from 0 to 2**64 - 1.
    """

    def __init__(self, seed: int, index: int, stream: int = 0) -> None:
        # The stream is in the upper half of the counter, which the lower half would need 2**128 words to reach.
        counter = np.array([0, 0, stream, 0], dtype=np.uint64)
        self._generator = np.random.Philox(key=np.array([seed, index], dtype=np.uint64), counter=counter)
        self._words: list[int] = []

    @classmethod
    def of_item(cls, index: int, split: str, seed: int, purpose: int = 0) -> RandomNumbers:
        """Give the numbers of an item of a split; an `InputError` names an argument that is out of range."""
        stream = len(SPLITS) * purpose + SPLITS.index(check_choice("split", split, SPLITS))
        return cls(check_integer("seed", seed, 0, 2**64 - 1), check_integer("index", index, 0), stream)

    def below(self, limit: int) -> int:
        """Give an integer from 0 to ``limit - 1``; for limits below 1000 the remainder's bias is below 2**-54."""
        if not self._words:
            words: NDArray[np.uint64] = self._generator.random_raw(32)
            self._words = words.tolist()[::-1]
        return self._words.pop() % limit

    def between(self, low: int, high: int) -> int:
        """Give an integer from low to high, both included."""
        return low + self.below(high - low + 1)
