"""Functions that are traced once and used often: what a trace holds, and what each call brings.

A `ScoreFunction` is the score of the items of one batch: a model, an objective, and the extra arguments and classes of
these items. Its graph is the same for all batches of items of one shape, so `traced` makes it once per model and finds
it again. The table of traces is keyed weakly by the model; a trace is not used once anything that it has read was
changed (`xai_fast.graph.watched`).
"""

from __future__ import annotations

import contextlib
import threading
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_fast.engine.call import Call
from xai_fast.engine.checks import no_gradient_path
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.objective import Objective
from xai_fast.errors import bad_argument
from xai_fast.graph.decompositions import fusing
from xai_fast.graph.fold import folded
from xai_fast.graph.lift import ATTENTION, LAYER_NORM
from xai_fast.graph.nodes import Graph
from xai_fast.graph.trace import SCORE, at_path, trace
from xai_fast.graph.watched import References, Watched, recorded_modules

__all__ = ["ScoreFunction", "TracedFunction", "find_trace", "traced"]

_FORMS = (ATTENTION, LAYER_NORM, torch.ops.aten.exp.default, torch.ops.aten.rsqrt.default)
"""Operations one of which is in each graph of a model with attention or layer norm."""

_MOST_TRACES = 8
"""Traces kept per model: shapes, objectives and constants that are used in turn."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ScoreFunction:
    """The scores of a batch's items.

    Attributes:
        model: from a batch (B, ...), and ``extras``, to outputs.
        objective: from outputs to scores; None where the model returns scores (B,) itself.
        extras: tensors (B, ...) with one row per item, never differentiated.
        fixed: further arguments that are the same for all items, by position among the model's extra arguments.
        classes: (B,) int64, the class of each item, where the objective has classes.
        fused: what is traced in one piece, see `xai_fast.graph.decompositions.fusing`.
    """

    model: Callable[..., object]
    objective: Objective | None = None
    extras: tuple[Tensor, ...] = ()
    fixed: Mapping[int, object] = field(default_factory=dict)
    classes: Tensor | None = None
    fused: tuple[str, ...] = ()

    @classmethod
    def of_call(
        cls, model: Callable[..., object], call: Call, arguments: Sequence[object], classes: Tensor | None
    ) -> ScoreFunction:
        """Make the function, of a model from something and ``arguments``, for items of a call with these classes."""
        rows = [*[True] * (len(arguments) - len(call.extra.per_item)), *call.extra.per_item]
        extras = tuple(a for a, one in zip(arguments, rows, strict=True) if one and isinstance(a, Tensor))
        fixed = {i: a for i, (a, one) in enumerate(zip(arguments, rows, strict=True)) if not one}
        return cls(model, call.objective, extras, fixed, classes)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The extras of the graph: those of the model, then the classes."""
        return self.extras if self.classes is None else (*self.extras, self.classes)

    def __call__(self, x: Tensor, *inputs: Tensor) -> Tensor:
        """Compute scores (B,) from a batch and its `inputs`."""
        return self.scores(self.outputs(x, *inputs), *inputs)

    def outputs(self, x: Tensor, *inputs: Tensor) -> object:
        """Run the model on a batch and its `inputs`."""
        rows = iter(inputs[: len(self.extras)])
        count = len(self.extras) + len(self.fixed)
        given = (x, *(self.fixed[i] if i in self.fixed else next(rows) for i in range(count)))
        model = getattr(self.model, "_orig_mod", self.model)  # what torch.compile has made of a module cannot be traced
        # Copies: the model may work on them in place, and they are given again.
        return model(*(value.clone() if isinstance(value, Tensor) else value for value in given))

    def scores(self, outputs: object, *inputs: Tensor) -> Tensor:
        """Compute scores (B,) from the model's outputs."""
        if self.objective is not None:
            return self.objective(outputs, inputs[-1] if self.classes is not None else None)
        if isinstance(outputs, np.ndarray):
            raise no_gradient_path()
        if not isinstance(outputs, Tensor) or outputs.ndim != 1:
            got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise bad_argument("fn", "a function from (B, ...) to scores (B,), or a module with a target", got)
        return outputs

    def has_same_constants(self, other: ScoreFunction) -> bool:
        """Tell whether the arguments that are the same for all items are those of another function."""
        return self.fixed.keys() == other.fixed.keys() and References(self.fixed.values()).are(other.fixed.values())


