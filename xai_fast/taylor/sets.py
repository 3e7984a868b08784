"""Mixed derivatives of many sets of directions at a few points: what the detection of interactions asks for.

`SetDerivatives` holds one function at a few points. Whatever many calls share, they share: the trace, the rows z_S and
mu_S of the small sets, and the choice of route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.partition_sum import MAX_ORDER
from xai_fast.targets import Target
from xai_fast.taylor.cross import checked_directions
from xai_fast.taylor.function import check_batch, prepare
from xai_fast.taylor.planner import checked_limit
from xai_fast.taylor.sets_general import Cost, GeneralSets

__all__ = ["Cost", "SetDerivatives"]


class SetDerivatives:
    """F_T = D^k F [v_t : t in T] of one function at a few points, for many sets T of directions.

    Args:
        fn: see `xai_fast.taylor.bilinear_form`.
        x: (B, ...) float32 or float64, the points.
        directions: (D, ...) for all points, or (B, D, ...).
        target: see `xai_fast.taylor.prepare`.
        score: see `xai_fast.taylor.prepare`.
        additional_forward_args: see `xai_fast.taylor.prepare`.
        memory_limit: in bytes, for what is computed here; None for half of what is free.

    Attributes:
        route: "feed-forward" (a chain of linear maps and activations) or "general" (any graph, by the interpreter).

    Raises:
        InputError: an argument does not fit.
        ModelError: the function cannot be traced.
        UnsupportedOperation: an operation has no rule.
    """

    def __init__(
        self,
        fn: Callable[..., object],
        x: Tensor,
        directions: Tensor,
        *,
        target: Target = None,
        score: str = "probability",
        additional_forward_args: object = None,
        memory_limit: int | None = None,
    ) -> None:
        check_batch("x", x)
        along = checked_directions(directions, x)
        function = prepare(fn, x, target=target, score=score, additional_forward_args=additional_forward_args)
        self._limit = memory_limit
        checked_limit(memory_limit, x.device)
        self.x = x
        self.directions = along.shape[1]
        self.route = "general"
        self._route = GeneralSets(function, x, along, memory_limit)

    def of(self, sets: Tensor) -> Tensor:
        """Compute the mixed derivatives of a list of sets.

        Args:
            sets: (T, k) int64, 1 <= k <= 6, the directions of each set, rising.

        Returns:
            (B, T) in the dtype of x.

        Raises:
            InputError: the sets do not fit, or the memory limit is too small; the message says the least that does.
        """
        sets = _checked_sets(sets, self.directions)
        if 0 in (sets.shape[0], self.x.shape[0]):
            return self.x.new_zeros(self.x.shape[0], sets.shape[0])
        with torch.no_grad():
            return self._route.of(sets)

    def exhaustive(self, order: int) -> Iterator[tuple[int, int, Tensor]]:
        """Compute the mixed derivatives of all sets of an order, block by block.

        Args:
            order: 1 to 6.

        Yields:
            (begin, end, values), values (B, end - begin) for the colexicographic ranks ``begin .. end - 1``
            (`xai_fast.kernels.combinations`): all ranks, in order, in blocks that obey the memory limit.

        Raises:
            InputError: the order does not fit, or the memory limit is too small; the message says the least that does.
        """
        _check_order(order)
        with torch.no_grad():
            yield from self._route.exhaustive(order)

    def cost(self, order: int, sets: int | None = None) -> Cost:
        """Count what `of` or `exhaustive` take.

        Args:
            order: of the sets, 1 to 6.
            sets: how many; None for all of that order.

        Returns:
            Floating-point operations and bytes, for all points.

        Raises:
            InputError: the order does not fit.
        """
        _check_order(order)
        return self._route.cost(order, sets)


def _check_order(order: object) -> None:
    if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= MAX_ORDER:
        raise bad_argument("order", f"an integer from 1 to {MAX_ORDER}", repr(order))


def _checked_sets(sets: object, directions: int) -> Tensor:
    if not isinstance(sets, Tensor) or sets.dtype != torch.int64 or sets.ndim != 2:
        got = f"{sets.dtype} {tuple(sets.shape)}" if isinstance(sets, Tensor) else type(sets).__name__
        raise bad_argument("sets", "an int64 tensor (T, k)", got)
    if not 1 <= sets.shape[1] <= MAX_ORDER:
        raise bad_argument("sets", f"1 to {MAX_ORDER} directions a set", str(sets.shape[1]))
    outside = ((sets < 0) | (sets >= directions)).any(1)
    if bool(outside.any()):
        first = sets[outside][0].tolist()
        raise bad_argument("sets", f"directions from 0 to {directions - 1}", repr(tuple(first)))
    falling = (sets[:, 1:] <= sets[:, :-1]).any(1)
    if bool(falling.any()):
        raise bad_argument("sets", "directions that rise within a set", repr(tuple(sets[falling][0].tolist())))
    return sets
