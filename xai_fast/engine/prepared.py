"""A model prepared for many passes on a CPU: what each pass would do again is done once.

A first pass over one item lists the functions of torch that the model calls. From that list follows what later passes
do; nothing is timed, since two processes of a job could decide differently:

- 4-d inputs are in channels-last format, as are the weights of the convolutions, which oneDNN would reorder each time;
- a batch norm that is the only reader of a convolution's output is folded into its weights, in float32 or float64;
- a convolution that reads few channels goes back in another way (`xai_fast.engine.convolution`).

One more pass over the item has to give the same up to rounding, or else the user's own format is tried, then nothing.
A later pass that calls other functions, or takes other parameters, is run again as the model is, and so are all after
it. New weights are made once per call of a method, so that none are older than the model's. The model is not touched:
the functions are replaced on their way to torch, in this thread alone. Hooks, checkpoints, scripted and compiled parts,
weights that are computed, and batch norm in training mode stay as they are. ``XAI_FAST_PREPARE=off`` leaves out all.

The owner's gradient took as much more time, on one thread of a busy machine: ResNet-18, one item, 0.8 with inputs in
channels-last format, 1.13 with weights too, 1.2 with batch norm folded; eight items 1.13, 1.18, 1.3; ResNet-50, eight
items, 1.06, 1.3, 1.5; EfficientNet-Lite0, eight items, 1.2, 1.2, 1.9. Frozen parameters alone gain 1.0 to 1.03; ViT and
ConvNeXt 1.0 to 1.07 by all of it. What is left of ResNet-18 is 86 % convolutions. ``benchmarks/test_preparation.py``
measures it.
"""

from __future__ import annotations

import contextlib
import operator
import os
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from xai_fast.engine.convolution import FewChannels, reads_few_channels
from xai_fast.errors import bad_argument

__all__ = ["Prepared", "formatted", "own_memory_format", "prepare"]

_VARIABLE = "XAI_FAST_PREPARE"
_CHANGED = "xai_fast: the model does not do what it did when it was prepared"
_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
_MOVED_PER_STEP = 2**12
"""Entries of weights that are reordered in about the time that one more function call of Python takes."""
Run: TypeAlias = "Callable[[Sequence[Tensor], Callable[..., object] | None], object]"


@dataclass(frozen=True)
class Prepared:
    """How rows go through a model.

    Attributes:
        memory_format: of 4-d inputs.
        forward: the model in its prepared form; None for the model itself.
    """

    memory_format: torch.memory_format
    forward: Callable[..., object] | None = None


@dataclass
class _Convolution:
    """A convolution by its weight and bias, with the tensors and eps of the batch norm to fold, and when that runs.

    ``few`` are stride and padding of one that reads few channels.
    """

    tensors: tuple[Any, ...]
    few: tuple[Any, ...] = ()
    norm: tuple[Any, ...] = ()
    norm_at: int = -1

    def moved(self, memory_format: torch.memory_format) -> int:
        """Count the entries of the weight that are elsewhere in a format."""
        weight: Tensor = self.tensors[0]
        return 0 if weight.ndim != 4 or weight.is_contiguous(memory_format=memory_format) else weight.numel()

    def folded(self, memory_format: torch.memory_format) -> tuple[Tensor, Tensor | None]:
        """Give the new weight and bias."""
        weight, bias = self.tensors[0].detach(), self.tensors[1]
        bias = None if bias is None else bias.detach()
        memory_format = memory_format if weight.ndim == 4 else torch.contiguous_format
        if not self.norm:
            return weight.contiguous(memory_format=memory_format), bias
        mean, variance, scale, shift, eps = (v.double() if isinstance(v, Tensor) else v for v in self.norm)
        scale = (variance + eps).rsqrt() * (1 if scale is None else scale)
        bias = (-mean if bias is None else bias - mean) * scale + (0 if shift is None else shift)
        # A sixth of the time that the product takes where it is allocated and then reordered.
        new = torch.empty_like(weight, memory_format=memory_format)
        torch.mul(weight, scale.to(weight).view(-1, *[1] * (weight.ndim - 1)), out=new)
        return new, bias.to(weight)


@dataclass
class _Plan:
    """The functions that a pass calls, and its convolutions by their places among them; empty where none is changed."""

    memory_format: torch.memory_format
    steps: list[Any] = field(default_factory=list)
    convolutions: dict[int, _Convolution] = field(default_factory=dict)


_plans: weakref.WeakKeyDictionary[nn.Module, dict[tuple[object, ...], _Plan]] = weakref.WeakKeyDictionary()


