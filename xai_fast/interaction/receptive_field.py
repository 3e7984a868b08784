"""The true place of a layer's cells in the image, found by following the operations that make them.

Dividing the size of the image by that of the map is wrong wherever a convolution or pooling does not pad by half its
kernel. Here the model runs once, on one item, and each operation carries on which pixels its result depends on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from xai_fast.engine.axes import POSITIONS, MapAxes
from xai_fast.engine.call import Call as ModelCall
from xai_fast.engine.layers import Layer, capture_output, find_layer
from xai_fast.engine.objective import Objective
from xai_fast.errors import InputError, ModelError, bad_argument
from xai_fast.interaction.footprint import Call, Footprint, UnknownFootprint, follow, input_footprint, runs_over
from xai_fast.interaction.geometry import AxisGeometry, CellGeometry
from xai_fast.terminal import tell

__all__ = ["cell_geometry", "geometry_of"]


def cell_geometry(
    model: Callable[..., object],
    layer: Layer,
    inputs: Tensor | tuple[Tensor, ...],
    additional_forward_args: object = None,
) -> CellGeometry:
    """Find where the cells of a layer's map lie in the image. The model runs once, on the first item.

    Args:
        model: a module in evaluation mode.
        layer: a submodule of it, or its dotted name. Its output is a map (B, C, h, w), in any order of dimensions, or
            tokens in which the rows of a map were laid one after another.
        inputs: (B, C, H, W), (B, C, L) of a signal, or (B, C, D, H, W) of a volume; of a tuple the first is the image.
        additional_forward_args: as for the methods.

    Returns:
        Centre, box and receptive field of each cell, in pixels of the input. An axis that the layer's output no longer
        has (after global pooling) is one cell.

    Raises:
        InputError: an argument does not fit, or the layer does not run once.
        ModelError: the dependence cannot be followed; the message names the operation and why.
    """
    call = ModelCall.of(model, inputs, Objective(), additional_forward_args=additional_forward_args, integers=True)
    image = call.values[0]
    if image.ndim < 3:
        raise bad_argument("inputs", "an image (B, C, H, W) or a signal (B, C, L)", str(tuple(image.shape)))
    return _Pass(call, layer).geometry(range(1, image.ndim - 1))


def geometry_of(call: ModelCall, layer: Layer, axes: MapAxes) -> CellGeometry | None:
    """Find where the cells of a layer lie, and which axes of the first input are the image; None where none are."""
    # The image is what a convolution, pooling or batch norm runs over; where none does, (B, C, H, W) is one still.
    found = _Pass(call, layer)
    image = found.image or ((1, 2) if call.values[0].ndim == 4 else ())
    if not image:
        return None
    try:
        geometry = found.geometry(image, axes.layout)
        return geometry if math.prod(geometry.grid) == math.prod(axes.grid) else None
    except (ModelError, InputError) as error:
        patches = CellGeometry.of_patches(axes.grid, [found.sizes[axis] for axis in image])
        boxes = "no boxes" if patches is None else "boxes of patches, not of what each cell sees,"
        tell(f"{boxes} in the image for {found.name}: {error}", call.model)
        return patches


class _Pass(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the class has no types
    """Follows the footprints of tensors while a model runs; where that ends, the reason is kept in their place.

    ``sizes`` are those of the first input's axes, but for the batch; ``image`` are those axes, from 0, that a
    convolution, pooling or batch norm runs over, all but one at most.
    """

    def __init__(self, call: ModelCall, layer: Layer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._footprints: Any = WeakIdKeyDictionary()
        self.image: tuple[int, ...] = ()
        self.name, module = find_layer(call.model, layer)
        # Only outside inference mode are composed operations taken apart before they are seen.
        with call.context():
            rows = call.take(range(1))
            self.sizes = rows[0].shape[1:]
            self._footprints[rows[0]] = input_footprint(rows[0].shape)
            with capture_output(call.model, module) as self._captured, self:
                call.run(rows, call.positions(range(1)))

    def geometry(self, image: Sequence[int], layout: str | None = None) -> CellGeometry:
        """Give the geometry of the cells; with a layout, of those along the layer's axes of positions."""
        output = self._captured.tensor
        try:
            footprint = self._of(output)
            if footprint is None:
                raise UnknownFootprint("it does not depend on the image")
            dims = range(output.ndim)
            along = [d for d in dims if set(footprint.axes_along(d)) & set(image)]
            positions = along if layout is None else dims[POSITIONS[layout]]
            return _cells(footprint.mixed([d for d in dims if d not in positions]), image, self.sizes)
        except UnknownFootprint as reason:
            raise ModelError(
                f"layer: the place of the cells of {self.name} in the image cannot be found: {reason}"
            ) from reason

    def _of(self, tensor: Tensor) -> Footprint | None:
        found: Footprint | UnknownFootprint | None = self._footprints.get(tensor)
        if isinstance(found, UnknownFootprint):
            raise found
        return found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf in self._footprints for leaf in tree_leaves((args, kwargs))):
            self._carry_on(Call(func, args, kwargs or {}, result, self._of))
        return result

    def _carry_on(self, call: Call) -> None:
        found: list[Footprint | UnknownFootprint]
        try:
            if not self.image and runs_over(call):
                axes = [call.footprint.axes_along(dim) for dim in range(2, len(call.shape))]
                if len(axes) >= len(self.sizes) - 1 and all(len(along) == 1 for along in axes):
                    self.image = tuple(axis for (axis,) in axes)
            found = [*follow(call)]
        except UnknownFootprint as reason:
            # What was lost at an earlier operation keeps that one's name.
            found = [reason if reason.operation else UnknownFootprint(str(reason), str(call.operation))] * len(
                tree_leaves(call.result)
            )
        only = UnknownFootprint("only its first result is followed", str(call.operation))
        results = [leaf for leaf in tree_leaves(call.result) if isinstance(leaf, Tensor)]
        for tensor, footprint in zip(results, [*found, *[only] * len(results)], strict=False):
            # Where an operation writes into a part of another tensor, that one is no longer what it was.
            if any(tensor is argument for argument in call.args) and tensor._base is not None:
                before = self._footprints.get(tensor)
                if not (isinstance(footprint, Footprint) and footprint.same(before)):
                    lost = UnknownFootprint("it writes into a part of a tensor", str(call.operation))
                    self._footprints[tensor._base] = lost
            self._footprints[tensor] = footprint


