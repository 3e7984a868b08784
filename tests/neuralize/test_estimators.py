"""Networks beside the estimators that they stand for, and beside the rules written out unit by unit."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("sklearn")
import numpy as np
from literal_neuralize import Literal
from neuralize_cases import CASES, KERNELS, ROWS, Case, X

from xai_fast import Neuralize, neuralize

EVERY = CASES | {f"KernelKMeans {name}": Case(one, 3) for name, one in KERNELS.items()}
EVERY["KernelKMeans, stiffness"] = Case(KERNELS["gaussian"], 3, {"stiffness": 2.0})


@pytest.mark.parametrize("name", CASES)
def test_the_value_is_that_of_the_estimator(name: str) -> None:
    case = CASES[name]
    rows = np.concatenate([ROWS, X])
    found = neuralize(case.estimator, **case.options)(torch.from_numpy(rows))
    np.testing.assert_allclose(found.numpy(), case.own(rows), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_relevance_and_score_are_those_of_the_literal_rules(name: str) -> None:
    case = EVERY[name]
    method = Neuralize(neuralize(case.estimator, **case.options))
    how = {key: value for key, value in case.options.items() if key != "explained"}
    word = case.options.get("explained")
    for target in [None] if case.scores is None else range(case.scores):
        found = method.explain(ROWS, target)
        expected = [Literal(case.estimator, row, **how).explain(target, word) for row in ROWS]
        scores, relevance = np.array([s for s, _ in expected]), np.array([r for _, r in expected])
        np.testing.assert_allclose(found.scores, scores, rtol=1e-8, atol=1e-8)
        scale = np.abs(relevance).max(1, keepdims=True)
        # Beside a training row the shares are those of a difference of 1e-9, which itself has eight digits.
        tolerance = np.where(np.arange(len(ROWS)) == 6, 1e-5, 1e-8)[:, None] * (1 + scale)
        assert (np.abs(found.attributions.numpy() - relevance) <= tolerance).all()
