"""The attribution methods that are compared, their settings, and what measures a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import products
from benchmarks.suites import Suite
from xai_fast.metrics import gaussian_blur, insertion_deletion, rank_pixels, road
from xai_fast.registry import find_method
from xai_fast.relevance import Composite, Gamma, WSquare

__all__ = [
    "DEFAULTS",
    "GRID",
    "OURS",
    "PAPER",
    "RADII",
    "READINGS",
    "ROAD_SHARES",
    "Settings",
    "attributions",
    "measure",
    "read",
]

Settings = Mapping[str, object]
"""The name of a method, and its options; words of the options stand for what `_options` gives them."""


def _lrp(composite: str) -> Settings:
    return {"method": "lrp", "composite": composite, "low": -1.0, "high": 1.0}


def _neflag(points: int, **options: object) -> Settings:
    return {"method": "neflag", "points": points, **options}


_COMPOSITES = (
    "epsilon_plus",
    "w2_gamma",
    "epsilon_gamma_box",
    "epsilon_plus_flat",
    "gamma_by_depth",
    "deep_taylor",
    "epsilon_alpha2_beta1",
    "epsilon",
)
_WINDOWS: Settings = {"method": "occlusion", "window": "1/7", "stride": "1/14", "baseline": "black"}

DEFAULTS: dict[str, Settings] = {
    "Random": {"method": "random"},
    "Saliency": {"method": "saliency"},
    "Grad-CAM": {"method": "gradcam", "layer": "coarse", "upsample": True},
    "LayerCAM": {"method": "layer_cam", "layer": "coarse", "upsample": True},
    **{f"LRP, {name}": _lrp(name) for name in _COMPOSITES},
    "NeFLAG-1": _neflag(1),
    "NeFLAG-10": _neflag(10),
    "NeFLAG-20": _neflag(20),
    "NeFLAG-20, magnitude": _neflag(20, aggregate="magnitude"),
    "SmoothGrad": {"method": "smoothgrad", "samples": 25},
    "SmoothGrad, magnitude": {"method": "smoothgrad", "samples": 25, "aggregate": "magnitude"},
    "Integrated Gradients": {"method": "integrated_gradients", "steps": 50, "baseline": "black"},
    "Expected Gradients": {"method": "expected_gradients", "samples": 50, "baselines": "data"},
    "Guided IG": {"method": "guided_ig", "steps": 50, "baseline": "black"},
    "Occlusion": _WINDOWS,
    "RISE": {"method": "rise", "masks": 250, "baseline": "black"},
}
"""The methods as a user has them, but for the masks of RISE, of which 4,000 are usual. Cheap ones come first."""

PAPER = ("Random", "Integrated Gradients", "SmoothGrad", "Expected Gradients", "NeFLAG-1", "NeFLAG-10", "NeFLAG-20")
"""The rows of NeFLAG's tables."""

OURS = "NeFLAG"
"""The method whose paired differences are shown."""

RADII: dict[str, Settings] = {f"{radius:g}": _neflag(10, radius=2 * radius) for radius in (0.05, 0.1, 0.2)}
"""Radius in units of inputs from 0 to 1 to settings; inputs of the networks go from -1 to 1."""

