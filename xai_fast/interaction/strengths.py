"""Strengths of sets of features as the methods that T-NID is compared with give them: a dict, the strongest first."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import InputError, ModelError, bad_argument

__all__ = [
    "Strengths",
    "all_pairs",
    "needs",
    "pair_strengths",
    "ranked",
    "read_regression",
    "without_redundant_subsets",
]

Strengths: TypeAlias = "dict[tuple[int, ...], float]"
"""Strength of each set of features (positions, rising), the strongest first, ties by the set."""


def ranked(strengths: Mapping[tuple[int, ...], float] | Iterable[tuple[tuple[int, ...], float]]) -> Strengths:
    """Order sets by strength.

    Args:
        strengths: of each set.

    Returns:
        The same, the strongest first, ties by the set.

    Raises:
        ModelError: a strength is NaN.
    """
    items = list(strengths.items() if isinstance(strengths, Mapping) else strengths)
    undefined = [features for features, strength in items if math.isnan(strength)]
    if undefined:
        raise ModelError(f"the strength of the features {undefined[0]} is NaN ({len(undefined)} such sets)")
    return dict(sorted(items, key=lambda item: (-item[1], item[0])))


def all_pairs(features: int) -> Tensor:
    """Give all pairs of features, (pairs, 2) int64, each rising, in lexicographic order."""
    return torch.combinations(torch.arange(features), 2)


def pair_strengths(matrix: Tensor) -> Strengths:
    """Read the strengths of pairs off a matrix.

    Args:
        matrix: (D, D), symmetric.

    Returns:
        All pairs.
    """
    pairs = all_pairs(matrix.shape[0])
    values = matrix.detach().double().cpu()[pairs[:, 0], pairs[:, 1]].tolist()
    return ranked([((i, j), value) for (i, j), value in zip(pairs.tolist(), values, strict=True)])


def without_redundant_subsets(strengths: Mapping[tuple[int, ...], float]) -> Strengths:
    """Leave out what a stronger set contains.

    Args:
        strengths: in any order.

    Returns:
        The sets that are no proper part of a set in front of them, the strongest first.
    """
    kept: Strengths = {}
    for features, strength in ranked(strengths).items():
        if not any(set(features) < set(larger) for larger in kept):
            kept[features] = strength
    return kept


def needs(module: str, package: str, purpose: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: to import.
        package: that has it.
        purpose: what it is for.

    Returns:
        The module.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs {package}, which is not installed ({error}): pip install 'xai-fast[compare]'"
        ) from error


def read_regression(x: object, y: object) -> tuple[np.ndarray, np.ndarray]:
    """Read a table and its target.

    Args:
        x: (rows, features), an array or a tensor.
        y: (rows,).

    Returns:
        Both float64.

    Raises:
        InputError: shapes do not fit, there are fewer than two features, or a value is not finite.
    """
    table, target = (np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v, dtype=np.float64) for v in (x, y))
    if table.ndim != 2 or table.shape[1] < 2 or not len(table):
        raise bad_argument("x", "(rows, features), two features or more", str(table.shape))
    if target.shape != (len(table),):
        raise bad_argument("y", f"({len(table)},), one value a row", str(target.shape))
    for name, values in (("x", table), ("y", target)):
        if not np.isfinite(values).all():
            raise bad_argument(name, "finite values", "NaN or infinity")
    return table, target
