"""Where items come from: arrays, tables, pictures, tar files and indexable data sets, one interface for all.

What a `JobSpec` takes as its source, and the mapping that says the same with options:

| given | mapping | items |
|---|---|---|
| "photos", ["a.png", "b.png"] | {"kind": "images", "path", "labels": "folders"} | picture files |
| "x.npy", "x.safetensors" | {"kind": "array", "path", "key", "labels"} | rows of an array |
| "t.csv", "t.parquet" | {"kind": "table", "path", "columns", "ignore", "label", "id"} | rows of a table |
| "train-{000..099}.tar", "*.tar" | {"kind": "webdataset", "path", "field"} | samples of tar files |
| "package.module:factory" | {"kind": "indexable", "path", "arguments"} | what has ``__len__`` and ``__getitem__`` |
"""

from xai_fast.jobs.sources.base import Read, Source, SourceChanged, Stamp
from xai_fast.jobs.sources.opening import open_source

__all__ = ["Read", "Source", "SourceChanged", "Stamp", "open_source"]
