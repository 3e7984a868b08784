"""The store of a long job: a folder that many processes write to, and that reads back like an array.

============  ====================================================================================================
layout        where things are; ``job.json``; the statuses of items
folders       opening and writing files so that a crash, a rival or a hostile store does no harm
items         the frozen list of items
fields, rows  what an item's results are; results in memory
codecs        how maps of floats are stored
shard_file    the safetensors file of a shard
receipts      commits: the first receipt of a shard wins
parts         finished pieces of a shard that is bisected
withdrawal    taking a commit back
manifest      all receipts of a complete job in one file
reader        reading like an array, and as a data set of torch
check         finding damage, and making it be done again
cleaning      removing what crashes left
export        Parquet, Zarr, HDF5
============  ====================================================================================================
"""

from xai_fast.jobs.store.check import Damage, repair, verify
from xai_fast.jobs.store.cleaning import clean
from xai_fast.jobs.store.codecs import CODECS, Codec, codec
from xai_fast.jobs.store.export import export
from xai_fast.jobs.store.fields import Field, agree_on_fields, read_fields
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.layout import Layout, Status, create_job, read_job, shard_stem
from xai_fast.jobs.store.manifest import manifest_is_current, write_manifest
from xai_fast.jobs.store.parts import Part, read_parts, write_part
from xai_fast.jobs.store.reader import Store
from xai_fast.jobs.store.reader import open_store as open
from xai_fast.jobs.store.receipts import (
    Receipt,
    committed,
    read_earlier,
    read_receipt,
    read_rows,
    receipts,
    write_shard,
)
from xai_fast.jobs.store.results import Batch, ItemResult
from xai_fast.jobs.store.rows import Rows
from xai_fast.jobs.store.withdrawal import drop_receipts, withdraw

__all__ = [
    "CODECS",
    "Batch",
    "Codec",
    "Damage",
    "Field",
    "ItemResult",
    "Items",
    "Layout",
    "Part",
    "Receipt",
    "Rows",
    "Status",
    "Store",
    "agree_on_fields",
    "clean",
    "codec",
    "committed",
    "create_job",
    "drop_receipts",
    "export",
    "manifest_is_current",
    "open",
    "read_earlier",
    "read_fields",
    "read_job",
    "read_parts",
    "read_receipt",
    "read_rows",
    "receipts",
    "repair",
    "shard_stem",
    "verify",
    "withdraw",
    "write_manifest",
    "write_part",
    "write_shard",
]
