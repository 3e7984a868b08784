"""The results of some consecutive items, gathered in memory until they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.fields import Field, check_name, describe_fields
from xai_fast.jobs.store.layout import Status

__all__ = ["Rows"]

_MISSING = 255
_LAST = max(Status)  # searched once, and not for every item
_LONGEST_REASON = 4000


class Rows:
    """The results of some consecutive items, on the CPU.

    All items that succeed have the same fields; one that differs in a name, shape or dtype is failed, and its reason
    says how. Failed items have NaN in floats and 0 in integers.

    Args:
        count: the number of items.
        expected: the fields of the store where they are known; else the first success says them.

    Attributes:
        statuses: (count,) uint8, values of `Status`; 255 for items that are still missing.
        reasons: why an item failed, or None.
        fields: name to (count, ...), float32 for all floats, else as they came.
    """

    def __init__(self, count: int, expected: Mapping[str, Field] | None = None) -> None:
        self.count = check_integer("count", count, 0)
        self.statuses = torch.full((self.count,), _MISSING, dtype=torch.uint8)
        self.reasons: list[str | None] = [None] * self.count
        self.fields: dict[str, Tensor] = {name: field.blank(self.count) for name, field in (expected or {}).items()}

    def __len__(self) -> int:
        return self.count

    @property
    def missing(self) -> int:
        """How many items have neither a result nor a reason."""
        return int((self.statuses == _MISSING).sum())

    def put(
        self,
        offset: int,
        fields: Mapping[str, Tensor],
        statuses: Sequence[int] | Tensor,
        reasons: Sequence[str | None],
    ) -> None:
        """Keep the results of some of the items.

        Args:
            offset: the row of the first.
            fields: name to (b, ...), on any device; rows of failed items are ignored.
            statuses: (b,) values of `Status`.
            reasons: (b,) why an item failed; None for the others.

        Raises:
            InputError: the lengths do not fit, or a status, a name or a dtype is none that can be stored.
        """
        length = len(statuses)
        check_integer("offset", offset, 0, self.count - length)
        if len(reasons) != length:
            raise bad_argument("reasons", f"as many as statuses, {length}", str(len(reasons)))
        codes = torch.tensor([_code(status) for status in statuses], dtype=torch.uint8)
        plain = {check_name(name): _plain(name, values, length) for name, values in fields.items()}
        rows = slice(offset, offset + length)
        self.statuses[rows] = codes
        self.reasons[rows] = [None if reason is None else str(reason)[:_LONGEST_REASON] for reason in reasons]
        if bool((codes == Status.OK).any()):
            self._keep(rows, plain)
        failed = offset + (codes != Status.OK).nonzero()[:, 0]
        self._blank(failed)

    def fail(self, offset: int, status: int, reason: str) -> None:
        """Keep that an item failed.

        Args:
            offset: its row.
            status: a value of `Status`.
            reason: what a person should read.
        """
        self.put(offset, {}, [status], [reason])

    def conform(self, agreed: Mapping[str, Field], dtype: str) -> None:
        """Fail the successes that differ from the fields of the store, and leave out what is not among them.

        Args:
            agreed: the fields of the store.
            dtype: the codec of maps of floats.
        """
        found = describe_fields(self.fields, dtype)
        for name in sorted(agreed.keys() | found.keys()):
            if agreed.get(name) != found.get(name):
                self._refuse(slice(0, self.count), name, found.get(name), agreed.get(name))
                self.fields.pop(name, None)

    def _keep(self, rows: slice, plain: Mapping[str, Tensor]) -> None:
        for name, values in plain.items():
            if name not in self.fields:
                described = describe_fields({name: values}, "float32")[name]
                self._refuse(slice(0, rows.start), name, None, described)
                self._refuse(slice(rows.stop, self.count), name, None, described)
                self.fields[name] = described.blank(self.count)
            kept = self.fields[name]
            if kept.shape[1:] == values.shape[1:] and kept.dtype == values.dtype:
                kept[rows] = values
            else:
                both = describe_fields({"came": values, "kept": kept}, "float32")
                self._refuse(rows, name, both["came"], both["kept"])
        for name in self.fields.keys() - plain.keys():
            self._refuse(rows, name, None, describe_fields({name: self.fields[name]}, "float32")[name])

    def _refuse(self, rows: slice, name: str, came: Field | None, kept: Field | None) -> None:
        """Fail the successes among some rows, because of one field."""
        good = rows.start + (self.statuses[rows] == Status.OK).nonzero()[:, 0]
        reason = f"field {name!r}: expected {_say(kept)} as other items have, got {_say(came)}"
        self.statuses[good] = int(Status.FAILED)
        for row in good.tolist():
            self.reasons[row] = reason
        self._blank(good)

    def _blank(self, rows: Tensor) -> None:
        if len(rows):
            for values in self.fields.values():
                values[rows] = torch.nan if values.is_floating_point() else 0

    def check_whole(self) -> None:
        """Check that no item is missing.

        Raises:
            StoreError: one has neither a result nor a reason.
        """
        if self.missing:
            raise StoreError(f"rows: expected results or reasons of {self.count} items, {self.missing} are missing")


def _code(status: object) -> int:
    return check_integer("statuses", int(status) if isinstance(status, Tensor) else status, 0, _LAST)


def _say(field: Field | None) -> str:
    return "no such field" if field is None else f"{field.dtype} {field.shape}"


def _plain(name: str, values: Tensor, length: int) -> Tensor:
    """Bring a field to the CPU, and all floats to float32."""
    if not isinstance(values, Tensor) or values.dim() == 0 or len(values) != length:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise bad_argument(f"fields[{name!r}]", f"a tensor of {length} rows", str(got))
    plain = values.detach().to("cpu", torch.float32 if values.is_floating_point() else values.dtype)
    describe_fields({name: plain}, "float32")
    return plain
