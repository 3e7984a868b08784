"""Reading a store like an array: memory-mapped, decoded on demand."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.store.fields import Field
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import Status, read_job
from xai_fast.jobs.store.shards import Shard, Shards
from xai_fast.terminal import ShortRepr

if TYPE_CHECKING:
    from xai_fast.explanation import Explanation

__all__ = ["Batch", "ItemResult", "Store"]

_OPEN_SHARDS = 64
_BLOCK = 1 << 20  # bytes that iteration decodes at a time: they stay in the cache of a core
_MOST_ROWS = 4096


@dataclass(frozen=True, repr=False)
class ItemResult(ShortRepr):
    """What a job found for one item.

    Attributes:
        index: its number.
        id: its name.
        status: what became of it.
        reason: why it failed, or None.
        fields: name to tensor: float32 for all floats. Failed items have NaN, and 0 in integers.
    """

    index: int
    id: str
    status: Status
    reason: str | None
    fields: dict[str, Tensor]

    @property
    def ok(self) -> bool:
        """Whether it has results."""
        return self.status == Status.OK


@dataclass(frozen=True, repr=False)
class Batch(ShortRepr):
    """What a job found for some items.

    Attributes:
        indices: (b,) int64, their numbers.
        ids: their names.
        status: (b,) uint8, values of `Status`.
        reasons: why each failed, or None.
        fields: name to (b, ...).
    """

    indices: Tensor
    ids: list[str]
    status: Tensor
    reasons: list[str | None]
    fields: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    def results(self) -> Iterator[ItemResult]:
        """Give the items one by one; they share memory."""
        columns = {name: values.unbind() for name, values in self.fields.items()}
        listed = zip(self.indices.tolist(), self.ids, self.status.tolist(), self.reasons, strict=True)
        for row, (index, name, status, reason) in enumerate(listed):
            fields = {field: column[row] for field, column in columns.items()}
            yield ItemResult(index, name, Status(status), reason, fields)


class Store:
    """The results of a job: ``store[i]``, ``store[a:b]``, ``store[[3, 1]]``, and iteration over (id, result).

    The job may still be running. The data are mapped into memory; as with any memory map, a file that somebody cuts
    short while it is open here ends this process with SIGBUS; nothing in xai_fast does that to a file.

    Args:
        out: the folder of the job.

    Attributes:
        path: of the folder.
        job: the document of the job: spec, fingerprint, items, versions.
        items: the list of items.
        shards: the files of results.

    Raises:
        StoreError: it is no store, or damaged.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.path = Path(out)
        self.job = read_job(self.path)
        self._root = Folder(self.path)
        self.items = Items(self._root, self.job["items"])
        self.refresh()

    def refresh(self) -> None:
        """Look what is finished by now."""
        self.shards = Shards.of(self._root, self.job)
        self._shard = functools.lru_cache(_OPEN_SHARDS)(self.shards.open)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (str(self.path),)  # memory maps cannot travel to another process; it opens its own

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {len(self)} items, fields {', '.join(self.fields)})"

    def __len__(self) -> int:
        return len(self.items)

    @property
    def fields(self) -> Mapping[str, Field]:
        """Name of each result to its dtype, shape and codec; empty before the first success."""
        agreed = self.shards.agreed()
        return {} if agreed is None else agreed.fields

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Name of each method to what is the same for all items, such as settings; empty before the first success."""
        agreed = self.shards.agreed()
        return {} if agreed is None else dict(agreed.methods)

    @property
    def complete(self) -> bool:
        """Whether all shards are done."""
        return next(self.shards.missing(), None) is None

    def failures(self) -> Iterator[tuple[int, str, str, str]]:
        """Yield (index, id, label of the status, reason) of each item that failed, in order."""
        for header in map(self.shards.header, self.shards.all_done()):
            for row, (label, reason) in sorted(header.failed.items()):
                yield header.start + row, self.items.id(header.start + row), label, reason

    @property
    def statuses(self) -> tuple[str, ...]:
        """The labels of the statuses, by their number; 0 is that of items with results."""
        return tuple(status.label for status in Status)

    def columns(self, start: int, stop: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Read what columns of a table have of the items from ``start`` to ``stop - 1``, whether they are done or not.

        Returns:
            (stop - start,) uint8 of values of `Status`, 255 where there is no result yet, and by name those fields with
            one number per item, as (stop - start,) float64, NaN where there is none.
        """
        statuses = np.full(stop - start, 255, np.uint8)
        numbers = {name: np.full(stop - start, np.nan) for name, field in self.fields.items() if not field.shape}
        for number in range(start // self.shards.size, -(-stop // self.shards.size)):
            if not self.shards.exists(number):
                continue
            shard, span = self._shard(number), self.shards.span(number)
            low, high = max(span.start, start), min(span.stop, stop)
            rows, places = slice(low - span.start, high - span.start), slice(low - start, high - start)
            statuses[places] = shard.header.statuses[rows]
            good = statuses[places] == Status.OK
            for name in numbers.keys() & shard.fields.keys():
                found = shard.decode(name, rows, torch.empty(high - low, dtype=torch.float64))
                numbers[name][places][good] = found.numpy()[good]
        return statuses, numbers

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray | Tensor) -> ItemResult | Batch:
        if isinstance(key, slice):
            return self.batch(range(*key.indices(len(self))))
        if isinstance(key, Tensor | np.ndarray) and key.ndim == 1:
            return self.batch(self._chosen(torch.as_tensor(key)))
        if isinstance(key, list | tuple | range):
            return self.batch(key)
        return self.item(self._position(key))

    def item(self, i: int) -> ItemResult:
        """Read one item; raise `StoreError` where its shard is not done, or damaged."""
        shard, row = self._shard(i // self.shards.size), i % self.shards.size
        fields = {name: field.blank(1)[0] for name, field in self.fields.items()}
        for name in shard.fields:  # not as a batch of one, which takes three times as long
            fields[name] = shard.decode(name, slice(row, row + 1), torch.empty_like(fields[name][None]))[0]
        label, reason = shard.header.failed.get(row, (Status.OK.label, None))
        return ItemResult(i, self.items.id(i), Status[label.upper()], reason, fields)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read some items, in any order; raise `StoreError` where a shard is not done, or damaged."""
        wanted = torch.tensor([self._position(i) for i in indices], dtype=torch.int64)
        statuses = torch.empty(len(wanted), dtype=torch.uint8)
        reasons: list[str | None] = [None] * len(wanted)
        order = wanted.argsort(stable=True)
        numbers, counts = torch.unique_consecutive(wanted[order] // self.shards.size, return_counts=True)
        # Without memory of their own: a shape alone, which anybody could write, must not make us allocate.
        fields = {name: field.blank(len(wanted)) for name, field in self.fields.items()}
        allocated = False
        for number, places in zip(numbers.tolist(), torch.split(order, counts.tolist()), strict=True):
            shard = self._shard(number)
            if shard.fields and not allocated:
                allocated, first = True, number == numbers[0]
                fields = {name: torch.empty_like(v) if first else v.contiguous() for name, v in fields.items()}
            rows = wanted[places] - shard.header.start
            statuses[places] = torch.from_numpy(shard.header.statuses)[rows]
            for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                reasons[place] = shard.header.failed.get(row, (None, None))[1]
            for name in fields if allocated else ():
                _gather(shard, name, rows, places, fields[name])
        return Batch(wanted, [self.items.id(i) for i in wanted.tolist()], statuses, reasons, fields)

    def explanation(self, method: str, items: int | slice | Sequence[int] | None = None) -> Explanation:
        """Make the explanation of some items, as the method returned it.

        Args:
            method: one of `methods`.
            items: their numbers; None for all.

        Returns:
            The explanation, on the CPU.

        Raises:
            InputError: there is no such method, or an item has no results.
            StoreError: a shard is not done, or damaged.
        """
        from xai_fast.explanation import Explanation

        if method not in self.methods:
            raise bad_argument("method", f"one of {', '.join(self.methods)}", repr(method))
        chosen = [items] if isinstance(items, int) else items
        found = self[slice(None) if chosen is None else chosen]
        assert isinstance(found, Batch)
        for index, reason in zip(found.indices.tolist(), found.reasons, strict=True):
            if reason is not None:
                raise InputError(f"items: expected items with results, got {self.items.id(index)!r}: {reason}")
        prefix = f"{method}." if len(self.methods) > 1 else ""
        parts = {n.removeprefix(prefix): value for n, value in found.fields.items() if n.startswith(prefix)}
        return Explanation.from_parts(parts, self.methods[method])

    def __iter__(self) -> Iterator[tuple[str, ItemResult]]:
        """Go through all finished items in order; what is yielded together shares memory."""
        for batch in self.batches():
            for result in batch.results():
                yield result.id, result

    def batches(self, size: int = _BLOCK) -> Iterator[Batch]:
        """Go through all finished items in order, in blocks of so many bytes, none across two shards."""
        for shard in self.shards.all_done():
            row = sum(field.entries * field.torch_dtype.itemsize for field in self.fields.values())
            step, span = max(1, min(_MOST_ROWS, size // max(1, row))), self.shards.span(shard)
            for first in range(span.start, span.stop, step):
                yield self.batch(range(first, min(first + step, span.stop)))

    def _chosen(self, key: Tensor) -> list[int]:
        """List the numbers of items that an array chooses, be it a mask of all items."""
        if key.dtype != torch.bool:
            return list(key.tolist())
        if len(key) != len(self):
            raise bad_argument("index", f"a mask of all {len(self)} items", f"one of {len(key)}")
        return list(key.nonzero().flatten().tolist())

    def _position(self, key: object) -> int:
        if isinstance(key, bool):  # an integer to Python, but a list of them would be meant as a mask
            raise bad_argument("index", "an integer, a slice, a list of integers or an array as a mask", repr(key))
        try:
            i = operator.index(key)  # type: ignore[arg-type]
        except TypeError:
            got = type(key).__name__
            raise bad_argument("index", "an integer, a slice or a list of integers", got) from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"index: expected an item below {len(self)}, got {i}")
        return i % len(self)


def _gather(shard: Shard, name: str, rows: Tensor, places: Tensor, into: Tensor) -> None:
    """Read rows of a shard to their places; stretches are read without an index."""
    together = len(rows) == 1 or bool((rows.diff() == 1).all() and (places.diff() == 1).all())
    if together:
        first, start = int(rows[0]), int(places[0])
        shard.decode(name, slice(first, first + len(rows)), into[start : start + len(rows)])
    else:
        into[places] = shard.decode(name, rows, torch.empty(len(rows), *into.shape[1:], dtype=into.dtype))
