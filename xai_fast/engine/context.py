"""The state in which a model runs: as its owner runs it, and without a trace afterwards."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from xai_fast.errors import ModelError

__all__ = ["as_owner", "frozen_parameters", "undisturbed"]

_lock = threading.Lock()
_frozen: weakref.WeakKeyDictionary[nn.Module, tuple[int, list[Tensor]]] = weakref.WeakKeyDictionary()
_fastpath: list[bool] = []
"""What torch's fast path of attention was set to, once for each context that is open."""


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Compute as without the caller's inference mode, ``no_grad`` and autocast."""
    with torch.inference_mode(False), torch.enable_grad(), contextlib.ExitStack() as stack:
        for kind in ("cpu", "cuda", "xpu", "mps"):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def as_owner(model: Callable[..., object]) -> Iterator[None]:
    """Run a model in a state in which it computes the same function with and without gradients.

    Inference mode is left: no graph could be built in it. The inference path of torch's attention layers is off:
    without gradients it would take over, and give other numbers where items have padding.

    All is put back at the end, also after an exception. Nested and concurrent use is counted: the last to leave
    restores what the first one found.

    Args:
        model: a module, or any other callable.

    Yields:
        Nothing.

    Raises:
        ModelError: the model was made in inference mode, so that no gradient can pass through it.
    """
    tensors = (*model.named_parameters(), *model.named_buffers()) if isinstance(model, nn.Module) else ()
    name = next((name for name, value in tensors if value.is_inference()), None)
    if name is not None:
        raise ModelError(
            f"model: expected parameters and buffers that gradients can pass through, got {name} made under "
            "torch.inference_mode; make the model outside of it, or explain copy.deepcopy(model)"
        )
    grad = torch.is_grad_enabled()  # leaving inference mode would turn autograd on
    with torch.inference_mode(False), torch.set_grad_enabled(grad), _without_fastpath():
        yield


@contextlib.contextmanager
def frozen_parameters(model: Callable[..., object]) -> Iterator[None]:
    """Do what `as_owner` does, and take the parameters out of the graph: only their ``requires_grad`` flags change.

    Nothing is kept or computed for their gradients. Scores are computed outside: torch rounds products with tensors
    that are not contiguous in another way where weights require gradients.
    """
    with as_owner(model), _frozen_flags(model):
        yield


@contextlib.contextmanager
def _without_fastpath() -> Iterator[None]:
    with _lock:
        _fastpath.append(torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        with _lock:
            # The first entry is what was found; the others saw it off.
            found = _fastpath[0]
            _fastpath.pop()
            if not _fastpath:
                torch.backends.mha.set_fastpath_enabled(found)


@contextlib.contextmanager
def _frozen_flags(model: Callable[..., object]) -> Iterator[None]:
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
