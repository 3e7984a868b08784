"""Any indexable Python data set, an object with ``__len__`` and ``__getitem__``, by the function that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.jobs.sources.base import Listing, Read, Source
from xai_fast.jobs.store.job_file import ItemError, Status
from xai_fast.references import call_reference

__all__ = ["IndexableSource"]


class IndexableSource(Source):
    """Items of the data set that the function "path" returns: a tensor, an array or a PIL image, or (item, label).

    An item of a model with several inputs, or of a method of pairs, is a tuple of these: ((x, y), label), where the
    label may be None.
    """

    kind = "indexable"

    def __init__(self, described: Mapping[str, Any], decoder: str) -> None:
        del decoder
        reference, arguments = str(described["path"]), described.get("arguments") or {}
        if not isinstance(arguments, Mapping):
            raise bad_argument("source.arguments", "a mapping", type(arguments).__name__)
        self._data = call_reference("source", reference, dict(arguments))
        if not hasattr(self._data, "__len__") or not hasattr(self._data, "__getitem__"):
            expected = f"{reference} to return an object with __len__ and __getitem__"
            raise bad_argument("source", expected, type(self._data).__name__)
        # What is in the items only the data set knows.
        self.form = {"length": len(self._data)}
        if not self.form["length"]:
            raise bad_argument("source", "at least one item", f"none in what {reference} returned")

    def listing(self) -> Listing:
        """Return the length of the data set."""
        return int(self.form["length"])

    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Read an item; whatever the data set raises is told as the reason."""
        del as_it_is
        try:
            item = self._data[index]
            label = None
            if isinstance(item, tuple | list) and len(item) == 2:
                item, label = item[0], _integer(item[1])
            elif isinstance(item, tuple | list):
                raise TypeError(f"expected an item or (item, label), got {len(item)} values")
            return Read(_value(item), label)
        except MemoryError:
            raise
        except Exception as error:  # the user's code may raise anything; it concerns this item only
            raise ItemError(Status.UNREADABLE, f"{type(error).__name__}: {error}") from error


def _integer(label: Any) -> int | None:
    if hasattr(label, "item"):
        label = label.item() if np.asarray(label).size == 1 else None
    return int(label) if isinstance(label, int | np.integer) else None


def _value(item: Any) -> Any:
    if isinstance(item, tuple):
        return tuple(_value(part) for part in item)
    if isinstance(item, Tensor):
        return item.detach().cpu().clone()
    if isinstance(item, np.ndarray | list | float | int):
        return torch.from_numpy(np.array(item))
    if hasattr(item, "convert") and hasattr(item, "getdata"):  # a PIL image; Pillow may not be installed
        return item
    raise TypeError(f"expected a tensor, an array or a PIL image, got {type(item).__name__}")
