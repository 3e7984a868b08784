"""The hierarchical lasso: products of features that may enter only along with one of their factors.

Source: Bien, Taylor and Tibshirani, "A lasso for hierarchical interactions", Annals of Statistics 2013, Eq. 3 without
the symmetry of Theta ("weak hierarchy"):

    min  1/2 |y - b0 - X (b+ - b-) - 1/2 sum over j != k of Theta_jk x_j x_k|^2
         + lambda sum of (b+_j + b-_j) + lambda/2 sum of |Theta_jk|
    with b+, b- >= 0  and  sum over k of |Theta_jk| <= b+_j + b-_j for each j

by accelerated proximal gradient steps, whose proximal map is the paper's ONEROW, for all rows j at once. No library on
PyPI has it (R has hierNet). The squares here are means over the rows, so that lambda does not depend on how many there
are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument
from xai_fast.interaction.strengths import Strengths, all_pairs, pair_strengths, read_regression

__all__ = ["HierarchicalLasso", "hierarchical_lasso"]


@dataclass(frozen=True)
class HierarchicalLasso:
    """A fitted model, in units of standardised features and target.

    Attributes:
        main: (features,) float64, b+ - b-.
        interaction: (features, features) float64, (Theta + Theta^T) / 2: what multiplies x_j x_k.
        penalty: lambda, chosen by the validation rows.
        validation_error: mean squared error there, for each lambda tried, the largest first.
    """

    main: Tensor
    interaction: Tensor
    penalty: float
    validation_error: tuple[float, ...]

    def pairs(self) -> Strengths:
        """Give the strength of every pair, the size of its product's factor."""
        return pair_strengths(self.interaction.abs())


def hierarchical_lasso(
    x: object, y: object, *, penalties: int = 20, iterations: int = 200, validation: float = 0.2
) -> HierarchicalLasso:
    """Fit the weak hierarchical lasso, and choose its penalty on rows that were left out.

    Args:
        x: (rows, features), an array or a tensor.
        y: (rows,).
        penalties: how many to try, evenly on a log scale from the least that leaves nothing to a thousandth of it.
        iterations: proximal steps for each.
        validation: share of the rows, the last ones, by which the penalty is chosen.

    Returns:
        The model at the best penalty.

    Raises:
        InputError: an argument does not fit, or a feature or the target is constant.
    """
    check_integer("penalties", penalties, 2)
    check_integer("iterations", iterations, 1)
    if not 0 < validation < 1:
        raise bad_argument("validation", "a share between 0 and 1", repr(validation))
    table, target = (torch.from_numpy(np.array(values)) for values in read_regression(x, y))
    held_out = max(1, round(validation * len(table)))
    fitted = len(table) - held_out
    if fitted < 2:
        raise bad_argument("x", "two rows or more to fit", str(fitted))
    pairs = all_pairs(table.shape[1])
    design, goal = _standardised(table, target, pairs, fitted)
    gram = design[:fitted].T @ design[:fitted] / fitted
    moment = design[:fitted].T @ goal[:fitted] / fitted
    # With lambda at the largest correlation nothing enters.
    largest = max(float(moment.abs().max()), 1e-12)
    step = 1 / (2 * float(torch.linalg.matrix_norm(gram, 2)))  # b+ and b- share a column, and so do two Thetas
    state = _State.zeros(table.shape[1])
    best: tuple[float, _State, float] | None = None
    errors = []
    for share in torch.logspace(0, -3, penalties, dtype=torch.float64).tolist():
        state = _descend(state, gram, moment, pairs, largest * share, step, iterations)
        rest = goal[fitted:] - design[fitted:] @ state.coefficients(pairs)
        errors.append(float(rest.square().mean()))
        if best is None or errors[-1] < best[0]:
            best = errors[-1], state, largest * share
    if best is None or not math.isfinite(best[0]):
        raise bad_argument("x, y", "values of moderate size", "values whose squares overflow")
    theta = best[1].theta
    return HierarchicalLasso(best[1].plus - best[1].minus, (theta + theta.T) / 2, best[2], tuple(errors))


