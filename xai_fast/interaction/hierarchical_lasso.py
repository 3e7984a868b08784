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

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument
from xai_fast.interaction.detector import Detector, Groups, all_pairs, pair_effects, read_regression
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table

__all__ = ["HierarchicalLasso"]


class HierarchicalLasso(Detector):
    """Products of features in a weak hierarchical lasso, whose penalty is chosen on rows that are left out.

    ``detect(rows, target)`` takes the column y as its target. The effects are the model's factors, with their signs, in
    units of standardised features and target: b+ - b- of order 1, and (Theta_jk + Theta_kj) / 2, which multiplies
    x_j x_k, of order 2. Facts: "penalty", lambda, and "validation_error", the mean squared error on the rows left out,
    for each lambda tried, the largest first.

    Cost: ``penalties * iterations`` steps on a matrix of all products.
    Limits: misses what is no product, such as ``|x - y|``; pairs only.

    Args:
        penalties: how many to try, evenly on a log scale from the least that leaves nothing to a thousandth of it.
        iterations: proximal steps for each.
        validation: share of the rows, the last ones, by which the penalty is chosen.

    Raises:
        InputError: an option is out of range; in `detect`, a feature or the target is constant.
    """

    def __init__(self, *, penalties: int = 20, iterations: int = 200, validation: float = 0.2) -> None:
        super().__init__()
        self.penalties = check_integer("penalties", penalties, 2)
        self.iterations = check_integer("iterations", iterations, 1)
        if not 0 < validation < 1:
            raise bad_argument("validation", "a share between 0 and 1", repr(validation))
        self.validation = validation

    def _rank(self, table: Table, target: object, groups: Groups) -> InteractionRanking:
        x, y = (torch.from_numpy(np.array(values)) for values in read_regression(table, target, varying=True))
        fitted = len(x) - max(1, round(self.validation * len(x)))
        if fitted < 2:
            raise bad_argument("rows", "two rows or more to fit", str(fitted))
        pairs = all_pairs(x.shape[1])
        design, goal = _standardised(x, y, pairs, fitted)
        gram = design[:fitted].T @ design[:fitted] / fitted
        moment = design[:fitted].T @ goal[:fitted] / fitted
        # With lambda at the largest correlation nothing enters.
        largest = max(float(moment.abs().max()), 1e-12)
        step = 1 / (2 * float(torch.linalg.matrix_norm(gram, 2)))  # b+ and b- share a column, and so do two Thetas
        state = torch.zeros(x.shape[1] + 2, x.shape[1], dtype=torch.float64)
        states, errors = [], []
        penalties = (largest * torch.logspace(0, -3, self.penalties, dtype=torch.float64)).tolist()
        for penalty in penalties:
            state = _descend(state, gram, moment, pairs, penalty, step, self.iterations)
            states.append(state)
            errors.append(float((goal[fitted:] - design[fitted:] @ _coefficients(state, pairs)).square().mean()))
        best = int(np.argmin(errors))
        if not math.isfinite(errors[best]):
            raise bad_argument("rows", "values of moderate size", "values whose squares overflow")
        theta, main = states[best][2:], states[best][0] - states[best][1]
        effects = pair_effects((theta + theta.T) / 2) | {(j,): factor for j, factor in enumerate(main.tolist())}
        facts = {"penalty": penalties[best], "validation_error": errors}
        return InteractionRanking.from_effects(table.names, effects, facts=facts)


def _standardised(table: Tensor, target: Tensor, pairs: Tensor, fitted: int) -> tuple[Tensor, Tensor]:
    """Give features and their products, and the target, centred over the rows that are fitted, so without intercept."""
    center, spread = table[:fitted].mean(0), table[:fitted].std(0, correction=0)
    level, scale = target[:fitted].mean(), target[:fitted].std(correction=0)
    if not bool((spread > 0).all()) or not bool(scale > 0):
        raise bad_argument("rows", "columns and a target that vary over the fitted rows", "one that is constant")
    normal = (table - center) / spread
    joint = normal[:, pairs[:, 0]] * normal[:, pairs[:, 1]]
    return torch.cat([normal, joint - joint[:fitted].mean(0)], 1), (target - level) / scale


def _coefficients(state: Tensor, pairs: Tensor) -> Tensor:
    """Give the factors of features, then of products, 1/2 (Theta_jk + Theta_kj), of a state: the rows b+, b-, Theta."""
    i, j = pairs.unbind(1)
    return torch.cat([state[0] - state[1], (state[2:][i, j] + state[2:][j, i]) / 2])


def _descend(
    state: Tensor, gram: Tensor, moment: Tensor, pairs: Tensor, penalty: float, step: float, iterations: int
) -> Tensor:
    """Accelerated proximal gradient (Beck and Teboulle, 2009) from where the last penalty ended."""
    features = state.shape[1]
    ahead, speed = state, 1.0
    for _ in range(iterations):
        slope = gram @ _coefficients(ahead, pairs) - moment
        matrix = torch.zeros_like(state[2:])
        matrix[pairs[:, 0], pairs[:, 1]] = slope[features:] / 2
        matrix = matrix + matrix.T
        down = torch.cat([slope[None, :features], -slope[None, :features], matrix])
        after = _one_row(ahead - step * down, step * penalty)
        faster = (1 + math.sqrt(1 + 4 * speed**2)) / 2
        ahead, state, speed = after + (speed - 1) / faster * (after - state), after, faster
    return state


def _one_row(state: Tensor, penalty: float) -> Tensor:
    """Apply the proximal map of the penalty and the constraint, row by row: the nearest state that is allowed."""
    # With the multiplier a >= 0 of the constraint, Theta is soft-thresholded by penalty / 2 + a and b+ and b- by
    # penalty - a, not below zero. What is left of the constraint falls with a and is linear between the values of a
    # at which an entry comes or goes: a is found in between.
    plus, minus, theta = state[0], state[1], state[2:].clone().fill_diagonal_(0)
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
    return torch.cat([(state[:2] - penalty + a[:, 0]).clamp_min(0), kept])
