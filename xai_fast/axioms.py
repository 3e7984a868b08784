"""Axioms of attribution that can be checked from the outside: what a method claims, and what it does on given items.

Completeness, sensitivity (a) and (b), linearity, symmetry and implementation invariance: Sundararajan, Taly and Yan,
"Axiomatic Attribution for Deep Networks", ICML 2017, sections 2 to 4. Missingness and consistency: Lundberg and Lee, "A
Unified Approach to Interpreting Model Predictions", NeurIPS 2017, section 3. Conservation: Bach et al., PLOS ONE 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Unpack

from xai_fast.arguments import check_positive
from xai_fast.engine.layers import ModelPart
from xai_fast.engine.masked import baseline_inputs
from xai_fast.engine.objective import Objective
from xai_fast.engine.regions import without_last
from xai_fast.errors import XaiFastError
from xai_fast.method import Method
from xai_fast.metrics.explained import Explained, MethodCallOptions, only_map, row_norm
from xai_fast.metrics.results import Array
from xai_fast.terminal import ShortRepr

__all__ = ["AXIOMS", "CLAIMS", "Axiom", "check"]

_GRADIENTS = ("sensitivity_b", "linearity", "implementation_invariance")
_PATHS = ("completeness", "sensitivity_a", *_GRADIENTS, "symmetry", "missingness")
_SHAPLEY = (*_PATHS, "consistency")

CLAIMS: dict[str, tuple[str, ...]] = {
    "saliency": ("sensitivity_b", "implementation_invariance"),
    "gradient_x_input": (*_GRADIENTS, "missingness"),
    "smoothgrad": _GRADIENTS,
    "integrated_gradients": _PATHS,
    "blur_ig": ("completeness", *_GRADIENTS),
    "guided_ig": ("completeness", "sensitivity_a", "sensitivity_b", "implementation_invariance", "missingness"),
    "expected_gradients": ("completeness", *_GRADIENTS, "symmetry"),
    "gradient_shap": _GRADIENTS,
    "agi": ("sensitivity_b", "implementation_invariance"),
    "neflag": ("sensitivity_b", "implementation_invariance"),
    "deeplift": ("completeness", "sensitivity_a", "sensitivity_b", "missingness"),
    "deepshap": ("completeness", "sensitivity_b"),
    "lrp": ("conservation",),
    "occlusion": ("linearity", "implementation_invariance"),
    "feature_ablation": ("sensitivity_a", *_GRADIENTS, "symmetry", "missingness", "consistency"),
    "rise": ("linearity", "implementation_invariance"),
    "lime": ("linearity", "implementation_invariance"),
    "shapley_sampling": _SHAPLEY,
    "kernel_shap": _SHAPLEY,
}
"""By the names of methods, what their papers prove, of the method with its default options."""


@dataclass(frozen=True, repr=False)
class Axiom(ShortRepr):
    """What was found of one axiom.

    Attributes:
        defect: (B,) float, 0 where the axiom holds; see `check`. None where it could not be measured.
        holds: (B,) bool, whether the defect is within the tolerance; None likewise.
        claimed: whether the method claims the axiom; see `CLAIMS`.
        reason: why it could not be measured.
    """

    defect: Tensor | None
    holds: Tensor | None
    claimed: bool
    reason: str = ""


class _Rewritten(ModelPart):
    """A model with a change of its inputs, and of its outputs, that the last argument says.

    Args:
        model: the model.
        before: from inputs (R, ...) and the last argument to the model's inputs.
        after: from its outputs, the inputs and the last argument to outputs.
    """

    def __init__(
        self,
        model: Callable[..., object],
        before: Callable[[Tensor, Tensor], Tensor] | None = None,
        after: Callable[[Any, Tensor, Tensor], object] | None = None,
    ) -> None:
        super().__init__(model)
        self.before, self.after = before, after

    def forward(self, x: Tensor, *values: Any, **named: Any) -> object:
        """Run the model between the changes."""
        values, named, last = without_last(values, named)
        outputs = self.model(x if self.before is None else self.before(x, last), *values, **named)
        return outputs if self.after is None else self.after(outputs, x, last)


class _Items:
    """Items with their explanation, and for each the two features with the largest magnitudes of all."""

    def __init__(self, of: Explained) -> None:
        self.of, self.everyone = of, torch.arange(of.call.batch, device=of.call.device)
        given = getattr(of.method, "baseline", None)
        self.base = baseline_inputs("baseline", 0.0 if given is None else given, of.inputs).contiguous()
        if of.maps.shape != of.inputs.shape or of.inputs[0].numel() < 2:
            self.first = self.second = None
        else:
            order = (of.maps.abs() * (of.inputs != self.base)).flatten(1).argsort(dim=1, descending=True, stable=True)
            one_hot = functional.one_hot(order[:, :2], order.shape[1]).to(of.inputs.dtype)
            self.first, self.second = (one_hot[:, k].view_as(of.inputs) for k in (0, 1))

    def marks(self) -> tuple[Tensor, Tensor]:
        """Give the masks (B, ...) of the two features."""
        if self.first is None or self.second is None:
            raise _NotMeasured(f"attributions {tuple(self.of.maps.shape)} have no entry per feature of the inputs")
        return self.first, self.second

    def explain(
        self, inputs: Tensor | None = None, last: Tensor | None = None, target: Any = None, **change: Any
    ) -> Any:
        """Explain items, or others in their place, also for a `_Rewritten` model; (B, ...) attributions."""
        method = self.of.method.with_model(_Rewritten(self.of.method.model, **change)) if change else None
        rows = self.of.inputs if inputs is None else inputs
        return only_map(self.of.explain(rows, self.everyone, method=method, target=target, last=last))

    def scores(self, inputs: Tensor) -> Tensor:
        """Score inputs (B, ...), (B,)."""
        call, parts = self.of.call, []
        for chunk in call.chunks():
            item = call.positions(chunk)
            with call.context():
                outputs = call.run([call.formatted(inputs[chunk.start : chunk.stop].clone())], item)
                targets = self.of.target[item] if isinstance(self.of.target, Tensor) else None
                parts.append(call.objective(outputs, targets))
        return torch.cat(parts)


class _NotMeasured(XaiFastError):
    pass


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Divide magnitudes (B,); nothing of nothing is 0."""
    return torch.where(part == 0, 0, part.abs() / whole.abs())


