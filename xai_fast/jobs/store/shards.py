"""Shards: one safetensors file each, ``shards/000012/000012345.safetensors``, whose existence says that it is done.

The header tells which items failed and why, how long it took, which versions computed it, and a hash of all of it.
Folders hold a thousand shards, so that a billion items do not make a folder that no file system likes.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from xai_fast.errors import StoreError
from xai_fast.jobs.store.codecs import decode
from xai_fast.jobs.store.fields import SCALE, Agreed, Field, stored_fields
from xai_fast.jobs.store.folder import Folder, dump_json, load_json
from xai_fast.jobs.store.job_file import Status, is_whole

__all__ = ["SHARDS", "Header", "Shard", "Shards", "content_hash", "load_tensors"]

SHARDS = "shards"
_PER_FOLDER = 1000
_KEY = "xai_fast"
_LONGEST_REASON = 500
_REASONS = 16 << 20
"""Characters of all reasons in a header together; safetensors limits headers to 100 MB."""


@dataclass(frozen=True)
class Header:
    """What a shard says of itself: the fingerprint of its job, and its items, from ``start`` to ``stop - 1``.

    ``failed`` is row to (label of the status, reason). ``seconds`` are the worker's, by part: "decode", "explain", and
    "total" with everything else too. ``peak_memory`` is the worker's in bytes, 0 where nobody measured it, and
    ``worker`` is the name of the machine and the number of the process. ``methods`` is name to what is the same for all
    items, see `Agreed`. ``finished`` is in unix seconds. ``sha256`` is of the tensors and the rest of the header.
    """

    job: str
    start: int
    stop: int
    failed: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    evaluations: int = 0
    peak_memory: int = 0
    worker: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    finished: float = 0.0
    sha256: str = ""

    @property
    def rows(self) -> int:
        """The number of items."""
        return self.stop - self.start

    @property
    def began(self) -> float:
        """When the worker began, in unix seconds."""
        return self.finished - max(0.0, self.seconds.get("total", 0.0))

    @property
    def statuses(self) -> np.ndarray:
        """(rows,) uint8, values of `Status`."""
        found = np.zeros(self.rows, np.uint8)
        for row, (label, _) in self.failed.items():
            found[row] = Status[label.upper()]
        return found


class Shard:
    """An open shard: its header, and its tensors as they are stored, views of the memory map."""

    def __init__(self, header: Header, tensors: dict[str, Tensor], fields: Mapping[str, Field], where: object) -> None:
        self.header, self.tensors = header, tensors
        self.fields = stored_fields(tensors, where)
        lengths = {len(tensor) if tensor.ndim else None for tensor in tensors.values()}
        scales = {(tensor.dtype, tensor.ndim) for name, tensor in tensors.items() if name.endswith(SCALE)}
        if self.fields != fields and (header.rows > len(header.failed) or tensors):
            raise StoreError(
                f"{where}: expected the fields {_shown(fields)} as in other shards, got {_shown(self.fields)}"
            )
        if not lengths <= {header.rows} or not scales <= {(torch.float32, 1)}:
            raise StoreError(f"{where}: expected {header.rows} rows of each field, got others")

    def decode(self, name: str, rows: slice | Tensor, into: Tensor) -> Tensor:
        """Read a field of some rows."""
        if name not in self.fields:
            return into.copy_(torch.tensor(torch.nan if into.is_floating_point() else 0))
        scale = self.tensors[name + SCALE][rows] if self.fields[name].scaled else None
        return decode(self.tensors[name][rows], scale, into)


class Shards:
    """The shards of a job, by its fingerprint: so many items each."""

    def __init__(self, root: Folder, job: str, items: int, size: int) -> None:
        self.job, self.items, self.size = job, items, size
        self.path = root.path / SHARDS
        self._root = root
        self._opened: Folder | None = None
        self._agreed: Agreed | None = None

    @classmethod
    def of(cls, root: Folder, job: Mapping[str, Any]) -> Shards:
        """Give those of the job that ``job.json`` describes."""
        return cls(root, job["fingerprint"], job["items"]["count"], job["spec"]["shard_size"])

    def __len__(self) -> int:
        return -(-self.items // self.size)

    def span(self, shard: int) -> range:
        """Return the items of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, self.items))

    def exists(self, shard: int) -> bool:
        """Tell whether a shard is done, by one look at its name."""
        folder = self._folder()
        return folder is not None and folder.exists("/".join(_place(shard)))

    def all_done(self) -> Iterator[int]:
        """List the shards that are done, folder by folder."""
        above = self._folder()
        # Those that are there: a store of a few bytes can speak of more shards than any loop comes to the end of.
        there = [int(name) for name in above.names() if re.fullmatch("[0-9]{6,15}", name)] if above else []
        for folder in sorted(there):
            yield from self._in(folder, done=True)

    def items_done(self) -> int:
        """Count the items of the shards that are done."""
        return sum(len(self.span(shard)) for shard in self.all_done())

    def missing(self) -> Iterator[int]:
        """List the shards that are not done, folder by folder."""
        for folder in self._folders:
            yield from self._in(folder, done=False)

    def in_turn(self, rank: int = 0, world_size: int = 1) -> Iterator[int]:
        """List the shards that one of several processes does: its own, then whatever is missing by then."""
        # Its own are ``rank``, ``rank + world_size``, and so on; as they are done in order, a process that begins again
        # finds the first one that is missing with a few looks. Doing a shard that another process is at is harmless.
        own = range(rank, len(self), world_size)
        for shard in own[bisect_left(own, True, key=lambda shard: not self.exists(shard)) :]:
            if not self.exists(shard):
                yield shard
        chance = random.Random(rank)
        first = rank * len(self._folders) // world_size
        for folder in (*self._folders[first:], *self._folders[:first]):
            missing = self._in(folder, done=False)
            chance.shuffle(missing)  # so that processes that are left over meet seldom
            for shard in missing:
                if not self.exists(shard):
                    yield shard

    def _folder(self) -> Folder | None:
        if self._opened is None and self._root.exists(SHARDS):
            self._opened = self._root.folder(SHARDS)
        return self._opened

    @property
    def _folders(self) -> range:
        """Numbers of the folders that there may be."""
        return range(-(-len(self) // _PER_FOLDER))

    def _in(self, folder: int, *, done: bool) -> list[int]:
        """List the shards of a folder that are done, or that are not."""
        above, names = self._folder(), set[str]()
        try:
            names = set() if above is None else set(above.folder(f"{folder:06d}").names())
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        first = folder * _PER_FOLDER
        found = range(first, min(first + _PER_FOLDER, len(self)))
        return [shard for shard in found if (_place(shard)[1] in names) == done]

    def write(self, shard: int, header: Header, tensors: Mapping[str, Tensor], *, replace: bool = False) -> bool:
        """Write a shard; the first writer wins."""
        folder, name = _place(shard)
        above = self._folder() or self._root.folder(SHARDS, create=True)
        longest = min(_LONGEST_REASON, _REASONS // max(1, len(header.failed)))
        failed = {row: (label, reason[:longest]) for row, (label, reason) in sorted(header.failed.items())}
        about = asdict(header) | {"failed": {str(row): list(entry) for row, entry in failed.items()}}
        about["sha256"] = content_hash(about, tensors)
        content = save(dict(tensors), {_KEY: dump_json(about).decode()})
        return above.folder(folder, create=True).write(name, content, replace=replace)

    def remove(self, shard: int) -> bool:
        """Remove a shard, so that it is done again; tell whether it was there."""
        folder, name = _place(shard)
        above = self._folder()
        return above is not None and above.folder(folder).remove(name)

    def header(self, shard: int) -> Header:
        """Read what a shard says of itself."""
        return self._read(shard, tensors=False)[0]

    def open(self, shard: int, *, deep: bool = False) -> Shard:
        """Open a shard, and compare it with the others; ``deep`` reads all of it, and compares the hash."""
        header, tensors = self._read(shard, deep=deep)
        where, agreed = self.path.joinpath(*_place(shard)), self.agreed()
        return Shard(header, tensors, {} if agreed is None else agreed.fields, where)

    def agreed(self, *, most: int | None = None, deep: bool = False) -> Agreed | None:
        """Find what all shards have in common in the first one that is sound and has results."""
        for shard in itertools.islice(self.all_done(), most) if self._agreed is None or deep else ():
            with suppress(StoreError):
                header, tensors = self._read(shard, deep=deep)
                if tensors:
                    self._agreed = Agreed(stored_fields(tensors, self.path), header.methods)
                    break
        return self._agreed

    def _read(self, shard: int, *, tensors: bool = True, deep: bool = False) -> tuple[Header, dict[str, Tensor]]:
        span, (folder, name) = self.span(shard), _place(shard)
        where = self.path / folder / name
        above = self._folder()
        if above is None or not self.exists(shard):
            raise StoreError(f"{self.path.parent}: items {span.start} to {span.stop - 1} are not finished yet")
        metadata, found = load_tensors(above.folder(folder), name, only_metadata=not tensors)
        about = load_json(metadata.get(_KEY, ""), where)
        header = _parse(about, where)
        if (header.job, header.start, header.stop) != (self.job, span.start, span.stop):
            raise StoreError(f"{where}: expected items {span.start} to {span.stop - 1} of this job, got others")
        if deep and content_hash(about, found) != header.sha256:
            raise StoreError(f"{where}: its content is not what was written: the sha256 is another")
        return header, found


def load_tensors(folder: Folder, name: str, *, only_metadata: bool = False) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Map a safetensors file of a store into memory."""
    where = folder.path / name
    with folder.opened(name) as fd:
        try:
            # By its descriptor, which was opened without following links.
            with safe_open(f"/dev/fd/{fd}", "np" if only_metadata else "pt") as file:
                tensors = {} if only_metadata else {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return file.metadata() or {}, tensors
        except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
            raise StoreError(f"{where}: expected a whole safetensors file, got: {error}") from error


def content_hash(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hash a shard."""
    state = hashlib.sha256(dump_json({name: value for name, value in about.items() if name != "sha256"}))
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        state.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _shown(fields: Mapping[str, Field]) -> str:
    return ", ".join(f"{name} {field}" for name, field in fields.items())[:400] or "none"


def _place(shard: int) -> tuple[str, str]:
    return f"{shard // _PER_FOLDER:06d}", f"{shard:09d}.safetensors"


def _parse(about: Mapping[str, Any], where: Path) -> Header:
    """Read a header that somebody else may have written."""
    try:
        if about.keys() != Header.__dataclass_fields__.keys():
            raise ValueError(f"the entries {', '.join(about)}")
        whole = ("start", "stop", "evaluations", "peak_memory")
        if not all(is_whole(about[name]) for name in whole) or about["stop"] < about["start"]:
            raise ValueError("numbers out of range")
        if not all(isinstance(about[name], str) for name in ("job", "worker", "sha256")):
            raise TypeError("names that are no text")
        rows = about["stop"] - about["start"]
        failed = {
            int(row): (Status[label.upper()].label, str(reason)) for row, (label, reason) in about["failed"].items()
        }
        if not all(isinstance(constants, dict) for constants in about["methods"].values()):
            raise TypeError("methods that are no mappings")
        if any(not 0 <= row < rows for row in failed):
            raise ValueError("a failed row that there is not")
        return Header(
            **{
                **about,
                "failed": failed,
                "seconds": {str(name): float(value) for name, value in about["seconds"].items()},
                "versions": {str(name): str(value) for name, value in about["versions"].items()},
                "finished": float(about["finished"]),
            }
        )
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise StoreError(f"{where}: expected the header of a shard, got: {error!r}") from error
