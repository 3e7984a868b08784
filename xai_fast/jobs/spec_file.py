"""Descriptions of jobs in YAML and JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from xai_fast.errors import InputError, bad_argument

__all__ = ["read_spec_file"]

_SUFFIXES = (".yaml", ".yml", ".json")
_LARGEST = 64 << 20
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


def read_spec_file(path: Path) -> dict[str, Any]:
    """Read the mapping in a file."""
    if path.suffix.lower() not in _SUFFIXES:
        raise bad_argument("job file", f"a file that ends in {', '.join(_SUFFIXES)}", repr(str(path)))
    try:
        if path.stat().st_size > _LARGEST:
            raise bad_argument("job file", f"at most {_LARGEST} bytes", f"{path.stat().st_size}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"job file: {path} cannot be read: {reason}") from error
    values = _json(path, text) if path.suffix.lower() == ".json" else _yaml(path, text)
    if not isinstance(values, dict):
        raise bad_argument("job file", "keys and values, such as source: photos", f"{type(values).__name__} in {path}")
    return values


def _once(pairs: Sequence[tuple[Hashable, Any]]) -> dict[Any, Any]:
    """Build a mapping; of a key that stands twice one value would be lost silently."""
    result: dict[Any, Any] = {}
    for key, value in pairs:
        if key in result:
            raise bad_argument("job file", "each key once", f"{key!r} twice")
        result[key] = value
    return result


def _json(path: Path, text: str) -> object:
    try:
        values: object = json.loads(text, object_pairs_hook=_once)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # beside bad JSON, numbers of too many digits
        raise InputError(f"job file: {path} is no JSON: {error}") from error
    return values


def _yaml(path: Path, text: str) -> object:
    try:
        import yaml
    except ImportError as error:
        raise InputError("YAML needs PyYAML, which is not installed; pip install 'xai-fast[batch]'") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped base
        """Plain values only, and each key once."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        loader.flatten_mapping(node)
        return _once(
            [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
        )

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    # YAML 1.1, which PyYAML reads, takes 1e-3 for a text: it wants 1.0e-3.
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("+-.0123456789"))
    try:
        values: object = yaml.load(text, Loader)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"job file: {path} is no YAML: {error}") from error
    return values
