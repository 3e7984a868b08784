"""How good an attribution is: what replacing pixels and features says of it, and the pointing game."""

from xai_fast.engine.masked import gaussian_blur
from xai_fast.metrics.faithfulness_correlation import faithfulness_correlation
from xai_fast.metrics.faithfulness_estimate import faithfulness_estimate
from xai_fast.metrics.infidelity import infidelity
from xai_fast.metrics.insertion_deletion import InsertionDeletion, insertion_deletion
from xai_fast.metrics.interaction_auc import area_under_roc, interaction_auc, interaction_auc_on_union, r_precision
from xai_fast.metrics.irof import irof
from xai_fast.metrics.monotonicity import monotonicity, monotonicity_correlation
from xai_fast.metrics.pixel_flipping import PixelFlipping, pixel_flipping
from xai_fast.metrics.pointing_game import PointingGame, pointing_game
from xai_fast.metrics.ranking import RANKINGS, rank_pixels
from xai_fast.metrics.region_perturbation import region_perturbation
from xai_fast.metrics.registry import METRICS, Metric
from xai_fast.metrics.results import MetricResult
from xai_fast.metrics.road import road
from xai_fast.metrics.sensitivity_n import sensitivity_n
from xai_fast.metrics.sufficiency import sufficiency

__all__ = [
    "METRICS",
    "RANKINGS",
    "InsertionDeletion",
    "Metric",
    "MetricResult",
    "PixelFlipping",
    "PointingGame",
    "area_under_roc",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "gaussian_blur",
    "infidelity",
    "insertion_deletion",
    "interaction_auc",
    "interaction_auc_on_union",
    "irof",
    "monotonicity",
    "monotonicity_correlation",
    "pixel_flipping",
    "pointing_game",
    "r_precision",
    "rank_pixels",
    "region_perturbation",
    "road",
    "sensitivity_n",
    "sufficiency",
]
