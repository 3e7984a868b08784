"""First-order attribution methods, one file a method."""

from xai_fast.attribution.ablation_cam import AblationCAM
from xai_fast.attribution.agi import AGI
from xai_fast.attribution.attention import AttCAT, AttentionRollout, TransformerAttribution
from xai_fast.attribution.blur_ig import BlurIG
from xai_fast.attribution.deeplift import DeepLIFT
from xai_fast.attribution.deepshap import DeepSHAP
from xai_fast.attribution.eigen_cam import EigenCAM
from xai_fast.attribution.expected_gradients import ExpectedGradients
from xai_fast.attribution.feature_ablation import FeatureAblation
from xai_fast.attribution.fullgrad import FullGrad
from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.attribution.gradient_shap import GradientSHAP
from xai_fast.attribution.guided import Deconvolution, GuidedBackprop
from xai_fast.attribution.guided_gradcam import GuidedGradCAM
from xai_fast.attribution.guided_ig import GuidedIG
from xai_fast.attribution.hires_cam import HiResCAM
from xai_fast.attribution.integrated_gradients import IntegratedGradients
from xai_fast.attribution.kernel_shap import KernelSHAP
from xai_fast.attribution.layer_cam import LayerCAM
from xai_fast.attribution.lime import LIME
from xai_fast.attribution.lrp import LRP
from xai_fast.attribution.neflag import NeFLAG
from xai_fast.attribution.occlusion import Occlusion
from xai_fast.attribution.quantitative_input_influence import QuantitativeInputInfluence
from xai_fast.attribution.rise import RISE
from xai_fast.attribution.saliency import GradientXInput, Saliency
from xai_fast.attribution.score_cam import ScoreCAM
from xai_fast.attribution.shapley_sampling import ShapleySampling
from xai_fast.attribution.smoothgrad import SmoothGrad

__all__ = [
    "AGI",
    "LIME",
    "LRP",
    "RISE",
    "AblationCAM",
    "AttCAT",
    "AttentionRollout",
    "BlurIG",
    "Deconvolution",
    "DeepLIFT",
    "DeepSHAP",
    "EigenCAM",
    "ExpectedGradients",
    "FeatureAblation",
    "FullGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientSHAP",
    "GradientXInput",
    "GuidedBackprop",
    "GuidedGradCAM",
    "GuidedIG",
    "HiResCAM",
    "IntegratedGradients",
    "KernelSHAP",
    "LayerCAM",
    "NeFLAG",
    "Occlusion",
    "QuantitativeInputInfluence",
    "Saliency",
    "ScoreCAM",
    "ShapleySampling",
    "SmoothGrad",
    "TransformerAttribution",
]
