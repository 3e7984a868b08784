"""The true place of a layer's cells in the image, found by following the operations that make them.

Dividing the size of the image by that of the map is wrong wherever a convolution or pooling does not pad by half its
kernel. Here the model runs once, on one item, and each operation carries on which pixels its result depends on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
from xai_fast.interaction.footprint import Axis, Call, Footprint, UnknownFootprint, image_footprint
from xai_fast.interaction.footprint_rules import follow
from xai_fast.interaction.footprint_windows import WINDOW_RULES
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
    return _Pass(call, layer).geometry()


def geometry_of(call: ModelCall, layer: Layer, axes: MapAxes) -> CellGeometry | None:
    """Find where the cells of a layer lie, and which axes of the first input are the image; None where none are."""
    # The channels are the second axis, or the last, or none, so that a convolution, pooling or batch norm runs over all
    # others. Where none of these does, an input (B, C, H, W) is an image all the same.
    dims = call.values[0].ndim
    for channels in dict.fromkeys((1, dims - 1, 0)):
        found = _Pass(call, layer, channels)
        if found.over_image:
            break
    else:
        if dims != 4:
            return None
        found = _Pass(call, layer)
    try:
        geometry = found.geometry(axes.layout)
        return geometry if math.prod(geometry.grid) == math.prod(axes.grid) else None
    except (ModelError, InputError) as error:
        patches = CellGeometry.of_patches(axes.grid, found.image)
        boxes = "no boxes" if patches is None else "boxes of patches, not of what each cell sees,"
        tell(f"{boxes} in the image for {found.name}: {error}", call.model)
        return patches


class _Pass(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the class has no types
    """Follows the footprints of tensors while a model runs; where that ends, the reason is kept in their place."""

    def __init__(self, call: ModelCall, layer: Layer, channels: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._footprints: Any = WeakIdKeyDictionary()
        self.over_image = False
        self.name, module = find_layer(call.model, layer)
        # Only outside inference mode are composed operations taken apart before they are seen.
        with call.context():
            rows = call.take(range(1))
            self.image = tuple(size for dim, size in enumerate(rows[0].shape) if dim not in (0, channels))
            self.put(rows[0], image_footprint(rows[0].shape, channels))
            with capture_output(call.model, module) as self._captured, self:
                call.run(rows, call.positions(range(1)))

    def geometry(self, layout: str | None = None) -> CellGeometry:
        """Give the geometry of the cells; with a layout, of those along the layer's axes of positions."""
        output = self._captured.tensor
        try:
            footprint = self.of(output)
            if footprint is None:
                raise UnknownFootprint("it does not depend on the image")
            dims = range(output.ndim)
            for dim in set(dims).difference(dims if layout is None else dims[POSITIONS[layout]]):
                footprint = footprint.lost(dim)
            return CellGeometry(_axes(footprint, self.image))
        except UnknownFootprint as reason:
            raise ModelError(
                f"layer: the place of the cells of {self.name} in the image cannot be found: {reason}"
            ) from reason

    def put(self, tensor: Tensor, footprint: Footprint | UnknownFootprint) -> None:
        self._footprints[tensor] = footprint

    def of(self, tensor: Tensor) -> Footprint | None:
        found: Footprint | UnknownFootprint | None = self._footprints.get(tensor)
        if isinstance(found, UnknownFootprint):
            raise found
        return found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        depends = any(tensor in self._footprints for tensor in tensors)
        result = func(*args, **kwargs)
        if depends:
            self._carry_on(func, args, kwargs, result)
        return result

    def _carry_on(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        schema = func._schema.arguments
        arguments = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
        arguments |= dict(zip((argument.name for argument in schema), args, strict=False)) | kwargs
        results = [result] if isinstance(result, Tensor) else tree_leaves(result)
        results = [leaf for leaf in results if isinstance(leaf, Tensor)]
        name = str(func.overloadpacket.__name__)
        if name in WINDOW_RULES or "batch_norm" in name:
            dims = getattr(self._footprints.get(args[0]), "dims", ())[2:]
            axes = [f.axis and f.axis.image_axis for factors in dims for f in factors]
            self.over_image |= bool(axes) and axes == list(range(len(self.image)))
        found: list[Footprint | UnknownFootprint]
        try:
            followed = follow(func, Call(arguments, result, self.of))
            found = list(followed) if isinstance(followed, list) else [followed]
        except UnknownFootprint as reason:
            # What was lost at an earlier operation keeps that one's name.
            first = UnknownFootprint(str(reason), str(func)) if reason.operation is None else reason
            found = [first] * len(results)
        for k, tensor in enumerate(results):
            footprint = found[k] if k < len(found) else UnknownFootprint("only its first result is followed", str(func))
            self._mark_base(tensor, footprint, args, func)
            self.put(tensor, footprint)

    def _mark_base(
        self, tensor: Tensor, footprint: Footprint | UnknownFootprint, args: tuple[Any, ...], func: Any
    ) -> None:
        """Where an operation writes into a part of another tensor, that one is no longer what it was."""
        written = any(tensor is argument for argument in args)
        if written and tensor._base is not None:
            before = self._footprints.get(tensor)
            if not (isinstance(footprint, Footprint) and footprint.same(before)):
                self.put(tensor._base, UnknownFootprint("it writes into a part of a tensor", str(func)))


def _axes(footprint: Footprint, pixels: tuple[int, ...]) -> tuple[AxisGeometry, ...]:
    """Give each axis of the image, in its own order."""
    carried = []
    for factors in footprint.dims:
        axes = [factor.axis for factor in factors if factor.axis is not None]
        if axes and len(axes) < len(factors):
            raise UnknownFootprint("cells and channels are folded into one dimension")
        carried += axes
    order = [axis.image_axis for axis in carried]
    if order != sorted(order):
        raise UnknownFootprint("height and width have changed places")
    found = {axis.image_axis: _axis(axis) for axis in carried}
    for number, (low, high) in footprint.whole.items():
        found[number] = AxisGeometry(pixels[number], pixels[number] / 2, float(pixels[number]), (low,), (high,))
    return tuple(found[number] for number in sorted(found))


def _axis(axis: Axis) -> AxisGeometry:
    centers = axis.start + axis.stride * torch.arange(len(axis.low), dtype=torch.float64).numpy()
    nearest = centers.clip(0, axis.pixels).astype(int)
    empty = axis.low >= axis.high  # in the padding: a field of no pixels, at the edge
    low, high = (nearest * empty + side * ~empty for side in (axis.low, axis.high))
    return AxisGeometry(axis.pixels, float(axis.start), float(axis.stride), tuple(low.tolist()), tuple(high.tolist()))
