"""Every metric by its name: what a random explanation scores, and a perfect one of a linear model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from xai_fast import Explanation, GradientXInput, Method, Saliency
from xai_fast.engine.call import Call
from xai_fast.metrics import METRICS

ITEMS, SIDE = 60, 10
PIXELS = SIDE * SIDE
BOXES = [[2.0, 1.0, 6.0, 4.0]] * ITEMS
AREA = 20 / PIXELS


class Noise(Method[Explanation]):
    """Standard normal numbers, new ones in each call."""

    generator = torch.Generator().manual_seed(0)

    @override
    def _explain(self, call: Call) -> Explanation:
        x = call.values[0]
        outputs = call.run([x.clone()], call.positions(range(call.batch)))
        targets = call.targets(outputs, range(call.batch))
        return Explanation(
            attributions=torch.randn(x.shape, dtype=x.dtype, generator=self.generator),
            scores=call.objective(outputs, targets),
            targets=targets,
            evaluations=torch.ones_like(call.item_ids),
        )


class Linear(nn.Module):
    """Two outputs of weights that are zero outside of a box, behind a layer that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()
        self.weight = nn.Parameter(torch.zeros(2, 1, SIDE, SIDE, dtype=torch.float64))
        generator = torch.Generator().manual_seed(5)
        self.weight.data[:, :, 1:5, 2:7] = torch.randn(2, 1, 4, 5, dtype=torch.float64, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.same(x).flatten(1), self.weight.flatten(1))


MODEL = Linear().eval()
X = torch.randn(ITEMS, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
OPTIONS: dict[str, dict[str, Any]] = {
    "relative_representation_stability": {"layer": "same"},
    "smooth_mprt": {"samples": 3},
    "top_k_intersection": {"k": 20},
}
HALF_NORMAL = math.log(PIXELS) + math.log(math.sqrt(2 / math.pi)) - (math.log(2) - 0.57721566) / 2
"""ln N less the expected y ln y, y being a magnitude over its mean: E[|z| ln |z|] = sqrt(2 / pi) (ln 2 - gamma) / 2."""
ANY = (-math.inf, math.inf)
VALUES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    # name: what a random map scores on average, and what a perfect one does, each with a tolerance or from, to
    "max_sensitivity": ((1.58, 0.15), (0, 1e-12)),
    "average_sensitivity": ((1.42, 0.05), (0, 1e-12)),
    "local_lipschitz": ((15.8 / 0.1155, 15), (0, 1e-12)),
    "relative_input_stability": (ANY, (0, 1e-12)),
    "relative_output_stability": (ANY, (0, 1e-12)),
    "relative_representation_stability": (ANY, (0, 1e-12)),
    "mprt": ((0, 0.05), (0, 0.3)),
    "smooth_mprt": ((0, 0.05), (0, 0.3)),
    "efficient_mprt": ((0, 0.01), ANY),
    "random_logit": ((0, 0.05), ANY),
    "input_invariance": ((1.42, 0.05), (0, 1e-12)),
    "completeness": (ANY, (0, 1e-9)),
    "non_sensitivity": ((80, 1e-12), (0, 1e-12)),
    "sparseness": ((math.sqrt(2) - 1, 0.01), ANY),
    "complexity": ((HALF_NORMAL, 0.02), ANY),
    "effective_complexity": ((98, 1.5), (18.5, 1.5)),
    "file_size": (ANY, ANY),
    "relevance_mass": ((AREA, 0.01), (1, 1e-12)),
    "relevance_rank": ((AREA, 0.03), (1, 1e-12)),
    "top_k_intersection": ((AREA, 0.03), (1, 1e-12)),
}


def measured(name: str, method: Method[Any], model: nn.Module) -> Tensor:
    metric, options = METRICS[name], OPTIONS.get(name, {})
    if metric.needs == "method":
        found = metric.function(method, X, target=0, **options)
    else:
        maps = method.attribute(X, 0)
        given = {"attributions": (model, X, maps), "maps": (maps,), "boxes": (maps, BOXES)}[metric.needs]
        extra = {"target": 0, "score": "logit"} if metric.needs == "attributions" else {}
        found = metric.function(*given, **extra, **options)
    values: Tensor = getattr(found, metric.value)
    assert values.shape == (ITEMS,)
    return values.double()


@pytest.mark.parametrize("name", VALUES)
def test_random_and_perfect_explanations(name: str) -> None:
    local = METRICS[name].needs == "method"
    random = measured(name, Noise(MODEL), MODEL)
    perfect = measured(name, (Saliency if local else GradientXInput)(MODEL, score="logit"), MODEL)
    for found, (expected, tolerance) in ((random.mean(), VALUES[name][0]), (perfect.mean(), VALUES[name][1])):
        if math.isfinite(tolerance):
            assert float(found) == pytest.approx(expected, abs=tolerance), name
    if name not in ("efficient_mprt", "mprt", "smooth_mprt", "random_logit"):
        sign = 1 if METRICS[name].better == "higher" else -1
        assert sign * float(perfect.median()) > sign * float(random.median()), name


def test_every_metric_is_named_and_says_what_it_needs() -> None:
    for name, metric in METRICS.items():
        assert metric.better in ("higher", "lower"), name
        assert metric.needs in ("attributions", "method", "maps", "boxes"), name
        assert metric.cost, name
        assert metric.paper, name
    hits = METRICS["pointing_game"].function(torch.ones(1, 1, 2, 2), [[(0, 0, 0, 0)]])
    assert getattr(hits, METRICS["pointing_game"].value).tolist() == [True]
