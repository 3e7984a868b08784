"""Models of many kinds: their scores are those of the owner's own call, their maps those of the literal formulas."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES, ITEMS, Architecture
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai_fast import Explanation, GradCAM, Method, NeFLAG, TaylorCAM, XaiFastError
from xai_fast.attribution.neflag_reference import neflag_reference
from xai_fast.engine.extra import Shared

WALK = {"radius": 0.05, "points": 2, "max_steps": 2}


@contextlib.contextmanager
def replaced(model: nn.Module, layer: str, value: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put something in place of the first tensor of a layer's output."""

    def hook(_module: nn.Module, _inputs: object, output: Any) -> Any:
        if isinstance(output, Tensor):
            return value(output)
        return (value(output[0]), *output[1:])

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def owner(model: nn.Module, inputs: Any, extra: Any, which: slice = slice(None)) -> Tensor:
    """Call a model as its owner does, on copies of some items: logits."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    named = extra if isinstance(extra, dict) else {} if extra is None else {"": extra}
    rows = {k: v.value if isinstance(v, Shared) else v[which] for k, v in named.items()}
    arguments = [value[which].clone() for value in inputs] + [v for k, v in rows.items() if not k]
    outputs = model(*arguments, **{k: v for k, v in rows.items() if k})
    return getattr(outputs, "logits", outputs)
