"""The partitions of a set into blocks; sets and blocks are bit masks."""

from __future__ import annotations

import functools

from xai_fast.errors import bad_argument

__all__ = ["set_partitions"]


@functools.cache
def set_partitions(mask: int) -> tuple[tuple[int, ...], ...]:
    """Return the partitions of a set, those of fewer blocks first; bit i of ``mask`` stands for its element i.

    Each is a tuple of the masks of its blocks. They are as many as the Bell number of the set's size: 1, 1, 2, 5, 15,
    52, 203. The empty set has one, of no blocks. A negative mask is an `InputError`.
    """
    if mask < 0:
        raise bad_argument("mask", "a non-negative integer", repr(mask))
    if mask == 0:
        return ((),)
    first = mask & -mask
    others = mask ^ first
    found = []
    rest = others  # runs through the subsets of `others`, from all of it down to none
    while True:
        found += [(mask ^ rest, *partition) for partition in set_partitions(rest)]
        if rest == 0:
            return tuple(sorted(found, key=lambda partition: (len(partition), partition)))
        rest = (rest - 1) & others
