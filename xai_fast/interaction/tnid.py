"""T-NID: which sets of features a function relates to one another, by its mixed derivatives of any order.

A function F has an interaction of the features in T where its mixed derivative F_T along them is not zero. T-NID
measures F_T at a few representative rows of the data, exactly, and aggregates. Sets of an order are looked at
exhaustively where that is affordable; from then on only the extensions, by one feature, of the strongest sets of the
order before.

Source: Lerman et al., "Explaining local, global, and higher-order interactions in deep learning", ICCV 2021.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.engine.layers import ModelPart
from xai_fast.engine.memory import is_out_of_memory
from xai_fast.engine.objective import SCORES, Target
from xai_fast.errors import ModelError, XaiFastError, ZeroCurvatureError, bad_argument
from xai_fast.graph.smooth import SMOOTH, remedy, smoothed
from xai_fast.interaction.detector import Detector, Groups
from xai_fast.interaction.effects import AGGREGATES, EFFECTS
from xai_fast.interaction.groups import SCALES, make_features
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.kinks import kinks
from xai_fast.interaction.representatives import PAPER, Representatives, RepresentativesLike, choose_representatives
from xai_fast.interaction.search import BUDGET, KEPT, Search
from xai_fast.interaction.table import Table, like_model
from xai_fast.taylor import ScoreFunction, differentiable, prepare
from xai_fast.taylor.sets import SetDerivatives

__all__ = ["MAX_ORDER", "NO_CURVATURE", "TNID", "smooth_model"]

MAX_ORDER = 6

NO_CURVATURE = (
    "model: expected a score with curvature, got one that is piecewise linear in the features, so that every mixed "
    'derivative is zero; pass smooth="gelu" or "softplus", explain score="probability" or "log_probability", or train '
    "a smooth network (xai_fast.fit_mlp)"
)


class TNID(Detector):
    """Interactions between features of any order up to six, from exact mixed derivatives at representative rows.

    What is differentiated is by default the model's output itself, ``score="logit"``: the prediction of a regression,
    the logit of a class. It is what the paper differentiates, and a softmax or sigmoid on top would relate every
    feature to every other, whether or not the network does. The model must be smooth: see ``smooth``. The ranking's
    facts say where it is piecewise linear in part ("piecewise_linear", names of operations), and whether every
    interaction is exactly zero ("no_interactions").

    The effect of a set with groups of columns is the Euclidean norm over combinations of their principal axes in the
    data; `xai_fast.interaction.groups` says why. A class for each row is one for each representative where these are
    given.

    The result depends on the model, the data, the options and the seed, never on how the work is cut up.

    Cost: a mixed derivative per set and representative; ``budget`` bounds those of the exhaustive orders.
    Limits: beyond the exhaustive orders, sets without a strong subset are missed; needs curvature, or ``smooth``.

    Args:
        model: a module in evaluation mode from rows (B, ...) like the data to outputs (B, C), (B, 1) or (B,), or any
            function from rows to scores (B,).
        order: the highest order, 2 to 6.
        exhaustive_order: evaluate all sets up to this order; "auto" for as far as ``budget`` goes.
        top_k: at higher orders, evaluate the extensions of this many of the strongest sets; None for 1,000, or fewer
            (at least 10) where these alone would exceed ``budget``. An exhaustive order is kept whole whatever this is.
        representatives: rows at which to measure, see `choose_representatives`: names of statistics, by default the
            paper's four; "paper" for these; an integer for so many random rows; "kmeans:n"; or rows. A few hundred rows
            say more about a function whose curvature varies, and cost in proportion; 200 are recommended unless an
            order takes minutes.
        effect: what is made of F_T at a row: "square", "absolute" or "signed". Sets are ranked by the magnitude of
            their aggregated effect, also where it has a sign.
        aggregate: over the rows: "mean", "median", "min", "max" or "mode". The paper's choice is the mean, of squares,
            and for two classes of signed derivatives, whose sign says which class the features favour together
            (``target=lambda outputs: -outputs[:, 0]`` turns it to the other class). With many rows the median of
            "absolute" ranks the pairs of the paper's functions best (`benchmarks/tnid.py`): a mean of squares is swayed
            by the few rows of largest curvature.
        seed: of what is random in the choice of rows.
        smooth: "gelu" or "softplus" to explain the network with these in the place of its ReLUs, which have no
            curvature; the model itself is not changed. The result says what was done. None to explain it as it is.
        score: "logit", "probability" or "log_probability" of the target.
        scale: "std" to measure along steps of one standard deviation of each feature in the data, so that neither units
            nor orders make effects incomparable; "unit" for derivatives in the units of the data.
        group_directions: the most principal axes of a group of columns, see `xai_fast.interaction.groups`; None for
            all.
        budget: floating-point operations that the exhaustive orders may take together with
            ``exhaustive_order="auto"``, 1e12 by default: seconds to a minute on two cores.
        keep: sets of each order that the result holds, the strongest ones; memory does not grow with the number of
            candidates beyond it.
        memory_limit: in bytes, for the derivatives; None for half of what is free.

    Raises:
        InputError: an option is out of range.
    """

    takes_groups = True

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        order: int = 3,
        exhaustive_order: int | str = "auto",
        top_k: int | None = None,
        representatives: RepresentativesLike = PAPER,
        effect: str = "square",
        aggregate: str = "mean",
        seed: int = 0,
        smooth: str | None = None,
        score: str = "logit",
        scale: str = "std",
        group_directions: int | None = None,
        budget: float = BUDGET,
        keep: int = KEPT,
        memory_limit: int | None = None,
    ) -> None:
        super().__init__(model)
        if isinstance(exhaustive_order, str):
            check_choice("exhaustive_order", exhaustive_order, ("auto",))
        else:
            exhaustive_order = check_integer("exhaustive_order", exhaustive_order, 1, MAX_ORDER)
        self.order = check_integer("order", order, 2, MAX_ORDER)
        self.exhaustive_order = exhaustive_order
        self.top_k = _at_least_one("top_k", top_k)
        self.representatives = (
            int(representatives) if isinstance(representatives, numbers.Integral) else representatives
        )
        self.effect = check_choice("effect", effect, EFFECTS)
        self.aggregate = check_choice("aggregate", aggregate, tuple(AGGREGATES))
        self.seed = check_integer("seed", seed, 0, 2**63 - 1)
        self.smooth = None if smooth is None else check_choice("smooth", smooth, tuple(SMOOTH))
        self.score = check_choice("score", score, SCORES)
        self.scale = check_choice("scale", scale, SCALES)
        self.group_directions = _at_least_one("group_directions", group_directions)
        self.budget = check_positive("budget", budget)
        self.keep = check_integer("keep", keep, 1)
        self.memory_limit = memory_limit

    def _rank(self, table: Table, target: Target, groups: Groups) -> InteractionRanking:
        features = make_features(table, groups, self.scale, self.group_directions)
        if self.order > len(features):
            raise bad_argument("order", f"at most {len(features)}, the number of features", self.order)
        if self.effect == "signed" and features.grouped:
            raise bad_argument("effect", '"square" or "absolute" where groups have several directions', '"signed"')
        chosen = choose_representatives(table, self.representatives, self.seed)
        points = like_model(self.model, chosen.rows.reshape(-1, *table.shape))
        function, scores = self._prepared(points, _targets(target, table, chosen))
        directions = features.directions(table.values.shape[1], points).reshape(-1, *table.shape)
        derivatives = SetDerivatives(function, points, directions, memory_limit=self.memory_limit)
        options = (self.effect, self.aggregate, self.exhaustive_order, self.top_k, self.budget, self.keep)
        orders = Search(features, derivatives, *options).orders(self.order)
        found = kinks(differentiable(function, points).program) if self.smooth is None else ()
        return InteractionRanking(
            feature_names=features.names,
            orders=orders,
            representatives=chosen.names,
            representative_indices=chosen.indices,
            scores=tuple(scores.tolist()),
            settings={"groups": features.grouped_columns(table.names)},
            remedy=remedy(self.smooth),
            facts={
                "no_interactions": not any(ranking.effects.any() for order, ranking in orders.items() if order > 1),
                "piecewise_linear": list(found),
            },
        )

    def _prepared(self, points: Tensor, target: Target) -> tuple[ScoreFunction, Tensor]:
        """Trace the score, and evaluate it at the representatives."""
        try:
            function = prepare(smooth_model(self.model, self.smooth), points, target=target, score=self.score)
            return function, self._checked(function, points)
        except RuntimeError as error:
            if isinstance(error, XaiFastError) or is_out_of_memory(error):
                raise
            row = tuple(points.shape[1:])
            raise ModelError(
                f"model: expected to take the data's rows of shape {row}, but it raised: {error}"
            ) from error

    def _checked(self, function: ScoreFunction, points: Tensor) -> Tensor:
        with torch.no_grad():
            scores = function(points, *function.inputs)
        if not torch.isfinite(scores).all():
            raise ModelError(f"model: expected finite scores at the representatives, got {scores.tolist()}")
        if not differentiable(function, points).program.curved:
            raise ZeroCurvatureError(NO_CURVATURE)
        return scores


class _Smoothed(ModelPart):
    """The model with smooth activations in the place of piecewise linear ones, while it runs."""

    def __init__(self, model: Callable[..., Any], smooth: str) -> None:
        super().__init__(model)
        self.smooth = smooth

    def forward(self, x: Tensor) -> object:
        with smoothed(self.smooth):
            return self.model(x)


def smooth_model(model: Callable[..., Any], smooth: str | None) -> Callable[..., Any]:
    """Give the model with smooth activations in the place of piecewise linear ones; itself for None."""
    return model if smooth is None else _Smoothed(model, smooth)


def _at_least_one(name: str, value: int | None) -> int | None:
    return None if value is None else check_integer(name, value, 1)


def _targets(target: Target, table: Table, chosen: Representatives) -> Target:
    if target is None or callable(target) or isinstance(target, int):
        return target
    classes = torch.as_tensor(target)
    if classes.ndim == 0:
        return classes
    expected = len(table) if chosen.indices is not None else len(chosen.rows)
    if classes.ndim != 1 or classes.shape[0] != expected:
        raise bad_argument("target", f"one class per row, so {expected}", str(tuple(classes.shape)))
    return classes if chosen.indices is None else classes[list(chosen.indices)]
