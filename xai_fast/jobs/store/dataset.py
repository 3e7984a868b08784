"""A store as a data set of torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from xai_fast.errors import bad_argument
from xai_fast.jobs.store.layout import Status

if TYPE_CHECKING:
    from xai_fast.jobs.store.reader import Store

__all__ = ["StoreDataset"]


class StoreDataset(Dataset[dict[str, Any]]):
    """The finished items of a store.

    Args:
        store: open.
        fields: the names of those that are wanted; None for all.
        ok_only: leave failed items out.

    Raises:
        InputError: there is no such field.
    """

    def __init__(self, store: Store, fields: Sequence[str] | None = None, ok_only: bool = False) -> None:
        unknown = set(fields or ()) - store.fields.keys()
        if unknown:
            raise bad_argument("fields", f"names among {', '.join(store.fields)}", ", ".join(sorted(unknown)))
        self.store = store
        self.names = list(store.fields) if fields is None else list(fields)
        self._shards = list(store.shards)
        self._rows: list[np.ndarray] | None = None
        if ok_only:
            self._rows = [np.flatnonzero(store.shard(shard).statuses == Status.OK) for shard in self._shards]
            lengths = [len(rows) for rows in self._rows]
        else:
            lengths = [stop - start for start, stop in map(store.span, self._shards)]
        self._ends = list(accumulate(lengths))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, k: int) -> dict[str, Any]:
        if not -len(self) <= k < len(self):
            raise IndexError(f"index: expected one below {len(self)}, got {k}")
        k %= len(self)
        place = bisect_right(self._ends, k)
        offset = k - (self._ends[place - 1] if place else 0)
        row = offset if self._rows is None else int(self._rows[place][offset])
        result = self.store.item(self.store.span(self._shards[place])[0] + row)
        known = {"index": result.index, "id": result.id, "status": int(result.status)}
        return {**known, **{name: result.fields[name] for name in self.names}}
