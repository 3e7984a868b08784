"""A scalar function of each item of a batch, ready to be differentiated many times."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xai_fast.engine.checks import check_eval_mode
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.extra import ExtraArguments
from xai_fast.engine.objective import Objective, Target
from xai_fast.errors import ModelError, bad_argument
from xai_fast.taylor.cost import cost_of
from xai_fast.taylor.dominators import Bottleneck, bottleneck
from xai_fast.taylor.feedforward import Chain, chain_of
from xai_fast.taylor.fold import folded
from xai_fast.taylor.graph import trace
from xai_fast.taylor.program import Program
from xai_fast.taylor.replay import Replay

__all__ = ["Function", "check_batch", "prepare"]


_WEIGHTS_OF_SMALL_CHAINS = 1 << 20
"""Entries of the largest matrix of a chain that is written out where the general way would do as well."""


class Function:
    """A score, traced; `prepare` builds it.

    Args:
        model: from a batch (B, ...), and ``extras``, to outputs.
        objective: from outputs to scores; None where the model returns scores (B,) itself.
        extras: tensors (B, ...) with a row an item, each differentiated never; with an objective of classes the last
            one is the class of each item, int64 (B,).
        classes: see ``extras``.
        compile: see `prepare`.
        fixed: further arguments that are the same for all items, by position among the model's extra arguments.

    Attributes:
        replay: recorded runs of this trace.
        row_limit: the most rows times items at once that memory was found to hold; None while nothing is known.
    """

    def __init__(
        self,
        model: Callable[..., object],
        objective: Objective | None,
        extras: tuple[Tensor, ...],
        fixed: dict[int, object],
        classes: Tensor | None,
        compile: bool = False,
    ) -> None:
        self.model = model
        self.objective = objective
        self.classes = classes
        self.extras = extras
        self._fixed = fixed
        self._program: Program | None = None
        self._traced_for: tuple[object, ...] = ()
        self._bottleneck: Bottleneck | None = None
        self._chain: Chain | None = None
        self._chain_versions: tuple[object, ...] = ()
        self.row_limit: int | None = None
        self._shares: dict[bytes, float] = {}
        self.replay = Replay(compile)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The extras of the graph: those of the model, then the classes."""
        return self.extras if self.classes is None else (*self.extras, self.classes)

    def adopt(self, other: Function) -> None:
        """Take over the trace of a function that is the same but for the items' extra arguments and classes."""
        self._program, self._bottleneck = other._program, other._bottleneck
        self._traced_for, self.row_limit, self._shares = other._traced_for, other.row_limit, other._shares
        self.replay = other.replay

    def has_same_constants(self, other: Function) -> bool:
        """Tell whether the further arguments that are the same for all items are those of another function."""
        if self._fixed.keys() != other._fixed.keys():
            return False
        pairs = [(value, other._fixed[i]) for i, value in self._fixed.items()]
        return all(a is b or (not isinstance(a, Tensor) and type(a) is type(b) and a == b) for a, b in pairs)

    def __call__(self, x: Tensor, *inputs: Tensor) -> Tensor:
        """Compute scores (B,) from a batch and its `inputs`."""
        extras = inputs[: len(self.extras)]
        classes = inputs[len(self.extras)] if self.classes is not None else None
        rows = iter(extras)
        count = len(extras) + len(self._fixed)
        arguments = [self._fixed[i] if i in self._fixed else next(rows) for i in range(count)]
        outputs = self.model(x, *arguments)
        if self.objective is not None:
            return self.objective(outputs, classes)
        if not isinstance(outputs, Tensor) or outputs.ndim != 1:
            got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise bad_argument("fn", "a function from (B, ...) to scores (B,), or a module with a target", got)
        return outputs

    def program(self, x: Tensor) -> Program:
        """Return the graph's program for items like those of ``x``, traced at the first call.

        Args:
            x: (B, ...) with B >= 1.

        Returns:
            The program.

        Raises:
            ModelError: the function cannot be traced.
            UnsupportedOperation: an operation has no rule.
        """
        key = (tuple(x.shape[1:]), x.dtype, x.device)
        if self._program is None or self._traced_for != key:
            with frozen_parameters(self.model):
                graph = trace(self, x[:1], tuple(extra[:1] for extra in self.inputs))
            if not graph.nodes[graph.output].active:
                raise ModelError(
                    "model: expected a score that depends differentiably on the input, got one without a gradient path"
                )
            self._program = Program(folded(graph))
            self._bottleneck = bottleneck(self._program)
            self._traced_for = key
            self.row_limit = None
            self._shares = {}
            self.replay = Replay(self.replay.compile)
        return self._program

    def share_of_operations(self, touched: Tensor | None) -> float:
        """Return what part of a whole row's operations a row takes that touches only some places, after `program`.

        Args:
            touched: (R, P) bool, see `xai_fast.taylor.touched`; None for all.

        Returns:
            The mean over the rows, at most 1.
        """
        if touched is None:
            return 1.0
        program = self.program_traced
        key = touched.cpu().numpy().tobytes()
        if key not in self._shares:
            whole = touched.shape[0] * cost_of(program).row_operations
            self._shares[key] = program.tangent_operations(touched, program.curved_inputs) / max(1, whole)
        return self._shares[key]

    @property
    def program_traced(self) -> Program:
        """The program of the last call of `program`."""
        if self._program is None:
            raise ModelError("model: expected a traced function; call program(x) first")
        return self._program

    def chain(self, x: Tensor) -> Chain | None:
        """Return the layers of a small feed-forward network; None where the score is something else; see `program`."""
        program = self.program(x)
        constants = [c for c in program.graph.constants.values() if isinstance(c, Tensor) and not c.is_inference()]
        versions = (program, *(constant._version for constant in constants))
        if self._chain_versions != versions:  # weights that were changed in place are read again
            self._chain, self._chain_versions = chain_of(program, x, _WEIGHTS_OF_SMALL_CHAINS), versions
        return self._chain

    @property
    def bottleneck(self) -> Bottleneck | None:
        """The narrowest node through which all curvature is reached; after `program`."""
        return self._bottleneck


