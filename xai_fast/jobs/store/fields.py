"""The results of an item: names, dtypes and shapes that all shards of a store have in common."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.codecs import CODECS, is_scaled
from xai_fast.jobs.store.folder import Folder, load_json
from xai_fast.jobs.store.job_file import FORMAT, is_whole

__all__ = ["FIELDS", "SCALE", "Agreed", "Field", "agree_on_fields", "describe_fields", "read_fields", "stored_fields"]

FIELDS = "fields.json"
SCALE = ".scale"
"""The scales of a field are stored as a tensor of its name and this."""
_EXACT = "exact"
_DTYPES: dict[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
}
_NAME = re.compile(r"[A-Za-z0-9_.+\-]{1,200}")
_RESERVED = ("id", "index", "status", "reason")
_MOST_ENTRIES = 1 << 40
_MOST_DIMENSIONS = 16
_LIMIT = 16 << 20


@dataclass(frozen=True)
class Field:
    """One result of an item.

    Attributes:
        dtype: of what is read: ``float32`` for all floats, else the integer type or ``bool``.
        shape: of one item.
        codec: how it is stored: a name of `codecs.CODECS`, or ``exact``.
    """

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


@dataclass(frozen=True)
class Agreed:
    """What all shards have in common.

    Attributes:
        fields: name to field.
        methods: name of a method to what is the same for all items, as `Explanation.constants` gives it.
    """

    fields: Mapping[str, Field]
    methods: Mapping[str, dict[str, Any]]


def describe_fields(values: Mapping[str, Tensor], dtype: str) -> dict[str, Field]:
    """Say how the results of some items are stored.

    Args:
        values: name to (rows, ...), float32, integers or booleans.
        dtype: the codec of maps of floats.

    Returns:
        Name to field. Floats without a dimension of their own, such as scores, are float32 in any case.

    Raises:
        InputError: a name or a dtype that cannot be stored.
    """
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


def stored_fields(tensors: Mapping[str, Tensor]) -> dict[str, Field]:
    """Tell from what is stored what `describe_fields` said of it.

    Args:
        tensors: of a shard.

    Returns:
        Name to field.
    """
    found = {}
    for name, value in tensors.items():
        if name.endswith(SCALE):
            continue
        codecs = [codec for codec, dtype in CODECS.items() if dtype == value.dtype]
        codec = next((codec for codec in codecs if is_scaled(codec) == (name + SCALE in tensors)), _EXACT)
        kind = "float32" if codec != _EXACT else str(value.dtype).removeprefix("torch.")
        found[name] = Field(kind, tuple(value.shape[1:]), codec)
    return found


def agree_on_fields(root: Folder, mine: Agreed) -> Agreed:
    """Make these the fields of the store, unless another shard was first.

    Args:
        root: folder of the store.
        mine: of a shard in which at least one item succeeded.

    Returns:
        The fields of the store.

    Raises:
        StoreError: they cannot be read or written.
    """
    fields = {name: vars(field) for name, field in mine.fields.items()}
    # In the order in which methods give them.
    root.write(FIELDS, json.dumps({"format": FORMAT, "fields": fields, "methods": mine.methods}).encode())
    agreed = read_fields(root)
    if agreed is None:
        raise StoreError(f"{root.path / FIELDS}: expected the file that was just written, got none")
    return agreed


def read_fields(root: Folder) -> Agreed | None:
    """Read the fields of the store.

    Args:
        root: folder of the store.

    Returns:
        The fields, or None as long as no shard with a success was written.

    Raises:
        StoreError: they cannot be read.
    """
    if not root.exists(FIELDS):
        return None
    where = root.path / FIELDS
    document = load_json(root.read(FIELDS, _LIMIT), where)
    fields, methods = document.get("fields"), document.get("methods")
    if document.get("format") != FORMAT or not isinstance(fields, dict) or not isinstance(methods, dict):
        raise StoreError(f"{where}: expected the fields of a store, got another document")
    if not all(isinstance(constants, dict) for constants in methods.values()):
        raise StoreError(f"{where}: expected a mapping for each method, got something else")
    return Agreed({name: _parse(name, entry, where) for name, entry in fields.items()}, methods)


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name not in _RESERVED and not name.endswith(SCALE)


def _parse(name: str, entry: Any, where: object) -> Field:
    if _is_name(name) and isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "codec"}:
        dtype, shape, codec = entry["dtype"], entry["shape"], entry["codec"]
        # Factors of 1 for dimensions of 0: a shape such as (2**62, 0) has no entries, and overflows strides.
        if (
            isinstance(dtype, str)
            and dtype in _DTYPES
            and isinstance(codec, str)
            and (codec in CODECS if dtype == "float32" else codec == _EXACT)
            and isinstance(shape, list)
            and len(shape) <= _MOST_DIMENSIONS
            and all(is_whole(length) for length in shape)
            and math.prod(length or 1 for length in shape) <= _MOST_ENTRIES
        ):
            return Field(dtype, tuple(shape), codec)
    raise StoreError(f"{where}: expected the dtype, shape and codec of a field, got {repr({name: entry})[:200]}")
