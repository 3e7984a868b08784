"""The store of a long job: a folder that many processes write to, and that reads back like an array.

==============  ================================================================================================
job_file        ``job.json``; the statuses of items
folder          opening and writing files so that a crash, a rival or a hostile store does no harm
items           the frozen list of items
fields, codecs  what an item's results are, and how maps of floats are stored
rows            results in memory
shards          the files of results; the first writer wins
reader          reading like an array
check           finding damage, making it be done again, removing what crashes left
export          Parquet, Zarr, HDF5
==============  ================================================================================================
"""