def prepare(
    fn: Callable[..., object],
    x: Tensor,
    *,
    target: Target = None,
    score: str = "probability",
    additional_forward_args: object = None,
    compile: bool = False,
) -> Function:
    """Make a function ready to be differentiated. Every function of `xai_fast.taylor` takes the result in place of fn.

    What was prepared holds for batches of the same items' extra arguments and targets as ``x`` has, and for the
    parameters as they are now: after a change of the model, prepare again.

    Args:
        fn: a module in evaluation mode, whose outputs are turned into scores by ``target`` and ``score``; or any
            function from (B, ...) to scores (B,). Items must not depend on each other.
        x: (B, ...) float32 or float64.
        target: for a module: None for the predicted class, an int, a list or tensor (B,), or a callable on the outputs.
        score: "probability", "logit" or "log_probability" of the target.
        additional_forward_args: further arguments; tensors whose first dimension is B hold a row an item.
        compile: let `torch.compile` make one program of what is run for each shape, which takes a minute and a compiler
            and pays for small networks that are explained very often. Bilinear forms and Hessians only.

    Returns:
        The prepared function.

    Raises:
        InputError: an argument does not fit.
        ModelError: the model is in training mode.
    """
    if isinstance(fn, Function):
        return fn
    if not callable(fn):
        raise bad_argument("fn", "a module or a function", type(fn).__name__)
    check_eval_mode(fn)
    check_batch("x", x)
    batch = x.shape[0]
    ExtraArguments(additional_forward_args, batch)  # a list is refused
    values = additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)
    values = () if additional_forward_args is None else values
    per_item = [isinstance(v, Tensor) and v.ndim > 0 and v.shape[0] == batch for v in values]
    extras = tuple(v for v, rows in zip(values, per_item, strict=True) if rows)
    fixed = {i: v for i, (v, rows) in enumerate(zip(values, per_item, strict=True)) if not rows}
    if not isinstance(fn, nn.Module) and target is None:
        return Function(fn, None, extras, fixed, None, compile)
    objective = Objective(target, score)
    classes = None
    if not callable(target) and batch:
        with torch.no_grad(), frozen_parameters(fn):
            classes = objective.targets(fn(x, *values), start=0, batch=batch)
        if classes is not None:
            classes = classes.clone()
    return Function(fn, objective, extras, fixed, classes, compile)


def check_batch(name: str, x: object) -> Tensor:
    """Check that an argument is a batch of floating-point items.

    Args:
        name: of the argument.
        x: its value.

    Returns:
        The value.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64) or x.ndim < 1:
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise bad_argument(name, "a float32 or float64 tensor (B, ...)", got)
    return x
