"""The results of an item: names, dtypes and shapes that all shards of a store have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.codecs import CODECS, is_scaled

__all__ = ["SCALE", "Agreed", "Field", "describe_fields", "stored_fields"]

SCALE = ".scale"
"""The scales of a field are stored as a tensor of its name and this."""
_EXACT = "exact"
_DTYPES: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
}
_NAME = re.compile(r"[A-Za-z0-9_.+\-]{1,200}")
_RESERVED = ("id", "index", "status", "reason")


@dataclass(frozen=True)
class Field:
    """One result of an item: what is read (all floats are float32), its shape, and how it is stored."""

    dtype: str
    shape: tuple[int, ...]
    codec: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """What is read."""
        return _DTYPES[self.dtype]

    @property
    def stored_dtype(self) -> torch.dtype:
        """What is in the file."""
        return self.torch_dtype if self.codec == _EXACT else CODECS[self.codec]

    @property
    def scaled(self) -> bool:
        """Whether there is a scale for each item beside it."""
        return is_scaled(self.codec)

    @property
    def entries(self) -> int:
        """The number of entries of one item."""
        return math.prod(self.shape)

    def blank(self, rows: int) -> Tensor:
        """Return what failed items have: (rows, ...) of NaN, or zeros in integers, without memory of its own."""
        entry = torch.tensor(math.nan if self.dtype == "float32" else 0, dtype=self.torch_dtype)
        return entry.expand(rows, *self.shape)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class Agreed(NamedTuple):
    """What all shards have in common: the fields, and of each method what `Explanation.constants` gave."""

    fields: Mapping[str, Field]
    methods: Mapping[str, dict[str, Any]]


def describe_fields(values: Mapping[str, Tensor], dtype: str) -> dict[str, Field]:
    """Say how the results of some items are stored."""
    described = {}
    for name, value in values.items():
        kind = str(value.dtype).removeprefix("torch.")
        if kind not in _DTYPES:
            raise bad_argument(f"fields[{name!r}]", f"a dtype of {', '.join(_DTYPES)}", str(value.dtype))
        if not _is_name(name):
            expected = f"names of letters, digits and _ . + -, none of {', '.join(_RESERVED)}, not ending in {SCALE}"
            raise bad_argument("fields", expected, repr(name)[:200])
        floats = dtype if value.dim() > 1 else "float32"
        described[name] = Field(kind, tuple(value.shape[1:]), floats if kind == "float32" else _EXACT)
    return described


def stored_fields(tensors: Mapping[str, Tensor], where: object) -> dict[str, Field]:
    """Tell from what is stored what `describe_fields` said of it."""
    found = {}
    for name, value in tensors.items():
        if name.endswith(SCALE):
            continue
        codecs = [codec for codec, dtype in CODECS.items() if dtype == value.dtype]
        codec = next((codec for codec in codecs if is_scaled(codec) == (name + SCALE in tensors)), _EXACT)
        kind = "float32" if codec != _EXACT else str(value.dtype).removeprefix("torch.")
        if kind not in _DTYPES or not _is_name(name) or not value.ndim:
            raise StoreError(f"{where}: expected fields that xai_fast stores, got {value.dtype} in {name!r}"[:400])
        found[name] = Field(kind, tuple(value.shape[1:]), codec)
    return dict(sorted(found.items()))


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name not in _RESERVED and not name.endswith(SCALE)
