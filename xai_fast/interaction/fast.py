"""FAST: how much a pair of features, cut into four quadrants, explains of what an additive model leaves.

Source: Lou, Caruana, Gehrke and Hooker, "Accurate intelligible models with pairwise interactions" (GA2M), KDD 2013,
section 4. It is the successor, by the same group, of the additive groves of Sorokina et al. (2008), which have no
maintained implementation; both ask what an additive model cannot fit. The additive model and FAST are those of
interpret-core (explainable boosting machines, extra ``compare``).
"""

from __future__ import annotations

from xai_fast.arguments import check_integer
from xai_fast.errors import needs
from xai_fast.interaction.detector import Detector, Groups, read_regression
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table

__all__ = ["FAST"]


class FAST(Detector):
    """Pairs of features measured on the residuals of an additive model.

    ``detect(rows, target)`` takes the column y as its target.

    Cost: a fit of ``rounds`` rounds at most, and counts per pair.
    Limits: pairs only, without sign; tells what an additive model of its own leaves, not of a model of yours.

    Args:
        rounds: of boosting at most, for the additive model.
        seed: of the additive model.

    Raises:
        InputError: an option is out of range; in `detect`, interpret-core is not installed.
    """

    def __init__(self, *, rounds: int = 2000, seed: int = 0) -> None:
        super().__init__()
        self.rounds = check_integer("rounds", rounds, 1)
        self.seed = check_integer("seed", seed, 0)

    def _rank(self, table: Table, target: object, groups: Groups) -> InteractionRanking:
        glass = needs("interpret.glassbox", "FAST", "'xai-fast[compare]'")
        utils = needs("interpret.utils", "FAST", "'xai-fast[compare]'")
        x, y = read_regression(table, target)
        additive = glass.ExplainableBoostingRegressor(
            interactions=0,
            outer_bags=1,
            validation_size=0.15,
            max_rounds=self.rounds,
            n_jobs=1,
            random_state=self.seed,
        )
        additive.fit(x, y)
        measured = utils.measure_interactions(x, y, init_score=additive.predict(x), objective="rmse")
        effects = {tuple(sorted(int(i) for i in pair)): float(strength) for pair, strength in measured}
        return InteractionRanking.from_effects(table.names, effects)
