"""First-order attribution methods, one file a method."""

from xai_fast.attribution.attention import AttCAT, AttentionRollout, TransformerAttribution
from xai_fast.attribution.deeplift import DeepLIFT
from xai_fast.attribution.deepshap import DeepSHAP
from xai_fast.attribution.fullgrad import FullGrad
from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.attribution.guided import Deconvolution, GuidedBackprop
from xai_fast.attribution.lrp import LRP
from xai_fast.attribution.neflag import NeFLAG
from xai_fast.attribution.saliency import GradientXInput, Saliency

__all__ = [
    "LRP",
    "AttCAT",
    "AttentionRollout",
    "Deconvolution",
    "DeepLIFT",
    "DeepSHAP",
    "FullGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientXInput",
    "GuidedBackprop",
    "NeFLAG",
    "Saliency",
    "TransformerAttribution",
]
