"""The channels of a layer's output, and scores with one channel at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xai_fast.engine.axes import MapAxes
from xai_fast.engine.call import Call
from xai_fast.engine.objective import at_least_float32

__all__ = ["channel_scores", "channels", "weighted_sum"]


def channels(output: Tensor, axes: MapAxes) -> Tensor:
    """Read a layer's output as (R, C, n), in float32 or wider."""
    return at_least_float32(axes.tokens(output.detach())).transpose(1, 2)


def weighted_sum(weights: Tensor, activation: Tensor) -> Tensor:
    """Sum channels (R, C, n) with weights (R, C): (R, n)."""
    return torch.einsum("bk,bkn->bn", weights, activation)


def channel_scores(call: Call, runs: Tensor, otherwise: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return scores (R, C) of channels one by one, in full batches, by ``score`` of items (r,) and channels (r,).

    ``runs`` (R, C) bool are the channels that need a run; the others have the scores ``otherwise`` (R,).
    """
    found = otherwise[:, None].repeat(1, runs.shape[1])
    rows = torch.tensor(call.host.items(runs.flatten()), dtype=torch.int64, device=runs.device)
    for some in torch.split(rows, call.rows) if len(rows) else ():
        found.view(-1)[some] = score(some // runs.shape[1], some % runs.shape[1])
    return found
