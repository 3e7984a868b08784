"""Checks of what a job is described with: known keys, and values that JSON can hold."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import numbers
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from xai_fast.errors import InputError, bad_argument

__all__ = ["REFERENCE", "check_keys", "digest", "nearest", "plain", "unique"]

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
"""``package.module:name``."""

_DEEPEST = 32
_MOST_NAMES = 20
_MOST_BITS = 64
"""Of an integer: all that tensors and seeds hold, and no more than a float can be made of."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Name what a user may have meant."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"one of {', '.join(names[:_MOST_NAMES])}{more}{hint}" if names else "nothing"


def check_keys(where: str, keys: Iterable[object], known: Iterable[str]) -> None:
    """Check that a mapping has known keys only."""
    names = list(known)
    for key in keys:
        if key not in names:
            raise bad_argument(where, nearest(key, names), repr(key))


def unique(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Build a mapping; of a key that stands twice one value would be lost silently."""
    result: dict[Any, Any] = {}
    for key, value in pairs:
        if key in result:
            raise bad_argument("keys", "each key once", f"{key!r} twice")
        result[key] = value
    return result


def plain(where: str, value: object, _depth: int = 0) -> object:
    """Give a value as JSON would give it back: paths as text, tuples as lists, numpy's numbers as Python's."""
    if _depth > _DEEPEST:
        raise bad_argument(where, f"at most {_DEEPEST} levels of lists and mappings", "more")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, numbers.Integral):
        if int(value).bit_length() > _MOST_BITS:
            raise bad_argument(where, f"integers of at most {_MOST_BITS} bits", f"{int(value).bit_length()} bits")
        return int(value)
    if isinstance(value, numbers.Real):
        if not math.isfinite(float(value)):
            raise bad_argument(where, "finite numbers", repr(value))
        return float(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise bad_argument(where, "keys that are text", repr(next(k for k in value if not isinstance(k, str))))
        return {key: plain(f"{where}.{key}", entry, _depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(where, entry, _depth + 1) for entry in value]
    what = "a tensor or array" if isinstance(value, Tensor | np.ndarray) else f"a {type(value).__name__}"
    raise InputError(f"{where}: expected numbers, text, lists and mappings, which a file can hold, got {what}")


def digest(value: object) -> str:
    """Give the SHA-256 of a value's JSON, whatever the order of keys: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
