"""Sees whether anything waits for the device where nothing may: on a GPU by torch's own debug mode.

On a CPU nothing waits, so that what would wait on a GPU is recognised by its operators, and a check can be rehearsed.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from xai_fast import Method
from xai_fast.engine.call import HostReads
from xai_fast.engine.gradients import ScoreGradient
from xai_fast.engine.masked import MaskedScores
from xai_fast.engine.points import _Queue

__all__ = ["Reads", "Watch", "loop_of"]

aten = torch.ops.aten
# Their results, or the shapes of these, depend on values; torch.tensor copies from the host.
_WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.equal.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
    aten.lift_fresh.default,
}
_READING = {Tensor.tolist, Tensor.cpu}  # of a tensor on a GPU, Tensor.numpy raises


class Watch:
    """What is forbidden inside ``with watch.forbidden()``, and allowed again inside ``with watch.allowed()``.

    Args:
        device: the device that nothing may wait for.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._forbids = False

    @contextlib.contextmanager
    def forbidden(self) -> Iterator[None]:
        """Raise a RuntimeError at whatever waits for the device."""
        inside = self._forbids
        with self._set(True):
            if inside or self.device.type == "cuda":
                yield
            else:
                with _Operators(self), _Functions(self):
                    yield

    def allowed(self) -> contextlib.AbstractContextManager[None]:
        """Wait inside of what is forbidden."""
        return self._set(False)

    @contextlib.contextmanager
    def _set(self, forbids: bool) -> Iterator[None]:
        before, self._forbids = self._forbids, forbids
        self._tell_torch()
        try:
            yield
        finally:
            self._forbids = before
            self._tell_torch()

    def _tell_torch(self) -> None:
        if self.device.type != "cuda":
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the mode is a prototype
            torch.cuda.set_sync_debug_mode("error" if self._forbids else "default")

    def check(self, waits: bool, what: object) -> None:
        """Raise where something waits that may not."""
        if waits and self._forbids:
            raise RuntimeError(f"called a synchronizing operation: {what}")


class _Operators(TorchDispatchMode):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func in (aten.index.Tensor, aten.index_put_.default) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        self.watch.check(func in _WAITING or by_mask, func)
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.watch.check(func in _READING, func)
        return func(*args, **(kwargs or {}))


class Reads(HostReads):
    """The engine's reads, counted, and allowed where nothing else is."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.count = 0

    def remaining(self, alive: Tensor) -> int:
        with self.watch.allowed():
            self.count += 1
            return super().remaining(alive)

    def items(self, mask: Tensor) -> list[int]:
        with self.watch.allowed():
            self.count += 1
            return super().items(mask)


def loop_of(method: Method[Any], watch: Watch, explain: Callable[[], object]) -> Counter[str]:
    """Run an explanation while nothing may wait inside the engine's loops but the engine's own reads.

    Args:
        method: what is watched; its reads of the host are counted.
        watch: of the device.
        explain: calls the method.

    Returns:
        Counts: "reads" inside the loops, and "steps" of these.

    Raises:
        RuntimeError: something waited.
    """
    counts: Counter[str] = Counter()
    reads, before = Reads(watch), method._host
    run, turn, chunks, gradient = _Queue.run, _Queue._turn, MaskedScores.chunks, ScoreGradient.__call__

    def watched_run(*args: Any) -> None:
        begun = reads.count
        with watch.forbidden():
            run(*args)
        counts["reads"] += reads.count - begun

    def counted_turn(*args: Any) -> Tensor:
        counts["steps"] += 1
        return turn(*args)

    def watched_gradient(*args: Any) -> tuple[Tensor, Tensor]:
        counts["gradients"] += 1
        with watch.forbidden():
            return gradient(*args)

    def watched_chunks(*args: Any) -> Iterator[tuple[Tensor, Tensor]]:
        found = chunks(*args)
        while True:
            with watch.forbidden():
                part = next(found, None)
            if part is None:
                return
            counts["steps"] += 1
            yield part

    method._host = reads
    try:
        with (
            mock.patch.object(_Queue, "run", watched_run),
            mock.patch.object(_Queue, "_turn", counted_turn),
            mock.patch.object(ScoreGradient, "__call__", watched_gradient),
            mock.patch.object(MaskedScores, "chunks", watched_chunks),
        ):
            explain()
    finally:
        method._host = before
    return counts
