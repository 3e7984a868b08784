"""The kernels: one package each, with the contract in ``__init__``, and one module a backend.

Importing this package registers the ``torch.library`` operators; it loads neither Triton nor the native module.
"""

from xai_fast.kernels.feed_forward_rows import feed_forward_rows
from xai_fast.kernels.feed_forward_values import feed_forward_values
from xai_fast.kernels.flux_accumulate import flux_accumulate
from xai_fast.kernels.partition_sum import partition_sum, partition_sum_reduced
from xai_fast.kernels.random_points import random_points
from xai_fast.kernels.relevance_ratio import relevance_ratio
from xai_fast.kernels.tuple_join import tuple_join
from xai_fast.kernels.tuple_sum import tuple_sum

__all__ = [
    "feed_forward_rows",
    "feed_forward_values",
    "flux_accumulate",
    "partition_sum",
    "partition_sum_reduced",
    "random_points",
    "relevance_ratio",
    "tuple_join",
    "tuple_sum",
]
