"""What a worker holds: the source, the model and the explainers of a job, and what it does with a chunk of items."""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai_fast.engine.memory import is_out_of_memory
from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.explainers import make_explainer
from xai_fast.jobs.explainers.base import Chunk
from xai_fast.jobs.preparation import Preparation
from xai_fast.jobs.references import LoadedModel, weights_sha256
from xai_fast.jobs.sources import open_source
from xai_fast.jobs.sources.base import FrozenItems, ItemError
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.layout import Status
from xai_fast.jobs.targets import ItemTargets

__all__ = ["Computation", "ItemError", "Outcome", "in_effect"]

_LABELS_KEPT = 1 << 16
_LONGEST_REASON = 500
_FIRST_ITEMS = 100
"""So many items are tried for the shape that all shall have."""
_First = tuple[tuple[tuple[int, ...], torch.dtype], int]
"""Shape and dtype of the first item that can be read, and which it is."""


@dataclass(frozen=True)
class Outcome:
    """What became of a chunk of b items.

    Attributes:
        fields: name to (b, ...) on the CPU, floating ones float32; in the rows of items that failed NaN or 0. Empty
            where all failed.
        statuses: (b,), see `xai_fast.jobs.store.layout.Status`.
        reasons: (b,) why an item failed, None for the others.
        evaluations: rows that went through the model.
        model_seconds: spent in the model, forward and backward. What an explainer does beside, such as the kernels of
            ours, is not counted where that can be told apart: on a CPU, and not for classes of users.
    """

    fields: dict[str, Tensor]
    statuses: list[int]
    reasons: list[str | None]
    evaluations: int
    model_seconds: float


@dataclass
class _Tally:
    """What adds up over the parts of a chunk."""

    evaluations: int = 0
    seconds: float = 0.0
    reasons: dict[int, tuple[Status, str]] = field(default_factory=dict)


