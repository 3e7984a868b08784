"""Where items come from: arrays, tables, pictures, tar files and indexable data sets, one interface for all.

What a `JobSpec` takes as its source, and the mapping that says the same with options:

| given | mapping | items |
|---|---|---|
| "photos", ["a.png", "b.png"] | {"kind": "images", "path", "labels": "folders"} | picture files |
| "x.npy", "x.safetensors" | {"kind": "array", "path", "key", "labels"} | rows of an array |
| "t.csv", "t.parquet" | {"kind": "table", "path", "columns", "ignore", "label", "id"} | rows of a table |
| "pairs.csv", where the method takes pairs | {"kind": "pairs", "path", "columns"} | pairs of picture files |
| "train-{000..099}.tar", "*.tar" | {"kind": "webdataset", "path", "field"} | samples of tar files |
| "package.module:factory" | {"kind": "indexable", "path", "arguments"} | what has ``__len__`` and ``__getitem__`` |
"""

from __future__ import annotations

import importlib

from xai_fast.jobs.sources.base import Read, Source, SourceChanged
from xai_fast.jobs.sources.describe import describe
from xai_fast.jobs.store.job_file import ItemError

__all__ = ["ItemError", "Read", "Source", "SourceChanged", "open_source"]

_CLASSES = {
    "array": ("arrays", "ArraySource"),
    "images": ("images", "ImageSource"),
    "indexable": ("indexable", "IndexableSource"),
    "pairs": ("pairs", "PairSource"),
    "table": ("tables", "TableSource"),
    "webdataset": ("webdataset", "WebDatasetSource"),
}


def open_source(source: object, decoder: str = "pillow") -> Source:
    """Open a source."""
    described = describe(source)
    module, name = _CLASSES[str(described["kind"])]
    opened: Source = getattr(importlib.import_module(f"xai_fast.jobs.sources.{module}"), name)(described, decoder)
    return opened
