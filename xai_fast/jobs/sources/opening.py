"""From a description to an open source."""

from __future__ import annotations

import importlib

from xai_fast.jobs.sources.base import FrozenItems, Source
from xai_fast.jobs.sources.describe import describe

__all__ = ["open_source"]

_CLASSES = {
    "array": ("arrays", "ArraySource"),
    "images": ("images", "ImageSource"),
    "indexable": ("indexable", "IndexableSource"),
    "table": ("tables", "TableSource"),
    "webdataset": ("webdataset", "WebDatasetSource"),
}


def open_source(source: object, *, decoder: str = "pillow", items: FrozenItems | None = None) -> Source:
    """Open a source.

    Args:
        source: what a `JobSpec` takes.
        decoder: of pictures.
        items: the frozen list of a job, so that folders need not be searched again, and files that came since do not
            shift the numbers; None to look for the items.

    Returns:
        The source.

    Raises:
        InputError: it does not exist, is of the wrong kind, or needs a package that is not installed.
    """
    described = describe(source)
    module, name = _CLASSES[str(described["kind"])]
    opened: Source = getattr(importlib.import_module(f"xai_fast.jobs.sources.{module}"), name)(
        described, decoder=decoder, items=items
    )
    return opened