class Computation:
    """The source, the model and the explainers of a job.

    Args:
        spec: of the job.
        items: the frozen list of its items.
        device: where the model runs.
        identity: what the source's `identity` was when the job began; None for not to compare.

    Raises:
        InputError: something that the description refers to does not exist or does not fit.
        SourceChanged: the source has another identity.
    """

    def __init__(
        self,
        spec: JobSpec,
        items: FrozenItems,
        *,
        device: str | torch.device = "cpu",
        identity: Mapping[str, object] | None = None,
    ) -> None:
        self.spec = spec
        self.items = items
        self.device = torch.device(device)
        self.source = open_source(spec.source, decoder=spec.decoder, items=items)
        self._identity = self.source.identity() if identity is None else identity
        self.check_source()
        if len(self.source) != len(items):
            raise bad_argument("source", f"the {len(items)} items of the job", f"{len(self.source)} items")
        self.model = None if spec.model is None else spec.model.load()
        self._check_weights()
        if self.model is not None:
            self.model.module.to(self.device)
        module = None if self.model is None else self.model.module
        columns = getattr(self.source, "columns", None)
        self._explainers = [
            (entry.prefix, make_explainer(entry, module, spec.seed, columns)) for entry in spec.explainers
        ]
        self._targets = ItemTargets(spec.target, self.source)
        self._prepare = Preparation(self.model)
        self._classes: OrderedDict[int, int | None] = OrderedDict()
        self._lock = threading.Lock()
        self._shape_lock = threading.Lock()
        self._large_lock = threading.Lock()
        self._first: dict[bool, _First | ItemError] = {}

    @functools.cached_property
    def weights_sha256(self) -> str | None:
        """The hash of the model's weights; None without a model."""
        return None if self.model is None else weights_sha256(self.model.module)

    @property
    def in_effect(self) -> dict[str, object]:
        """What results depend on beside the description; see `in_effect`."""
        explainers = {prefix: explainer.settings for prefix, explainer in self._explainers}
        return in_effect(self.model, self.weights_sha256, explainers)

    def check_source(self) -> None:
        """Compare the source as a whole with what it was, such as before results are committed. It takes microseconds.

        A file that is mapped changes under those who read it, and its rows have no stamps of their own.

        Raises:
            SourceChanged: it is not the same.
        """
        self.source.check(self._identity)

    def load(self, index: int, *, as_it_is: bool = False) -> Tensor:
        """Read an item and prepare it for the model. Any number of threads may do so at once.

        Args:
            index: which.
            as_it_is: also if it is not what it was when the job began, for the second try of one that has failed:
                whoever repairs a file changes it.

        Returns:
            What the model takes, on the CPU.

        Raises:
            ItemError: it cannot be read, has changed, is not finite, or has no label where that is the target.
        """
        value = self._load(index, as_it_is)
        if not self.source.regular:
            shape, first = self._shape(as_it_is)
            if (tuple(value.shape), value.dtype) != shape:
                got = f"{tuple(value.shape)} {value.dtype}"
                raise ItemError(Status.FAILED, f"expected {shape[0]} {shape[1]} as of item {first}, got {got}")
        return value

    def explain(self, inputs: Sequence[Tensor], indices: Sequence[int]) -> Outcome:
        """Explain a chunk of items. Where one fails, it is found by halves, and the others are explained without it.

        Args:
            inputs: b items, as `load` gave them.
            indices: (b,) which items they are.

        Returns:
            What became of each. The same chunk gives the same bits.

        Raises:
            RuntimeError: memory did not suffice for the chunk (`xai_fast.engine.memory.is_out_of_memory` tells), or
                the device is lost.
        """
        tally = _Tally()
        parts = self._attempt(inputs, indices, list(range(len(indices))), tally) if len(indices) else []
        fields = _joined(parts, len(indices), tally)
        statuses = [int(tally.reasons[i][0]) if i in tally.reasons else int(Status.OK) for i in range(len(indices))]
        reasons = [tally.reasons[i][1] if i in tally.reasons else None for i in range(len(indices))]
        return Outcome(fields, statuses, reasons, tally.evaluations, tally.seconds)

    def _check_weights(self) -> None:
        wanted = None if self.spec.model is None else self.spec.model.weights_sha256
        if wanted is not None and self.weights_sha256 != wanted:
            raise bad_argument("model.weights_sha256", f"weights with the hash {wanted}", str(self.weights_sha256))

    def _load(self, index: int, as_it_is: bool) -> Tensor:
        try:
            value, chosen = self._read(index, as_it_is)
        except MemoryError:
            value, chosen = self._read_by_itself(index, as_it_is)
        with self._lock:
            self._classes[index] = chosen
            if len(self._classes) > _LABELS_KEPT:
                self._classes.popitem(last=False)
        return value

    def _read(self, index: int, as_it_is: bool) -> tuple[Tensor, int | None]:
        try:
            read = self.source.read(index, None if as_it_is else self.items.stamp(index))
            return self._prepare(read.value), self._targets.of(index, read.label)
        except (ItemError, MemoryError):
            raise
        except InputError as error:
            raise ItemError(Status.FAILED, _reason(error)) from error
        except Exception as error:  # decoders raise anything for a damaged file; it concerns this item only
            raise ItemError(Status.UNREADABLE, _reason(error)) from error

    def _read_by_itself(self, index: int, as_it_is: bool) -> tuple[Tensor, int | None]:
        """Try an item again for which memory did not suffice, one such item at a time."""
        with self._large_lock:
            try:
                return self._read(index, as_it_is)
            except MemoryError as error:
                raise ItemError(Status.UNREADABLE, f"too large for the memory: {_reason(error)}") from error

    def _shape(self, as_it_is: bool) -> _First:
        """Give shape and dtype of the first item that can be read, and which it is: the same in every worker."""
        with self._shape_lock:
            if as_it_is not in self._first:
                self._first[as_it_is] = self._look_for_first(as_it_is)
            found = self._first[as_it_is]
        if isinstance(found, ItemError):
            raise ItemError(found.status, found.reason)
        return found

    def _look_for_first(self, as_it_is: bool) -> _First | ItemError:
        for index in range(min(len(self.items), _FIRST_ITEMS)):
            try:
                value = self._load(index, as_it_is)
            except ItemError:
                continue
            return (tuple(value.shape), value.dtype), index
        return ItemError(
            Status.FAILED, f"none of the first {_FIRST_ITEMS} items can be read, so their shape is unknown"
        )

    def _class_of(self, index: int) -> int | None:
        with self._lock:
            if index in self._classes:
                return self._classes[index]
        return self._targets.of(index, self.source.label(index))

    def _attempt(
        self, inputs: Sequence[Tensor], indices: Sequence[int], positions: list[int], tally: _Tally
    ) -> list[tuple[list[int], dict[str, Tensor]]]:
        """Explain some items of a chunk; give the fields of those that could be, by their positions."""
        try:
            chunk = self._chunk([inputs[i] for i in positions], [indices[i] for i in positions])
            return [(positions, self._fields(chunk, positions, tally))]
        except Exception as error:  # whatever the model or a class of the user raises, it is told with the item
            if _concerns_all(error):
                raise
            if len(positions) == 1:
                status = error.status if isinstance(error, ItemError) else Status.FAILED
                tally.reasons[positions[0]] = (status, _reason(error))
                return []
        half = len(positions) // 2
        return [
            part
            for some in (positions[:half], positions[half:])
            for part in self._attempt(inputs, indices, some, tally)
        ]

    def _chunk(self, inputs: Sequence[Tensor], indices: Sequence[int]) -> Chunk:
        target = self._targets.together([self._class_of(index) for index in indices])
        stacked = torch.stack(list(inputs)).to(self.device)
        return Chunk(stacked, target, [self.items.item_id(index) for index in indices])

    def _fields(self, chunk: Chunk, positions: Sequence[int], tally: _Tally) -> dict[str, Tensor]:
        fields: dict[str, Tensor] = {}
        reasons: dict[int, tuple[Status, str]] = {}
        evaluations = 0
        for prefix, explainer in self._explainers:
            started = time.perf_counter()
            found = explainer.explain(chunk)
            # What a part took counts also where another one fails, and it is all done again by halves.
            took = time.perf_counter() - started
            tally.seconds += took if found.model_seconds is None else min(took, found.model_seconds)
            start = f"{prefix}." if len(self._explainers) > 1 else ""
            evaluations += found.evaluations
            for position, reason in found.reasons.items():
                said = f"{prefix}: {reason}" if start else reason
                reasons.setdefault(positions[position], (Status.FAILED, said))
            for name, value in found.fields.items():
                fields[start + name] = stored = _stored(value)
                if name not in found.undefined:
                    for position in _not_finite(stored):
                        reason = f"the result has NaN or infinity in {start}{name}"
                        reasons.setdefault(positions[position], (Status.NOT_FINITE, reason))
        # Only now, since a part that fails is done again by halves.
        tally.evaluations += evaluations
        tally.reasons |= reasons
        return fields


