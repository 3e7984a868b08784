"""First-order attribution methods, one file a method."""

from xai_fast.attribution.attention import AttCAT, AttentionRollout, TransformerAttribution
from xai_fast.attribution.feature_ablation import FeatureAblation
from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.attribution.guided import Deconvolution, GuidedBackprop
from xai_fast.attribution.kernel_shap import KernelSHAP
from xai_fast.attribution.lime import LIME
from xai_fast.attribution.lrp import LRP
from xai_fast.attribution.neflag import NeFLAG
from xai_fast.attribution.occlusion import Occlusion
from xai_fast.attribution.quantitative_input_influence import QuantitativeInputInfluence
from xai_fast.attribution.rise import RISE
from xai_fast.attribution.saliency import GradientXInput, Saliency
from xai_fast.attribution.shapley_sampling import ShapleySampling

__all__ = [
    "LIME",
    "LRP",
    "RISE",
    "AttCAT",
    "AttentionRollout",
    "Deconvolution",
    "FeatureAblation",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientXInput",
    "GuidedBackprop",
    "KernelSHAP",
    "NeFLAG",
    "Occlusion",
    "QuantitativeInputInfluence",
    "Saliency",
    "ShapleySampling",
    "TransformerAttribution",
]
