"""Additional arguments of a model: which belong to an item, and which to all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import as_tensor
from xai_fast.errors import bad_argument
from xai_fast.terminal import ShortRepr, tell

__all__ = ["ExtraArguments", "Shared", "shared"]

_T = TypeVar("_T")


@dataclass(frozen=True, repr=False)
class Shared(ShortRepr, Generic[_T]):
    """A value that is one for all items; see `shared`."""

    value: _T


def shared(value: _T) -> Shared[_T]:
    """Say that an additional argument is one for all items, also where its first dimension is the batch size.

    Args:
        value: such as the adjacency of a graph with as many nodes as there are items, or class weights.

    Returns:
        What ``additional_forward_args`` takes in its place.
    """
    return Shared(value)


class ExtraArguments:
    """Additional arguments of the model: tensors with one row per item go along with it, all else is passed as it is.

    Args:
        values: what the user gave: None, one value, a tuple, or a mapping of keywords.
        batch: B; a tensor whose first dimension is B holds a row per item, unless it is `shared`. An array becomes one.
        dtype: of floats from an array.
        device: of tensors from an array.

    Attributes:
        values: the positional arguments, then the keyword arguments, unwrapped.
        keywords: names of the latter.
        per_item: for each of the values, whether it has a row per item.

    Raises:
        InputError: the values come in a list, which would be passed on as one argument by mistake.
    """

    def __init__(
        self, values: object, batch: int, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> None:
        if isinstance(values, list):
            raise bad_argument("additional_forward_args", "a tensor, another single value, a tuple or a dict", "a list")
        if isinstance(values, Mapping):
            given, self.keywords = tuple(values.values()), tuple(str(name) for name in values)
        else:
            given = () if values is None else values if isinstance(values, tuple) else (values,)
            self.keywords = ()
        given = tuple(as_tensor(v, dtype, device) if _rows(v) == batch else v for v in given)
        self.per_item = tuple(isinstance(v, Tensor) and _rows(v) == batch for v in given)
        self.values = tuple(v.value if isinstance(v, Shared) else v for v in given)
        for i, (value, per_item) in enumerate(zip(self.values, self.per_item, strict=True)):
            if per_item and _may_be_shared(value):
                name = f"additional_forward_args[{self.keywords[i] if self.keywords else i!r}]"
                tell(
                    f"{name}: a tensor {tuple(value.shape)} is taken as one row per item, since its first dimension is "
                    "the batch size; xai_fast.shared(tensor) says that it is one for all"
                )

    def rows(self, item: Tensor) -> tuple[object, ...]:
        """Give the values for the items at these positions (R,)."""
        return tuple(
            v.index_select(0, item) if per_item and isinstance(v, Tensor) else v
            for v, per_item in zip(self.values, self.per_item, strict=True)
        )

    def given(self, item: Tensor | None = None) -> tuple[object, ...] | dict[str, object]:
        """Give the arguments as a user gives them, for all items or for those at these positions (R,)."""
        values = self.values if item is None else self.rows(item)
        marked = tuple(v if of_item else shared(v) for v, of_item in zip(values, self.per_item, strict=True))
        return dict(zip(self.keywords, marked, strict=True)) if self.keywords else marked

    def call(self, model: Callable[..., object], inputs: Sequence[object], values: Sequence[object]) -> object:
        """Call the model with inputs and values of these arguments, each as it was given."""
        if not self.keywords:
            return model(*inputs, *values)
        named: dict[str, Any] = dict(zip(self.keywords, values, strict=True))
        return model(*inputs, **named)


def _rows(value: object) -> int:
    return len(value) if isinstance(value, Tensor | np.ndarray) and value.ndim else -1


def _may_be_shared(value: object) -> bool:
    """Tell whether the first dimension may be the batch size by chance: square matrices, and vectors of numbers."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return value.ndim == 1 or (value.ndim == 2 and value.shape[0] == value.shape[1])
