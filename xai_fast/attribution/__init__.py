"""First-order attribution methods, one file a method."""

from xai_fast.attribution.neflag import NeFLAG

__all__ = ["NeFLAG"]
