"""Where the positions of a layer's map lie in a model's inputs, and maps as large as these."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xai_fast.engine.axes import MapAxes

__all__ = ["at_positions", "input_positions", "resized"]


def input_positions(inputs: Tensor, axes: MapAxes) -> tuple[int, ...] | None:
    """Return the axes of a model's inputs that are the positions of a layer's map; None where the inputs have others.

    Inputs are (B, C, ...), such as pictures, or (B, ...) without channels, such as token numbers; where the layer has n
    tokens, inputs (B, n, ...) are those.
    """
    sides = len(axes.grid)
    if inputs.ndim - sides not in (1, 2):
        return None
    tokens = sides == 1 and axes.layout != "channels_first" and inputs.shape[1] == axes.grid[0]
    return (1,) if tokens else tuple(range(inputs.ndim - sides, inputs.ndim))


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (R, h, w), or maps of one or three dimensions, linearly, the corners of the pictures in the same place."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[maps.ndim - 1]
    return nn.functional.interpolate(maps[:, None], tuple(size), mode=mode, align_corners=False)[:, 0]


def at_positions(maps: Tensor, inputs: Tensor, positions: Sequence[int]) -> Tensor:
    """Give maps (R, ...), as large as the positions of inputs (R, ...), as many axes as these have."""
    return maps.reshape(-1, *(inputs.shape[i] if i in positions else 1 for i in range(1, inputs.ndim)))