class TracedFunction:
    """The graph of a score, for items of one shape and dtype; `traced` makes it.

    It holds neither the items nor the model: ``xai_fast.graph.run(function.graph, x, inputs)`` takes the items, their
    extra arguments and their classes.

    Args:
        function: what to trace.
        x: (B, ...), B >= 1, an example.

    Attributes:
        graph: the operations, batch norm folded.
        output_shape: of the model's output without the batch; None where that is no tensor.

    Raises:
        ModelError: the function cannot be traced.
        UnsupportedOperation: it writes into a tensor in a way that cannot be traced.
    """

    def __init__(self, function: ScoreFunction, x: Tensor) -> None:
        self.output_shape: tuple[int, ...] | None = None

        def scores(x: Tensor, *inputs: Tensor) -> Tensor:
            outputs = function.outputs(x, *inputs)
            self.output_shape = tuple(outputs.shape[1:]) if isinstance(outputs, Tensor) else None
            with at_path(SCORE):
                return function.scores(outputs, *inputs)

        with frozen_parameters(function.model), recorded_modules() as modules, fusing(function.fused):
            graph = trace(scores, x[:1], tuple(extra[:1] for extra in function.inputs), _module(function))
        if not graph.nodes[graph.output].active:
            raise no_gradient_path()
        self.graph: Graph = folded(graph)
        has_forms = any(node.per_item and node.target in _FORMS for node in graph.nodes)
        self._fused = function.fused if has_forms else None
        self._conditions = _conditions(function, x)
        self._references = References(_references(function))
        functions = _functions(function)
        self._watched = Watched(functions, [*modules, *(f for f in functions if isinstance(f, nn.Module))], graph.reads)
        self._derived: dict[Callable[..., object], object] = {}

    def is_for(self, function: ScoreFunction, x: Tensor) -> bool:
        """Tell whether this is the graph of a function of items like ``x``, as the function is now."""
        return (
            self._fused in (function.fused, None)
            and self._conditions == _conditions(function, x)
            and self._references.are(_references(function))
            and self.is_current()
        )

    def is_current(self) -> bool:
        """Tell whether nothing that the trace has read was changed."""
        return self._watched.is_unchanged()

    def derived(self, make: Callable[[Graph], T]) -> T:
        """Return what is made of the graph, such as its rules: made at the first call, and kept with the graph."""
        if make not in self._derived:
            self._derived[make] = make(self.graph)
        return self._derived[make]  # type: ignore[return-value]


def _module(function: ScoreFunction) -> object:
    """Return the module that a function calls, such as the model behind one of its layers."""
    model = function.model
    while not isinstance(model, nn.Module) and hasattr(model, "model"):
        model = model.model
    return model


def _conditions(function: ScoreFunction, x: Tensor) -> tuple[object, ...]:
    """List what decides about the operations of a trace, besides the function itself."""
    objective = function.objective
    kind = x.device.type
    return (
        tuple((t.shape[1:], t.dtype, t.device) for t in (x, *function.inputs)),
        function.classes is None,
        None if objective is None else objective.score,
        tuple(function.fixed),
        torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind),
        _modes(),
    )


def _modes() -> tuple[TorchFunctionMode, ...]:
    """Return the modes under which functions run, such as `xai_fast.graph.smooth.smoothed`."""
    if not torch._C._len_torch_function_stack():
        return ()
    return tuple(torch.overrides._get_current_function_mode_stack())  # type: ignore[no-untyped-call]


def _functions(function: ScoreFunction) -> list[object]:
    """List the Python functions of a score, the model first; a method stands for the object that it belongs to."""
    target = None if function.objective is None else function.objective.target
    functions = [function.model, target] if callable(target) else [function.model]
    return [f.__self__ if isinstance(f, types.MethodType) else f for f in functions]


def _references(function: ScoreFunction) -> list[object]:
    target = None if function.objective is None else function.objective.target
    return [function.model, target if callable(target) else None, *function.fixed.values()]


_lock = threading.Lock()
_traces: weakref.WeakKeyDictionary[object, list[TracedFunction]] = weakref.WeakKeyDictionary()


def traced(function: ScoreFunction, x: Tensor) -> TracedFunction:
    """Return the graph of a score for items like ``x`` (B, ...), B >= 1, traced where that was not done before.

    It is kept as long as the model is, for the next call with the same model, objective and shapes. A `ModelError` says
    that the function cannot be traced, an `UnsupportedOperation` that it writes into a tensor in a way that cannot.
    """
    found = find_trace(function, x)
    if found is None:
        found = TracedFunction(function, x)
        owner = _functions(function)[0]
        with _lock, contextlib.suppress(TypeError):  # neither hashed nor referred to weakly: traced each time
            others = [t for t in _traces.get(owner, ()) if t.is_current()]
            _traces[owner] = [found, *others[: _MOST_TRACES - 1]]
    return found


def find_trace(function: ScoreFunction, x: Tensor) -> TracedFunction | None:
    """Return what `traced` has made before for this function as it is now, if it has."""
    with _lock, contextlib.suppress(TypeError):
        return next((t for t in _traces.get(_functions(function)[0], ()) if t.is_for(function, x)), None)
    return None
