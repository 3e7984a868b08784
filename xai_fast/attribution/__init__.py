"""First-order attribution methods, one file a method."""

from xai_fast.attribution.ablation_cam import AblationCAM
from xai_fast.attribution.attention import AttCAT, AttentionRollout, TransformerAttribution
from xai_fast.attribution.eigen_cam import EigenCAM
from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.attribution.guided import Deconvolution, GuidedBackprop
from xai_fast.attribution.guided_gradcam import GuidedGradCAM
from xai_fast.attribution.hires_cam import HiResCAM
from xai_fast.attribution.layer_cam import LayerCAM
from xai_fast.attribution.lrp import LRP
from xai_fast.attribution.neflag import NeFLAG
from xai_fast.attribution.saliency import GradientXInput, Saliency
from xai_fast.attribution.score_cam import ScoreCAM

__all__ = [
    "LRP",
    "AblationCAM",
    "AttCAT",
    "AttentionRollout",
    "Deconvolution",
    "EigenCAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientXInput",
    "GuidedBackprop",
    "GuidedGradCAM",
    "HiResCAM",
    "LayerCAM",
    "NeFLAG",
    "Saliency",
    "ScoreCAM",
    "TransformerAttribution",
]
