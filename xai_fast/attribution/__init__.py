"""First-order attribution methods, one file a method."""

from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.attribution.neflag import NeFLAG

__all__ = ["GradCAM", "GradCAMPlusPlus", "NeFLAG"]
