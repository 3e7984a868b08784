"""Features: which entries of an item are replaced together, and how a value per feature becomes one per entry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor, check_integer
from xai_fast.errors import bad_argument, needs

__all__ = ["Features", "Grouping", "check_sides"]

Grouping: TypeAlias = "int | Sequence[Any] | str | Tensor | NDArray[Any] | None"

_SEGMENTS = 50
_KINDS = 'None, numbers of cells, integers like an item, "superpixels" or "superpixels:NUMBER"'


def check_sides(name: str, value: Any, dims: int) -> tuple[int, ...]:
    """Give one positive integer per dimension; a single number stands for all. Else raise an `InputError`."""
    sides = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * dims
    if len(sides) != dims:
        raise bad_argument(name, f"one number, or {dims}, one per dimension", str(sides))
    return tuple(check_integer(name, side, 1) for side in sides)


class Features:
    """The features of a batch of items: sets of entries, each entry in one of them.

    Args:
        grouping: None for each entry by itself; a number of cells per dimension, or one for each dimension, for a grid
            over the pixels (of rows (B, N), over the columns); integers (B or 1, ...) that broadcast to the inputs, the
            same number for the entries of a feature, as captum's ``feature_mask``; "superpixels", about 50, or
            "superpixels:100", by scikit-image's ``slic`` on each item (the same each time).
        inputs: (B, C, ...) or (B, N).

    Attributes:
        index: (B or 1, ...) int64, the feature of each entry, from 0 to K - 1; it broadcasts to the inputs.
        counts: K of each of the B items.
        count: the largest K.

    Raises:
        InputError: the grouping does not fit, or scikit-image is not installed.
    """

    def __init__(self, grouping: Grouping, inputs: Tensor) -> None:
        self.inputs = inputs
        found = [torch.unique(one, return_inverse=True) for one in _numbers(grouping, inputs)]
        self.index = torch.stack([inverse for _, inverse in found])
        self.counts = [len(values) for values, _ in found] * (inputs.shape[0] // len(found))
        self.count = max(self.counts)

    def by_count(self, items: list[int]) -> dict[int, list[int]]:
        """Sort items by their number of features."""
        return {k: [i for i in items if self.counts[i] == k] for k in sorted({self.counts[i] for i in items})}

    def replaced(self, present: Tensor, item: Tensor, baseline: Tensor, source: Tensor | None = None) -> Tensor:
        """Return rows (R, ...) of items (R,) in which features that are not ``present`` (R, K) bool are a baseline's.

        Baselines are (n, ...), each like an item; ``source`` (R,) int64 is that of each row, None for that of its item.
        """
        if len(self.index) == 1:
            kept = present[:, self.index.flatten()].view(-1, *self.index.shape[1:])
        else:
            index = self.index[item]
            kept = present.gather(1, index.flatten(1)).view(index.shape)
        return torch.where(kept, self.inputs[item], baseline[item if source is None else source])

    def spread(self, values: Tensor) -> Tensor:
        """Give each entry the value of its feature: (B, K) to (B, ...), like the inputs."""
        index = self.index.expand(len(values), *self.index.shape[1:])
        return values.gather(1, index.flatten(1)).view(index.shape).expand(self.inputs.shape).contiguous()


def _numbers(grouping: Grouping, inputs: Tensor) -> Tensor:
    """Give numbers (B or 1, ...) of features, which broadcast to the inputs."""
    if grouping is None:
        return torch.arange(inputs[0].numel(), device=inputs.device).view(1, *inputs.shape[1:])
    if isinstance(grouping, str):
        return _superpixels(grouping, inputs)
    if isinstance(grouping, Sequence) and any(isinstance(entry, Sequence) for entry in grouping):
        try:
            grouping = np.asarray(grouping)
        except ValueError as error:
            raise bad_argument("features", _KINDS, str(error)) from error
    numbers = as_tensor(grouping, device=inputs.device)
    if not isinstance(numbers, Tensor):
        return _cells(numbers, inputs)
    if numbers.is_floating_point() or numbers.is_complex() or numbers.device != inputs.device:
        raise bad_argument("features", f"integers on {inputs.device}", f"{numbers.dtype} on {numbers.device}")
    shape = (1,) * (inputs.ndim - numbers.ndim) + tuple(numbers.shape)
    if len(shape) != inputs.ndim or any(side not in (1, full) for side, full in zip(shape, inputs.shape, strict=True)):
        expected = f"integers that broadcast to the inputs {tuple(inputs.shape)}"
        raise bad_argument("features", expected, f"shape {tuple(numbers.shape)}")
    return numbers.view(shape).long()


def _cells(grouping: Any, inputs: Tensor) -> Tensor:
    if not isinstance(grouping, int | Sequence):
        raise bad_argument("features", _KINDS, type(grouping).__name__)
    spatial = inputs.shape[2:] or inputs.shape[1:]
    numbers = torch.zeros(*[1] * len(spatial), dtype=torch.int64, device=inputs.device)
    for dim, (size, cells) in enumerate(zip(spatial, check_sides("features", grouping, len(spatial)), strict=True)):
        check_integer("features", cells, 1, size)
        place = torch.arange(size, device=inputs.device) * cells // size
        numbers = numbers * cells + place.view(-1, *[1] * (len(spatial) - 1 - dim))
    return numbers.view(1, *[1] * (inputs.ndim - 1 - len(spatial)), *spatial)


def _superpixels(text: str, inputs: Tensor) -> Tensor:
    found = re.fullmatch(r"superpixels(?::([1-9]\d*))?", text)
    if found is None:
        raise bad_argument("features", _KINDS, repr(text))
    if inputs.ndim not in (4, 5) or not inputs.is_floating_point():
        raise bad_argument("features", "images (B, C, H, W) or volumes for superpixels", str(tuple(inputs.shape)))
    slic = needs("skimage.segmentation", 'features="superpixels"', "scikit-image").slic
    pixels = inputs.detach().nan_to_num(0.0, 0.0, 0.0).movedim(1, -1).double().cpu()
    colours = pixels.shape[-1] == 3
    labels = []
    for image in pixels:
        low, high = image.aminmax()
        scaled = (image - low) / (high - low).clamp(min=torch.finfo(torch.float64).tiny)
        segments = int(found[1] or _SEGMENTS)
        # Lightness in Lab is from 0 to 100, other values are from 0 to 1: the compactness is relative to that.
        compactness = 10.0 if colours else 0.1
        labels.append(slic(scaled.numpy(), segments, compactness, convert2lab=colours, channel_axis=-1, start_label=0))
    return torch.from_numpy(np.stack(labels)).long().unsqueeze(1).to(inputs.device)
