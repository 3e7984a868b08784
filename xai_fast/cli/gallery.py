"""The gallery of the demo: a few photos, explained by every method that explains pictures, side by side on one page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from xai_fast.cli.layers import SIZES, chosen_layer
from xai_fast.errors import XaiFastError
from xai_fast.jobs.methods import MethodSpec
from xai_fast.method import Method
from xai_fast.references import LoadedModel
from xai_fast.registry import methods
from xai_fast.terminal import say, shown

if TYPE_CHECKING:
    from xai_fast.datasets import Photo
    from xai_fast.explanation import Explanation
    from xai_fast.plot import Look

__all__ = ["OPTIONS", "explain_gallery", "options_of"]

OPTIONS: dict[str, dict[str, object]] = {
    "neflag": {"radius": 0.3, "aggregate": "magnitude"},
    # Of EfficientNet-Lite, where a ReLU6 is next. A block ends without, and the loss of a channel then has the sign of
    # its mean: weights times channels have it twice.
    "ablation_cam": {"layer": "_bn1"},
    "deepshap": {"baselines": [-1.0, 0.0, 1.0]},
    "integrated_gradients": {"steps": 20},
    "smoothgrad": {"samples": 16},
    "expected_gradients": {"samples": 16},
    "gradient_shap": {"samples": 16},
    "guided_ig": {"steps": 20},
    "blur_ig": {"steps": 16},
    "agi": {"classes": 4, "max_steps": 8},
    "occlusion": {"window": 48, "stride": 24},
    "rise": {"masks": 160},
    "shapley_sampling": {"permutations": 2},
    "quantitative_input_influence": {"baseline": [[[[-1.0]]], [[[0.0]]], [[[1.0]]]], "permutations": 2},
    "lime": {"samples": 160},
    "kernel_shap": {"samples": 160},
    "removal_interactions": {"layer": "fine"},  # behind the coarse one cells are only added up
}
"""Options by method where the defaults take long or do not suit, or there is none; `options_of` has those of many.

A layer is only for models that have one of this name."""

_CELLS = 7
"""Rows and columns of the features that methods leave out."""


def options_of(
    name: str, method: type[Method], model: str, loaded: LoadedModel, asked: Mapping[str, object] = {}
) -> dict[str, object]:
    """Choose the options of a method for the pictures of a model.

    Args:
        name: of the method.
        method: its class; its options with these names are given: "features", "upsample", "low", "high", and "layer"
            where it has no default.
        model: the name of the model.
        loaded: the model.
        asked: what a user gave.

    Returns:
        Option to value: what the user gave, those in `OPTIONS`, and those above. What is left out has its default.
    """
    network, known, given = loaded.for_pictures(), method.options(), OPTIONS.get(name, {})
    shared: dict[str, object] = {
        "features": _CELLS,
        "upsample": True,
        "low": float(network.black.min()),
        "high": float(network.white.max()),
    }
    options = {option: value for option, value in shared.items() if option in known} | given | dict(asked)
    layer = known.get("layer")
    if layer is not None and layer.default is layer.empty:
        there = {*SIZES, *dict(network.model.named_modules())}
        wanted = asked.get("layer") or (given["layer"] if given.get("layer") in there else None)
        options["layer"] = chosen_layer(None if wanted is None else str(wanted), model, network)
    return options


def explain_gallery(
    photos: Sequence[Photo],
    model: str,
    loaded: LoadedModel,
    out: Path,
    look: Look,
    *,
    target: int | Callable[..., object] | None = None,
    device: str = "cpu",
) -> None:
    """Explain photos by all methods and write the page. A method that refuses the model is named, and left out."""
    from xai_fast.plot import Front, report

    network, module = loaded.for_pictures(), loaded.module.to(device)
    pictures = [photo.open() for photo in photos]
    inputs = torch.stack([network.transform(picture) for picture in pictures]).to(device)
    found: dict[str, Explanation] = {}
    seconds: dict[str, float] = {}
    for name, method in methods().items():
        started = time.perf_counter()
        try:
            made = MethodSpec(name, options_of(name, method, model, loaded), name).make(module, 0)
            found[name] = made.explain(inputs, target)  # type: ignore[arg-type]  # what it returns is checked there
        except XaiFastError as error:
            say(f"not in the gallery: {name} ({error})")
            continue
        seconds[name] = time.perf_counter() - started
        say(f"gallery: {name}, {seconds[name]:.1f} s")
    times = ", ".join(f"{name} {value:.1f}" for name, value in sorted(seconds.items(), key=lambda one: one[1]))
    front = Front(
        title=f"{len(photos)} photo{'' if len(photos) == 1 else 's'}, {len(found)} methods",
        kicker=f"gallery \u00b7 {model}",
        settings={name: one.settings for name, one in found.items()},
        notes=[f"Seconds for all photos on {device}: {times}."],
    )
    crops, names = [network.crop(picture, 2) for picture in pictures], [photo.name for photo in photos]
    page = report(
        found, out, front=front, look=look, pictures=crops, names=names, class_names=network.class_names or ()
    )
    say(f"report: {shown(str(page))}")