def _at(maps: Tensor, mark: Tensor) -> Tensor:
    return (maps * mark).flatten(1).sum(1)


def _column(k: int) -> Callable[[object], Tensor]:
    return lambda outputs: Objective().logits(outputs)[:, k]


def _set(x: Tensor, last: Tensor) -> Tensor:
    """Set what the mask ``last[:, 0]`` has to ``last[:, 1]``."""
    return x * (1 - last[:, 0]) + last[:, 1] * last[:, 0]


def _mean(x: Tensor, pair: Tensor) -> Tensor:
    """Set the two features of a mask to their mean."""
    mean = _at(x, pair).view(-1, *[1] * (x.ndim - 1)) / 2
    return x * (1 - pair) + mean * pair


def _completeness(items: _Items) -> Tensor:
    sums, delta = items.of.maps.flatten(1).sum(1), getattr(items.of.clean, "delta", None)
    if isinstance(delta, Tensor):  # of the method's own baseline
        return _share(delta, sums)
    difference = items.of.clean.scores - items.scores(items.base)
    return _share(sums - difference, difference)


def _sensitivity_a(items: _Items) -> Tensor:
    mark, _ = items.marks()
    one = torch.where(mark > 0, items.of.inputs, items.base)
    score, other = items.scores(one), items.scores(items.base)
    rounding = 16 * torch.finfo(score.dtype).eps * torch.maximum(score.abs(), other.abs())
    return (((score - other).abs() > rounding) & (_at(items.explain(one), mark) == 0)).to(score.dtype)


def _sensitivity_b(items: _Items) -> Tensor:
    mark, _ = items.marks()
    maps = items.explain(last=torch.stack([mark, items.base], 1), before=_set)
    return _share(_at(maps, mark), maps.flatten(1).abs().sum(1))


def _linearity(items: _Items) -> Tensor:
    first, last = _column(0), _column(-1)
    one, two = items.explain(target=first), 2 * items.explain(target=last)
    both = items.explain(target=lambda outputs: first(outputs) + 2 * last(outputs))
    return _share(row_norm(both - one - two), row_norm(one) + row_norm(two))


