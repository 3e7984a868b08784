"""First-order attribution methods, one file a method."""

from xai_fast.attribution.agi import AGI
from xai_fast.attribution.attention import AttCAT, AttentionRollout, TransformerAttribution
from xai_fast.attribution.blur_ig import BlurIG
from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.attribution.guided import Deconvolution, GuidedBackprop
from xai_fast.attribution.guided_ig import GuidedIG
from xai_fast.attribution.lrp import LRP
from xai_fast.attribution.neflag import NeFLAG
from xai_fast.attribution.saliency import GradientXInput, Saliency

__all__ = [
    "AGI",
    "LRP",
    "AttCAT",
    "AttentionRollout",
    "BlurIG",
    "Deconvolution",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientXInput",
    "GuidedBackprop",
    "GuidedIG",
    "NeFLAG",
    "Saliency",
    "TransformerAttribution",
]
