"""Reading a store like an array: memory-mapped, decoded on demand."""

from __future__ import annotations

import operator
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.store.fields import Field
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import Status, read_job
from xai_fast.jobs.store.shards import Header, Shard, Shards
from xai_fast.terminal import ShortRepr

if TYPE_CHECKING:
    from xai_fast.explanation import Explanation

__all__ = ["Batch", "ItemResult", "Store", "open_store"]

_OPEN_SHARDS = 64
_BLOCK = 1 << 20  # bytes that iteration decodes at a time: they stay in the cache of a core


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
        self._lock = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Look what is finished by now."""
        size = int(self.job["spec"]["shard_size"])
        self.shards = Shards(self._root, self.job["fingerprint"], len(self.items), size)
        self._open: OrderedDict[int, Shard] = OrderedDict()

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
    def field_names(self) -> list[str]:
        """The names of an item's results."""
        return list(self.fields)

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Name of each method to what is the same for all items, such as settings; empty before the first success."""
        agreed = self.shards.agreed()
        return {} if agreed is None else dict(agreed.methods)

    @property
    def complete(self) -> bool:
        """Whether all shards are done."""
        return next(self.shards.missing(), None) is None

    def counts(self) -> dict[str, int]:
        """Return how many finished items have which status, by its label."""
        total: Counter[str] = Counter()
        for _, header in self.headers():
            total.update(label for label, _ in header.failed.values())
            total[Status.OK.label] += header.rows - len(header.failed)
        return {label: count for label, count in total.items() if count}

    def headers(self) -> Iterator[tuple[int, Header]]:
        """Yield the number and the header of each finished shard, in order."""
        for shard in self.shards.all_done():
            yield shard, self.shards.header(shard)

    def failures(self) -> Iterator[tuple[int, str, str, str]]:
        """Yield (index, id, label of the status, reason) of each item that failed, in order."""
        for _, header in self.headers():
            for row, (label, reason) in sorted(header.failed.items()):
                yield header.start + row, self.items.id(header.start + row), label, reason

    @property
    def statuses(self) -> tuple[str, ...]:
        """The labels of the statuses, by their number; 0 is that of items with results."""
        return tuple(status.label for status in Status)

    def columns(self, start: int, stop: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Read the status and the numbers of consecutive items, whether they are done or not.

        Args:
            start: the first one.
            stop: one beyond the last.

        Returns:
            (stop - start,) uint8 of values of `Status`, 255 where there is no result yet, and by name those fields with
            one number per item, as (stop - start,) float64, NaN where there is none.

        Raises:
            StoreError: a shard is damaged.
        """
        statuses = np.full(stop - start, 255, np.uint8)
        numbers = {name: np.full(stop - start, np.nan) for name, field in self.fields.items() if not field.shape}
        for number in range(start // self.shards.size, -(-stop // self.shards.size)):
            if not self.shards.exists(number):
                continue
            shard, span = self.shard(number), self.shards.span(number)
            low, high = max(span.start, start), min(span.stop, stop)
            rows, places = slice(low - span.start, high - span.start), slice(low - start, high - start)
            statuses[places] = shard.header.statuses[rows]
            good = statuses[places] == Status.OK
            for name in numbers.keys() & shard.fields.keys():
                numbers[name][places][good] = self._read(shard, name, rows).double().numpy()[good]
        return statuses, numbers

    def shard(self, number: int) -> Shard:
        """Open a shard, mapped into memory; the ones that were used last stay open."""
        with self._lock:
            found = self._open.pop(number, None) or self.shards.open(number)
            self._open[number] = found  # the last one is the one that was used last
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        return found

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
        shard, row = self.shard(i // self.shards.size), i % self.shards.size
        fields = {name: self._read(shard, name, slice(row, row + 1))[0] for name in self.fields}
        return self._result(shard, row, fields)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read some items, in any order; raise `StoreError` where a shard is not done, or damaged."""
        wanted = torch.tensor([self._position(i) for i in indices], dtype=torch.int64)
        statuses = torch.empty(len(wanted), dtype=torch.uint8)
        reasons: list[str | None] = [None] * len(wanted)
        fields: dict[str, Tensor] = {}
        order = wanted.argsort(stable=True)
        numbers, counts = torch.unique_consecutive(wanted[order] // self.shards.size, return_counts=True)
        for number, places in zip(numbers.tolist(), torch.split(order, counts.tolist()), strict=True):
            shard = self.shard(number)
            rows = wanted[places] - shard.header.start
            statuses[places] = torch.from_numpy(shard.header.statuses)[rows]
            for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                reasons[place] = shard.header.failed.get(row, (None, None))[1]
            for name in shard.fields.keys() | fields.keys():
                if name not in fields:
                    field = self.fields[name]
                    fields[name] = torch.empty(len(wanted), *field.shape, dtype=field.torch_dtype)
                    if number != numbers[0]:
                        fields[name].copy_(field.blank(len(wanted)))
                _gather(shard, name, rows, places, fields[name])
        # Without memory of its own: a shape alone, which anybody could write, must not make us allocate.
        fields = {name: fields.get(name, field.blank(len(wanted))) for name, field in self.fields.items()}
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
        for number in self.shards.all_done():
            shard = self.shards.open(number)
            step = max(1, _BLOCK // max(1, sum(one.entries * one.torch_dtype.itemsize for one in self.fields.values())))
            for first in range(0, shard.header.rows, step):
                rows = range(first, min(first + step, shard.header.rows))
                columns = {n: self._read(shard, n, slice(rows.start, rows.stop)).unbind() for n in self.fields}
                for row in rows:
                    result = self._result(shard, row, {n: column[row - first] for n, column in columns.items()})
                    yield result.id, result

    def _result(self, shard: Shard, row: int, fields: dict[str, Tensor]) -> ItemResult:
        index = shard.header.start + row
        label, reason = shard.header.failed.get(row, (Status.OK.label, None))
        return ItemResult(index, self.items.id(index), Status[label.upper()], reason, fields)

    def _read(self, shard: Shard, name: str, rows: slice) -> Tensor:
        field = self.fields[name]
        if name not in shard.fields:
            return field.blank(rows.stop - rows.start)
        return shard.decode(name, rows, torch.empty(rows.stop - rows.start, *field.shape, dtype=field.torch_dtype))

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


def open_store(out: str | os.PathLike[str]) -> Store:
    """Open the results of a job for reading; it may still be running.

    Args:
        out: the folder of the job.

    Returns:
        The store.

    Raises:
        StoreError: it is no store, or damaged.
    """
    return Store(out)