def _standardised(table: Tensor, target: Tensor, pairs: Tensor, fitted: int) -> tuple[Tensor, Tensor]:
    """Give features and their products, and the target, centred over the rows that are fitted, so without intercept."""
    center, spread = table[:fitted].mean(0), table[:fitted].std(0, correction=0)
    level, scale = target[:fitted].mean(), target[:fitted].std(correction=0)
    if not bool((spread > 0).all()) or not bool(scale > 0):
        raise bad_argument("x, y", "features and a target that vary", "one that is constant")
    normal = (table - center) / spread
    joint = normal[:, pairs[:, 0]] * normal[:, pairs[:, 1]]
    return torch.cat([normal, joint - joint[:fitted].mean(0)], 1), (target - level) / scale


@dataclass(frozen=True)
class _State:
    plus: Tensor
    minus: Tensor
    theta: Tensor

    @staticmethod
    def zeros(features: int) -> _State:
        empty = torch.zeros(features, dtype=torch.float64)
        return _State(empty, empty, torch.zeros(features, features, dtype=torch.float64))

    def coefficients(self, pairs: Tensor) -> Tensor:
        """Factors of the features, then of their products: 1/2 (Theta_jk + Theta_kj)."""
        i, j = pairs.unbind(1)
        return torch.cat([self.plus - self.minus, (self.theta[i, j] + self.theta[j, i]) / 2])

    def beyond(self, before: _State, share: float) -> _State:
        """Go on in the direction of the last step."""
        return _State(
            *(
                new + share * (new - old)
                for new, old in ((self.plus, before.plus), (self.minus, before.minus), (self.theta, before.theta))
            )
        )


def _descend(
    state: _State, gram: Tensor, moment: Tensor, pairs: Tensor, penalty: float, step: float, iterations: int
) -> _State:
    """Accelerated proximal gradient (Beck and Teboulle, 2009) from where the last penalty ended."""
    features = len(state.plus)
    ahead, speed = state, 1.0
    for _ in range(iterations):
        slope = gram @ ahead.coefficients(pairs) - moment
        matrix = torch.zeros_like(state.theta)
        matrix[pairs[:, 0], pairs[:, 1]] = slope[features:] / 2
        matrix = matrix + matrix.T
        after = _one_row(
            ahead.plus - step * slope[:features],
            ahead.minus + step * slope[:features],
            ahead.theta - step * matrix,
            step * penalty,
        )
        faster = (1 + math.sqrt(1 + 4 * speed**2)) / 2
        ahead, state, speed = after.beyond(state, (speed - 1) / faster), after, faster
    return state


def _one_row(plus: Tensor, minus: Tensor, theta: Tensor, penalty: float) -> _State:
    """Apply the proximal map of the penalty and the constraint, row by row.

    With the multiplier a >= 0 of the constraint, Theta is soft-thresholded by ``penalty / 2 + a`` and b+ and b- by
    ``penalty - a``, not below zero. What is left of the constraint falls with a and is linear between the values of a
    at which an entry comes or goes: a is found in between.

    Returns:
        The nearest state that the constraint allows.
    """
    theta = theta.clone().fill_diagonal_(0)
    sizes = theta.abs() - penalty / 2

    def excess(a: Tensor) -> Tensor:  # (features, values of a)
        room = (plus[:, None] - penalty + a).clamp_min(0) + (minus[:, None] - penalty + a).clamp_min(0)
        return (sizes[:, None, :] - a[:, :, None]).clamp_min(0).sum(2) - room

    ends = torch.stack([torch.zeros_like(plus), penalty - plus, penalty - minus], 1)
    bends = torch.cat([sizes, ends], 1).clamp_min(0).sort(1).values  # from 0 to where nothing of Theta is left, or more
    left = excess(bends)
    last = ((left > 0).sum(1, keepdim=True) - 1).clamp_min(0)
    after = (last + 1).clamp_max(bends.shape[1] - 1)
    low, high, over, under = bends.gather(1, last), bends.gather(1, after), left.gather(1, last), left.gather(1, after)
    inside = low + (high - low) * over / (over - under).clamp_min(1e-300)
    a = torch.where(over > 0, inside, torch.zeros_like(low))
    kept = theta.sign() * (sizes - a).clamp_min(0)
    return _State((plus - penalty + a[:, 0]).clamp_min(0), (minus - penalty + a[:, 0]).clamp_min(0), kept)
