"""xai_fast explains PyTorch models in big batches, at the cost of little more than their own gradients."""

from importlib.metadata import PackageNotFoundError, version

from xai_fast.attribution import (
    LRP,
    AblationCAM,
    AttCAT,
    AttentionRollout,
    Deconvolution,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    GradientXInput,
    GuidedBackprop,
    GuidedGradCAM,
    HiResCAM,
    LayerCAM,
    NeFLAG,
    Saliency,
    ScoreCAM,
    TransformerAttribution,
)
from xai_fast.backends import use_backend
from xai_fast.engine.extra import shared
from xai_fast.errors import (
    BackendUnavailable,
    InputError,
    JobError,
    ModelError,
    StoreError,
    UnsupportedOperation,
    XaiFastError,
    ZeroCurvatureError,
)
from xai_fast.explanation import Explanation
from xai_fast.interaction import (
    GLIDER,
    GNNLRP,
    NID,
    TNID,
    BiLRP,
    Detector,
    IntegratedHessians,
    InteractionMap,
    InteractionRanking,
    TaylorCAM,
    fit_mlp,
)
from xai_fast.method import Method
from xai_fast.registry import detectors, methods

try:
    __version__ = version("xai-fast")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+source"

__all__ = [
    "GLIDER",
    "GNNLRP",
    "LRP",
    "NID",
    "TNID",
    "AblationCAM",
    "AttCAT",
    "AttentionRollout",
    "BackendUnavailable",
    "BiLRP",
    "Deconvolution",
    "Detector",
    "EigenCAM",
    "Explanation",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientXInput",
    "GuidedBackprop",
    "GuidedGradCAM",
    "HiResCAM",
    "InputError",
    "IntegratedHessians",
    "InteractionMap",
    "InteractionRanking",
    "JobError",
    "LayerCAM",
    "Method",
    "ModelError",
    "NeFLAG",
    "Saliency",
    "ScoreCAM",
    "StoreError",
    "TaylorCAM",
    "TransformerAttribution",
    "UnsupportedOperation",
    "XaiFastError",
    "ZeroCurvatureError",
    "__version__",
    "detectors",
    "fit_mlp",
    "methods",
    "shared",
    "use_backend",
]