def in_effect(
    model: LoadedModel | None, weights: str | None, settings: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """Gather what results depend on beside the description of a job, as ``job.json`` holds it.

    Args:
        model: of the job.
        weights: their hash.
        settings: of each explainer, by its prefix.

    Returns:
        "weights_sha256", "settings" and "preparation".
    """
    return {
        "weights_sha256": weights,
        "settings": {prefix: dict(values) for prefix, values in settings.items()},
        "preparation": None if model is None else model.preparation,
    }


def _stored(value: Tensor) -> Tensor:
    value = value.detach()
    if value.is_floating_point():
        return value.to("cpu", torch.float32)
    if value.is_complex():
        raise bad_argument("explainer", "fields of real numbers", str(value.dtype))
    return (value.to(torch.uint8) if value.dtype == torch.bool else value).cpu()


def _not_finite(value: Tensor) -> list[int]:
    if not value.is_floating_point():
        return []
    rows: list[int] = (~value.reshape(len(value), -1).isfinite().all(1)).nonzero().flatten().tolist()
    return rows


def _joined(parts: Sequence[tuple[list[int], dict[str, Tensor]]], size: int, tally: _Tally) -> dict[str, Tensor]:
    """Put the parts of a chunk together, and blank the rows of items that failed."""
    if not parts or len(tally.reasons) == size:
        return {}
    fields = {}
    for name, first in parts[0][1].items():
        whole = first
        if len(parts) > 1 or len(parts[0][0]) < size:
            blank = float("nan") if first.is_floating_point() else 0
            whole = torch.full((size, *first.shape[1:]), blank, dtype=first.dtype)
            for positions, values in parts:
                whole[torch.tensor(positions)] = values[name]
        failed = torch.tensor(sorted(tally.reasons), dtype=torch.int64)
        if len(failed):
            whole = whole.clone() if whole is first else whole
            whole[failed] = float("nan") if whole.is_floating_point() else 0
        fields[name] = whole
    return fields


def _concerns_all(error: Exception) -> bool:
    """Tell whether an error is about the machine, not about an item."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and (is_out_of_memory(error) or "CUDA error" in str(error))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if not isinstance(error, InputError | ItemError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."
