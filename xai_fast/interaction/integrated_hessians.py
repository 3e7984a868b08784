"""Integrated Hessians: how much of the change from a baseline two features make together.

Source: Janizek, Sturmfels and Lee, "Explaining explanations: axiomatic feature interactions for deep networks", JMLR
2021. With d = x - x' and the path x' + a b d (Eq. 4 and 5),

    G_ij = d_i d_j  integral over a, b of  a b  d2F/dx_i dx_j                             i != j
    G_ii = d_i      integral over a, b of  dF/dx_i  +  d_i^2  integral of  a b  d2F/dx_i^2

so that the sum of all G_ij is F(x) - F(x'). The integrand depends on u = a b only, whose density is -ln u: one
integral, by the Gauss rule of that weight, which is exact for polynomials of degree up to ``2 steps - 1`` in u. The
second derivatives are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.errors import bad_argument
from xai_fast.interaction.detector import Detector, Groups, pair_effects
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table, like_model
from xai_fast.taylor import ScoreFunction, hessian

__all__ = ["IntegratedHessians"]

_FINE = 200
"""Legendre nodes of the fine rule that stands for the weight; the densest rule that is asked for has 100 nodes."""


class IntegratedHessians(Detector):
    """Interactions of features along the way from a baseline: the mean of ``|G_ij|`` over the rows, with their spread.

    With ``target=None`` the class that is explained is the one that is predicted at the row, all along the path.

    Cost: ``steps`` Hessians per row.
    Limits: pairs only, relative to ``baseline``. Logits of a ReLU network have no curvature, which is an error.

    Args:
        model: in evaluation mode, (rows, features) to (rows, classes), (rows, 1) or (rows,); twice differentiable.
        steps: points on the path, 1 to 100.
        baseline: (features,) or (rows, features); None for zeros.
        score: F: "logit", "probability" or "log_probability" of the target.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self, model: Callable[..., Any], *, steps: int = 20, baseline: object = None, score: str = "logit"
    ) -> None:
        super().__init__(model)
        self.steps = check_integer("steps", steps, 1, 100)
        self.baseline = baseline
        self.score = check_choice("score", score, SCORES)

    def matrix(self, rows: Tensor, target: Target = None) -> Tensor:
        """Return G of each of (rows, features) in the model's dtype, (rows, features, features), symmetric.

        That the baseline does not fit the rows is an `InputError`.
        """
        start = torch.zeros_like(rows) if self.baseline is None else torch.as_tensor(self.baseline).to(rows)
        if start.shape not in (rows.shape, rows.shape[1:]):
            expected = f"({rows.shape[1]},) or {tuple(rows.shape)}"
            raise bad_argument("baseline", expected, str(tuple(start.shape)))
        place, weight = (torch.from_numpy(v).to(rows) for v in _gauss_rule(self.steps))
        change = rows - start
        points = (start + place[:, None, None] * change).flatten(0, 1)  # (steps * rows, features)
        objective = Objective(target, self.score)
        with torch.no_grad():
            classes = objective.targets(self.outputs(rows), start=0, batch=len(rows))
        function = ScoreFunction(self.model, objective, classes=None if classes is None else classes.repeat(self.steps))
        second = hessian(function, points).view(self.steps, len(rows), rows.shape[1], rows.shape[1])
        with torch.enable_grad():
            points.requires_grad_()
            (first,) = torch.autograd.grad(function(points, *function.inputs).sum(), points)
        first = first.view(self.steps, *rows.shape)
        joint = torch.einsum("s,srij->rij", weight * place, second) * change[:, :, None] * change[:, None, :]
        return joint + torch.diag_embed(torch.einsum("s,sri->ri", weight, first) * change)

    def _rank(self, table: Table, target: Target, groups: Groups) -> InteractionRanking:
        sizes = self.matrix(like_model(self.model, table.values), target).double().abs()
        spread = pair_effects(sizes.std(0, correction=0))
        return InteractionRanking.from_effects(table.names, pair_effects(sizes.mean(0)), spread)


def _gauss_rule(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Give nodes and weights, (steps,) float64, of the Gauss rule on (0, 1) for the weight -ln u; weights sum to 1."""
    # The weight is written as a fine sum of points, and Lanczos' method makes the Gauss rule of that sum (Golub and
    # Welsch, 1969). With u = t^4 the logarithm is tame enough for a Legendre rule.
    t, fine = np.polynomial.legendre.leggauss(_FINE)
    t = (t + 1) / 2
    u = t**4
    basis = np.sqrt(fine * t**3 * -np.log(u))[:, None]
    basis /= np.linalg.norm(basis)
    for _ in range(steps - 1):
        basis, _ = np.linalg.qr(np.column_stack([basis, u * basis[:, -1]]))
    nodes, directions = np.linalg.eigh(basis.T @ (u[:, None] * basis))
    return nodes, directions[0] ** 2
