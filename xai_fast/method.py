"""What every explanation method is: a model and options in, an explanation of each batch out."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from xai_fast.arguments import name_items
from xai_fast.engine.call import Call, HostReads
from xai_fast.engine.checks import wrong_model
from xai_fast.engine.objective import Objective, Target
from xai_fast.engine.regions import RegionModel, RegionTarget, is_region, with_region
from xai_fast.errors import ModelError
from xai_fast.explanation import Explanation
from xai_fast.graph.embeddings import at_embeddings
from xai_fast.options import HasOptions

__all__ = ["Method", "check_finite"]

E = TypeVar("E", bound=Explanation)


class Method(HasOptions, abc.ABC, Generic[E]):
    """An explanation method; ``Method[E]`` where its explanations are of the class E.

    A subclass takes the model and its options, each kept as an attribute of the same name; its ``_explain`` gets a
    batch that is checked. Command line, jobs and reports read its options from the signature.

    The result for an item depends on the item, the model, the options and the item's identity, never on the batch that
    it comes in (up to the rounding of the model itself).

    Args:
        model: a module in evaluation mode, or any other callable from input tensors to an output.

    Raises:
        InputError: the model cannot be called.
    """

    score: str = "auto"
    """What is explained, where a method does not have it as an option: see `xai_fast.engine.objective.SCORES`."""
    integers: ClassVar[bool] = False
    """Whether inputs may be integers, such as token numbers: not where gradients reach the inputs."""
    embeddings: str | None = None
    """The layer whose output is explained in the place of the inputs, where a method has it as an option: see
    `xai_fast.graph.embeddings.embedding_layer`. Then inputs may be integers."""
    pairs: ClassVar[bool] = False
    """Whether its inputs are pairs (x, y), so that a table, as the source of a job, is a list of pairs of pictures."""
    rows: ClassVar[int | None] = None
    """Rows that go through the model at once unless the user says; None for `xai_fast.engine.call.default_rows`."""

    def __init__(self, model: Callable[..., object]) -> None:
        if not callable(model):
            raise wrong_model("a module or another callable", model)
        self.model = model
        self._host = HostReads()
        self._regional: Method[E] | None = None

    def explain(
        self,
        inputs: Tensor | NDArray[Any] | tuple[Tensor | NDArray[Any], ...],
        target: Target | RegionTarget = None,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
        internal_batch_size: int | None = None,
    ) -> E:
        """Explain a batch.

        Args:
            inputs: (B, ...) in the model's input units, B >= 1, float32 or float64, or a tuple of them. Arrays of numpy
                are fine.
            target: None for the predicted class, an int, a list or tensor (B,) of classes, or a callable from the
                model's output to scores (R,); see `xai_fast.engine.objective.Objective`. For outputs (B, C, ...) with
                positions, such as those of a segmentation: ``(class, mask)`` explains the mean of the outputs over the
                mask (...) or (B, ...), ``(class, i, j, ...)`` one entry, and a list of such tuples one for each item.
            additional_forward_args: one value or a tuple, passed to the model after the inputs. Tensors whose first
                dimension is B go along with their items.
            item_ids: (B,) integers, not negative: the identity of each item for random numbers, such as its position in
                the data set. By default the position in this batch.
            internal_batch_size: rows that go through the model at once; bounds the memory. By default 8 on a CPU (its
                caches hold that much of a CNN's activations), 64 elsewhere, and more where rows are small.

        Returns:
            The explanation.

        Raises:
            InputError: an argument does not fit.
            ModelError: the model is in training mode, its score has no gradient path, or something is not finite.
        """
        rows = self.rows if internal_batch_size is None else internal_batch_size
        call = Call.of(
            self.model,
            inputs,
            Objective(None if is_region(target) else target, self.score),
            additional_forward_args=additional_forward_args,
            item_ids=item_ids,
            internal_batch_size=rows,
            integers=self.integers or self.embeddings is not None,
            host=self._host,
        )
        if is_region(target):
            classes, arguments = with_region(call, target)
            return Method.explain(self._of_regions(), inputs, classes, arguments, item_ids, internal_batch_size)
        with call.context():
            return self._explain_call(call, rows)

    def _explain_call(self, call: Call, internal_batch_size: int | None) -> E:
        """Explain a checked call of this model, in its context."""
        if self.embeddings is not None:
            call = at_embeddings(call, self.embeddings, internal_batch_size)
        try:
            explanation = self._explain(call)
            check_finite(explanation, call.host)
        except ModelError as error:
            finite = torch.stack([part.flatten(1).isfinite().all(1) for part in call.values]).all(0)
            wrong = (~finite).nonzero().flatten().tolist()
            if not wrong:
                raise
            raise ModelError(f"{error}; the inputs hold NaN or infinity in {name_items(wrong)}") from error
        facts = dict(explanation.facts)
        if call.noted.get("probability"):
            facts = {"saturated": _saturated(explanation.scores), **facts}
        return dataclasses.replace(explanation, facts=facts, method=self.name, settings=self.settings)

    def attribute(
        self,
        inputs: Tensor | NDArray[Any] | tuple[Tensor | NDArray[Any], ...],
        target: Target | RegionTarget = None,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
        internal_batch_size: int | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Give the attributions of `explain`, whose arguments these are."""
        return self.explain(
            inputs,
            target=target,
            additional_forward_args=additional_forward_args,
            item_ids=item_ids,
            internal_batch_size=internal_batch_size,
        ).attributions

    def _of_regions(self) -> Method[E]:
        """Give this method for the model whose outputs are averaged over regions; made once, as it may be traced."""
        if self._regional is None:
            self._regional = self.with_model(RegionModel(self.model))
        return self._regional

    def with_model(self, model: Callable[..., object]) -> Self:
        """Give this method, with its options, for another model, in which layers have the same names."""
        return type(self)(model, **{name: getattr(self, name) for name in self.options()})

    @abc.abstractmethod
    def _explain(self, call: Call) -> E:
        """Explain a checked batch in its context, without autograd; `explain` adds settings and "saturated"."""


def _saturated(scores: Tensor) -> Tensor:
    """Tell which probabilities are 1 or 0 within rounding."""
    limits = torch.finfo(scores.dtype)
    return (scores >= 1 - 4 * limits.eps) | (scores <= limits.tiny)


def check_finite(explanation: Explanation, host: HostReads) -> None:
    """Check scores and attributions; a `ModelError` names the items."""
    values = explanation.attributions
    wrong = ~explanation.scores.isfinite()
    for part in values if isinstance(values, tuple) else (values,):
        wrong = wrong | ~part.flatten(1).isfinite().all(1).to(wrong.device)
    positions = host.items(wrong)
    if positions:
        raise ModelError(
            f"model: expected finite scores and attributions, got NaN or infinity for {name_items(positions)}"
        )
