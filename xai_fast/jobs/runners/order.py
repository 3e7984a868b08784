"""The order in which the shards of a job are taken."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator

from xai_fast.jobs.store.shards import Shards

__all__ = ["in_turn"]


def in_turn(shards: Shards, rank: int = 0, world_size: int = 1) -> Iterator[int]:
    """List the shards that one of several processes does: its own, then whatever is missing by then."""
    # Its own are ``rank``, ``rank + world_size``, and so on; as they are done in order, a process that begins again
    # finds the first one that is missing with a few looks. Doing a shard that another process is at is harmless.
    own = range(rank, len(shards), world_size)
    for shard in own[bisect_left(own, True, key=lambda shard: not shards.exists(shard)) :]:
        if not shards.exists(shard):
            yield shard
    chance = random.Random(rank)
    folders = shards.folders
    first = rank * len(folders) // world_size
    for folder in (*folders[first:], *folders[:first]):
        missing = list(shards.missing_in(folder))
        chance.shuffle(missing)  # so that processes that are left over meet seldom
        for shard in missing:
            if not shards.exists(shard):
                yield shard
