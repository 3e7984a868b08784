"""First-order attribution methods, one file a method."""

from xai_fast.attribution.attention import AttCAT, AttentionRollout, TransformerAttribution
from xai_fast.attribution.expected_gradients import ExpectedGradients
from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.attribution.gradient_shap import GradientSHAP
from xai_fast.attribution.guided import Deconvolution, GuidedBackprop
from xai_fast.attribution.integrated_gradients import IntegratedGradients
from xai_fast.attribution.lrp import LRP
from xai_fast.attribution.neflag import NeFLAG
from xai_fast.attribution.saliency import GradientXInput, Saliency
from xai_fast.attribution.smoothgrad import SmoothGrad

__all__ = [
    "LRP",
    "AttCAT",
    "AttentionRollout",
    "Deconvolution",
    "ExpectedGradients",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientSHAP",
    "GradientXInput",
    "GuidedBackprop",
    "IntegratedGradients",
    "NeFLAG",
    "Saliency",
    "SmoothGrad",
    "TransformerAttribution",
]
