"""Reading a store like an array: memory-mapped, decoded on demand."""

from __future__ import annotations

import operator
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import StoreError, bad_argument
from xai_fast.explanation import Explanation
from xai_fast.jobs.store.dataset import StoreDataset
from xai_fast.jobs.store.fields import read_fields
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.layout import Layout, Status, read_job
from xai_fast.jobs.store.manifest import read_manifest, shard_count
from xai_fast.jobs.store.receipts import Receipt, committed, open_shard, read_receipt
from xai_fast.jobs.store.results import Batch, ItemResult
from xai_fast.jobs.store.shard_file import ShardFile

__all__ = ["Batch", "ItemResult", "Store", "open_store"]

_OPEN_SHARDS = 64
_BLOCK = 1 << 20  # bytes that iteration decodes at a time: they stay in the cache of a core


class Store:
    """The results of a job: ``store[i]``, ``store[a:b]``, ``store[[3, 1]]``, and iteration over (id, result).

    Args:
        out: the folder of the job.

    Attributes:
        job: the document of the job: spec, fingerprint, items, versions.
        items: the list of items.
        fields: name to dtype, shape and codec.

    Raises:
        StoreError: it is no store, or damaged.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.layout = Layout(out)
        self.job = read_job(self.layout)
        self.items = Items.open(self.layout)
        frozen = self.job["items"]
        if (len(self.items), self.items.sha256) != (frozen["count"], frozen["sha256"]):
            raise StoreError(f"{self.layout.items}: expected the items that job.json tells of, got others")
        self._size = int(self.job["spec"]["shard_size"])
        self._shards = shard_count(self.job)
        self._files: OrderedDict[int, ShardFile] = OrderedDict()
        self._lock = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Look what is finished by now."""
        with self._lock:
            self._files.clear()
        self.fields = read_fields(self.layout) or {}
        self._manifest = read_manifest(self.layout, self.job, current=True)
        self._committed = None if self._manifest is not None else sorted(committed(self.layout))

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (str(self.layout.root),)  # memory maps cannot travel to another process; it opens its own

    def __repr__(self) -> str:
        done = f"{len(self.shards)} of {self._shards} shards"
        return f"Store({str(self.layout.root)!r}, {len(self)} items, {done}, fields {', '.join(self.fields)})"

    def __len__(self) -> int:
        return len(self.items)

    @property
    def field_names(self) -> list[str]:
        """The names of an item's results."""
        return list(self.fields)

    @property
    def shards(self) -> Sequence[int]:
        """The numbers of the shards that are done."""
        return range(self._shards) if self._committed is None else self._committed

    @property
    def complete(self) -> bool:
        """Whether all shards are done."""
        return len(self.shards) == self._shards

    def counts(self) -> dict[str, int]:
        """Return how many items have which status, by its label, as the receipts say."""
        total: Counter[str] = Counter()
        for shard in self.shards:
            total.update(self.receipt(shard).statuses)
        return dict(total)

    def receipt(self, shard: int) -> Receipt:
        """Return the receipt of a shard.

        Args:
            shard: its number.

        Returns:
            The receipt, of the right items and fields.

        Raises:
            StoreError: the shard is not done, or the receipt is damaged.
        """
        found = self._manifest.receipt(shard) if self._manifest is not None else read_receipt(self.layout, shard)
        start, stop = self.span(shard)
        if found is None:
            raise StoreError(
                f"{self.layout.root}: items {start} to {stop - 1} are not finished yet; "
                f"{len(self.shards)} of {self._shards} shards are"
            )
        if found.fields.items() - self.fields.items():  # the first shard of all may have come after this was opened
            self.fields = read_fields(self.layout) or {}
        if (found.start, found.stop) != (start, stop) or found.fields.items() - self.fields.items():
            raise StoreError(
                f"{self.layout.commits}: expected a receipt of items {start} to {stop - 1} with the fields of the "
                f"store, shard {shard} has another"
            )
        return found

    def span(self, shard: int) -> tuple[int, int]:
        """Return the first item of a shard and one beyond its last.

        Args:
            shard: its number.

        Returns:
            The range.
        """
        return shard * self._size, min((shard + 1) * self._size, len(self))

    def shard(self, shard: int) -> ShardFile:
        """Open a shard; the ones that were used last stay open.

        Args:
            shard: its number.

        Returns:
            Its file, mapped into memory.

        Raises:
            StoreError: it is not done, or damaged.
        """
        with self._lock:
            file = self._files.pop(shard, None) or self._open_shard(shard)
            self._files[shard] = file  # the last one is the one that was used last
            if len(self._files) > _OPEN_SHARDS:
                self._files.popitem(last=False)
        return file

    def _open_shard(self, shard: int) -> ShardFile:
        if not 0 <= shard < self._shards:
            raise StoreError(f"{self.layout.root}: expected a shard below {self._shards}, got {shard}")
        return open_shard(self.layout, self.receipt(shard))

    def __getitem__(self, key: int | slice | Sequence[int] | np.ndarray | Tensor) -> ItemResult | Batch:
        if isinstance(key, slice):
            return self._batch(range(*key.indices(len(self))))
        if isinstance(key, Tensor | np.ndarray) and key.ndim == 1:
            return self._batch([self._position(one) for one in self._numbers_of(key)])
        if isinstance(key, list | tuple | range):
            return self._batch([self._position(one) for one in key])
        return self.item(self._position(key))

    def item(self, i: int) -> ItemResult:
        """Read one item.

        Args:
            i: its number.

        Returns:
            Its results.

        Raises:
            StoreError: its shard is not done, or damaged.
        """
        file, row = self.shard(i // self._size), i % self._size
        fields = {name: self._read(file, name, slice(row, row + 1))[0] for name in self.fields}
        return ItemResult(i, self.items.id(i), Status(int(file.statuses[row])), file.error(row), fields)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Read some items.

        Args:
            indices: (b,) their numbers, in any order.

        Returns:
            Their results, in this order.

        Raises:
            StoreError: a shard is not done, or damaged.
        """
        return self._batch([self._position(i) for i in indices])

    @property
    def statuses(self) -> tuple[str, ...]:
        """The labels of the statuses, by their number; 0 is that of items with results."""
        return tuple(status.label for status in Status)

    @property
    def methods(self) -> dict[str, dict[str, object]]:
        """What is the same for the explanations of all items, by the name of the method; see `explanation`."""
        given = self.job["spec"].get("explainer") or "explanation"
        entries = given if isinstance(given, list) else [given]
        names = [str(entry.get("name")) if isinstance(entry, dict) else str(entry) for entry in entries]
        return {name: {"kind": "Explanation", "settings": {"method": name}} for name in names}

    def explanation(self, method: str, items: Sequence[int]) -> Explanation:
        """Read the explanations of some items.

        Args:
            method: one of `methods`.
            items: (b,) their numbers.

        Returns:
            What was stored; without attributions the first field takes their place.

        Raises:
            StoreError: a shard is not done, or damaged.
        """
        prefix = f"{method}." if len(self.methods) > 1 else ""
        fields = {
            name[len(prefix) :]: values for name, values in self.batch(items).fields.items() if name.startswith(prefix)
        }
        maps = [name for name, values in fields.items() if values.ndim > 1]
        attributions = (
            fields["attributions" if "attributions" in fields else maps[0]] if maps else torch.zeros(len(items))
        )
        numbers = torch.full((len(items),), float("nan"))
        return Explanation(
            attributions=attributions,
            scores=fields.get("scores", numbers),
            targets=fields.get("targets"),
            evaluations=fields.get("evaluations", torch.zeros(len(items), dtype=torch.int64)),
            settings={"method": method},
        )

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
        names = [name for name, field in self.fields.items() if not field.shape]
        numbers = {name: np.full(stop - start, np.nan) for name in names}
        done = self.shards
        wanted = range(start // self._size, -(-stop // self._size))
        for shard in sorted(set(wanted).intersection(done)):
            low, high = self.span(shard)
            low, high = max(low, start), min(high, stop)
            file, rows = self.shard(shard), slice(low - shard * self._size, high - shard * self._size)
            statuses[low - start : high - start] = file.statuses[rows]
            for name in names:
                if name in file.fields:
                    numbers[name][low - start : high - start] = file.decode(name, rows).double().numpy()
        return statuses, numbers

    def _numbers_of(self, key: Tensor | np.ndarray) -> list[object]:
        """List the numbers of items that an array chooses, be it a mask of all items."""
        chosen = torch.as_tensor(key)
        if chosen.dtype != torch.bool:
            return list(chosen.tolist())
        if len(chosen) != len(self):
            raise bad_argument("index", f"a mask of all {len(self)} items", f"one of {len(chosen)}")
        return list(chosen.nonzero().flatten().tolist())

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

    def _batch(self, indices: Sequence[int]) -> Batch:
        wanted = torch.tensor(indices, dtype=torch.int64)
        order = wanted.argsort(stable=True)
        pieces = [(self.shard(shard), rows) for shard, rows in self._by_shard(wanted[order])]
        back = None if bool((order[1:] > order[:-1]).all()) else order.argsort()
        status = [torch.from_numpy(file.statuses)[rows] for file, rows in pieces]
        errors = [file.error(row) for file, rows in pieces for row in _numbers(rows)]
        return Batch(
            wanted,
            [self.items.id(i) for i in indices],
            _arrange(torch.cat([torch.empty(0, dtype=torch.uint8), *status]), back),
            errors if back is None else [errors[place] for place in back.tolist()],
            {name: _arrange(self._gather(pieces, name), back) for name in self.fields},
        )

    def _by_shard(self, wanted: Tensor) -> Iterator[tuple[int, slice | Tensor]]:
        """Group sorted items by shard; rows that follow each other are a slice, which needs no index."""
        shards, counts = torch.unique_consecutive(wanted // self._size, return_counts=True)
        end = 0
        for shard, count in zip(shards.tolist(), counts.tolist(), strict=True):
            begin, end = end, end + count
            rows = wanted[begin:end] - shard * self._size
            first, last = int(rows[0]), int(rows[-1])
            together = last - first + 1 == len(rows) and bool((rows[1:] > rows[:-1]).all())
            yield shard, slice(first, last + 1) if together else rows

    def _gather(self, pieces: list[tuple[ShardFile, slice | Tensor]], name: str) -> Tensor:
        """Read a field of the rows of some shards, one after the other, each straight to its place."""
        if not any(name in file.fields for file, _ in pieces):
            return self._blank(name, sum(len(_numbers(rows)) for _, rows in pieces))
        field = self.fields[name]
        gathered = torch.empty(sum(len(_numbers(rows)) for _, rows in pieces), *field.shape, dtype=field.torch_dtype)
        end = 0
        for file, rows in pieces:
            begin, end = end, end + len(_numbers(rows))
            if name in file.fields:
                file.decode(name, rows, gathered[begin:end])
            else:
                gathered[begin:end] = field.blank_entry()
        return gathered

    def _read(self, file: ShardFile, name: str, rows: slice) -> Tensor:
        return file.decode(name, rows) if name in file.fields else self._blank(name, rows.stop - rows.start)

    def _blank(self, name: str, rows: int) -> Tensor:
        """Return what a shard has in which no item succeeded.

        One number is repeated without memory of its own: a shape alone, which anybody could write into a file, must not
        make us allocate.
        """
        field = self.fields[name]
        return field.blank_entry().expand(rows, *field.shape)

    def __iter__(self) -> Iterator[tuple[str, ItemResult]]:
        """Go through all finished items in order; what is yielded together shares memory.

        Yields:
            (id, result).
        """
        for shard in self.shards:
            file = self._open_shard(shard)
            start, stop = self.span(shard)
            row_bytes = sum(field.entries * field.torch_dtype.itemsize for field in file.fields.values())
            step = max(1, _BLOCK // max(1, row_bytes))
            for first in range(0, stop - start, step):
                yield from self._block(file, start, slice(first, min(first + step, stop - start)))

    def _block(self, file: ShardFile, start: int, rows: slice) -> Iterator[tuple[str, ItemResult]]:
        names = list(self.fields)
        columns = [self._read(file, name, rows).unbind() for name in names]
        statuses = file.statuses[rows].tolist()
        for k, code in enumerate(statuses):
            row = rows.start + k
            id = self.items.id(start + row)
            fields = {name: column[k] for name, column in zip(names, columns, strict=True)}
            yield id, ItemResult(start + row, id, Status(code), file.error(row), fields)

    def failures(self) -> Iterator[tuple[int, str, str, str]]:
        """List what failed.

        Yields:
            (index, id, label of the status, reason), in order.
        """
        for shard in self.shards:
            file = self._open_shard(shard)
            for row in np.flatnonzero(file.statuses).tolist():
                i = shard * self._size + row
                yield i, self.items.id(i), Status(int(file.statuses[row])).label, file.error(row) or ""

    def raw(self, name: str) -> Iterator[tuple[range, Tensor, Tensor | None]]:
        """Go through a field as it is stored, without decoding or copying.

        Args:
            name: of the field.

        Yields:
            (items, (rows, ...) in the stored dtype, (rows,) float32 scales or None) of each shard that has the field;
            views of the memory map.

        Raises:
            InputError: there is no such field.
        """
        if name not in self.fields:
            raise bad_argument("name", f"one of {', '.join(self.fields)}", repr(name))
        for shard in self.shards:
            file = self._open_shard(shard)
            if name in file.fields:
                yield range(*self.span(shard)), *file.raw(name)

    def to_torch(self, *, fields: Sequence[str] | None = None, ok_only: bool = False) -> StoreDataset:
        """Make a data set for ``torch.utils.data.DataLoader``; it can be sent to its workers.

        Args:
            fields: the names of those that are wanted; None for all.
            ok_only: leave failed items out.

        Returns:
            Of the finished items: each a mapping with ``index``, ``id``, ``status`` and the fields.

        Raises:
            InputError: there is no such field.
        """
        return StoreDataset(self, fields, ok_only)


def _numbers(rows: slice | Tensor) -> Sequence[int]:
    return range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()


def _arrange(values: Tensor, order: Tensor | None) -> Tensor:
    return values if order is None else values[order]


def open_store(out: str | os.PathLike[str]) -> Store:
    """Open the results of a job for reading; it may still be running.

    The data are mapped into memory. As with any memory map, a data file that somebody cuts short while it is open here
    ends this process with SIGBUS, which is no exception that can be caught; nothing in xai_fast does that to a file.

    Args:
        out: the folder of the job.

    Returns:
        The store.

    Raises:
        StoreError: it is no store, or damaged.
    """
    return Store(out)
