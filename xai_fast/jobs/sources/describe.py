"""From what users write for a source to one form that can be stored: kind, path and options. Nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from xai_fast.errors import InputError, bad_argument
from xai_fast.references import check_reference
from xai_fast.values import REFERENCE, check_keys, nearest, plain

__all__ = ["OPTIONS", "PICTURE_SUFFIXES", "describe"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
"""Picture files in folders are known by these, in any case."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "images": ("labels",),
    "array": ("key", "labels"),
    "table": ("columns", "ignore", "label", "id"),
    "pairs": ("columns",),
    "indexable": ("arguments",),
    "webdataset": ("field",),
}
"""Options of each kind of source, beside "kind" and "path"."""

_KIND_OF_SUFFIX = {
    ".npy": "array",
    ".safetensors": "array",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".pq": "table",
    ".tar": "webdataset",
}


def describe(source: object, base: Path | None = None) -> dict[str, object]:
    """Bring the description of a source to its stored form."""
    if isinstance(source, Mapping):
        return _from_mapping(source, base or Path.cwd())
    several = source if isinstance(source, Sequence) and not isinstance(source, str | bytes) else [source]
    if not all(isinstance(path, str | os.PathLike) for path in several):
        raise _in_memory(source)
    return _from_mapping({"kind": _kind(source), "path": source}, base or Path.cwd())


def _kind(path: object) -> str:
    """Tell the kind from the name alone; the files may be elsewhere when a store is looked at."""
    if isinstance(path, str) and REFERENCE.fullmatch(path):
        return "indexable"
    paths = [path] if isinstance(path, str | os.PathLike) else path if isinstance(path, list | tuple) else []
    names = [os.fspath(entry) for entry in paths]
    kinds = {_KIND_OF_SUFFIX.get(Path(name).suffix.lower(), "images") for name in names}
    if len(kinds) > 1:
        raise bad_argument("source", "files of one kind", " and ".join(sorted(kinds)))
    kind = kinds.pop() if kinds else "images"
    if kind in ("array", "table") and not isinstance(path, str | os.PathLike):
        raise bad_argument("source", f"one file for {'an' if kind == 'array' else 'a'} {kind}", f"{len(names)} files")
    return kind


def _from_mapping(source: Mapping[str, object], base: Path) -> dict[str, object]:
    kind = source.get("kind")
    if kind is None and "path" in source:
        kind = _kind(source["path"])
    if not isinstance(kind, str) or kind not in OPTIONS:
        raise bad_argument("source.kind", nearest(kind, OPTIONS), repr(kind))
    check_keys("source", source, ("kind", "path", *OPTIONS[kind]))
    if "path" not in source:
        raise bad_argument("source", "a value for 'path'", "none")
    result: dict[str, object] = {"kind": kind, "path": _path(kind, source["path"], base)}
    for name in OPTIONS[kind]:
        if source.get(name) is not None:
            result[name] = plain(f"source.{name}", source[name])
    labels = result.get("labels")
    if kind == "array" and isinstance(labels, str) and labels.endswith(".npy"):
        result["labels"] = _absolute(labels, base)
    return result


def _path(kind: str, path: object, base: Path) -> object:
    if kind == "indexable":
        return check_reference("source.path", path)
    if isinstance(path, str | os.PathLike):
        return _absolute(path, base)
    if isinstance(path, list | tuple) and kind in ("images", "webdataset"):
        if not path:
            raise bad_argument("source", "at least one file", "an empty list")
        return [_absolute(entry, base) for entry in path]
    raise bad_argument("source.path", "a path", f"a {type(path).__name__}")


def _absolute(path: object, base: Path) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise bad_argument("source.path", "a path", repr(text))
    return os.path.normpath(base / Path(text).expanduser())


def _in_memory(source: object) -> InputError:
    if isinstance(source, Tensor | np.ndarray):
        return InputError(
            f"source: expected a file, since other processes read it too, got {type(source).__name__} in memory; "
            'numpy.save("x.npy", array) and pass source="x.npy"'
        )
    if hasattr(source, "__getitem__"):
        return InputError(
            f"source: expected a reference, since other processes make it again, got a {type(source).__name__} in "
            'memory; pass source="package.module:factory", a function or class that returns the data set'
        )
    return bad_argument(
        "source", "a folder, files, package.module:factory, or a mapping with kind and path", type(source).__name__
    )
