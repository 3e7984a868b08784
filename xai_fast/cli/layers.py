"""The layer whose cells are explained: the one that suits a known model, or what a user may choose from."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xai_fast.errors import bad_argument

if TYPE_CHECKING:
    from xai_fast.images import ImageModel

__all__ = ["KNOWN_LAYERS", "SIZES", "chosen_layer", "suitable_layers"]

SIZES = ("coarse", "fine")
"""Words for the layers of `KNOWN_LAYERS`; the first is the default."""

# The input of the head, and the last layer of twice the resolution: 7 x 7 and 14 x 14 cells (Lite0, ResNet-18),
# 8 x 8 and 15 x 15 (Lite1), 9 x 9 and 17 x 17 (Lite2).
KNOWN_LAYERS = {
    "efficientnet-lite0": ("_blocks.15", "_blocks.10"),
    "efficientnet-lite1": ("_blocks.20", "_blocks.14"),
    "efficientnet-lite2": ("_blocks.20", "_blocks.14"),
    "resnet18-random": ("stages", "stages.2"),
}
"""A coarse and a fine layer of the models that `xai_fast.models.load` knows by name."""

_MOST_CELLS = 900
_SHOWN = 8


def chosen_layer(wanted: str | None, name: str, model: ImageModel) -> str:
    """Return the dotted name of a layer: the wanted one, unchecked, or of the size in `SIZES` where the model is known.

    An `InputError` lists what a user may choose from where nothing is known about the model.
    """
    if wanted is not None and (wanted not in SIZES or wanted in dict(model.model.named_modules())):
        return wanted
    if name in KNOWN_LAYERS:
        return KNOWN_LAYERS[name][SIZES.index(wanted or SIZES[0])]
    layers = suitable_layers(model)
    shown = ", ".join(f"{layer} ({h} x {w} cells)" for layer, (h, w) in list(layers.items())[-_SHOWN:])
    raise bad_argument(
        "--layer", f"a layer of {name}, such as {shown or 'one that gives a feature map'}", wanted or "none"
    )


def suitable_layers(model: ImageModel) -> dict[str, tuple[int, int]]:
    """Return the dotted name and (h, w) of the last layer of each size that can be explained, in their order.

    The model runs once on a black picture, on any device.
    """
    seen: list[tuple[str, tuple[int, int]]] = []
    runs: Counter[str] = Counter()

    def keep(name: str, _layer: nn.Module, _inputs: object, output: object) -> None:
        runs[name] += 1
        if isinstance(output, Tensor) and output.ndim == 4 and 1 < output.shape[2] * output.shape[3] <= _MOST_CELLS:
            seen.append((name, (output.shape[2], output.shape[3])))

    # A padded map is only on its way to the next layer.
    handles = [
        layer.register_forward_hook(functools.partial(keep, name))
        for name, layer in model.model.named_modules()
        if name and type(layer).__module__ != "torch.nn.modules.padding"
    ]
    parameter = next(model.model.parameters(), None)
    try:
        with torch.no_grad():
            model.model(torch.zeros(1, 3, *model.size, device=None if parameter is None else parameter.device))
    finally:
        for handle in handles:
            handle.remove()
    once = [(name, grid) for name, grid in seen if runs[name] == 1]
    # Of the layers of a size the last whole block: what is deeper in the names is a step within one.
    best: dict[tuple[int, int], str] = {}
    for name, grid in once:
        if grid not in best or name.count(".") <= best[grid].count("."):
            best[grid] = name
    return {name: grid for name, grid in once if best[grid] == name}
