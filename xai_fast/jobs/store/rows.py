"""The results of the items of a shard while they are computed, in the form in which they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xai_fast.jobs.store.codecs import encode
from xai_fast.jobs.store.fields import SCALE, Field, describe_fields
from xai_fast.jobs.store.job_file import Status

__all__ = ["Rows"]


class Rows:
    """Results of consecutive items, encoded as they come, so that memory holds what the file will.

    All items that succeed have the same fields; one that differs in a name, shape or dtype fails, and its reason says
    how. Failed items have NaN in floats and 0 in integers.
    """

    def __init__(self, count: int, dtype: str, fields: Mapping[str, Field] | None = None) -> None:
        self.count = count
        self.fields = fields
        self.tensors: dict[str, Tensor] = {}
        self.failed: dict[int, tuple[Status, str]] = {}
        self._dtype = dtype

    def fail(self, row: int, status: Status, reason: str) -> None:
        """Keep that an item failed."""
        self.failed[row] = status, reason

    def put(self, rows: Sequence[int], values: Mapping[str, Tensor]) -> None:
        """Keep the results of some items."""
        plain = {name: _plain(value) for name, value in values.items()}
        found = describe_fields(plain, self._dtype)
        if self.fields is None:
            self.fields = found
        for name, field in self.fields.items():
            if found.get(name) != field:
                got = found.get(name, "no such field")
                for row in rows:
                    self.fail(row, Status.FAILED, f"field {name!r}: expected {field} as other items have, got {got}")
                return
        index = torch.tensor(rows)
        for name, field in self.fields.items():
            self._allocate(name, field)
            floats = field.dtype == "float32"
            self.tensors[name][index], scales = encode(field.codec, plain[name]) if floats else (plain[name], None)
            if scales is not None:
                self.tensors[name + SCALE][index] = scales

    def take_over(self, rows: Sequence[int], stored: Mapping[str, Tensor]) -> None:
        """Copy rows of what was stored before."""
        index = torch.tensor(rows)
        for name, tensor in stored.items():
            base = name.removesuffix(SCALE)
            if self.fields is not None and base in self.fields:
                self._allocate(base, self.fields[base])
                self.tensors[name][index] = tensor[index]

    def _allocate(self, name: str, field: Field) -> None:
        if name in self.tensors:
            return
        # Of maps with a scale the scale says NaN.
        blank = torch.nan if field.stored_dtype.is_floating_point and not field.scaled else 0
        self.tensors[name] = torch.full((self.count, *field.shape), blank, dtype=field.stored_dtype)
        if field.scaled:
            self.tensors[name + SCALE] = torch.full((self.count,), torch.nan)


def _plain(values: Tensor) -> Tensor:
    """Bring a field to the CPU, and all floats to float32."""
    return values.detach().to("cpu", torch.float32 if values.is_floating_point() else values.dtype)
