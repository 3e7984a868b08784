"""Where items come from: arrays, tables, pictures, tar files and indexable data sets, one interface for all."""

from xai_fast.batch.sources.base import Read, Source, SourceChanged, Stamp
from xai_fast.batch.sources.opening import open_source

__all__ = ["Read", "Source", "SourceChanged", "Stamp", "open_source"]
