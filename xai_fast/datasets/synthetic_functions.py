"""F1 to F10 of the NID paper, with the sets of features that interact in them.

Source: Tsang, Cheng and Liu, "Detecting statistical interactions from neural network weights", ICLR 2018, Table 1; F1
is Hooker's (2004), with the ranges of Sorokina et al. (2008). Where the printed formula has no real value on its range,
the absolute value is taken, as in all published code: x7 under F2's root.

The published code of T-NID (Lerman et al., ICCV 2021) has an F5 and an F7 of its own, with the same interactions, here
"F5-tnid" and "F7-tnid". It matters for F7: there the term of x4 to x8 is 1 / (1 + p)^2 with p their product, 0.8 % of
the variance of F7. In NID's F7 it is 1 / (1 + p^2), 0.005 % of it, less than what a network that fits well leaves
unexplained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from xai_fast.datasets.known_functions import KnownFunction

__all__ = ["FUNCTIONS", "TNID_FUNCTIONS"]

_FEATURES = 10


def _f1(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    return (
        math.pi ** (x1 * x2) * (2 * x3).sqrt() - x4.arcsin() + (x3 + x5).log() - x9 / x10 * (x7 / x8).sqrt() - x2 * x7
    )


def _f2(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    return (
        math.pi ** (x1 * x2) * (2 * x3.abs()).sqrt()
        - (0.5 * x4).arcsin()
        + ((x3 + x5).abs() + 1).log()
        + x9 / (1 + x10.abs()) * (x7.abs() / (1 + x8.abs())).sqrt()
        - x2 * x7
    )


def _f3(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    return (
        (x1 - x2).abs().exp()
        + (x2 * x3).abs()
        - (x3**2) ** x4.abs()
        + (x4**2 + x5**2 + x7**2 + x8**2).log()
        + x9
        + 1 / (1 + x10**2)
    )


def _f4(x: Tensor) -> Tensor:
    return _f3(x) + (x[:, 0] * x[:, 3]) ** 2


def _f5(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    return 1 / (1 + x1**2 + x2**2 + x3**2) + (x4 + x5).exp().sqrt() + (x6 + x7).abs() + x8 * x9 * x10


def _f6(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, x6, _, x8, x9, x10 = x.unbind(1)
    return (
        ((x1 * x2).abs() + 1).exp()
        - ((x3 + x4).abs() + 1).exp()
        + (x5 + x6 - x8).cos()
        + (x8**2 + x9**2 + x10**2).sqrt()
    )


def _f7(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, x6, x7, x8, x9, _ = x.unbind(1)
    return (
        (x1.arctan() + x2.arctan()) ** 2
        + (x3 * x4 + x6).relu()
        - 1 / (1 + (x4 * x5 * x6 * x7 * x8) ** 2)
        + (x7.abs() / (1 + x9.abs())) ** 5
        + x.sum(1)
    )


def _f5_tnid(x: Tensor) -> Tensor:
    return _f5(x) - (x[:, 3] + x[:, 4]).exp().sqrt() + (x[:, 3] + x[:, 4]).abs().sqrt()


def _f7_tnid(x: Tensor) -> Tensor:
    product = x[:, 3:8].prod(1)
    return _f7(x) + 1 / (1 + product**2) - 1 / (1 + product) ** 2


def _f8(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    return (
        x1 * x2 + 2 ** (x3 + x5 + x6) + 2 ** (x3 + x4 + x5 + x7) + (x7 * (x8 + x9).sin()).sin() + (0.9 * x10).arccos()
    )


def _f9(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    return (
        (x1 * x2 + x3 * x4).tanh() * x5.abs().sqrt()
        + (x5 + x6).exp()
        + ((x6 * x7 * x8) ** 2 + 1).log()
        + x9 * x10
        + 1 / (1 + x10.abs())
    )


def _f10(x: Tensor) -> Tensor:
    x1, x2, x3, x4, x5, _, x7, _, x9, _ = x.unbind(1)
    return (x1 + x2).sinh() + (x3 + x5 + x7).tanh().arccos() + (x4 + x5).cos() + 1 / (x7 * x9).cos()


_F1_LOW = tuple(0.6 if feature in {4, 5, 8, 10} else 0.0 for feature in range(1, _FEATURES + 1))
# Positions count from 1 here, as in the paper.
_KNOWN: tuple[tuple[Callable[[Tensor], Tensor], tuple[tuple[int, ...], ...]], ...] = (
    (_f1, ((1, 2, 3), (2, 7), (3, 5), (7, 8, 9, 10))),
    (_f2, ((1, 2, 3), (2, 7), (3, 5), (7, 8, 9, 10))),
    (_f3, ((1, 2), (2, 3), (3, 4), (4, 5, 7, 8))),
    (_f4, ((1, 2), (1, 4), (2, 3), (3, 4), (4, 5, 7, 8))),
    (_f5, ((1, 2, 3), (4, 5), (6, 7), (8, 9, 10))),
    (_f6, ((1, 2), (3, 4), (5, 6, 8), (8, 9, 10))),
    (_f7, ((1, 2), (3, 4, 6), (4, 5, 6, 7, 8), (7, 9))),
    (_f8, ((1, 2), (3, 5, 6), (3, 4, 5, 7), (7, 8, 9))),
    (_f9, ((1, 2, 3, 4, 5), (5, 6), (6, 7, 8), (9, 10))),
    (_f10, ((1, 2), (3, 5, 7), (4, 5), (7, 9))),
)


def _known(
    number: int, formula: Callable[[Tensor], Tensor], sets: tuple[tuple[int, ...], ...], variant: str = ""
) -> KnownFunction:
    return KnownFunction(
        name=f"F{number}{variant}",
        formula=formula,
        low=_F1_LOW if number == 1 else (-1.0,) * _FEATURES,
        high=(1.0,) * _FEATURES,
        interactions=tuple(tuple(position - 1 for position in known) for known in sets),
        feature_names=tuple(f"x{position}" for position in range(1, _FEATURES + 1)),
        stream=number + (10 if variant else 0),
    )


FUNCTIONS: Mapping[str, KnownFunction] = MappingProxyType(
    {f"F{number}": _known(number, *known) for number, known in enumerate(_KNOWN, start=1)}
)
"""F1 to F10, by name. ``FUNCTIONS["F1"].table(seed=3)`` is the papers' table: 30,000 rows in thirds, standard units."""

TNID_FUNCTIONS: Mapping[str, KnownFunction] = MappingProxyType(
    {
        **FUNCTIONS,
        "F5": _known(5, _f5_tnid, _KNOWN[4][1], "-tnid"),
        "F7": _known(7, _f7_tnid, _KNOWN[6][1], "-tnid"),
    }
)
"""The same as in the published code of T-NID, which differs in F5 and F7."""
