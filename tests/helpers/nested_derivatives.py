"""Mixed derivatives of sets of directions by nested forward mode: what the engine is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from oracle import mixed_derivative
from torch import Tensor


def nested_derivatives(
    function: Callable[[Tensor], Tensor], x: Tensor, directions: Tensor, sets: Tensor | Sequence[Sequence[int]]
) -> Tensor:
    """Differentiate once along each direction of a set.

    A call takes long for its operations, not for its items, so each set has items of its own in one call.

    Args:
        function: of (B, ...); an item's score depends on the item only.
        x: (B, ...).
        directions: (D, ...) or (B, D, ...).
        sets: of one size.

    Returns:
        Derivatives (B, sets).
    """
    each = directions.expand(len(x), *directions.shape) if directions.ndim == x.ndim else directions
    columns = torch.as_tensor(sets).unbind(1)  # of each set the first direction, the second, ...
    copies = x.repeat_interleave(len(sets), 0)
    along = [each[:, column].flatten(0, 1) for column in columns]
    return mixed_derivative(function, copies, along).unflatten(0, (len(x), len(sets)))
