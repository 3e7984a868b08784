"""Models that look their inputs up in a table, as functions of what they find there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xai_fast.engine.call import Call, default_rows
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import at_least_float32
from xai_fast.errors import InputError, bad_argument
from xai_fast.graph.cut import Downstream

__all__ = ["at_embeddings", "embedding_layer"]


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"embeddings: {error}") from error


@_named()
def embedding_layer(model: Callable[..., object], layer: Layer | None) -> str | None:
    """Give the name of the layer that a method is given as ``embeddings``; an `InputError` says that there is none."""
    return None if layer is None else Downstream(model, layer).name


@_named()
def at_embeddings(call: Call, layer: str, internal_batch_size: int | None) -> Call:
    """Return a call whose only value is a layer's output (B, ...) for the items of a call, in whose context this runs.

    The inputs become additional arguments, whose rows go along with their items: the model runs on them with the
    layer's output replaced. The layer is a dotted name; "name#k" is its k-th run in a pass. An `InputError` says that
    it does not run once, or gives no floating-point tensor with a row per item.
    """

    def output(chunk: range) -> Tensor:
        found: Any = call.run(call.take(chunk), call.positions(chunk), lambda *a, **k: model.split(*a, *k.values()))
        return at_least_float32(found[0])

    keywords = call.extra.keywords
    model = Downstream(call.model, layer, keywords=keywords)
    first = output(range(1))
    model = Downstream(call.model, layer, keywords=keywords, batch_axis=int(first.shape[0] != 1))
    call = replace(call, rows=internal_batch_size or default_rows(max(1, first.numel()), call.device))
    values = torch.cat([output(chunk) for chunk in call.chunks()])
    if values.ndim < 2 or len(values) != call.batch or not values.is_floating_point():
        expected = f"a layer with floating-point outputs (B, ...) for {call.batch} items"
        raise bad_argument("layer", expected, f"{layer}: {values.dtype} {tuple(values.shape)}")
    extra = copy(call.extra)
    extra.values, extra.keywords = (*call.narrowed(call.values), *extra.values), ()
    extra.per_item = (*[True] * len(call.values), *extra.per_item)
    return replace(call, values=(values,), extra=extra, several=False, memory_format=torch.contiguous_format, at=model)
