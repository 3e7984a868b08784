"""The one call: a batch on its way through a user's model, which is left as it was found."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xai_fast.arguments import check_integer, item_id_tensor
from xai_fast.engine.checks import check_device, check_eval_mode, check_inputs, no_gradient_path, wrong_model
from xai_fast.engine.context import as_owner
from xai_fast.engine.extra import ExtraArguments
from xai_fast.engine.objective import Objective
from xai_fast.engine.prepared import Prepared, formatted, own_memory_format, prepare
from xai_fast.errors import bad_argument
from xai_fast.terminal import tell

__all__ = ["Call", "HostReads", "default_rows"]

_FEWEST_ROWS = {"cpu": 8}
_FEWEST_ROWS_ELSEWHERE = 64
_ENTRIES_PER_BATCH = 2**18


def default_rows(entries: int, device: torch.device) -> int:
    """Return how many rows of so many entries go through a model at once where the user does not say.

    That is 8 on a CPU and 64 elsewhere, and more where rows are small: up to 2**18 numbers per batch. A CPU's caches
    hold a CNN's activations for few photos, and what the allocator gets from the system for more of them costs as much
    as the arithmetic; but with small inputs a call costs more in Python than in arithmetic.
    """
    return max(_FEWEST_ROWS.get(device.type, _FEWEST_ROWS_ELSEWHERE), _ENTRIES_PER_BATCH // entries)


def _dtype(model: Callable[..., object]) -> torch.dtype | None:
    """Give the dtype of the model's parameters, where it has any."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((p.dtype for p in parameters if p.is_floating_point()), None)


class HostReads:
    """All that the host reads from the device during a run, in one place, so that it can be counted and injected."""

    def remaining(self, alive: Tensor) -> int:
        """Read how many of (R,) bool are True."""
        return int(alive.sum())

    def items(self, mask: Tensor) -> list[int]:
        """Read the positions where (B,) bool is True."""
        return mask.nonzero().flatten().tolist()


