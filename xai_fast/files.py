"""Files: written whole or not at all, and opened only where they are regular files."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from xai_fast.errors import InputError, bad_argument

__all__ = ["open_regular", "read_tensors", "write_tensors", "write_whole"]

_READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """Open a file for reading, unbuffered; an `OSError` where it is none, since pipes block and devices act on it."""
    if stat.S_ISREG(os.stat(path).st_mode):
        descriptor = os.open(path, _READ_ONLY)  # not blocking, for something else may have taken its name since
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb", buffering=0)
        os.close(descriptor)
    raise OSError(errno.EINVAL, "not a file, but a folder, a pipe, a socket or a device", os.fspath(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name first, so that whoever looks finds the old one, the new one, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], kind: str, about: Mapping[str, Any]) -> None:
    """Write named tensors, and what JSON holds about them, to one safetensors file of a kind."""
    whole = {n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in tensors.items()}
    write_whole(path, safetensors.torch.save(whole, {kind: json.dumps(about)}))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, on the CPU, executing nothing; an `InputError` where it is another."""
    expected = f"a file that {kind.removeprefix('xai_fast.')}.save wrote"
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = (file.metadata() or {}).get(kind)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        constants = json.loads(about) if about is not None else {}
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"path: expected {expected}, got {path}: {error}") from error
    if about is None:
        raise bad_argument("path", expected, f"other tensors in {path}")
    return tensors, constants
