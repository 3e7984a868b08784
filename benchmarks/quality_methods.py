"""The attribution methods that are compared, and the metric that compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import products
from benchmarks.quality_suites import Suite
from xai_fast import LRP, ExpectedGradients, IntegratedGradients, Method, NeFLAG, SmoothGrad
from xai_fast.metrics import gaussian_blur, insertion_deletion, rank_pixels
from xai_fast.relevance import Composite, Gamma, WSquare

__all__ = ["PAPER_METHODS", "RELEVANCE_METHODS", "Maps", "maps", "measure"]

Settings = Mapping[str, object]

PAPER_METHODS: dict[str, Settings] = {
    "Random": {"method": "random"},
    "Integrated Gradients": {"method": "integrated_gradients", "steps": 50},
    "SmoothGrad": {"method": "smoothgrad", "samples": 50, "noise": 0.15},
    "SmoothGrad, magnitude": {"method": "smoothgrad", "samples": 50, "noise": 0.15, "aggregate": "magnitude"},
    "Expected Gradients": {"method": "expected_gradients", "samples": 50},
    "NeFLAG-1": {"method": "neflag", "points": 1},
    "NeFLAG-10": {"method": "neflag", "points": 10},
    "NeFLAG-20": {"method": "neflag", "points": 20},
    "NeFLAG-20, magnitude": {"method": "neflag", "points": 20, "aggregate": "magnitude"},
}
"""The rows of the paper's tables, and the two magnitudes. Options that are not named have the method's defaults."""

_COMPOSITES = {"w2_gamma": Composite({"first": WSquare(), "convolution": Gamma(gamma=0.05)})}
_NAMES = (
    "epsilon epsilon_plus epsilon_plus_flat epsilon_gamma_box w2_gamma gamma_by_depth deep_taylor epsilon_alpha2_beta1"
)

RELEVANCE_METHODS: dict[str, Settings] = {
    **{f"LRP, {name}": {"method": "lrp", "composite": name, "low": -1.0, "high": 1.0} for name in _NAMES.split()},
    "SmoothGrad-25": {"method": "smoothgrad", "samples": 25, "noise": 0.15},
    **{name: PAPER_METHODS[name] for name in ("Integrated Gradients", "NeFLAG-20", "Random")},
}
"""The composites of `xai_fast.LRP` on pixels from -1 to 1, and what they are compared with."""


@dataclass(frozen=True)
class Maps:
    """Attributions (B, C, H, W), and the gradients that one item took on average: evaluations, or as many products."""

    attributions: Tensor
    gradients: float


def maps(suite: Suite, settings: Settings) -> Maps:
    """Compute the attributions of a suite's items. Each item has its own random numbers, whatever batch it is in.

    Args:
        suite: classifier and items.
        settings: ``method`` and its options.

    Returns:
        The maps.
    """
    options = dict(settings)
    method = str(options.pop("method"))
    if method == "random":
        seeds = [torch.Generator().manual_seed(position) for position in suite.positions]
        shape = suite.inputs[0, :1].shape
        return Maps(torch.stack([torch.rand(shape, generator=seed) for seed in seeds]), 0.0)
    if method == "lrp":
        return _relevance(suite, **options)
    # Items without negative flux keep a map of zeros; they count as they are.
    made = _METHODS[method](suite, **options)
    result = made.explain(suite.inputs, target=suite.targets, item_ids=suite.positions)
    return Maps(result.attributions, float(result.evaluations.double().mean()))


_METHODS: dict[str, Callable[..., Method]] = {
    "neflag": lambda suite, **options: NeFLAG(suite.model, **options),
    "integrated_gradients": lambda suite, **options: IntegratedGradients(
        suite.model, baseline=list(suite.black), **options
    ),
    "smoothgrad": lambda suite, **options: SmoothGrad(suite.model, **options),
    "expected_gradients": lambda suite, **options: ExpectedGradients(
        suite.model, baselines=suite.references, **options
    ),
}


def _relevance(suite: Suite, *, composite: str, **options: float) -> Maps:
    method = LRP(suite.model, composite=_COMPOSITES.get(composite, composite), **options)
    result = method.explain(suite.inputs, target=suite.targets)
    x = suite.inputs[:1].clone().requires_grad_()
    gradient = products(lambda: torch.autograd.grad(suite.model(x).sum(), x))
    relevance = products(lambda: method.explain(suite.inputs[:1], target=suite.targets[:1]))
    return Maps(result.attributions, relevance / gradient)


def measure(suite: Suite, attributions: Tensor, *, ranking: str, smooth: float, steps: int) -> dict[str, list[float]]:
    """Measure insertion and deletion, averaged over black and a blur of sigma 20, of the label's probability.

    Args:
        suite: classifier and items.
        attributions: (B, C, H, W).
        ranking: how channels become the importance of a pixel.
        smooth: standard deviation in pixels of a Gaussian over the map of importance; 0 for none.
        steps: of the curves.

    Returns:
        Deletion, insertion and difference of each item.
    """
    importance = rank_pixels(attributions, ranking=ranking).view(-1, 1, *attributions.shape[2:])
    if smooth:
        importance = gaussian_blur(importance, smooth)
    result = insertion_deletion(
        suite.model,
        suite.inputs,
        importance,
        target=suite.targets,
        ranking="signed_sum",
        steps=steps,
        black=suite.black,
    )
    return {name: getattr(result, name).tolist() for name in ("deletion", "insertion", "difference")}
