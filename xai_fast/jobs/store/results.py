"""What a reader of a store gets."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xai_fast.jobs.store.layout import Status

__all__ = ["Batch", "ItemResult"]


@dataclass(frozen=True)
class ItemResult:
    """What a job found for one item.

    Attributes:
        index: its number.
        id: its name.
        status: what became of it.
        error: why it failed, or None.
        fields: name to tensor: float32 for all floats. Failed items have NaN, and 0 in integers.
    """

    index: int
    id: str
    status: Status
    error: str | None
    fields: dict[str, Tensor]

    @property
    def reason(self) -> str | None:
        """Why it failed, or None."""
        return self.error

    @property
    def ok(self) -> bool:
        """Whether it has results."""
        return self.status == Status.OK


@dataclass(frozen=True)
class Batch:
    """What a job found for some items.

    Attributes:
        indices: (b,) int64, their numbers.
        ids: their names.
        status: (b,) uint8, values of `Status`.
        errors: why each failed, or None.
        fields: name to (b, ...).
    """

    indices: Tensor
    ids: list[str]
    status: Tensor
    errors: list[str | None]
    fields: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)
