"""Which class, or which other score, is explained for each item."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.jobs.references import import_reference
from xai_fast.jobs.sources.base import ItemError, Source
from xai_fast.jobs.store.job_file import Status

__all__ = ["ItemTargets"]


class ItemTargets:
    """The field ``target`` of a job, item by item.

    Args:
        target: None, an int, a list with a class for each item, "label" or a column, or ``package.module:function``.
        source: has the labels.

    Raises:
        InputError: the list has another length than the source, or the source has no such label.
    """

    def __init__(self, target: int | list[int] | str | None, source: Source) -> None:
        self._target = target
        self._source = source
        self._function: Callable[..., object] | None = None
        self._column: str | None = None
        if isinstance(target, str) and ":" in target:
            self._function = import_reference("target", target)
            if not callable(self._function):
                raise bad_argument("target", f"{target} to be a function", type(self._function).__name__)
        elif isinstance(target, str):
            source.check_column(target)
            self._column = target
        elif isinstance(target, list) and len(target) != len(source):
            raise bad_argument("target", f"a class for each of the {len(source)} items", f"{len(target)} classes")

    @property
    def by_label(self) -> bool:
        """Whether each item's label is its target."""
        return self._column is not None

    def of(self, index: int, label: int | None) -> int | None:
        """Give the class of an item that was read."""
        if isinstance(self._target, list):
            return self._target[index]
        if self._column is None:
            return None
        found = label if self._column == "label" else self._source.label(index, self._column)
        if found is None or found < 0:
            raise ItemError(Status.FAILED, f"the item has no {self._column} to take as its target")
        return found

    def together(self, classes: Sequence[int | None]) -> Target:
        """Give the target of a chunk as methods take it."""
        if self._function is not None:
            return self._function  # type: ignore[return-value]  # what it returns is checked where it is called
        if isinstance(self._target, list) or self._column is not None:
            return torch.tensor([-1 if c is None else c for c in classes], dtype=torch.int64)
        return self._target  # type: ignore[return-value]  # an int or None
