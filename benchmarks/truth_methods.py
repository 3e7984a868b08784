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

__all__ = [
    "DEFAULTS",
    "GRID",
    "OTHERS",
    "OURS",
    "PAPER",
    "RADII",
    "READINGS",
    "ROAD_SHARES",
    "STEPS",
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


_COMPOSITES = ("epsilon_plus", "w2_gamma", "epsilon_gamma_box", "epsilon")
_OTHER_COMPOSITES = ("epsilon_plus_flat", "gamma_by_depth", "deep_taylor", "epsilon_alpha2_beta1")
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
    "SmoothGrad": {"method": "smoothgrad", "samples": 25},
    "Integrated Gradients": {"method": "integrated_gradients", "steps": 50, "baseline": "black"},
    "Expected Gradients": {"method": "expected_gradients", "samples": 50, "baselines": "data"},
}
OTHERS: dict[str, Settings] = {
    **{f"LRP, {name}": _lrp(name) for name in _OTHER_COMPOSITES},
    "NeFLAG-20, magnitude": _neflag(20, aggregate="magnitude"),
    "SmoothGrad, magnitude": {"method": "smoothgrad", "samples": 25, "aggregate": "magnitude"},
    "Guided IG": {"method": "guided_ig", "steps": 50, "baseline": "black"},
    "Occlusion": _WINDOWS,
    "RISE": {"method": "rise", "masks": 250, "baseline": "black"},
}
"""The methods as a user has them, but for the masks of RISE, of which 4,000 are usual. The others come last."""

PAPER = ("Random", "Integrated Gradients", "SmoothGrad", "Expected Gradients", "NeFLAG-1", "NeFLAG-10", "NeFLAG-20")
"""The rows of NeFLAG's tables."""

OURS = "NeFLAG"
"""The method whose paired differences are shown."""

RADII = {"0.05": _neflag(10), "0.1": _neflag(10, radius=0.2), "0.2": _neflag(10, radius=0.4)}
"""Radius in units of inputs from 0 to 1 to settings; inputs of the networks go from -1 to 1."""

GRID: dict[str, Sequence[Settings]] = {
    "LRP": [_lrp(name) for name in _COMPOSITES[:3]],
    OURS: [
        _neflag(5, score="logit", radius=radius, aggregate=aggregate)
        for radius in (0.1, 0.4)
        for aggregate in ("signed", "magnitude")
    ],
    "SmoothGrad": [
        {"method": "smoothgrad", "samples": 10, "noise": noise, "aggregate": aggregate}
        for noise in (0.15, 0.3)
        for aggregate in ("signed", "magnitude")
    ],
    "Integrated Gradients": [
        {"method": "integrated_gradients", "steps": 10, "baseline": baseline} for baseline in ("black", "blur")
    ],
    "Guided IG": [{"method": "guided_ig", "steps": 10, "baseline": "black"}],
    "Saliency": [{"method": "saliency", "score": score} for score in ("logit", "probability")],
    "Grad-CAM": [{"method": "gradcam", "layer": layer, "upsample": True} for layer in ("coarse", "fine")],
    "Occlusion": [_WINDOWS | {"window": "1/4", "stride": "1/7"}],
}
"""Method to the settings of which the best is chosen, with the best of `READINGS`; who samples has eleven gradients."""

READINGS = ("sum_of_abs", "sum_of_abs, blur 4", "signed_sum, blur 4")
"""How a map becomes an order of pixels: a rule of `rank_pixels`, and a Gaussian of 4 pixels over what it gives."""

ROAD_SHARES = (0.1, 0.3, 0.5)

STEPS = {"curves": 8, "tuning": 4}
"""Of the curves that are reported, and of those that settings are chosen by."""


def _options(suite: Suite, settings: Settings) -> dict[str, Any]:
    side = suite.inputs.shape[-1]
    words = {
        "black": list(suite.black),
        "data": suite.references,
        "coarse": suite.layers[0],
        "fine": suite.layers[1],
        **{f"1/{part}": max(1, side // part) for part in (4, 7, 14)},
    }
    return {k: words.get(v, v) if isinstance(v, str) else v for k, v in settings.items() if k != "method"}


def attributions(suite: Suite, items: Sequence[int], settings: Settings) -> tuple[Tensor, float]:
    """Explain items; what is random depends on their positions.

    Returns:
        The maps (B, C, H, W), and the cost of one: products of matrices and convolutions, in those of a gradient of the
        network. A method that traces the model has done so in it.
    """
    x, positions = suite.inputs[items], [suite.positions[item] for item in items]
    method = find_method(str(settings["method"]))(suite.model, **_options(suite, settings))
    found: list[Tensor] = []
    target = suite.targets[items]
    spent = products(lambda: found.append(method.explain(x, target=target, item_ids=positions).attributions))
    point = x[:1].clone().requires_grad_()
    gradient = products(lambda: torch.autograd.grad(suite.model(point).sum(), point))
    return found[0].reshape(len(x), -1, *x.shape[2:]), spent / gradient / len(x)  # maps of layers have no channels


def read(found: Tensor, reading: str) -> tuple[Tensor, str]:
    """Make the maps (B, C, H, W) that a metric takes, and their ``ranking``, from maps and one of `READINGS`.

    "per_channel" is a reading too, and leaves the maps as they are.
    """
    if reading == "per_channel":
        return found, reading
    rule, _, blur = reading.partition(", blur ")
    importance = rank_pixels(found, ranking=rule).view(-1, 1, *found.shape[2:])
    return gaussian_blur(importance, float(blur)) if blur else importance, "signed_sum"


def measure(suite: Suite, items: Sequence[int], metric: str, importance: Tensor, ranking: str) -> list[list[float]]:
    """Measure maps of items, as `read` gives them, by the label's probability.

    Returns:
        For each item, of "road" one number, and of the metrics in `STEPS` the deletion and the insertion, black and a
        blur of sigma 20 averaged.
    """
    x = suite.inputs[items]
    call: Any = {"target": suite.targets[items], "score": "probability", "ranking": ranking}
    if metric == "road":
        return road(suite.model, x, importance, shares=ROAD_SHARES, **call).values[:, None].tolist()
    curves = insertion_deletion(suite.model, x, importance, steps=STEPS[metric], black=suite.black, **call)
    return torch.stack([curves.deletion, curves.insertion], 1).tolist()
