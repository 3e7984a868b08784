"""The one call: a batch on its way through a user's model, which is left as it was found."""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_integer, item_id_tensor
from xai_fast.engine.objective import Objective
from xai_fast.errors import ModelError, bad_argument

__all__ = [
    "Call",
    "ExtraArguments",
    "HostReads",
    "check_device",
    "check_eval_mode",
    "check_inputs",
    "default_rows",
    "frozen_parameters",
    "no_gradient_path",
    "preferred_memory_format",
]

_INTEGERS = (torch.int32, torch.int64, torch.bool)


def check_device(model: Callable[..., object], device: torch.device) -> None:
    """Check that the inputs are where the model is.

    Args:
        model: a module, or any other callable, which is taken as it is.
        device: of the inputs.

    Raises:
        InputError: the model's first parameter is on another device.
    """
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if parameter is not None and parameter.device != device:
        raise bad_argument("inputs", f"tensors on the model's device, {parameter.device}", f"tensors on {device}")


def check_eval_mode(model: Callable[..., object]) -> None:
    """Check that the model, and each module in it, is in evaluation mode.

    Args:
        model: a module, or any other callable, which is taken as it is.

    Raises:
        ModelError: a module is in training mode.
    """
    if isinstance(model, nn.Module):
        training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
        if training:
            names = ", ".join(training[:3]) + (f" and {len(training) - 3} more" if len(training) > 3 else "")
            raise ModelError(
                f"model: expected evaluation mode, got training mode in {names}; call model.eval() first "
                "(dropout and batch statistics would make the scores depend on chance and on the batch)"
            )


def check_inputs(inputs: Tensor | tuple[Tensor, ...], *, integers: bool = False) -> tuple[Tensor, ...]:
    """Check the inputs, and give them as a tuple.

    Args:
        inputs: a tensor (B, ...) or a tuple of them, float32 or float64, one dtype and device.
        integers: int32, int64 and bool are fine too (token numbers and masks), where no gradient with respect to the
            inputs is needed; then each input may have a dtype of its own.

    Returns:
        The tuple.

    Raises:
        InputError: they are something else.
    """
    values = inputs if isinstance(inputs, tuple) else (inputs,)
    if not values:
        raise bad_argument("inputs", "a tensor or a tuple of tensors", "an empty tuple")
    for i, value in enumerate(values):
        name = "inputs" if len(values) == 1 else f"inputs[{i}]"
        if not isinstance(value, Tensor):
            raise bad_argument(name, "a tensor", type(value).__name__)
        if value.dtype not in (torch.float32, torch.float64) and not (integers and value.dtype in _INTEGERS):
            hint = (
                ' (float32 inputs with precision="bf16" run the model in bfloat16)' if value.is_floating_point() else ""
            )
            raise bad_argument(name, "dtype float32 or float64", f"{value.dtype}{hint}")
        if value.ndim < 2 or 0 in value.shape[1:]:
            raise bad_argument(name, "shape (B, ...) with at least one entry per item", str(tuple(value.shape)))
        for what, first, this in (
            ("dtype", values[0].dtype, value.dtype),
            ("device", values[0].device, value.device),
            ("batch size", values[0].shape[0], value.shape[0]),
        ):
            if first != this and not (integers and what == "dtype"):
                raise bad_argument(name, f"the {what} of inputs[0], {first}", str(this))
    return values


@dataclass(frozen=True)
class ExtraArguments:
    """Additional arguments of the model: tensors with one row per item are taken by row, all else is passed as it is.

    Args:
        values: what the user gave, None, one value or a tuple.
        batch: B; a tensor whose first dimension is B holds a row per item.

    Raises:
        InputError: the values come in a list, which would be passed on as one argument by mistake.
    """

    values: object
    batch: int

    def __post_init__(self) -> None:
        if isinstance(self.values, list):
            raise bad_argument("additional_forward_args", "a tensor, another single value, or a tuple", "a list")

    def rows(self, item: Tensor) -> tuple[object, ...]:
        """Give the arguments for these items.

        Args:
            item: (R,) int64, which items.

        Returns:
            The arguments to append to the model's inputs.
        """
        return tuple(v.index_select(0, item) if self.is_per_item(v) else v for v in self.as_tuple())

    def as_tuple(self) -> tuple[object, ...]:
        """Give the arguments of the whole batch."""
        if self.values is None:
            return ()
        return self.values if isinstance(self.values, tuple) else (self.values,)

    def is_per_item(self, value: object) -> TypeGuard[Tensor]:
        """Tell whether an argument has a row per item."""
        return isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == self.batch


_FEWEST_ROWS = {"cpu": 8}
_FEWEST_ROWS_ELSEWHERE = 64
_ENTRIES_PER_BATCH = 2**18

