"""xai_fast explains PyTorch models in big batches, at the cost of little more than their own gradients."""

from importlib.metadata import PackageNotFoundError, version

from xai_fast.attribution import (
    LRP,
    AttCAT,
    AttentionRollout,
    Deconvolution,
    GradCAM,
    GradCAMPlusPlus,
    GradientXInput,
    GuidedBackprop,
    NeFLAG,
    Saliency,
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
    NID,
    TNID,
    Detector,
    IntegratedHessians,
    InteractionMap,
    InteractionRanking,
    TaylorCAM,
    fit_mlp,
)
from xai_fast.method import Method
from xai_fast.neuralize import KernelKMeans, Neuralize, log_ratio, neuralize
from xai_fast.registry import detectors, methods

try:
    __version__ = version("xai-fast")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+source"

__all__ = [
    "GLIDER",
    "LRP",
    "NID",
    "TNID",
    "AttCAT",
    "AttentionRollout",
    "BackendUnavailable",
    "Deconvolution",
    "Detector",
    "Explanation",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientXInput",
    "GuidedBackprop",
    "InputError",
    "IntegratedHessians",
    "InteractionMap",
    "InteractionRanking",
    "JobError",
    "KernelKMeans",
    "Method",
    "ModelError",
    "NeFLAG",
    "Neuralize",
    "Saliency",
    "StoreError",
    "TaylorCAM",
    "TransformerAttribution",
    "UnsupportedOperation",
    "XaiFastError",
    "ZeroCurvatureError",
    "__version__",
    "detectors",
    "fit_mlp",
    "log_ratio",
    "methods",
    "neuralize",
    "shared",
    "use_backend",
]
