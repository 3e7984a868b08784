"""xai_fast explains PyTorch models in big batches, at the cost of little more than their own gradients."""

from importlib.metadata import PackageNotFoundError, version

from xai_fast import attribution
from xai_fast.attribution import *  # noqa: F403  # each of the names in its list, which is added below
from xai_fast.backends import use_backend
from xai_fast.comparison import Comparison, compare
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
    RemovalInteractions,
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
    "GNNLRP",
    "NID",
    "TNID",
    "BackendUnavailable",
    "BiLRP",
    "Comparison",
    "Detector",
    "Explanation",
    "InputError",
    "IntegratedHessians",
    "InteractionMap",
    "InteractionRanking",
    "JobError",
    "KernelKMeans",
    "Method",
    "ModelError",
    "Neuralize",
    "RemovalInteractions",
    "StoreError",
    "TaylorCAM",
    "UnsupportedOperation",
    "XaiFastError",
    "ZeroCurvatureError",
    "__version__",
    "compare",
    "detectors",
    "fit_mlp",
    "log_ratio",
    "methods",
    "neuralize",
    "shared",
    "use_backend",
]
__all__ += attribution.__all__
