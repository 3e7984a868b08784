"""Mixed derivatives of many sets of directions at a few points: what the detection of interactions asks for.

`SetDerivatives` holds one function at a few points. Whatever many calls share, they share: the trace, the rows z_S and
mu_S of the small sets, and the choice of route.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.engine.memory import checked_limit
from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.graph import ScoreFunction
from xai_fast.kernels import combinations
from xai_fast.kernels.partition_sum import MAX_ORDER
from xai_fast.taylor.cross import checked_directions
from xai_fast.taylor.prepare import Given, check_batch, prepare
from xai_fast.taylor.sets_feedforward import FeedForwardSets
from xai_fast.taylor.sets_general import GeneralSets

__all__ = ["SetDerivatives"]


class SetDerivatives:
    """F_T = D^k F [v_t : t in T] of one function at a few points, for many sets T of directions.

    Args:
        fn: see `xai_fast.taylor.bilinear_form`.
        x: (B, ...) float32 or float64, the points.
        directions: (D, ...) for all points, or (B, D, ...).
        memory_limit: in bytes, for what is computed here; None for half of what is free.
        **given: ``target``, ``score`` and ``additional_forward_args``, see `xai_fast.taylor.prepare`.

    The model's weights are read when this is made, for other points too: after changing them make a new one. The last
    bits of a derivative may depend on the sets that are asked for together, never on the other points.

    A chain of linear maps and elementwise functions takes the route "feed-forward", fused kernels; any other graph the
    route "general", the interpreter.

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
        memory_limit: int | None = None,
        **given: Unpack[Given],
    ) -> None:
        check_batch("x", x)
        checked_limit(memory_limit, x.device)
        self._fn, self._given, self._given_directions = fn, given, directions
        along = checked_directions(directions, x)
        function = prepare(fn, x, **given)
        self.x = x
        self.directions = along.shape[1]
        self._route: GeneralSets | FeedForwardSets = GeneralSets(function, x, along, memory_limit)
        self._reads_inputs = True
        if not x.shape[0]:
            return
        program, chain = self._route.rules.program, self._route.rules.chain(x)
        # Whether the graph reads anything of an item but the item itself: its class, or further arguments.
        self._reads_inputs = any(program.graph.users.get(1 + i) for i in range(program.graph.extras))
        if chain is not None:
            with torch.no_grad():
                self._route = FeedForwardSets(function, chain, x, along, memory_limit)

    def at(
        self,
        x: Tensor,
        *,
        directions: Tensor | None = None,
        target: Target = None,
        additional_forward_args: object = None,
    ) -> SetDerivatives:
        """Take the same function at other points: the trace and what depends on the directions only are kept.

        Args:
            x: (B, ...) like the points before; any number of them.
            directions: None for the same ones, which have to be (D, ...) then.
            target: of these points; None for what was given before, the predicted class where that was None.
            additional_forward_args: of these points.

        Returns:
            The derivatives there.

        Raises:
            InputError: an argument does not fit.
        """
        check_batch("x", x)
        if x.shape[1:] != self.x.shape[1:] or x.dtype != self.x.dtype or x.device != self.x.device:
            expected = f"items {tuple(self.x.shape[1:])}, {self.x.dtype}, {self.x.device}"
            raise bad_argument("x", expected, f"{tuple(x.shape[1:])}, {x.dtype}, {x.device}")
        before = self._given
        target = before.get("target") if target is None else target
        given = before | {"target": target}
        if additional_forward_args is not None:
            given["additional_forward_args"] = additional_forward_args
        new = copy.copy(self)
        new.x, new._given = x, given
        if directions is None and self._given_directions.ndim == x.ndim:
            along = self._route.directions
            if along.shape[0] != x.shape[0]:
                along = self._given_directions.expand(x.shape[0], *self._given_directions.shape)
        else:
            new._given_directions = self._given_directions if directions is None else directions
            along = checked_directions(new._given_directions, x)
        new.directions = along.shape[1]
        new._route = self._route.at(self._function_at(x, given), x, along)
        return new

    def _function_at(self, x: Tensor, given: Given) -> ScoreFunction:
        """Give the function the classes and further arguments of other points, if it reads any."""
        before, target = self._given, given.get("target")
        if target is not before.get("target") and (callable(target) or callable(before.get("target"))):
            raise bad_argument("target", "the callable of before, or None; make a new SetDerivatives", repr(target))
        others = given.get("additional_forward_args")
        is_other = others is not before.get("additional_forward_args")
        if not self._reads_inputs:
            if is_other:
                raise bad_argument(
                    "additional_forward_args",
                    "None: those of before are the same for all points; make a new SetDerivatives",
                    type(others).__name__,
                )
            return self._route.function
        if isinstance(self._fn, ScoreFunction):
            expected = "a module or a function, which can be prepared for other points"
            raise bad_argument("fn", expected, "a ScoreFunction")
        if self._route.function.extras and not is_other:
            raise bad_argument("additional_forward_args", "those of these points", "None")
        function = prepare(self._fn, x, **given)
        if not function.has_same_constants(self._route.function):
            expected = "arguments that differ by item only; make a new SetDerivatives for others"
            raise bad_argument("additional_forward_args", expected, "another constant")
        return function

    @property
    def route(self) -> str:
        """How derivatives are computed: "feed-forward" or "general"."""
        return "general" if isinstance(self._route, GeneralSets) else "feed-forward"

    def of(self, sets: Tensor) -> Tensor:
        """Compute the mixed derivatives of a list of sets.

        Args:
            sets: (T, k) int64, 1 <= k <= 6, the directions of each set, rising.

        Returns:
            (B, T) in the dtype of x.

        Raises:
            InputError: the sets do not fit, or the memory limit is too small; the message says the least that does.
        """
        sets = _checked_sets(sets, self.directions).to(self.x.device)
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
        end, total = 0, combinations.count(self.directions, order)
        if not self.x.shape[0]:
            if total:
                yield 0, total, self.x.new_zeros(0, total)
            return
        blocks = self._route.exhaustive(order)
        while end < total:
            with torch.no_grad():  # the caller's own mode holds between the blocks
                block = next(blocks)
            end = block[1]
            yield block

    def operations(self, order: int, sets: int | None = None) -> int:
        """Count floating-point operations, for all points, of so many sets of an order, or of all."""
        _check_order(order)
        sets = combinations.count(self.directions, order) if sets is None else sets
        return self._route.operations(order, sets) if sets and self.x.shape[0] else 0


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