def _cells(footprint: Footprint, image: Sequence[int], sizes: Sequence[int]) -> CellGeometry:
    """Read the cells along each axis of the image off the footprint of all of them."""
    centers = [footprint.centers[axis].flatten().round(decimals=6) for axis in image]
    counts = [torch.unique(values).numel() for values in centers]
    if math.prod(counts) not in (1, len(centers[0])):
        raise UnknownFootprint("its cells do not lie in rows and columns of the image")
    found = []
    for number, axis in enumerate(image):
        ends = (footprint.ends[axis], footprint.ends[axis + len(sizes)], footprint.centers[axis])
        low, high, center = (values.reshape(*counts, -1).movedim(number, 0).flatten(1) for values in ends)
        found.append(_axis(low.amin(1), -high.amin(1), center, sizes[axis]))
    return CellGeometry(tuple(found))


def _axis(low: Tensor, high: Tensor, centers: Tensor, pixels: int) -> AxisGeometry:
    """Give the geometry of n cells along an axis, from (n,), (n,) and (n, others)."""
    cells, start = len(low), centers[0, 0]
    stride = (centers[-1, 0] - start) / (cells - 1) if cells > 1 else (high - low).clamp(min=0)[0]
    line = start + stride * torch.arange(cells, dtype=torch.float64)
    if not torch.allclose(centers, line[:, None].expand_as(centers), 1e-9, 1e-6):
        raise UnknownFootprint("its cells do not lie evenly along height and width of the image")
    nearest = line.clamp(0, pixels).floor()
    first, end = (side.where(low < high, nearest).int().tolist() for side in (low, high))  # none, in the padding
    return AxisGeometry(pixels, round(float(start), 9), round(float(stride), 9), tuple(first), tuple(end))
