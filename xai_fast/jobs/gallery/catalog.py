"""What is known of all items of a job: statuses, classes and numbers, from the shards that are done."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import check_choice
from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.gallery.pairs import Pairs
from xai_fast.jobs.store.fields import Field, read_fields
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.layout import Layout, Status, read_job
from xai_fast.jobs.store.receipts import Receipt, open_shard, receipts
from xai_fast.jobs.store.shard_file import ShardFile

__all__ = ["NO_CLASS", "STATUSES", "TO_DO", "Catalog", "Columns", "ItemRow"]

STATUSES = (*(status.label.replace("_", " ") for status in Status), "to do")
"""What the page calls them, by their number."""

TO_DO = len(Status)
"""The number of the status of items whose shard is not done."""

NO_CLASS = 0xFFFF
_OPEN_SHARDS = 64
_LARGEST_INPUT = 1 << 16
_MAP = "attributions"
_PAIRS = "boxes"


@dataclass(frozen=True)
class Columns:
    """Numbers of N consecutive items.

    Attributes:
        statuses: (N,) uint8, places in `STATUSES`.
        classes: (N,) uint16, places in ``class_numbers``, or `NO_CLASS`; None where nothing says the class.
        class_numbers: of the classes that there are.
        numbers: by label, (N,) float32, NaN where there is none.
        score: which of them is the score of the class, or None.
    """

    statuses: NDArray[np.uint8]
    classes: NDArray[np.uint16] | None
    class_numbers: list[int]
    numbers: dict[str, NDArray[np.float32]]
    score: str | None


@dataclass(frozen=True)
class ItemRow:
    """What a store holds of one item.

    Attributes:
        index: of the item.
        name: its id.
        status: a place in `STATUSES`.
        error: why it failed, or "".
        map: of the item, or None.
        pairs: the strongest interactions of the item's cells, where these are drawn.
        lists: short lists of numbers, by name.
    """

    index: int
    name: str
    status: int
    error: str = ""
    map: Tensor | None = None
    pairs: Pairs | None = None
    lists: dict[str, list[float]] = field(default_factory=dict)


class Catalog:
    """The items of a store, complete or not; several threads may read.

    Args:
        layout: of the store.
        map_field: which field is drawn; None for the first that is called "attributions", or else for the boxes of
            interactions, or else for the first of two dimensions.

    Attributes:
        document: ``job.json``.
        items: the list.
        fields: of the results; empty before the first shard.
        map_field: which field is drawn, or None.

    Raises:
        StoreError: it is no store, or a damaged one.
        InputError: there is no such field.
    """

    def __init__(self, layout: Layout, map_field: str | None = None) -> None:
        self.layout = layout
        self.document = read_job(layout)
        self.items = Items.open(layout)
        if len(self.items) != self.document["items"]["count"]:
            raise StoreError(f"{layout.items}: expected the list of items of the job, got another")
        self.shard_size: int = self.document["spec"]["shard_size"]
        self.fields = read_fields(layout) or {}
        self.map_field = self._choose(map_field)
        self._lock = threading.Lock()
        self._changed = -1
        self._input_size: tuple[int, int] | None = None
        self._receipts: dict[int, Receipt] = {}
        self._open: OrderedDict[int, ShardFile] = OrderedDict()
        self.refresh()

    def refresh(self) -> bool:
        """Look again where receipts have come or gone since.

        Returns:
            Whether they have.
        """
        changed = self.layout.commits.stat().st_mtime_ns if self.layout.commits.is_dir() else 0
        if changed == self._changed:
            return False
        found = {receipt.shard: receipt for receipt in receipts(self.layout)}
        for receipt in found.values():
            start = receipt.shard * self.shard_size
            if (receipt.start, receipt.stop) != (start, min(start + self.shard_size, len(self.items))):
                got = f"{receipt.rows} items from {receipt.start}"
                raise StoreError(f"{self.layout.commits}: expected shards of {self.shard_size} items, got {got}")
        with self._lock:
            self._changed, self._receipts = changed, found
            self._open.clear()
        if found and not self.fields:
            self.fields = read_fields(self.layout) or {}
            self.map_field = self._choose(None)
        return True

    @property
    def map_shape(self) -> tuple[int, int] | None:
        """(height, width) of what is drawn, or None."""
        if self.map_field is None or self.draws_pairs:
            return None
        shape = self.fields[self.map_field].shape
        return shape[-2], shape[-1]

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) of the model's input, where interactions are drawn over it, from the first good item."""
        if not self.draws_pairs or self._input_size is not None:
            return self._input_size
        with self._lock:
            known = list(self._receipts.values())
        for receipt in known:
            good = np.flatnonzero(self._file(receipt.shard).statuses == int(Status.OK))
            pairs = self.row(receipt.start + int(good[0])).pairs if len(good) else None
            if pairs is not None:
                self._input_size = pairs.input_size
                break
        return self._input_size

    @property
    def draws_pairs(self) -> bool:
        """Whether interactions of cells are drawn."""
        return self.map_field is not None and _last(self.map_field) == _PAIRS

    @property
    def score(self) -> str | None:
        """The label of the number that is the score of the class, or None."""
        return next(
            (_label(name) for name, one in self.fields.items() if not one.shape and _last(name) == "scores"), None
        )

    def versions(self) -> dict[str, str]:
        """Give the versions of the software that made the last shard."""
        with self._lock:
            return dict(self._receipts[max(self._receipts)].versions) if self._receipts else {}

    def columns(self, span: range) -> Columns:
        """Read the numbers of consecutive items.

        Args:
            span: their indices.

        Returns:
            The numbers; nothing is as large as the job, only as the span.
        """
        count = len(span)
        statuses = np.full(count, TO_DO, np.uint8)
        names = [name for name, one in self.fields.items() if not one.shape and one.dtype != "bool"]
        read = {name: np.full(count, np.nan, np.float64) for name in names}
        with self._lock:
            known = [(shard, receipt.start) for shard, receipt in self._receipts.items() if _meet(receipt, span)]
        for shard, start in known:
            file = self._file(shard)
            rows = slice(max(span.start - start, 0), min(span.stop - start, file.rows))
            places = slice(start + rows.start - span.start, start + rows.stop - span.start)
            statuses[places] = file.statuses[rows]
            bad = torch.from_numpy(file.statuses[rows] != int(Status.OK))
            for name in names:
                if name in file.fields:
                    read[name][places] = file.decode(name, rows).double().masked_fill(bad, torch.nan).numpy()
        target = next((name for name in names if _last(name) == "targets"), None)
        classes, class_numbers = _classes(read[target]) if target else (None, [])
        numbers = {_label(name): read[name].astype(np.float32) for name in names if _last(name) != "targets"}
        return Columns(statuses, classes, class_numbers, numbers, self.score)

    def row(self, index: int) -> ItemRow:
        """Read what there is of an item.

        Args:
            index: of the item.

        Returns:
            The results, or that there are none yet.
        """
        shard, row = divmod(index, self.shard_size)
        name = self.items.id(index)
        with self._lock:
            done = shard in self._receipts
        if not done:
            return ItemRow(index, name, TO_DO)
        file = self._file(shard)
        status = int(file.statuses[row])
        if status != Status.OK:
            return ItemRow(index, name, status, file.error(row) or "")
        rows = slice(row, row + 1)
        lists = {
            _label(name): file.decode(name, rows)[0].double().tolist()
            for name, one in file.fields.items()
            if len(one.shape) == 1
        }
        drawn = self.map_field if self.map_field in file.fields else None
        if drawn is None:
            return ItemRow(index, name, status, lists=lists)
        values = file.decode(drawn, rows)[0]
        if not self.draws_pairs:
            return ItemRow(index, name, status, map=values, lists=lists)
        saliency, size = (file.decode(_beside(drawn, other), rows)[0] for other in ("saliency", "input_size"))
        height, width = (min(max(int(length), 1), _LARGEST_INPUT) for length in size)
        pairs = Pairs(values.double().numpy(), saliency.double().numpy(), (height, width))
        return ItemRow(index, name, status, pairs=pairs, lists=lists)

    def _file(self, shard: int) -> ShardFile:
        with self._lock:
            file = self._open.pop(shard, None) or open_shard(self.layout, self._receipts[shard])
            self._open[shard] = file
            while len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
            return file

    def _choose(self, wanted: str | None) -> str | None:
        pairs = [name for name in self.fields if _last(name) == _PAIRS and self._has_pairs(name)]
        drawable = [name for name, one in self.fields.items() if _is_map(one) and name not in pairs]
        if wanted is None:
            maps = (name for name in drawable if _last(name) == _MAP)
            return next(maps, next(iter(pairs + drawable), None))
        drawable += pairs
        if not drawable:
            raise bad_argument("field", "a store with a field of maps", repr(wanted))
        check_choice("field", wanted, drawable)
        return wanted

    def _has_pairs(self, name: str) -> bool:
        """Return whether a field has boxes of interactions, and those beside it say what is to be known of them."""
        boxes, saliency, size = (self.fields.get(_beside(name, other)) for other in (_PAIRS, "saliency", "input_size"))
        return (
            boxes is not None
            and saliency is not None
            and size is not None
            and len(boxes.shape) == 3
            and (boxes.shape[2], boxes.dtype) == (4, "float32")
            and (saliency.shape, size.shape) == (boxes.shape[:1], (2,))
        )


def _meet(receipt: Receipt, span: range) -> bool:
    return receipt.start < span.stop and span.start < receipt.stop


def _is_map(one: Field) -> bool:
    """Return whether a field is (H, W) or (C, H, W) of floats."""
    return one.dtype == "float32" and len(one.shape) in (2, 3) and min(one.shape) > 0 and min(one.shape[-2:]) > 1


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _beside(name: str, other: str) -> str:
    return "".join(name.rpartition(".")[:2]) + other


def _label(name: str) -> str:
    return re.sub(r"\bscores$", "score", name.replace("_", " ").replace(".", ": "))


def _classes(targets: NDArray[np.float64]) -> tuple[NDArray[np.uint16] | None, list[int]]:
    """Number the classes that there are; more than uint16 holds are none that somebody would choose from a list."""
    known = ~np.isnan(targets)
    found, places = np.unique(targets[known], return_inverse=True)
    if len(found) >= NO_CLASS:
        return None, []
    classes = np.full(len(targets), NO_CLASS, np.uint16)
    classes[known] = places
    return classes, [int(number) for number in found]