def _symmetry(items: _Items) -> Tensor:
    one, two = items.marks()
    maps = items.explain(_mean(items.of.inputs, one + two), one + two, before=_mean)
    a, b = _at(maps, one), _at(maps, two)
    return _share(a - b, a.abs() + b.abs())


def _implementation_invariance(items: _Items) -> Tensor:
    maps = items.explain(last=items.of.inputs, before=lambda x, _: functional.relu(x) + x.clamp(max=0))
    return _share(row_norm(maps - items.of.maps), row_norm(items.of.maps))


def _conservation(items: _Items) -> Tensor:
    return _share(items.of.maps.flatten(1).sum(1) - items.of.clean.scores, items.of.clean.scores)


def _missingness(items: _Items) -> Tensor:
    mark, _ = items.marks()
    maps = items.explain(torch.where(mark > 0, items.base, items.of.inputs))
    return _share(_at(maps, mark), maps.flatten(1).abs().sum(1))


def _consistency(items: _Items) -> Tensor:
    mark, _ = items.marks()
    above = items.of.inputs - items.base

    def more(outputs: object, x: Tensor, last: Tensor) -> Tensor:
        return Objective().logits(outputs) + _at(x - last[:, 1], last[:, 0])[:, None]

    signed = torch.stack([mark * above.sign(), items.base], 1)
    less = _at(items.explain(target=_column(0)), mark) - _at(items.explain(None, signed, _column(0), after=more), mark)
    return _share(less.clamp(min=0), _at(above, mark))


AXIOMS: dict[str, Callable[[_Items], Tensor]] = {
    "completeness": _completeness,
    "sensitivity_a": _sensitivity_a,
    "sensitivity_b": _sensitivity_b,
    "linearity": _linearity,
    "symmetry": _symmetry,
    "implementation_invariance": _implementation_invariance,
    "conservation": _conservation,
    "missingness": _missingness,
    "consistency": _consistency,
}
"""How each axiom is measured, by its name."""


def check(
    method: Method[Any], inputs: Array, *, tolerance: float = 0.01, **call: Unpack[MethodCallOptions]
) -> dict[str, Axiom]:
    """Measure how far a method is from each axiom on given items. A defect disproves an axiom; none does not prove it.

    With the feature j of an item whose attribution is the largest, and k the second, and the baseline that of the
    method (zeros for methods without one), the defects are:

    - completeness: ``|sum a - (f(x) - f(baseline))| / |f(x) - f(baseline)|``; where the method returns ``delta``,
      ``|delta / sum a|``.
    - sensitivity (a): 1 where j alone, in the baseline, changes the score, and its attribution is zero.
    - sensitivity (b): ``|a_j| / sum |a|`` for the model of which j is set to its baseline.
    - linearity: for outputs u, the first, and v, the last, ``norm(a(u + 2 v) - a(u) - 2 a(v)) / (norm(a(u)) +
      norm(2 a(v)))``.
    - symmetry: ``|a_j - a_k| / (|a_j| + |a_k|)`` for the model in which both are set to their mean, at an item in which
      they are.
    - implementation invariance: the change of the map, ``norm(a' - a) / norm(a)``, for the model of ``max(x, 0) +
      min(x, 0)``, which is the same function.
    - conservation: ``|sum a - f(x)| / |f(x)|``.
    - missingness: ``|a_j| / sum |a|`` at the item in which j has its baseline.
    - consistency: how much smaller a_j is for the first output plus ``|x_j - baseline_j|`` than without, in units of
      that.

    Args:
        method: constructed again for the other models.
        inputs: (B, ...), one tensor.
        tolerance: a defect up to which an axiom counts as holding; methods that sample or integrate have errors.
        **call: see `xai_fast.metrics.MethodCallOptions`.

    Returns:
        For each of `AXIOMS` what was found. Where attributions have not the shape of the inputs, or a model cannot be
        explained, the reason.

    Raises:
        InputError: an argument does not fit.
        ModelError: the items cannot be explained at all.
    """
    tolerance = check_positive("tolerance", tolerance)
    items, found = _Items(Explained(method, inputs, **call)), {}
    for name, measure in AXIOMS.items():
        claimed = name in CLAIMS.get(method.name, ())
        try:
            defect = measure(items)
        except XaiFastError as error:
            found[name] = Axiom(None, None, claimed, str(error))
        else:
            found[name] = Axiom(defect, defect <= tolerance, claimed)
    return found
