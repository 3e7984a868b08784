"""What every source of items gives."""

from __future__ import annotations

import abc
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from xai_fast.errors import InputError, JobError, XaiFastError, bad_argument
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import Status

if TYPE_CHECKING:
    from PIL import Image

    from xai_fast.images import ImageModel

__all__ = ["ItemError", "Listing", "Read", "Source", "SourceChanged", "no_such_path"]

Listing = int | Iterator[tuple[str, Sequence[int]]]
"""What a source has: a number of items that have no names, or the name of each with its columns."""


class SourceChanged(JobError):
    """The data is not what it was when the job began, or is gone."""


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
    """Items, numbered from 0. `read` and `label` may be called by several threads at once.

    A new job asks for the `listing` and freezes it; from then on the source is used with the frozen list.

    Args:
        described: see `xai_fast.jobs.sources.describe`.
        decoder: of pictures.

    Attributes:
        kind: one of the kinds of `xai_fast.jobs.sources.describe.OPTIONS`.
        columns: of the frozen list, beside the names.
        regular: whether all items have one shape (or are pictures, which the model's preparation brings to one).
    """

    kind: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()
    regular: bool = True
    _items: Items | None = None

    @abc.abstractmethod
    def __init__(self, described: Mapping[str, Any], decoder: str) -> None: ...

    @abc.abstractmethod
    def listing(self) -> Listing:
        """List the items as they are now."""

    def count(self) -> int:
        """Return the number of items that there are now."""
        listing = self.listing()
        return listing if isinstance(listing, int) else sum(1 for _ in listing)

    @abc.abstractmethod
    def identity(self) -> dict[str, Any]:
        """Give what tells the data as a whole from other data, as JSON holds it; times only spare a hash."""

    def use(self, items: Items, identity: Mapping[str, Any]) -> None:
        """Take over what a job has frozen, and compare it with what is there.

        Args:
            items: the frozen list.
            identity: what `identity` gave when the job began.

        Raises:
            SourceChanged: the data is not what it was.
        """
        self._items = items

    def __len__(self) -> int:
        return len(self.items)

    @property
    def items(self) -> Items:
        """The frozen list."""
        if self._items is None:
            raise RuntimeError("the list of items is not frozen yet")
        return self._items

    def check(self) -> None:
        """Compare the data as a whole with what it was, such as before results are written; takes microseconds.

        Raises:
            SourceChanged: it is not the same.
        """
        return

    @abc.abstractmethod
    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Read an item.

        Args:
            index: which.
            as_it_is: also if it is not what it was, for the second try of an item that failed: whoever repairs a file
                changes it.

        Returns:
            The item.

        Raises:
            ItemError: it cannot be read, or has changed.
            SourceChanged: the data as a whole is gone.
        """

    def label(self, index: int, column: str = "label") -> int | None:
        """Look up the label of an item.

        Args:
            index: which.
            column: of a table with several; "label" for the one that the source was given.

        Returns:
            Its class, or None where there is none.
        """
        del column
        return self.read(index, as_it_is=True).label

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
            return drawn(self.read(index, as_it_is=True).value, side, model)
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
