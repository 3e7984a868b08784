"""Which layer has which rule."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.relevance.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, ZPlus

__all__ = ["COMPOSITES", "Composite", "Position"]

_ROUNDING = 1e-5  # of the range of inputs, such as that of pictures that were resized and normalised


@dataclass(frozen=True)
class Position:
    """Where a layer with weights lies.

    Attributes:
        kind: "convolution" or "dense".
        path: the dotted name of its module.
        index: among the layers of this kind, in the order in which they run.
        count: of the layers of this kind.
        is_first: whether no other layer with weights comes before it.
    """

    kind: str
    path: str
    index: int
    count: int
    is_first: bool


Choice: TypeAlias = "Rule | Callable[[Position], Rule]"


@dataclass(frozen=True)
class Composite:
    """Rules by kind, place and name.

    Attributes:
        rules: by "first", "convolution", "dense", or a pattern of module paths such as "features.?" (`fnmatch`); the
            first entry that fits a layer counts. In the place of a rule may be a function of the `Position`.
        attention: "shared": a product of queries and keys, or of attention and values, gives half to each, and a
            softmax passes on what its derivative says (AttnLRP, Achtibat et al. 2024); "constant": all goes to the
            values (CP-LRP, Ali et al. 2022).
        eps: what is added to sums and pools; with 0 they need no division.
    """

    rules: Mapping[str, Choice] = field(default_factory=dict)
    attention: str = "shared"
    eps: float = 1e-6

    def rule(self, position: Position) -> Rule:
        """Choose the rule of a layer; `Epsilon` where nothing fits."""
        for pattern, choice in self.rules.items():
            if self._fits(pattern, position):
                return choice if isinstance(choice, Rule) else choice(position)
        return Epsilon()

    def _fits(self, pattern: str, position: Position) -> bool:
        if pattern in ("convolution", "dense"):
            return pattern == position.kind
        return position.is_first if pattern == "first" else fnmatch.fnmatchcase(position.path, pattern)


_GAMMAS = (1.0, 0.3, 0.1, 0.03, 0.01)


def _by_depth(position: Position) -> Rule:
    return Gamma(gamma=_GAMMAS[len(_GAMMAS) * position.index // position.count])


COMPOSITES: dict[str, Composite] = {
    "epsilon": Composite(),
    "epsilon_plus": Composite({"convolution": ZPlus()}),
    "epsilon_plus_flat": Composite({"first": Flat(), "convolution": ZPlus()}),
    "epsilon_gamma_box": Composite({"first": ZBox(), "convolution": Gamma()}),
    "w2_gamma": Composite({"first": WSquare(), "convolution": Gamma(gamma=0.05)}),
    "epsilon_alpha2_beta1": Composite({"convolution": AlphaBeta()}),
    "epsilon_alpha2_beta1_flat": Composite({"first": Flat(), "convolution": AlphaBeta()}),
    "gamma_by_depth": Composite({"first": ZBox(), "convolution": _by_depth}),
    "deep_taylor": Composite({"first": WSquare(), "convolution": ZPlus(), "dense": ZPlus()}),
    "deep_taylor_box": Composite({"first": ZBox(), "convolution": ZPlus(), "dense": ZPlus()}),
    "attn_lrp": Composite(eps=0.0),
    "cp_lrp": Composite(attention="constant", eps=0.0),
}
"""Composites by name. The first eight are for convolutions under ReLU: those of Kohlbrenner et al. 2020 and Montavon et
al. 2019, and "w2_gamma", whose maps of photos are the best by the measures of docs/results.md. Deep Taylor (Montavon et
al. 2017) is for such networks with positive scores, with the squares of the weights or with the bounds of the inputs in
the first layer; the last two are for transformers."""


def check_composite(composite: object) -> Composite:
    """Give a composite or that of a name; an `InputError` says which there are."""
    if isinstance(composite, str) and composite in COMPOSITES:
        return COMPOSITES[composite]
    if isinstance(composite, Composite):
        return composite
    raise bad_argument("composite", f"a Composite, or one of {', '.join(COMPOSITES)}", repr(composite))


def check_bounds(low: object, high: object) -> tuple[Tensor, Tensor] | None:
    """Give the bounds of inputs as tensors () or (C,), or None for both; an `InputError` where they are none."""
    if low is None and high is None:
        return None
    try:
        ends = np.broadcast_arrays(*(np.asarray(end, dtype=np.float64) for end in (low, high)))
    except (TypeError, ValueError):
        ends = ()
    if not ends or ends[0].ndim > 1 or not (ends[0] < ends[1]).all():
        raise bad_argument(
            "low", "two numbers or two per channel, low < high, or None for both", f"low={low!r}, high={high!r}"
        )
    return torch.tensor(ends[0]), torch.tensor(ends[1])


def bounds_like(x: Tensor, bounds: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Give bounds () or (C,) so that they broadcast with inputs x (B, C, ...); an `InputError` if they do not fit."""
    channels = bounds[0].numel()
    if channels not in (1, *x.shape[1:2]):
        raise bad_argument("low", f"one number, or one for each of {x.shape[1]} channels", f"{channels}")
    low, high = (bound.to(x).view([1, -1, *[1] * x.ndim][: x.ndim]) for bound in bounds)
    return low, high


def outside_bounds(x: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Tell which inputs x (B, C, ...) have entries beyond the bounds by more than rounding, (B,) bool."""
    low, high = bounds_like(x, bounds)
    margin = _ROUNDING * (high - low)
    return ((x < low - margin) | (x > high + margin)).flatten(1).any(1)