@dataclass(frozen=True)
class Call:
    """A batch of B items and a model that explains it: checked, with its objective, arguments and identities.

    Attributes:
        model: a module in evaluation mode, or any other callable.
        values: the inputs (B, ...), detached.
        objective: from the model's outputs to scores.
        extra: additional arguments of the model.
        item_ids: (B,) int64, for random numbers.
        rows: the most rows that go through the model at once.
        several: whether the inputs came as a tuple.
        memory_format: of 4-d inputs, the user's.
        host: what the host reads.
        narrow: float16 or bfloat16 where the model is in it: floating inputs become that on their way in.
        at: the model as a function of the values where these are a layer's output; see `xai_fast.graph.embeddings`.
    """

    model: Callable[..., object]
    values: tuple[Tensor, ...]
    objective: Objective
    extra: ExtraArguments
    item_ids: Tensor
    rows: int
    several: bool
    memory_format: torch.memory_format
    host: HostReads
    narrow: torch.dtype | None = None
    at: Callable[..., object] | None = None
    noted: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Callable[..., object],
        inputs: Tensor | NDArray[Any] | tuple[Tensor | NDArray[Any], ...],
        objective: Objective,
        *,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
        internal_batch_size: int | None = None,
        integers: bool = False,
        host: HostReads | None = None,
    ) -> Call:
        """Check the model and a batch.

        Args:
            model: a module, or any other callable.
            inputs: (B, ...) or a tuple of them, B >= 1.
            objective: from the outputs to scores.
            additional_forward_args: one value or a tuple, passed to the model after the inputs; tensors and arrays
                whose first dimension is B go along with their items, as tensors.
            item_ids: (B,) integers that are not negative; the positions by default.
            internal_batch_size: the most rows that go through the model at once; see `default_rows`.
            integers: inputs may be int32, int64 or bool.
            host: what the host reads; None for what it does by itself.

        Returns:
            The call.

        Raises:
            InputError: an argument does not fit.
            ModelError: the model is in training mode.
        """
        dtype = _dtype(model)
        values = check_inputs(inputs, integers=integers, dtype=dtype)
        batch, device = values[0].shape[0], values[0].device
        if batch == 0:
            raise bad_argument("inputs", "at least one item", f"an empty batch {tuple(values[0].shape)}")
        if not callable(model):
            raise wrong_model("a module or another callable", model)
        check_eval_mode(model)
        check_device(model, device)
        if internal_batch_size is not None:
            check_integer("internal_batch_size", internal_batch_size, 1)
        entries = sum(math.prod(value.shape[1:]) for value in values)
        return cls(
            model,
            # Tensors of inference mode cannot take part in a graph; a copy can.
            tuple(value.detach().clone() if value.is_inference() else value.detach() for value in values),
            objective,
            ExtraArguments(additional_forward_args, batch, dtype, device),
            item_id_tensor(item_ids, batch, device),
            internal_batch_size or default_rows(entries, device),
            isinstance(inputs, tuple),
            own_memory_format(values),
            host or HostReads(),
            dtype if dtype in (torch.float16, torch.bfloat16) else None,
        )

    @property
    def batch(self) -> int:
        """B."""
        return self.values[0].shape[0]

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return self.values[0].device

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Run the model in a defined state, see `as_owner`, without autograd.

        Yields:
            Nothing; what the caller and the model were set to is restored at the end, also after an exception.
        """
        with as_owner(self.model), torch.no_grad(), warnings.catch_warnings():
            # Checkpoints say that there is nothing to go back to, where that is as it should be.
            warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")
            # torch.compile asks whether its inputs have gradients.
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
            yield

    def chunks(self) -> Iterator[range]:
        """Go through the batch: positions that follow one another, at most ``rows`` at a time."""
        for start in range(0, self.batch, self.rows):
            yield range(start, min(start + self.rows, self.batch))

    def positions(self, chunk: range) -> Tensor:
        """Give the positions of a chunk as a tensor (R,) int64 on the device."""
        return torch.arange(chunk.start, chunk.stop, device=self.device)

    def take(self, chunk: range) -> list[Tensor]:
        """Copy the inputs of a chunk, one tensor (R, ...) per input: a model may work in place."""
        return [self.formatted(value[chunk.start : chunk.stop].clone()) for value in self.values]

    def formatted(self, value: Tensor, memory_format: torch.memory_format | None = None) -> Tensor:
        """Bring rows to a memory format; None for the user's."""
        return formatted(value, self.memory_format if memory_format is None else memory_format)

    def run(self, inputs: Sequence[Tensor], item: Tensor, forward: Callable[..., object] | None = None) -> object:
        """Return what the model, or another form of it such as compiled, gives for its inputs (R, ...) of items (R,).

        Additional arguments go along with the items. That the model leaves torch, where a gradient is needed, is a
        `ModelError`.
        """
        # Not by their truth: a compiled module has the length of the module, and so none.
        model = next(form for form in (forward, self.at, self.model) if form is not None)
        try:
            return self.extra.call(model, self.narrowed(inputs), self.extra.rows(item))
        except RuntimeError as error:
            if "Can't call numpy()" not in str(error):
                raise
            raise no_gradient_path() from error

    def narrowed(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Bring floating-point inputs to ``narrow``."""
        if self.narrow is None:
            return inputs
        return [value.to(self.narrow) if value.is_floating_point() else value for value in inputs]

    def prepared(self, precision: str = "fp32", fold: bool = True) -> Prepared:
        """Prepare the model for many passes, see `xai_fast.engine.prepared`."""
        first = [self.formatted(value[:1]) for value in self.values]
        run = functools.partial(self.run, item=self.positions(range(1)))
        return prepare(
            self.model,
            first,
            lambda inputs, forward: run(inputs, forward=forward),
            precision=precision,
            fold=fold and self.at is None,
        )

    def targets(self, outputs: object, chunk: range) -> Tensor | None:
        """Resolve the targets of a chunk; see `Objective.targets`. What the first outputs tell is noted."""
        with torch.no_grad():
            if chunk.start == 0:
                self.noted["probability"] = self.objective.is_probability(outputs)
                self._notice_probabilities(outputs)
            return self.objective.targets(outputs, start=chunk.start, batch=self.batch)

    def with_targets(self, targets: Tensor | None) -> Call:
        """Give this call with the targets (B,) that its items have turned out to have; None leaves it as it is."""
        return self if targets is None else replace(self, objective=replace(self.objective, target=targets))

    def _notice_probabilities(self, outputs: object) -> None:
        """Say that a softmax is applied to what is one already."""
        found = self.objective.looks_like_probabilities(outputs)
        if found is not None and found.device.type != "meta" and bool(found):
            tell(
                f"model: its outputs are probabilities already, and score={self.objective.score!r} takes them for "
                'logits; score="output" explains the probabilities themselves',
                self.model,
            )