GRID: dict[str, Sequence[Settings]] = {
    "LRP": [_lrp(name) for name in _COMPOSITES],
    OURS: [
        _neflag(10, score="logit", radius=radius, aggregate=aggregate)
        for radius in (0.3, 0.1, 0.6)
        for aggregate in ("signed", "magnitude")
    ],
    "SmoothGrad": [
        {"method": "smoothgrad", "samples": 20, "noise": noise, "aggregate": aggregate}
        for noise in (0.15, 0.3, 0.05)
        for aggregate in ("signed", "magnitude")
    ],
    "Integrated Gradients": [
        {"method": "integrated_gradients", "steps": 20, "baseline": baseline} for baseline in ("black", 0.0, "blur")
    ],
    "Expected Gradients": [
        {"method": "expected_gradients", "samples": 20, "baselines": baselines} for baselines in ("data", "uniform")
    ],
    "Guided IG": [
        {"method": "guided_ig", "steps": 20, "baseline": "black", "fraction": fraction} for fraction in (0.1, 0.25)
    ],
    "Saliency": [{"method": "saliency", "score": score} for score in ("logit", "probability")],
    "Grad-CAM": [{"method": "gradcam", "layer": layer, "upsample": True} for layer in ("coarse", "fine")],
    "LayerCAM": [{"method": "layer_cam", "layer": layer, "upsample": True} for layer in ("coarse", "fine")],
    "Occlusion": [_WINDOWS, _WINDOWS | {"window": "1/4", "stride": "1/7"}, _WINDOWS | {"baseline": "blur"}],
    "RISE": [{"method": "rise", "masks": 150, "baseline": "black", "grid": grid} for grid in (7, 4)],
}
"""Method to the settings of which the best is chosen, with the best of `READINGS`."""

READINGS = ("sum_of_abs", "signed_sum", "sum_of_abs, blur 4", "signed_sum, blur 4")
"""How a map becomes an order of pixels: a rule of `rank_pixels`, and a Gaussian of 4 pixels over what it gives."""

ROAD_SHARES = (0.1, 0.3, 0.5)


def _options(suite: Suite, settings: Settings) -> dict[str, Any]:
    side = suite.inputs.shape[-1]
    words = {
        "black": list(suite.black),
        "data": suite.references,
        "coarse": suite.layers[0],
        "fine": suite.layers[1],
        "w2_gamma": Composite({"first": WSquare(), "convolution": Gamma(gamma=0.05)}),
        **{f"1/{part}": max(1, side // part) for part in (4, 7, 14)},
    }
    return {k: words.get(v, v) if isinstance(v, str) else v for k, v in settings.items() if k != "method"}


def attributions(suite: Suite, item: int, settings: Settings) -> tuple[Tensor, float]:
    """Explain one item; what is random depends on its position.

    Returns:
        The map (1, C, H, W), and its cost: products of matrices and convolutions, in those of a gradient of the
        network. The first call of some methods traces the model, which is in it.
    """
    x, position = suite.inputs[item : item + 1], suite.positions[item]
    if settings["method"] == "random":
        return torch.rand(x.shape, generator=torch.Generator().manual_seed(position)), 0.0
    method = find_method(str(settings["method"]))(suite.model, **_options(suite, settings))
    found: list[Tensor] = []
    target = suite.targets[item : item + 1]
    spent = products(lambda: found.append(method.explain(x, target=target, item_ids=[position]).attributions))
    point = x.clone().requires_grad_()
    gradient = products(lambda: torch.autograd.grad(suite.model(point).sum(), point))
    return found[0].reshape(1, -1, *x.shape[2:]), spent / gradient  # maps of layers come without channels


def read(found: Tensor, reading: str) -> tuple[Tensor, str]:
    """Make the map (1, C, H, W) that a metric takes, and its ``ranking``, from a map and one of `READINGS`.

    "per_channel" is a reading too, and leaves the map as it is.
    """
    if reading == "per_channel":
        return found, reading
    rule, _, blur = reading.partition(", blur ")
    importance = rank_pixels(found, ranking=rule).view(1, 1, *found.shape[2:])
    return gaussian_blur(importance, float(blur)) if blur else importance, "signed_sum"


def measure(suite: Suite, item: int, metric: str, importance: Tensor, ranking: str, steps: int) -> list[float]:
    """Measure a map of an item, as `read` gives it, by the label's probability.

    Returns:
        Of "curves" the deletion and the insertion, black and a blur of sigma 20 averaged; of "road" one number.
    """
    x, target = suite.inputs[item : item + 1], suite.targets[item : item + 1]
    call: Any = {"target": target, "score": "probability", "ranking": ranking}
    if metric == "road":
        return [float(road(suite.model, x, importance, shares=ROAD_SHARES, **call).values)]
    curves = insertion_deletion(suite.model, x, importance, steps=steps, black=suite.black, **call)
    return [float(curves.deletion), float(curves.insertion)]
