"""How good an attribution is: faithfulness, robustness, randomisation, complexity and localisation, see `METRICS`."""

from xai_fast.engine.masked import gaussian_blur
from xai_fast.metrics.completeness import Completeness, completeness
from xai_fast.metrics.complexity import Complexity, complexity
from xai_fast.metrics.explained import PERTURBATIONS, MethodCallOptions
from xai_fast.metrics.faithfulness_correlation import faithfulness_correlation
from xai_fast.metrics.faithfulness_estimate import faithfulness_estimate
from xai_fast.metrics.file_size import FileSize, file_size
from xai_fast.metrics.infidelity import infidelity
from xai_fast.metrics.input_invariance import input_invariance
from xai_fast.metrics.insertion_deletion import InsertionDeletion, insertion_deletion
from xai_fast.metrics.interaction_auc import area_under_roc, interaction_auc, interaction_auc_on_union, r_precision
from xai_fast.metrics.irof import irof
from xai_fast.metrics.localization import Localization, localization
from xai_fast.metrics.monotonicity import monotonicity, monotonicity_correlation
from xai_fast.metrics.non_sensitivity import NonSensitivity, non_sensitivity
from xai_fast.metrics.parameter_randomization import ParameterRandomization, parameter_randomization
from xai_fast.metrics.pixel_flipping import PixelFlipping, pixel_flipping
from xai_fast.metrics.pointing_game import PointingGame, pointing_game
from xai_fast.metrics.random_logit import RandomLogit, random_logit
from xai_fast.metrics.ranking import RANKINGS, rank_pixels
from xai_fast.metrics.region_perturbation import region_perturbation
from xai_fast.metrics.registry import METRICS, Metric
from xai_fast.metrics.relative_stability import RelativeStability, relative_stability
from xai_fast.metrics.results import CallOptions, MetricResult, ModelCallOptions
from xai_fast.metrics.road import road
from xai_fast.metrics.sensitivity import Sensitivity, sensitivity
from xai_fast.metrics.sensitivity_n import sensitivity_n
from xai_fast.metrics.similarity import SIMILARITIES
from xai_fast.metrics.sufficiency import sufficiency

__all__ = [
    "METRICS",
    "PERTURBATIONS",
    "RANKINGS",
    "SIMILARITIES",
    "CallOptions",
    "Completeness",
    "Complexity",
    "FileSize",
    "InsertionDeletion",
    "Localization",
    "MethodCallOptions",
    "Metric",
    "MetricResult",
    "ModelCallOptions",
    "NonSensitivity",
    "ParameterRandomization",
    "PixelFlipping",
    "PointingGame",
    "RandomLogit",
    "RelativeStability",
    "Sensitivity",
    "area_under_roc",
    "completeness",
    "complexity",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "file_size",
    "gaussian_blur",
    "infidelity",
    "input_invariance",
    "insertion_deletion",
    "interaction_auc",
    "interaction_auc_on_union",
    "irof",
    "localization",
    "monotonicity",
    "monotonicity_correlation",
    "non_sensitivity",
    "parameter_randomization",
    "pixel_flipping",
    "pointing_game",
    "r_precision",
    "random_logit",
    "rank_pixels",
    "region_perturbation",
    "relative_stability",
    "road",
    "sensitivity",
    "sensitivity_n",
    "sufficiency",
]
