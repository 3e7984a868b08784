"""Which explanation to trust: methods on the same items, by metrics, with the errors of what is said."""

from __future__ import annotations

from xai_fast.comparison.result import Comparison
from xai_fast.comparison.run import compare

__all__ = ["Comparison", "compare"]
