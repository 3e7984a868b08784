"""What every source of items gives."""

from __future__ import annotations

import abc
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xai_fast.errors import InputError, XaiFastError, bad_argument
from xai_fast.jobs.store.layout import Status

if TYPE_CHECKING:
    from PIL import Image

    from xai_fast.suites.models import ImageModel

__all__ = ["FrozenItems", "ItemError", "Read", "Source", "SourceChanged", "Stamp", "file_identity", "no_such_path"]

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


class SourceChanged(XaiFastError, RuntimeError):
    """The data is not what it was when the job began."""


class ItemError(XaiFastError, RuntimeError):
    """One item cannot be explained.

    Args:
        status: which kind of failure.
        reason: for people.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[type[ItemError], tuple[Status, str]]:
        return type(self), (self.status, self.reason)


class FrozenItems(Protocol):
    """The list of items as it was when the job began."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def id(self, index: int) -> str:
        """The name of an item."""
        ...

    def item_id(self, index: int) -> int:
        """The identity of an item for its random points."""
        ...

    def stamp(self, index: int) -> Stamp | None:
        """The stamp of an item, where its source has them."""
        ...


@dataclass(frozen=True)
class Read:
    """One item as its source gives it.

    Attributes:
        value: a tensor, an array, or a PIL image.
        label: its class, or None where the source knows none.
    """

    value: Any
    label: int | None = None


class Source(abc.ABC):
    """Items, numbered from 0. All methods may be called by several threads at once.

    Attributes:
        kind: one of the kinds of `xai_fast.jobs.sources.describe.OPTIONS`.
        regular: whether all items have one shape (or are pictures, which the model's preparation brings to one).
    """

    kind: str
    regular: bool = True

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return how many items there are."""

    def ids(self) -> Sequence[str] | range:
        """Return the names of the items in their order; a range where they have none."""
        return range(len(self))

    def stamps(self) -> NDArray[np.int64] | None:
        """Return (N, 2) sizes in bytes and times of the last change in nanoseconds, or None for items of one file."""
        return None

    @abc.abstractmethod
    def identity(self) -> dict[str, object]:
        """Return what tells the data as a whole from other data, as JSON holds it."""

    def check(self, identity: Mapping[str, object]) -> None:
        """Compare the data with what it was.

        Args:
            identity: what `identity` gave when the job began.

        Raises:
            SourceChanged: it is not the same; the message says how.
        """
        try:
            now = self.identity()
        except OSError as error:
            raise SourceChanged(f"the source is not what it was when the job began: {error}") from error
        changed = [
            f"{_LABELS.get(name, name)}: was {_shown(name, identity.get(name))}, is {_shown(name, now.get(name))}"
            for name in dict.fromkeys([*identity, *now])
            if identity.get(name) != now.get(name)
        ]
        if changed:
            raise SourceChanged(f"the source is not what it was when the job began: {'; '.join(changed)}")

    @abc.abstractmethod
    def read(self, index: int, stamp: Stamp | None = None) -> Read:
        """Read an item.

        Args:
            index: which.
            stamp: what it was when the job began, or None where that is not to be compared.

        Returns:
            The item.

        Raises:
            ItemError: it cannot be read, or has changed.
        """

    def load(self, index: int) -> Any:
        """Read the value of an item: a tensor, an array or a PIL image.

        Args:
            index: which.

        Returns:
            The value.
        """
        return self.read(index).value

    def label(self, index: int, column: str | None = None) -> int | None:
        """Look up the label of an item.

        Args:
            index: which.
            column: of a table with several; None for the one that the source was given.

        Returns:
            Its class, or None where there is none.
        """
        del column
        return self.read(index).label

    def check_column(self, column: str) -> None:
        """Check that `label` knows a column, as the target of a job.

        Args:
            column: its name; "label" for the label that the source was given.

        Raises:
            InputError: there is none.
        """
        if column != "label":
            raise bad_argument("target", f'"label", the label of the items of this {self.kind} source', repr(column))

    def picture(self, index: int, side: int, model: ImageModel | None = None) -> Image.Image | None:
        """Draw an item for people.

        Args:
            index: which.
            side: the longer side in pixels.
            model: to show the part of the picture that this model sees.

        Returns:
            An RGB image, or None for what is no picture or cannot be read.
        """
        from xai_fast.jobs.sources.drawing import drawn

        try:
            return drawn(self.read(index).value, side, model)
        except Exception:  # decoders raise anything for a damaged file; the item itself says what is wrong with it
            return None


def no_such_path(expected: str, path: str) -> InputError:
    """Build the error for a path that does not exist.

    Args:
        expected: what would have been right.
        path: what came.

    Returns:
        An error that names what is there with a name near to it.
    """
    folder, name = os.path.split(path)
    try:
        near = difflib.get_close_matches(name, os.listdir(folder or "."), n=1)
    except OSError:
        near = []
    hint = f" (did you mean {os.path.join(folder, near[0])!r}?)" if near else ""
    return bad_argument("source", expected + hint, repr(path))


_LABELS = {"mtime_ns": "time of the last change"}


def _shown(name: str, value: object) -> str:
    if name == "mtime_ns" and isinstance(value, int) and 0 <= value < 1 << 63:
        return f"{np.datetime64(value, 'ns')} UTC"
    return repr(value)


def file_identity(path: str) -> dict[str, object]:
    """Give the size and the time of the last change of a file."""
    status = os.stat(path)
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
