"""Scores of a batch of rows and their gradient: one forward and one backward pass of the user's model."""

from __future__ import annotations

import contextlib
import functools
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai_fast.engine.call import Call
from xai_fast.engine.checks import no_gradient_path
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.objective import Objective
from xai_fast.engine.prepared import Prepared
from xai_fast.errors import InputError

__all__ = ["PRECISIONS", "FlatInputs", "Rival", "ScoreGradient", "compiled", "gradients_through_checkpoints"]

PRECISIONS = ("fp32", "bf16")


class FlatInputs:
    """The layout of input tensors (B, ...), whose shapes alone are read, side by side in rows (R, N), N all entries."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.shapes = [tuple(value.shape[1:]) for value in inputs]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.entries = sum(self.sizes)

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Lay tensors (R, ...), one per input, side by side: (R, N) contiguous; a single contiguous one is a view."""
        flat = [value.flatten(1) for value in values]
        return (flat[0] if len(flat) == 1 else torch.cat(flat, 1)).contiguous()

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Give each input its part (R, ...) of the rows (R, N)."""
        parts = torch.split(rows, self.sizes, 1)
        return tuple(part.reshape(rows.shape[0], *shape) for part, shape in zip(parts, self.shapes, strict=True))


def compiled(model: Callable[..., object], device: torch.device) -> Callable[..., object]:
    """Compile a model, which is not changed, for one static shape; on a GPU passes are replayed as CUDA graphs."""
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)


def gradients_through_checkpoints(
    model: Callable[..., object], scores: Tensor, leaves: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """Compute the gradients of the sum of scores (R,) with respect to tensors; None where they do not depend on one."""
    try:
        return torch.autograd.grad(scores.sum(), leaves, allow_unused=True, retain_graph=True)
    except RuntimeError as error:
        if "heckpoint" not in str(error):
            raise
    for leaf in leaves:
        leaf.retain_grad()
    with frozen_parameters(model):
        scores.sum().backward()  # type: ignore[no-untyped-call]  # torch; through reentrant checkpoints only this goes
    return [leaf.grad for leaf in leaves]


_rounds_alike: weakref.WeakKeyDictionary[nn.Module, dict[object, bool]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Rival:
    """What a pass gave for a second class of each row.

    Attributes:
        gradients: (R, N) of the score of that class.
        predicted: (R,) bool, whether the model predicts that class.
    """

    gradients: Tensor
    predicted: Tensor


class ScoreGradient:
    """The function from rows to scores f and gradients F.

    Args:
        call: the batch whose items the rows belong to.
        precision: "fp32" computes in the dtype of the inputs, "bf16" under bfloat16 autocast.
        forward: the model's compiled form; None for the model itself.
        static: every pass has ``call.rows`` rows, as a compiled model wants it.
    """

    def __init__(
        self,
        call: Call,
        *,
        precision: str = "fp32",
        forward: Callable[..., object] | None = None,
        static: bool = False,
    ) -> None:
        self.call = call
        self.layout = FlatInputs(call.values)
        self.static = static
        self._forward = forward
        self._precision = precision
        self._copies = False
        self._whole_backward = False
        self._forward_again = False

    @functools.cached_property
    def prepared(self) -> Prepared:
        """How rows go through the model; a compiled model stays as it is."""
        return self.call.prepared(self._precision, fold=self._forward is None)

    def _outputs(self, inputs: Sequence[Tensor], item: Tensor) -> object:
        bf16 = self._precision == "bf16"
        with torch.autocast(item.device.type, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext():
            forward = self.prepared.forward if self._forward is None else self._forward
            return self.call.run(inputs, item, forward)

    def items(self) -> tuple[Tensor, Tensor | None]:
        """Score the items as the model's owner runs it: (B,), and targets (B,) int64, or None where there are none."""
        scores, targets = [], []
        for chunk in self.call.chunks():
            item = self.call.positions(chunk)
            outputs = self.call.run(self.call.take(chunk), item)
            classes = self.call.targets(outputs, chunk)
            scores.append(self._checked(self.call.objective(outputs, classes), item))
            targets += [] if classes is None else [classes]
        return torch.cat(scores), torch.cat(targets) if targets else None

    def base(self, scores: Tensor, targets: Tensor | None) -> Tensor:
        """Return the items' scores (B,) as points are scored, for comparisons that rounding must not decide.

        Given are what `items` gave. Frozen weights, other layouts and precisions can round in another way. Where only
        the weights are another's, the first call for a model and shapes finds out whether they do, and later ones need
        no further pass.
        """
        model, call = self.call.model, self.call
        plain = self._forward is None and self._precision == "fp32" and self.prepared == Prepared(call.memory_format)
        known: dict[object, bool] = {}
        if plain and isinstance(model, nn.Module):
            known = _rounds_alike.setdefault(model, {})
        key = (
            tuple((value.shape[1:], value.dtype) for value in call.values),
            (min(call.rows, call.batch), call.memory_format, call.device, call.at is None),
        )
        if known.get(key):
            return scores
        everyone = call.positions(range(call.batch))
        base = self.scores(lambda row: [v.index_select(0, row) for v in call.values], everyone, targets)
        known[key] = plain and not call.host.items(base != scores)
        return base

    def scores(self, make: Callable[[Tensor], Sequence[Tensor]], item: Tensor, targets: Tensor | None) -> Tensor:
        """Return the scores (R,) of other inputs of items (R,), as points are scored; ``targets`` (B,) as of `items`.

        ``make`` goes from positions (r,) among the rows to their inputs (r, ...), one per input of the model.
        """
        call, parts = self.call, []
        for start in range(0, len(item), call.rows):
            stop = start + call.rows if self.static else min(start + call.rows, len(item))
            # A static shape is padded with the last row.
            row = torch.arange(start, stop, device=item.device).clamp_(max=len(item) - 1)
            of = item[row]
            inputs = [call.formatted(value, self.prepared.memory_format) for value in make(row)]
            found = call.objective(self._outputs(inputs, of), None if targets is None else targets[of])
            parts.append(self._checked(found, of)[: len(item) - start].clone())
        return torch.cat(parts)

    def __call__(self, rows: Tensor, item: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return f (R,) and F = grad f (R, N), contiguous, at rows (R, N) of items (R,) with classes (R,), or None.

        A `ModelError` says that no gradient reaches the rows, an `InputError` that the scores do not fit them.
        """
        parts = [self.call.formatted(value.detach(), self.prepared.memory_format) for value in self.layout.split(rows)]
        scores, gradients, *_ = self._pass(parts, item, lambda _: targets)
        return scores, self.layout.join(gradients)

    def with_rivals(
        self, rows: Tensor, item: Tensor, targets: Tensor | None, rivals: Tensor
    ) -> tuple[Tensor, Tensor, Rival | None]:
        """Return f and F as a call does, and what the same forward pass gives for other classes ``rivals`` (R,)."""
        parts = [self.call.formatted(value.detach(), self.prepared.memory_format) for value in self.layout.split(rows)]
        scores, gradients, _, rival = self._pass(parts, item, lambda _: targets, rivals)
        return scores, self.layout.join(gradients), rival

    def at_items(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Return scores (B,), the inputs' gradients and targets (B,), or None, of one pass as the owner runs it."""
        found = []
        self.prepared = Prepared(self.call.memory_format)
        for chunk in self.call.chunks():
            item, resolve = self.call.positions(chunk), functools.partial(self.call.targets, chunk=chunk)
            found.append(self._pass(self.call.take(chunk), item, resolve))
        scores, gradients, targets, _ = zip(*found, strict=True)
        classes = None if targets[0] is None else torch.cat(targets)
        return torch.cat(scores), tuple(map(torch.cat, zip(*gradients, strict=True))), classes

    def _pass(
        self,
        inputs: Sequence[Tensor],
        item: Tensor,
        resolve: Callable[[object], Tensor | None],
        rivals: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], Tensor | None, Rival | None]:
        """Compute the scores and gradients of rows, with the targets that ``resolve`` gives for the outputs."""
        inputs = [value.detach().requires_grad_() for value in inputs]
        with torch.enable_grad():
            outputs = self._differentiable(inputs, item)
            targets = resolve(outputs)
            scores = self._checked(self.call.objective(outputs, targets), item)
            predicted = None if rivals is None else Objective().targets(outputs, start=0, batch=len(rivals))
            others = None if rivals is None else self.call.objective(outputs, rivals)
        if not scores.requires_grad:
            raise no_gradient_path()
        try:
            gradients = self._backward(scores, inputs, keep=others is not None and not self._forward_again)
            if self._forward_again:
                with torch.enable_grad():
                    others = self.call.objective(self._differentiable(inputs, item), rivals)
            second = [] if others is None else self._backward(others, inputs)
        except RuntimeError as error:
            if "donated buffer" in str(error):  # a compiled model goes back only once
                self._forward_again = True
                return self._pass(inputs, item, resolve, rivals)
            if self._whole_backward or "heckpoint" not in str(error):
                raise
            self._whole_backward = True
            return self._pass(inputs, item, resolve, rivals)
        if all(gradient is None for gradient in gradients):
            raise no_gradient_path()
        rival = None
        if rivals is not None and predicted is not None:
            rival = Rival(self.layout.join(_filled(second, inputs)), predicted == rivals)
        return scores.detach(), _filled(gradients, inputs), targets, rival

    def _differentiable(self, inputs: Sequence[Tensor], item: Tensor) -> object:
        """Run the model; one that works in place on its inputs gets copies, from the first time that it says so."""
        if not self._copies:
            try:
                return self._outputs(inputs, item)
            except RuntimeError as error:
                if "in-place operation" not in str(error):
                    raise
                self._copies = True
        return self._outputs([value.clone() for value in inputs], item)

    def _backward(self, scores: Tensor, inputs: Sequence[Tensor], keep: bool = False) -> Sequence[Tensor | None]:
        """Go back to the inputs; through reentrant checkpoints only ``backward`` can."""
        ones = torch.ones_like(scores)
        if not self._whole_backward:
            return torch.autograd.grad(scores, inputs, ones, allow_unused=True, retain_graph=keep)
        with frozen_parameters(self.call.model):
            scores.backward(ones, retain_graph=keep)  # type: ignore[no-untyped-call]  # torch
        gradients = [value.grad for value in inputs]
        for value in inputs:
            value.grad = None
        return gradients

    def _checked(self, scores: Tensor, item: Tensor) -> Tensor:
        if scores.shape[0] != item.shape[0]:
            raise InputError(f"model: expected one score per row, ({item.shape[0]},), got {tuple(scores.shape)}")
        return scores


def _filled(gradients: Sequence[Tensor | None], inputs: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, inputs, strict=True)]
