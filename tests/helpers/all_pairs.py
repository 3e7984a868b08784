"""Combinations of parameters in which every two values meet: nearly all that a full product shows, in few tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

__all__ = ["all_pairs"]


def all_pairs(*parameters: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Choose combinations of one value of each parameter, so that any two values of two parameters come together."""
    values = [list(parameter) for parameter in parameters]
    rows = list(itertools.product(*(range(len(parameter)) for parameter in values)))
    pairs = {row: set(itertools.combinations(enumerate(row), 2)) for row in rows}
    left, chosen = set().union(*pairs.values()), []
    while left:
        best = max(rows, key=lambda row: len(pairs[row] & left))
        left -= pairs[best]
        chosen.append(best)
    return [tuple(parameter[at] for parameter, at in zip(values, row, strict=True)) for row in sorted(chosen)]
