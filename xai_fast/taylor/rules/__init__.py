"""How derivatives pass through one operation: one class per kind, and one table from ATen operations to kinds.

In all of them ``rows`` are derivatives of a node's value along several directions, (R, B, *shape): R directions (or
sets of them) of B items, with the shape that one item's value has in the graph. Adjoints are derivatives of the score
with respect to a node's value, in the same layout.
"""

from xai_fast.taylor.rules.base import Rule
from xai_fast.taylor.rules.table import rule_of, with_softmax

__all__ = ["Rule", "rule_of", "with_softmax"]
