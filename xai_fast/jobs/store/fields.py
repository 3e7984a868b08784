"""The results of an item: names, dtypes and shapes that all shards of a store have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.codecs import CODECS, codec
from xai_fast.jobs.store.folders import dump_json, load_json
from xai_fast.jobs.store.layout import FORMAT, Layout, is_whole

__all__ = ["EXACT", "Field", "agree_on_fields", "check_name", "describe_fields", "parse_fields", "read_fields"]

EXACT = "exact"
"""The codec of integers and booleans."""

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RESERVED = ("id", "index", "status", "error", "error_offsets", "error_text")
_MAXIMUM_ENTRIES = 1 << 40
_MAXIMUM_DIMENSIONS = 16
_MAXIMUM_FIELDS = 4096
_FIELDS_LIMIT = 4 << 20


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

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {"dtype": self.dtype, "shape": list(self.shape), "codec": self.codec}

    @property
    def torch_dtype(self) -> torch.dtype:
        """What is read."""
        return DTYPES[self.dtype]

    @property
    def stored_dtype(self) -> torch.dtype:
        """What is in the file."""
        return self.torch_dtype if self.codec == EXACT else CODECS[self.codec].stored

    @property
    def scaled(self) -> bool:
        """Whether there is a scale for each item beside it."""
        return self.codec != EXACT and CODECS[self.codec].scaled

    @property
    def entries(self) -> int:
        """The number of entries of one item."""
        return math.prod(self.shape)

    def blank(self, rows: int) -> Tensor:
        """Return what failed items have: (rows, ...) of NaN, or of zeros in integers."""
        return self.blank_entry().repeat(rows, *self.shape)

    def blank_entry(self) -> Tensor:
        """Return one entry of `blank`: a tensor without dimensions."""
        return torch.tensor(math.nan if self.dtype == "float32" else 0, dtype=self.torch_dtype)


def check_name(name: object) -> str:
    """Check the name of a field.

    Args:
        name: letters, digits and ``_ . + -``, at most 200, not a name that the store uses itself.

    Returns:
        The name.

    Raises:
        InputError: it is something else.
    """
    if _is_name(name):
        return str(name)
    expected = f"names of letters, digits and _ . + -, not ending in .scale and none of {', '.join(_RESERVED)}"
    raise bad_argument("fields", expected, repr(name)[:200])


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and re.fullmatch(r"[A-Za-z0-9_.+\-]{1,200}", name) is not None
        and name not in _RESERVED
        and not name.endswith(".scale")
    )


def describe_fields(fields: Mapping[str, Tensor], dtype: str) -> dict[str, Field]:
    """Say how the results of some items are stored.

    Args:
        fields: name to (rows, ...), float32, integers or booleans.
        dtype: the codec of maps of floats.

    Returns:
        Name to field. Floats without a dimension of their own, such as scores, are float32 in any case.

    Raises:
        InputError: a name or a dtype that cannot be stored.
    """
    codec(dtype)
    described = {}
    for name, values in fields.items():
        if values.dtype not in _NAMES:
            raise bad_argument(f"fields[{name!r}]", f"a dtype of {', '.join(DTYPES)}", str(values.dtype))
        maps = dtype if values.dim() > 1 else "float32"
        used = maps if values.dtype == torch.float32 else EXACT
        described[check_name(name)] = Field(_NAMES[values.dtype], tuple(values.shape[1:]), used)
    return described


def parse_fields(document: object, where: object) -> dict[str, Field]:
    """Read fields from JSON that somebody else may have written.

    Args:
        document: name to dtype, shape and codec.
        where: the file, for the message.

    Returns:
        Name to field.

    Raises:
        StoreError: it is something else.
    """
    if not isinstance(document, dict) or len(document) > _MAXIMUM_FIELDS:
        raise StoreError(f"{where}: expected a mapping of fields, got {type(document).__name__}")
    return {name: _parse_field(name, entry, where) for name, entry in document.items()}


def _parse_field(name: str, entry: Any, where: object) -> Field:
    if _is_name(name) and isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "codec"}:
        dtype, shape, used = entry["dtype"], entry["shape"], entry["codec"]
        # Factors of 1 for dimensions of 0: a shape such as (2**62, 0) has no entries, and overflows strides.
        if (
            isinstance(dtype, str)
            and dtype in DTYPES
            and isinstance(used, str)
            and (used in CODECS if dtype == "float32" else used == EXACT)
            and isinstance(shape, list)
            and len(shape) <= _MAXIMUM_DIMENSIONS
            and all(is_whole(length) for length in shape)
            and math.prod(length or 1 for length in shape) <= _MAXIMUM_ENTRIES
        ):
            return Field(dtype, tuple(shape), used)
    raise StoreError(f"{where}: expected the dtype, shape and codec of a field, got {repr({name: entry})[:200]}")


def agree_on_fields(layout: Layout, fields: Mapping[str, Field]) -> dict[str, Field]:
    """Make these the fields of the store, unless another shard was first.

    Args:
        layout: the store.
        fields: of a shard in which at least one item succeeded.

    Returns:
        The fields of the store.

    Raises:
        StoreError: they cannot be read or written.
    """
    agreed = read_fields(layout)
    if agreed is None:
        document = {"format": FORMAT, "fields": {name: field.to_dict() for name, field in fields.items()}}
        with layout.folder() as root:
            root.write_first(layout.fields.name, dump_json(document))
        agreed = read_fields(layout)
    if agreed is None:
        raise StoreError(f"{layout.fields}: expected the file that was just written, got none")
    return agreed


def read_fields(layout: Layout) -> dict[str, Field] | None:
    """Read the fields of the store.

    Args:
        layout: the store.

    Returns:
        Name to field, or None as long as no shard with a success was committed.

    Raises:
        StoreError: they cannot be read.
    """
    with layout.folder() as root:
        if not root.exists(layout.fields.name):
            return None
        data = root.read(layout.fields.name, _FIELDS_LIMIT)
    document = load_json(data, layout.fields, lambda found: isinstance(found, dict) and found.get("format") == FORMAT)
    return parse_fields(document.get("fields"), layout.fields)