_lock = threading.Lock()
_frozen: weakref.WeakKeyDictionary[nn.Module, tuple[int, list[Tensor]]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def frozen_parameters(model: Callable[..., object]) -> Iterator[None]:
    """Take the model's parameters out of the graph, so that nothing is kept or computed for their gradients.

    Only the ``requires_grad`` flags change, and they are put back at the end, also after an exception. Nested and
    concurrent use on one model is counted: the last to leave restores what the first one found.

    Args:
        model: a module, or any other callable, which is left alone.

    Yields:
        Nothing.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    with _lock:
        users, parameters = _frozen.get(model, (0, []))
        if users == 0:
            parameters = [p for p in model.parameters() if p.requires_grad]
            for parameter in parameters:
                parameter.requires_grad_(False)
        _frozen[model] = (users + 1, parameters)
    try:
        yield
    finally:
        with _lock:
            users, parameters = _frozen[model]
            if users > 1:
                _frozen[model] = (users - 1, parameters)
            else:
                del _frozen[model]
                for parameter in parameters:
                    parameter.requires_grad_(True)


def no_gradient_path() -> ModelError:
    """Build the error for a model through which no gradient reaches the input."""
    return ModelError(
        "model: expected a score that depends differentiably on the inputs, got one without a gradient path "
        "(is the input detached, rounded or converted to numpy inside the model, or does it run under no_grad?)"
    )


def preferred_memory_format(model: Callable[..., object], device: torch.device, precision: str) -> torch.memory_format:
    """Choose the memory format in which a model's own gradient is fastest.

    oneDNN's convolutions on a CPU, and tensor cores in bfloat16, work on channels-last data; in the other format each
    layer reorders its input and output. ``benchmarks/test_neflag.py`` measures both.

    Args:
        model: the model.
        device: where it runs.
        precision: one of `PRECISIONS`.

    Returns:
        ``torch.channels_last`` for a module with 2-d convolutions where that holds, else ``torch.contiguous_format``.
    """
    convolutional = isinstance(model, nn.Module) and any(
        isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in model.modules()
    )
    faster = device.type == "cpu" or (device.type == "cuda" and precision == "bf16")
    return torch.channels_last if convolutional and faster else torch.contiguous_format


def default_rows(entries: int, device: torch.device) -> int:
    """Choose how many rows go through a model at once where the user does not say.

    A CPU's caches hold a CNN's activations for few photos, and what the allocator gets from the system for more of them
    costs as much as the arithmetic; but with small inputs a call costs more in Python than in arithmetic.

    Args:
        entries: numbers in one row of inputs.
        device: where the model runs.

    Returns:
        8 on a CPU and 64 elsewhere, and more where rows are small: up to 2**18 numbers per batch.
    """
    return max(_FEWEST_ROWS.get(device.type, _FEWEST_ROWS_ELSEWHERE), _ENTRIES_PER_BATCH // entries)


def _memory_format(model: Callable[..., object], values: tuple[Tensor, ...], precision: str) -> torch.memory_format:
    """Keep the format of inputs that are channels-last already."""
    pictures = [value for value in values if value.ndim == 4]
    if any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in pictures):
        return torch.channels_last
    return preferred_memory_format(model, values[0].device, precision)


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
        memory_format: of 4-d inputs.
        host: what the host reads.
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

    @classmethod
    def of(
        cls,
        model: Callable[..., object],
        inputs: Tensor | tuple[Tensor, ...],
        objective: Objective,
        *,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
        internal_batch_size: int | None = None,
        integers: bool = False,
        precision: str = "fp32",
        host: HostReads | None = None,
    ) -> Call:
        """Check the model and a batch.

        Args:
            model: a module, or any other callable.
            inputs: (B, ...) or a tuple of them, B >= 1.
            objective: from the outputs to scores.
            additional_forward_args: one value or a tuple, passed to the model after the inputs; tensors whose first
                dimension is B go along with their items.
            item_ids: (B,) integers that are not negative; the positions by default.
            internal_batch_size: the most rows that go through the model at once; see `default_rows`.
            integers: inputs may be int32, int64 or bool.
            precision: "fp32" or "bf16", for the memory format.
            host: what the host reads; None for what it does by itself.

        Returns:
            The call.

        Raises:
            InputError: an argument does not fit.
            ModelError: the model is in training mode.
        """
        values = check_inputs(inputs, integers=integers)
        batch, device = values[0].shape[0], values[0].device
        if batch == 0:
            raise bad_argument("inputs", "at least one item", f"an empty batch {tuple(values[0].shape)}")
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
            ExtraArguments(additional_forward_args, batch),
            item_id_tensor(item_ids, batch, device),
            internal_batch_size or default_rows(entries, device),
            isinstance(inputs, tuple),
            _memory_format(model, values, precision),
            host or HostReads(),
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
        """Run the model in a defined state: outside inference mode, without autograd, its parameters frozen.

        Yields:
            Nothing; what the caller and the model were set to is restored at the end, also after an exception.
        """
        # Inside inference mode no graph could be built; leaving it does not change what the caller sees.
        with torch.inference_mode(False), torch.no_grad(), frozen_parameters(self.model):
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

    def formatted(self, value: Tensor) -> Tensor:
        """Bring rows to the memory format in which the model takes them."""
        return value.contiguous(memory_format=self.memory_format) if value.ndim == 4 else value

    def run(self, inputs: Sequence[Tensor], item: Tensor) -> object:
        """Run the model.

        Args:
            inputs: one tensor (R, ...) per input of the model.
            item: (R,) int64, whose additional arguments go along.

        Returns:
            What the model gives.
        """
        return self.model(*inputs, *self.extra.rows(item))

    def targets(self, outputs: object, chunk: range) -> Tensor | None:
        """Resolve the targets of a chunk; see `Objective.targets`."""
        with torch.no_grad():
            return self.objective.targets(outputs, start=chunk.start, batch=self.batch)
