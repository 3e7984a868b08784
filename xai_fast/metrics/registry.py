"""The metrics by name, with what a caller has to know of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from xai_fast.metrics.completeness import completeness
from xai_fast.metrics.complexity import complexity
from xai_fast.metrics.file_size import file_size
from xai_fast.metrics.input_invariance import input_invariance
from xai_fast.metrics.localization import localization
from xai_fast.metrics.non_sensitivity import non_sensitivity
from xai_fast.metrics.parameter_randomization import parameter_randomization
from xai_fast.metrics.random_logit import random_logit
from xai_fast.metrics.relative_stability import relative_stability
from xai_fast.metrics.sensitivity import sensitivity

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
    """

    function: Callable[..., Any]
    better: str
    needs: str
    cost: str
    paper: str
    value: str = "values"


_AGAIN = "an explanation per change"
_AGARWAL = "Agarwal et al., 2022"
_ARRAS = "Arras et al., Information Fusion 2022"
_HEDSTROM = "Hedström et al., 2024"

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "max_sensitivity": Metric(sensitivity, "lower", "method", _AGAIN, "Yeh et al., NeurIPS 2019"),
        "average_sensitivity": Metric(sensitivity, "lower", "method", _AGAIN, "Bhatt et al., IJCAI 2020", "average"),
        "local_lipschitz": Metric(
            sensitivity, "lower", "method", _AGAIN, "Alvarez-Melis and Jaakkola, 2018", "lipschitz"
        ),
        "relative_input_stability": Metric(relative_stability, "lower", "method", f"{_AGAIN}, and one", _AGARWAL),
        "relative_output_stability": Metric(
            relative_stability, "lower", "method", f"{_AGAIN}, and one", _AGARWAL, "output"
        ),
        "relative_representation_stability": Metric(
            relative_stability, "lower", "method", f"{_AGAIN}, and one; layer= says of what", _AGARWAL, "representation"
        ),
        "mprt": Metric(
            parameter_randomization, "lower", "method", "an explanation per layer", "Adebayo et al., NeurIPS 2018"
        ),
        "smooth_mprt": Metric(
            partial(parameter_randomization, samples=50), "lower", "method", "50 explanations per layer", _HEDSTROM
        ),
        "efficient_mprt": Metric(
            partial(parameter_randomization, only_last=True),
            "higher",
            "method",
            "two explanations",
            _HEDSTROM,
            "complexity_rise",
        ),
        "random_logit": Metric(random_logit, "lower", "method", "two explanations", "Sixt et al., ICML 2020"),
        "input_invariance": Metric(input_invariance, "lower", "method", "two explanations", "Kindermans et al., 2019"),
        "completeness": Metric(completeness, "lower", "attributions", "two", "Sundararajan et al., ICML 2017"),
        "non_sensitivity": Metric(
            non_sensitivity, "lower", "attributions", "one per pixel", "Nguyen and Martínez, 2020"
        ),
        "sparseness": Metric(complexity, "higher", "maps", "none", "Chalasani et al., ICML 2020", "sparseness"),
        "complexity": Metric(complexity, "lower", "maps", "none", "Bhatt et al., IJCAI 2020", "entropy"),
        "effective_complexity": Metric(complexity, "lower", "maps", "none", "Nguyen and Martínez, 2020", "effective"),
        "file_size": Metric(file_size, "lower", "maps", "none", "Samek et al., Proceedings of the IEEE 2021"),
        "relevance_mass": Metric(localization, "higher", "boxes", "none", _ARRAS, "mass"),
        "relevance_rank": Metric(localization, "higher", "boxes", "none", _ARRAS, "rank"),
        "top_k_intersection": Metric(localization, "higher", "boxes", "none", "Theiner et al., WACV 2022", "top_k"),
    }
)