def own_memory_format(values: Sequence[Tensor]) -> torch.memory_format:
    """Tell the format of the user's inputs: channels-last where a picture is in it and in no other."""
    pictures = [value for value in values if value.ndim == 4]
    last = any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in pictures)
    return torch.channels_last if last else torch.contiguous_format


def formatted(value: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Bring pictures to a format, also those of one channel, which are contiguous in both; leave other values."""
    if value.ndim == 4 and memory_format == torch.channels_last:
        return value.to(memory_format=memory_format)
    return value.contiguous() if value.ndim == 4 else value


def prepare(
    model: Callable[..., object], values: Sequence[Tensor], run: Run, *, precision: str = "fp32", fold: bool = True
) -> Prepared:
    """Return how rows go through a model in many passes; what is found out is kept for its shapes and precision.

    Given are ``values``, one item of each input (1, ...) in the user's format, and ``run``, from inputs of that item,
    and the model or another form of it, to the model's output. Without ``fold`` only the format is chosen, as on CUDA,
    where it matters in bfloat16. An `InputError` says that the environment variable is neither "auto" nor "off".
    """
    choice, own, kind = os.environ.get(_VARIABLE) or "auto", own_memory_format(values), values[0].device.type
    if choice not in ("auto", "off"):
        raise bad_argument(_VARIABLE, "auto or off", repr(choice))
    if choice == "off" or not isinstance(model, nn.Module) or (kind != "cpu" and (kind, precision) != ("cuda", "bf16")):
        return Prepared(own)
    if not any(isinstance(module, _KINDS) for module in model.modules()):
        return Prepared(own)
    fold = fold and kind == "cpu" and not any(map(_has_its_own_ways, model.modules()))
    known = _plans.setdefault(model, {})
    key = (precision, own, fold, *((value.shape, value.dtype, value.device) for value in values))
    plan = known.get(key) or _planned(model, values, run, own, fold)
    if plan is None:
        return Prepared(own)
    known[key] = plan
    return Prepared(plan.memory_format, _Forward(model, plan) if plan.steps else None)


def _has_its_own_ways(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    scripted = isinstance(module, torch.jit.ScriptModule)
    compiled = "torch._dynamo" in sys.modules and isinstance(module, torch._dynamo.OptimizedModule)
    return any(hooks) or scripted or compiled or module._compiled_call_impl is not None


def _planned(
    model: nn.Module, values: Sequence[Tensor], run: Run, own: torch.memory_format, fold: bool
) -> _Plan | None:
    """Find what gives the same as the model itself; None where this item has no numbers to compare."""
    with torch.no_grad():
        inputs = [value.clone() for value in values]
        versions = [value._version for value in inputs]
        recorder = _Recorder(model)
        with recorder if fold else contextlib.nullcontext():
            expected = run(inputs, None)
        convolutions = recorder.ended(expected) if [value._version for value in inputs] == versions else {}
        expected = getattr(expected, "logits", expected)
        if isinstance(expected, Tensor) and not expected.isfinite().all():
            return None
        for memory_format in (torch.channels_last, own) if any(value.ndim == 4 for value in values) else (own,):
            chosen = {at: c for at, c in convolutions.items() if c.norm or c.few or c.moved(memory_format)}
            moved = sum(one.moved(memory_format) for one in chosen.values())
            changed = any(one.norm or one.few for one in chosen.values())
            if not changed and moved < _MOVED_PER_STEP * len(recorder.steps):
                chosen = {}
            plan = _Plan(memory_format, recorder.steps if chosen else [], chosen)
            if (memory_format == own and not chosen) or _gives_the_same(model, plan, values, run, expected):
                return plan
    return _Plan(own)


def _gives_the_same(model: nn.Module, plan: _Plan, values: Sequence[Tensor], run: Run, expected: object) -> bool:
    inputs = [formatted(value.clone(), plan.memory_format) for value in values]
    try:
        got = run(inputs, _Forward(model, plan) if plan.steps else None)
    except RuntimeError:  # such as a view that does not fit the strides
        return False
    got = getattr(got, "logits", got)
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor) or got.shape != expected.shape:
        return False
    scale = expected.abs().max() if expected.numel() else 0.0
    return bool(((got - expected).abs() <= 1e-4 * scale).all())


def _norm_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Give mean, variance, weight, bias and eps of a call of batch norm that folds; else nothing."""
    if len(args) != 3 or args[1] is None or kwargs["training"]:
        return ()
    return (args[1], args[2], kwargs["weight"], kwargs["bias"], kwargs["eps"])


def _few(weight: Tensor, bias: Tensor | None, *options: Any) -> tuple[Any, ...]:
    """Give stride and padding of a convolution that reads few channels; else nothing."""
    if len(options) != 4 or not all(isinstance(given, tuple) for given in options[:3]):
        return ()
    return options[:2] if reads_few_channels(weight, (*options[:3], False, (), options[3])) else ()


class _Recorder(TorchFunctionMode):
    """Lists the functions that a model calls, and its convolutions with what reads them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.steps: list[Any] = []
        self._own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._found: dict[int, _Convolution] = {}
        self._outputs: dict[int, Tensor] = {}
        self._readers: dict[int, list[int]] = {}
        self._norms: dict[int, tuple[Any, ...]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        at, kwargs = len(self.steps), kwargs or {}
        self.steps.append(func)
        if func is not Tensor.dim:  # which the modules of batch norm ask
            for value in tree_leaves((args, kwargs)):
                for made in [made for made, output in self._outputs.items() if output is value]:
                    self._readers[made].append(at)
        if func is nn.functional.batch_norm:
            self._norms[at] = _norm_of(args, kwargs)
        output = func(*args, **kwargs)
        if func in _CONVOLUTIONS and not kwargs and len(args) > 2 and self._are_own(*args[1:3]):
            self._found[at] = _Convolution(tuple(args[1:3]), _few(*args[1:]))
            self._outputs[at], self._readers[at] = output, []
        return output

    def _are_own(self, *tensors: Any) -> bool:
        given = [tensor for tensor in tensors if tensor is not None]
        return all(
            id(t) in self._own and type(t) in (nn.Parameter, Tensor) and t.dtype in (torch.float32, torch.float64)
            for t in given
        )

    def ended(self, outputs: object) -> dict[int, _Convolution]:
        """Give the convolutions by their places; ``outputs`` of the model are still there, whatever they hold."""
        left = {at: weakref.ref(output) for at, output in self._outputs.items()}
        self._outputs.clear()
        for at, convolution in self._found.items():
            readers = self._readers[at]
            norm = self._norms.get(readers[0], ()) if len(readers) == 1 else ()
            if norm and self._are_own(*norm[:4]) and left[at]() is None:  # nor did the model keep it for another use
                convolution.norm, convolution.norm_at = norm, readers[0]
        return self._found


class _Forward:
    """The prepared form of a model, for one call of a method."""

    def __init__(self, model: nn.Module, plan: _Plan) -> None:
        self._model, self._plan = model, plan
        self._weights: dict[int, tuple[Tensor, Tensor | None]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        """Run the model; as it is, from the first time on that it does something else than it did."""
        plan = self._plan
        if plan.steps:
            if not self._weights:
                with torch.no_grad():
                    self._weights = {at: c.folded(plan.memory_format) for at, c in plan.convolutions.items()}
            try:
                # A checkpoint would compute again, on the way back, what is not folded then.
                with disable_saved_tensors_hooks(_CHANGED), _Replayed(plan, self._weights) as replayed:
                    outputs = self._model(*args, **kwargs)
                    replayed.ended()
                return outputs
            except RuntimeError as error:
                if _CHANGED not in str(error):
                    raise
            plan.steps = []
        return self._model(*args, **kwargs)


class _Replayed(TorchFunctionMode):
    """Checks that the functions are those of the plan, and replaces its convolutions and norms."""

    def __init__(self, plan: _Plan, weights: dict[int, tuple[Tensor, Tensor | None]]) -> None:
        super().__init__()
        self._steps, self._convolutions, self._weights = plan.steps, plan.convolutions, weights
        self._at = 0
        self._norms: dict[int, tuple[Tensor, _Convolution]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        at, kwargs = self._at, kwargs or {}
        self._at += 1
        _expect(at < len(self._steps) and func == self._steps[at])
        if at in self._convolutions:
            convolution = self._convolutions[at]
            _expect(len(args) > 2 and all(map(operator.is_, args[1:3], convolution.tensors)))
            given = (args[0], *self._weights[at])
            goes_back = args[0].requires_grad and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
            output: Any
            if convolution.few and goes_back:
                output = FewChannels.apply(*given, *convolution.few)  # type: ignore[no-untyped-call]  # torch
            else:
                output = func(*given, *args[3:])
            if convolution.norm:
                self._norms[convolution.norm_at] = output, convolution
            return output
        if at in self._norms:
            output, convolution = self._norms.pop(at)
            norm = _norm_of(args, kwargs)
            _expect(args[0] is output and len(norm) > 0 and all(map(operator.is_, norm, convolution.norm)))
            return output
        return func(*args, **kwargs)

    def ended(self) -> None:
        """Check that nothing is missing."""
        _expect(self._at == len(self._steps))


def _expect(same: bool) -> None:
    if not same:
        raise RuntimeError(_CHANGED)
