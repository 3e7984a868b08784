"""What a worker holds: the source, the model and the methods of a job, and what it does with a chunk of items."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from xai_fast.errors import InputError, JobError
from xai_fast.jobs.inputs import ItemTargets, Preparation
from xai_fast.jobs.sources import ItemError, Source
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.job_file import Status
from xai_fast.references import LoadedModel

__all__ = ["Computation", "Loaded", "Plan", "form_of", "parts_of", "reason_of"]

_LONGEST_REASON = 500
_DECODING_THREADS = 4
_LARGEST_PIECE = 16
"""Items per task: handing over a task costs some 50 microseconds, as much as reading a small item."""


@dataclass(frozen=True)
class Plan:
    """What is fixed when a job begins, so that results are the same bits wherever a shard runs.

    ``threads`` are a worker's, as sums are cut by threads and rounded accordingly; ``chunk`` items are explained in one
    call, and ``rows`` go through the model at once. Every prepared item has ``shape`` and ``dtype``, see `form_of`,
    None where none of the first items can be read.
    """

    threads: int
    chunk: int
    rows: int
    shape: tuple[Any, ...] | None
    dtype: str | None


@dataclass(frozen=True)
class Loaded:
    """An item that was read and prepared, on the CPU, with its class; or why it cannot be explained."""

    index: int
    value: Tensor | tuple[Tensor, ...] | None = None
    target: int | None = None
    status: Status = Status.OK
    reason: str = ""
    seconds: float = 0.0


class Computation:
    """The source, the model and the methods of a job, in the process that computes; without a plan, to make one."""

    def __init__(self, spec: JobSpec, source: Source, model: LoadedModel, plan: Plan | None, device: str) -> None:
        self.source, self.plan = source, plan
        self.device = torch.device(device)
        self.rows = None if plan is None else plan.rows
        self._targets = ItemTargets(spec.target, source)
        self._methods = [(entry.prefix, entry.make(model.module, spec.seed)) for entry in spec.methods]
        self._prepare = Preparation(model)
        self.settings = {prefix: method.settings for prefix, method in self._methods}

    def load(self, index: int, *, as_it_is: bool = False) -> Loaded:
        """Read an item and prepare it for the model. Any number of threads may do so at once."""
        started = time.perf_counter()
        try:
            read = self.source.read(index, as_it_is=as_it_is)
            value, target = self._prepare(read.value), self._targets.of(index, read.label)
            if self.plan is not None and self.plan.shape is not None:
                expected, got = (self.plan.shape, self.plan.dtype), form_of(value)
                if expected != got:
                    reason = f"expected {expected[0]} {expected[1]} as of the first item, got {got}"
                    raise ItemError(Status.FAILED, reason)
            return Loaded(index, value, target, seconds=time.perf_counter() - started)
        except JobError:
            raise
        except ItemError as error:
            status, reason = error.status, error.reason
        except InputError as error:
            status, reason = Status.FAILED, reason_of(error)
        except Exception as error:  # decoders raise anything for a damaged file; it concerns this item only
            status, reason = Status.UNREADABLE, reason_of(error)
        return Loaded(index, None, None, status, reason, time.perf_counter() - started)

    def loaded(self, groups: Iterable[Sequence[int]], *, as_it_is: bool = False) -> Iterator[list[Loaded]]:
        """Read groups of items in threads, one group ahead of whoever iterates."""

        def read(some: Sequence[int]) -> list[Loaded]:
            return [self.load(index, as_it_is=as_it_is) for index in some]

        threads = min(_DECODING_THREADS, max(1, torch.get_num_threads()))
        waiting: deque[Iterator[list[Loaded]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="xai_fast decoding")
        try:
            for group in groups:
                piece = max(1, min(_LARGEST_PIECE, len(group) // (2 * threads)))
                waiting.append(pool.map(read, [group[at : at + piece] for at in range(0, len(group), piece)]))
                if len(waiting) > 1:
                    yield list(chain.from_iterable(waiting.popleft()))
            while waiting:
                yield list(chain.from_iterable(waiting.popleft()))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def explain(self, items: Sequence[Loaded]) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
        """Explain items with all methods."""
        parts = list(zip(*(parts_of(item.value) for item in items if item.value is not None), strict=True))
        stacked = tuple(torch.stack(part).to(self.device) for part in parts)
        inputs = stacked if isinstance(items[0].value, tuple) else stacked[0]
        target = self._targets.together([item.target for item in items])
        ids = [item.index for item in items]
        fields: dict[str, Tensor] = {}
        methods = {}
        for prefix, method in self._methods:
            found = method.explain(inputs, target=target, item_ids=ids, internal_batch_size=self.rows)
            if len(found) != len(items):
                raise InputError(f"method: expected {len(items)} items from {prefix}, got {len(found)}")
            start = f"{prefix}." if len(self._methods) > 1 else ""
            fields |= {start + name: value for name, value in found.stored().items()}
            methods[prefix] = found.constants()
        return fields, methods


def parts_of(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give the inputs of an item."""
    return value if isinstance(value, tuple) else (value,)


def form_of(value: Tensor | tuple[Tensor, ...]) -> tuple[tuple[Any, ...], str]:
    """Give shape and dtype of an item; of several inputs the shapes of each, and their dtypes in one text."""
    if isinstance(value, tuple):
        shapes, dtypes = zip(*map(form_of, value), strict=True)
        return shapes, ", ".join(dtypes)
    return tuple(value.shape), str(value.dtype)


def reason_of(error: BaseException) -> str:
    """Say in one line why an item failed."""
    text = " ".join(str(error).split())
    if not isinstance(error, InputError | ItemError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."
