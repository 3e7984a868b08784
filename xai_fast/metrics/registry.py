"""The metrics by name, with what a caller has to know of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from xai_fast.metrics.faithfulness_correlation import faithfulness_correlation
from xai_fast.metrics.faithfulness_estimate import faithfulness_estimate
from xai_fast.metrics.infidelity import infidelity
from xai_fast.metrics.insertion_deletion import insertion_deletion
from xai_fast.metrics.irof import irof
from xai_fast.metrics.monotonicity import monotonicity, monotonicity_correlation
from xai_fast.metrics.pixel_flipping import pixel_flipping
from xai_fast.metrics.pointing_game import pointing_game
from xai_fast.metrics.region_perturbation import region_perturbation
from xai_fast.metrics.road import road
from xai_fast.metrics.sensitivity_n import sensitivity_n
from xai_fast.metrics.sufficiency import sufficiency

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """A metric, and how to use it.

    Attributes:
        function: of a model, inputs, and what it needs; the pointing game takes only attributions and boxes.
        better: "higher" or "lower".
        needs: "attributions"; "method", which explains again; or "boxes", with the attributions.
        cost: evaluations of the model per item, in words.
        paper: where it was introduced.
        value: the field of the function's result that has the metric of each item, (B,).
    """

    function: Callable[..., Any]
    better: str
    needs: str
    cost: str
    paper: str
    value: str = "values"


_RISE = "Petsiuk et al., BMVC 2018"
_AXES = "two per step and baseline"
_SAMEK = "Samek et al., TNNLS 2017"

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "insertion": Metric(insertion_deletion, "higher", "attributions", _AXES, _RISE, "insertion"),
        "deletion": Metric(insertion_deletion, "lower", "attributions", _AXES, _RISE, "deletion"),
        "insertion_deletion": Metric(
            insertion_deletion, "higher", "attributions", _AXES, "Li et al., IJCAI 2023", "difference"
        ),
        "pixel_flipping": Metric(
            pixel_flipping, "higher", "attributions", "one per step", "Bach et al., PLOS ONE 2015", "aopc"
        ),
        "aopc_morf": Metric(
            partial(region_perturbation, order="morf"), "higher", "attributions", "one per region", _SAMEK
        ),
        "aopc_lerf": Metric(
            partial(region_perturbation, order="lerf"), "lower", "attributions", "one per region", _SAMEK
        ),
        "abpc": Metric(region_perturbation, "higher", "attributions", "two per region", "Schulz et al., ICLR 2020"),
        "irof": Metric(irof, "higher", "attributions", "one per superpixel", "Rieger and Hansen, ICLR workshop 2020"),
        "road": Metric(
            road,
            "higher",
            "attributions",
            "two per share of pixels, and a linear system each",
            "Rong et al., ICML 2022",
        ),
        "faithfulness_correlation": Metric(
            faithfulness_correlation, "higher", "attributions", "one per subset", "Bhatt et al., IJCAI 2020"
        ),
        "faithfulness_estimate": Metric(
            faithfulness_estimate,
            "higher",
            "attributions",
            "one per feature",
            "Alvarez-Melis and Jaakkola, NeurIPS 2018",
        ),
        "sensitivity_n": Metric(
            sensitivity_n, "higher", "attributions", "one per subset of each size", "Ancona et al., ICLR 2018"
        ),
        "monotonicity": Metric(monotonicity, "higher", "attributions", "one per feature", "Arya et al., 2019"),
        "monotonicity_correlation": Metric(
            monotonicity_correlation, "higher", "attributions", "ten per feature", "Nguyen and Martinez, 2020"
        ),
        "infidelity": Metric(infidelity, "lower", "attributions", "one per perturbation", "Yeh et al., NeurIPS 2019"),
        "sufficiency": Metric(sufficiency, "higher", "attributions", "one", "Dasgupta et al., ICML 2022"),
        "pointing_game": Metric(pointing_game, "higher", "boxes", "none", "Zhang et al., ECCV 2016", "hits"),
    }
)
