"""What every source of items gives."""

from __future__ import annotations

import abc
import difflib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from xai_fast.errors import InputError, JobError, bad_argument
from xai_fast.files import open_regular
from xai_fast.jobs.sources.pictures import drawn
from xai_fast.jobs.store.items import Items

if TYPE_CHECKING:
    from xai_fast.images import ImageModel

__all__ = [
    "HASHED",
    "Listing",
    "Read",
    "Source",
    "SourceChanged",
    "WatchedFile",
    "names_of",
    "no_such_path",
    "paths_of",
    "short_hash",
]

HASHED = 2 << 30
"""Bytes of a source that are hashed as a whole, so that a job starts within seconds."""
_BLOCK = 1 << 20
_MOST_BLOCKS = 256
_FEWEST_BLOCKS = 2


Listing = int | Iterator[tuple[str, Sequence[int]]]
"""What a source has: a number of items that have no names, or the name of each with its columns."""


class SourceChanged(JobError):
    """The data is not what it was when the job began, or is gone."""


def short_hash(data: bytes) -> int:
    """Give 64 bits of the sha256 of some bytes as a signed integer, never 0."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True) or 1


class WatchedFile:
    """One file of a source, compared with its ``mark``: size, time of the last change, and hash.

    Of large files, blocks of a megabyte at even distances are hashed, at most 256 in all files together, at least two
    of each. So another array is told apart, and one that was touched, copied or mounted elsewhere is the same.
    """

    def __init__(self, path: str, known: Mapping[str, Any] | None = None, files: int = 1) -> None:
        self.path, self._files = path, files
        if known is None:
            status = os.stat(path)
            known = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": self._hash(status.st_size)}
        self.mark = dict(known)
        self._time = self.mark.get("mtime_ns")
        self.check()

    def check(self) -> None:
        """Compare the file with what it was."""
        try:
            status = os.stat(self.path)
            as_long, time = status.st_size == self.mark.get("bytes"), status.st_mtime_ns
            if as_long and (time == self._time or self._hash(status.st_size) == self.mark.get("sha256")):
                self._time = time
                return
        except OSError as error:
            raise SourceChanged(f"source: {self.path} is gone: {error.strerror}") from error
        was = f"{self.mark.get('bytes')} bytes then, {status.st_size} now"
        what = "its content is another" if as_long else was
        raise SourceChanged(f"the source is not what it was when the job began: {self.path}: {what}")

    def _hash(self, size: int) -> str:
        state = hashlib.sha256(str(size).encode())
        with open_regular(self.path) as file:
            if size <= HASHED // self._files:
                while block := file.read(_BLOCK):
                    state.update(block)
                return state.hexdigest()
            count = min(_MOST_BLOCKS, max(_FEWEST_BLOCKS, 4 * _MOST_BLOCKS // self._files))
            for number in range(count):
                state.update(os.pread(file.fileno(), _BLOCK, number * (size - _BLOCK) // (count - 1)))
        return state.hexdigest()


@dataclass(frozen=True)
class Read:
    """One item as its source gives it, and its class where that is known.

    Its value is a tensor, an array or a PIL image, or a tuple of these for a model or method with several inputs.
    """

    value: Any
    label: int | None = None


class Source(abc.ABC):
    """Items, numbered from 0. `read` and `label` may be called by several threads at once.

    A new job asks for the `listing` and the `identity`, and freezes them; from then on the source is used with these.

    Attributes:
        kind: one of the kinds of `xai_fast.jobs.sources.describe.OPTIONS`.
        columns: of the frozen list, beside the names.
        files: name to path of the files that are compared by their content as a whole.
        watches_late: whether each of the files is compared when it is opened, not when the job goes on.
        labelled: whether items have labels, where a user has to ask for them.
        form: what else has to be the same, as JSON holds it.
        items: the frozen list, from `use` on.
    """

    kind: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()
    files: Mapping[str, str] = {}
    watches_late: ClassVar[bool] = False
    labelled = True
    form: Mapping[str, Any] = {}
    items: Items

    @abc.abstractmethod
    def __init__(self, described: Mapping[str, Any], decoder: str) -> None: ...

    @abc.abstractmethod
    def listing(self) -> Listing:
        """List the items as they are now."""

    def identity(self) -> dict[str, Any]:
        """Give what tells the data as a whole from other data, as JSON holds it; times only spare a hash."""
        marks = {name: WatchedFile(path, files=len(self.files)).mark for name, path in self.files.items()}
        return {**self.form, "files": marks}

    def use(self, items: Items, identity: Mapping[str, Any]) -> None:
        """Take over what a job has frozen; raise `SourceChanged` where it is not what is there."""
        self.items, self._marks = items, identity.get("files", {})
        self._watched: dict[str, WatchedFile] = {}
        was = {name: identity.get(name) for name in self.form}
        if was != self.form:
            raise SourceChanged(f"the source is not what it was when the job began: was {was}, is {self.form}")
        missing = [name for name in self._marks if name not in self.files]
        if missing:
            raise SourceChanged(f"source: expected the file {missing[0]!r}, which is gone")
        for name in () if self.watches_late else self.files:
            self.watch(name)

    def watch(self, name: str) -> None:
        """Compare one of the files with what it was, now and at each `check`."""
        self._watched[name] = WatchedFile(self.files[name], self._marks.get(name, {}), len(self.files))

    def check(self) -> None:
        """Compare the files with what they were, such as before results are written; takes microseconds."""
        for file in list(self._watched.values()):
            file.check()

    def __len__(self) -> int:
        return len(self.items)

    @abc.abstractmethod
    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Read an item."""

    def label(self, index: int, column: str = "label") -> int | None:
        """Look up the label of an item, by default in the frozen list."""
        found = self.items.value(column, index)
        return None if found is None or found < 0 else found

    def check_column(self, column: str) -> None:
        """Check that `label` knows a column, as the target of a job."""
        if column != "label":
            raise bad_argument("target", f'"label", the label of the items of this {self.kind} source', repr(column))
        if not self.labelled:
            expected = f'a source with labels: {{"kind": "{self.kind}", ..., "labels": ...}}'
            raise bad_argument("target", expected, repr(column))

    def picture(self, index: int, side: int, model: ImageModel | None = None) -> Any:
        """Draw an item for people, see `drawn`."""
        try:
            return drawn(self.read(index, as_it_is=True).value, side, model)
        except Exception:  # decoders raise anything for a damaged file; the item itself says what is wrong with it
            return None


def paths_of(described: Mapping[str, Any]) -> list[str]:
    """List the paths of a source, which may be one."""
    given = described["path"]
    return [str(path) for path in given] if isinstance(given, list) else [str(given)]


def names_of(option: str, given: object, expected: str) -> list[str]:
    """List the names that an option of a source gives, which may be one or none."""
    names = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise bad_argument(f"source.{option}", expected, repr(given))
    return names


def no_such_path(expected: str, path: str) -> InputError:
    """Build the error for a path that does not exist."""
    folder, name = os.path.split(path)
    try:
        near = difflib.get_close_matches(name, os.listdir(folder or "."), n=1)
    except OSError:
        near = []
    hint = f" (did you mean {os.path.join(folder, near[0])!r}?)" if near else ""
    return bad_argument("source", expected + hint, repr(path))
