"""T-NID: which sets of features a function relates to one another, by its mixed derivatives of any order.

A function F has an interaction of the features in T where its mixed derivative F_T along them is not zero. T-NID
measures F_T at a few representative rows of the data, exactly, and aggregates. Sets of an order are looked at
exhaustively where that is affordable; from then on only the extensions, by one feature, of the strongest sets of the
order before.

Source: Lerman et al., "Explaining local, global, and higher-order interactions in deep learning", ICCV 2021.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.engine.call import check_eval_mode
from xai_fast.engine.memory import is_out_of_memory
from xai_fast.engine.objective import SCORES, Target
from xai_fast.errors import ModelError, XaiFastError, ZeroCurvatureError, bad_argument
from xai_fast.graph.smooth import SMOOTH, remedy, smoothed
from xai_fast.interaction.effects import AGGREGATES, EFFECTS
from xai_fast.interaction.groups import SCALES, Features, make_features
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.kinks import kinks
from xai_fast.interaction.representatives import PAPER, Representatives, RepresentativesLike, choose_representatives
from xai_fast.interaction.search import BUDGET, KEPT, Search
from xai_fast.interaction.table import Table, like_model, read_table
from xai_fast.taylor import ScoreFunction, differentiable, prepare
from xai_fast.taylor.sets import SetDerivatives

__all__ = ["TNID"]

MAX_ORDER = 6

_KINKS = (
    "piecewise linear operations have no curvature and count as linear, so interactions through them alone are not "
    'found; smooth="gelu" or smooth="softplus" explains the model with smooth functions in the place of ReLU and clamp'
)


class TNID:
    """Interactions between features of any order up to six, from exact mixed derivatives at representative rows.

    What is differentiated is by default the model's output itself, ``score="logit"``: the prediction of a regression,
    the logit of a class. It is what the paper differentiates, and a softmax or sigmoid on top would relate every
    feature to every other, whether or not the network does. The model must be smooth: see ``smooth``; where
    it is piecewise linear in part, a warning says so.

    The result depends on the model, the data, the options and the seed, never on how the work is cut up.

    Args:
        model: a module in evaluation mode from rows (B, ...) like the data to outputs (B, C), (B, 1) or (B,), or any
            function from rows to scores (B,).
        order: the highest order, 2 to 6.
        exhaustive_order: all sets are looked at up to this order; "auto" for as far as ``budget`` goes.
        top_k: from then on the extensions of so many of the strongest sets are looked at; None for 1,000, or fewer, to
            10, where these alone would exceed ``budget``. An exhaustive order is kept whole whatever this is.
        representatives: rows at which to measure, see `choose_representatives`: names of statistics, by default the
            paper's four; "paper" for these; an integer for so many random rows; "kmeans:n"; or rows. A few hundred rows
            say more about a function that bends differently here and there, and cost in proportion; 200 are
            recommended where an order is not the work of minutes.
        effect: what is made of F_T at a row: "square", "absolute" or "signed". Sets are ranked by the magnitude of
            their aggregated effect, also where it has a sign.
        aggregate: over the rows: "mean", "median", "min", "max" or "mode". The paper's choice is the mean, of squares,
            and for two classes of signed derivatives, whose sign says which class the features favour together
            (``target=lambda outputs: -outputs[:, 0]`` turns it to the other class). With many rows the median of
            "absolute" ranks the pairs of the paper's functions best (`benchmarks/tnid.py`): a mean of squares is swayed
            by the few rows where the function bends most.
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

    def __init__(
        self,
        model: nn.Module,
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
        if not callable(model):
            raise bad_argument("model", "a module or a function", type(model).__name__)
        self.order = check_integer("order", order, 2, MAX_ORDER)
        if isinstance(exhaustive_order, str):
            check_choice("exhaustive_order", exhaustive_order, ("auto",))
        else:
            exhaustive_order = check_integer("exhaustive_order", exhaustive_order, 1, MAX_ORDER)
        check_choice("effect", effect, EFFECTS)
        check_choice("aggregate", aggregate, tuple(AGGREGATES))
        check_choice("score", score, SCORES)
        check_choice("scale", scale, SCALES)
        if smooth is not None:
            check_choice("smooth", smooth, tuple(SMOOTH))
        self.model = model
        self.exhaustive_order = exhaustive_order
        self.top_k = None if top_k is None else check_integer("top_k", top_k, 1)
        self.representatives = representatives
        self.effect = effect
        self.aggregate = aggregate
        self.seed = check_integer("seed", seed, 0, 2**63 - 1)
        self.smooth = smooth
        self.score = score
        self.scale = scale
        self.group_directions = (
            None if group_directions is None else check_integer("group_directions", group_directions, 1)
        )
        self.budget = check_positive("budget", budget)
        self.keep = check_integer("keep", keep, 1)
        self.memory_limit = memory_limit

    @property
    def settings(self) -> dict[str, object]:
        """The options of the method, by name."""
        named: object = self.representatives
        if isinstance(named, numbers.Integral):
            named = int(named)
        elif isinstance(named, list | tuple) and all(isinstance(n, str) for n in named):
            named = list(named)
        return {
            "method": "T-NID",
            "order": self.order,
            "exhaustive_order": self.exhaustive_order,
            "top_k": self.top_k,
            "representatives": named if isinstance(named, int | str | list) else "given",
            "effect": self.effect,
            "aggregate": self.aggregate,
            "seed": self.seed,
            "smooth": self.smooth,
            "score": self.score,
            "scale": self.scale,
            "group_directions": self.group_directions,
            "budget": self.budget,
            "keep": self.keep,
        }

    def detect(
        self,
        data: object,
        target: Target = None,
        groups: Mapping[str, Sequence[str | int]] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> InteractionRanking:
        """Find the interactions.

        Args:
            data: an array, a tensor or a DataFrame, rows (N, D) or (N, ...) as the model takes them, finite numbers; it
                is brought to the model's dtype and device.
            target: None for the class that the model predicts at each row, an int, a list or tensor with a class for
                each row of the data (of the representatives where these are given), or a callable on the outputs. With
                one output there is nothing to choose.
            groups: names to columns that make one feature together, such as the one-hot columns of a category, an
                embedding or a patch of pixels, by name or index. The effect of a set with groups is the Euclidean norm
                over combinations of their principal axes in the data; `xai_fast.interaction.groups` says why.
            feature_names: of the columns; None for those of a DataFrame, else x0, x1, ...

        Returns:
            The ranking.

        Raises:
            InputError: an argument does not fit, or a value of the data is missing.
            ModelError: the model is in training mode, cannot be traced, or gives values that are not finite.
            UnsupportedOperation: an operation of the model has no rule.
            ZeroCurvatureError: the model is piecewise linear; the message says what to do.
        """
        check_eval_mode(self.model)
        table = read_table("data", data, feature_names)
        features = make_features(table, groups, self.scale, self.group_directions)
        if self.order > len(features):
            raise bad_argument("order", f"at most {len(features)}, the number of features", self.order)
        if self.effect == "signed" and features.grouped:
            raise bad_argument("effect", '"square" or "absolute" where groups have several directions', '"signed"')
        chosen = choose_representatives(table, self.representatives, self.seed)
        points = like_model(self.model, chosen.rows.reshape(-1, *table.shape))
        model = _smooth_copy(self.model, self.smooth)
        targets = _targets(target, table, chosen)
        try:
            function = prepare(model, points, target=targets, score=self.score)
            scores = self._checked(function, points)
        except RuntimeError as error:
            if isinstance(error, XaiFastError) or is_out_of_memory(error):
                raise
            row = tuple(points.shape[1:])
            raise ModelError(
                f"model: expected to take the data's rows of shape {row}, but it raised: {error}"
            ) from error
        found = kinks(differentiable(function, points).program) if self.smooth is None else ()
        if found:
            warnings.warn(f"the score has {', '.join(found)}: {_KINKS}", UserWarning, stacklevel=2)
        directions = features.directions(table.values.shape[1], points).reshape(-1, *table.shape)
        derivatives = SetDerivatives(function, points, directions, memory_limit=self.memory_limit)
        orders = self._search(features, derivatives).orders(self.order)
        if all(not r.effects.any() for order, r in orders.items() if order > 1):
            warnings.warn(
                "every interaction is exactly zero: the score is additive at the representatives, or saturated there",
                UserWarning,
                stacklevel=2,
            )
        return InteractionRanking(
            feature_names=features.names,
            orders=orders,
            representatives=chosen.names,
            representative_indices=chosen.indices,
            scores=tuple(scores.tolist()),
            settings={**self.settings, "target": _described(target), "groups": _columns(features, table)},
            remedy=remedy(self.smooth),
        )

    def _checked(self, function: ScoreFunction, points: Tensor) -> Tensor:
        with torch.no_grad():
            scores = function(points, *function.inputs)
        if not torch.isfinite(scores).all():
            raise ModelError(f"model: expected finite scores at the representatives, got {scores.tolist()}")
        if not differentiable(function, points).program.curved:
            raise ZeroCurvatureError(
                "model: expected a score that bends, got one that is piecewise linear in the features, so that every "
                'mixed derivative is zero; pass smooth="gelu" or "softplus", explain score="probability" or '
                '"log_probability", or train a smooth network (xai_fast.fit_mlp)'
            )
        return scores

    def _search(self, features: Features, derivatives: SetDerivatives) -> Search:
        return Search(
            features,
            derivatives,
            effect=self.effect,
            aggregate=self.aggregate,
            exhaustive_order=self.exhaustive_order,
            top_k=self.top_k,
            budget=self.budget,
            keep=self.keep,
        )


class _Smoothed(nn.Module):
    """The model with smooth activations in the place of piecewise linear ones, while it runs."""

    def __init__(self, model: nn.Module, smooth: str) -> None:
        super().__init__()
        self.model = model
        self.smooth = smooth
        self.training = False

    def forward(self, x: Tensor) -> object:
        with smoothed(self.smooth):
            return self.model(x)


def _smooth_copy(model: Callable[..., object], smooth: str | None) -> Callable[..., object]:
    if smooth is None:
        return model
    if isinstance(model, nn.Module):
        return _Smoothed(model, smooth)

    def function(x: Tensor) -> object:
        with smoothed(smooth):
            return model(x)

    return function


def _described(target: object) -> object:
    if target is None:
        return None
    if isinstance(target, numbers.Integral):
        return int(target)
    return "a callable" if callable(target) else "by row"


def _columns(features: Features, table: Table) -> dict[str, list[str]]:
    """Name the columns of the features that have several."""
    return {
        name: [table.names[c] for c in columns]
        for name, columns in zip(features.names, features.columns, strict=True)
        if len(columns) > 1
    }


def _targets(target: Target, table: Table, chosen: Representatives) -> Target:
    if target is None or callable(target) or isinstance(target, int):
        return target
    classes = torch.as_tensor(target)
    if classes.ndim == 0:
        return classes
    expected = len(table) if chosen.indices is not None else len(chosen.rows)
    if classes.ndim != 1 or classes.shape[0] != expected:
        raise bad_argument("target", f"one class a row, so {expected}", str(tuple(classes.shape)))
    return classes if chosen.indices is None else classes[list(chosen.indices)]
