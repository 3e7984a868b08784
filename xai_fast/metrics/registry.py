"""The metrics by name, with what a caller has to know of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from xai_fast.metrics.completeness import completeness
from xai_fast.metrics.complexity import complexity
from xai_fast.metrics.faithfulness_correlation import faithfulness_correlation
from xai_fast.metrics.faithfulness_estimate import faithfulness_estimate
from xai_fast.metrics.file_size import file_size
from xai_fast.metrics.infidelity import infidelity
from xai_fast.metrics.input_invariance import input_invariance
from xai_fast.metrics.insertion_deletion import insertion_deletion
from xai_fast.metrics.irof import irof
from xai_fast.metrics.localization import localization
from xai_fast.metrics.monotonicity import monotonicity, monotonicity_correlation
from xai_fast.metrics.non_sensitivity import non_sensitivity
from xai_fast.metrics.parameter_randomization import parameter_randomization
from xai_fast.metrics.pixel_flipping import pixel_flipping
from xai_fast.metrics.pointing_game import pointing_game
from xai_fast.metrics.random_logit import random_logit
from xai_fast.metrics.region_perturbation import region_perturbation
from xai_fast.metrics.relative_stability import relative_stability
from xai_fast.metrics.road import road
from xai_fast.metrics.sensitivity import sensitivity
from xai_fast.metrics.sensitivity_n import sensitivity_n
from xai_fast.metrics.sufficiency import sufficiency

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """A metric, and how to use it.

    Attributes:
        function: of what ``needs`` says, and options by name.
        better: "higher" or "lower".
        needs: "attributions": ``function(model, inputs, attributions)``; "method": ``function(method, inputs)``, which
            explains again; "maps": ``function(attributions)``; "boxes": ``function(attributions, boxes)``.
        cost: evaluations of the model per item, in words.
        paper: where it was introduced.
        value: the field of the function's result that has the metric of each item, (B,).
        alone: whether the metric of an item does not depend on the others of its batch.
    """

    function: Callable[..., Any]
    better: str
    needs: str
    cost: str
    paper: str
    value: str = "values"
    alone: bool = True


_again = partial(Metric, needs="method")
_perturbed = partial(_again, better="lower", cost="an explanation per change")
_stability = partial(_again, relative_stability, "lower", cost="an explanation per change, and one")
_map = partial(Metric, needs="maps", cost="none")
_boxes = partial(Metric, localization, "higher", "boxes", "none")
_AGARWAL, _ARRAS, _HEDSTROM = "Agarwal et al., 2022", "Arras et al., Information Fusion 2022", "Hedström et al., 2024"
_LAYERS = "an explanation per layer"
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
        "sufficiency": Metric(sufficiency, "higher", "attributions", "one", "Dasgupta et al., ICML 2022", alone=False),
        "pointing_game": Metric(pointing_game, "higher", "boxes", "none", "Zhang et al., ECCV 2016", "hits"),
        "max_sensitivity": _perturbed(sensitivity, paper="Yeh et al., NeurIPS 2019"),
        "average_sensitivity": _perturbed(sensitivity, paper="Bhatt et al., IJCAI 2020", value="average"),
        "local_lipschitz": _perturbed(sensitivity, paper="Alvarez-Melis and Jaakkola, 2018", value="lipschitz"),
        "relative_input_stability": _stability(paper=_AGARWAL),
        "relative_output_stability": _stability(paper=_AGARWAL, value="output"),
        "relative_representation_stability": _stability(paper=f"{_AGARWAL}; needs layer=", value="representation"),
        "mprt": _again(parameter_randomization, "lower", cost=_LAYERS, paper="Adebayo et al., NeurIPS 2018"),
        "smooth_mprt": _again(
            partial(parameter_randomization, samples=50), "lower", cost=f"50 times {_LAYERS}", paper=_HEDSTROM
        ),
        "efficient_mprt": _again(
            partial(parameter_randomization, only_last=True),
            "higher",
            cost="two explanations",
            paper=_HEDSTROM,
            value="complexity_rise",
        ),
        "random_logit": _again(random_logit, "lower", cost="two explanations", paper="Sixt et al., ICML 2020"),
        "input_invariance": _again(input_invariance, "lower", cost="two explanations", paper="Kindermans et al., 2019"),
        "completeness": Metric(completeness, "lower", "attributions", "two", "Sundararajan et al., ICML 2017"),
        "non_sensitivity": Metric(
            non_sensitivity, "lower", "attributions", "one per pixel", "Nguyen and Martínez, 2020"
        ),
        "sparseness": _map(complexity, "higher", paper="Chalasani et al., ICML 2020", value="sparseness"),
        "complexity": _map(complexity, "lower", paper="Bhatt et al., IJCAI 2020", value="entropy"),
        "effective_complexity": _map(complexity, "lower", paper="Nguyen and Martínez, 2020", value="effective"),
        "file_size": _map(file_size, "lower", paper="Samek et al., Proceedings of the IEEE 2021"),
        "relevance_mass": _boxes(paper=_ARRAS, value="mass"),
        "relevance_rank": _boxes(paper=_ARRAS, value="rank"),
        "top_k_intersection": _boxes(paper="Theiner et al., WACV 2022", value="top_k"),
    }
)
