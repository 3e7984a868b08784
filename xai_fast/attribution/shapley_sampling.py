"""Shapley values by random permutations.

Castro, Gomez and Tejada, "Polynomial calculation of the Shapley value based on sampling", Computers & Operations
Research 2009; Strumbelj and Kononenko, "An Efficient Explanation of Individual Classifications using Game Theory", JMLR
2010. Antithetic pairs: Mitchell, Cooper, Frank and Holmes, "Sampling Permutations for Shapley Value Estimation", JMLR
2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import override

from xai_fast.arguments import check_integer, check_positive
from xai_fast.attribution.masks import FeatureMethod, Game
from xai_fast.attribution.sampled import SampledExplanation, relative_error
from xai_fast.engine.draws import MAX_SEED, random_orders, random_words
from xai_fast.engine.points import Statistics, rounds
from xai_fast.errors import bad_argument

__all__ = ["ShapleySampling", "place_of_features"]

_ENTRIES_AT_A_TIME = 1 << 20


def place_of_features(item_ids: Tensor, number: Tensor, features: int, seed: int) -> Tensor:
    """Draw the permutations of these numbers (R,): the place (R, K) of each feature, from 0; that at 0 comes first."""
    return random_orders(random_words(item_ids, number, features + 1, seed)[:, 1:])


class ShapleySampling(FeatureMethod[SampledExplanation]):
    """The mean over random orders of what a feature adds to the score when it joins those before it.

    All features together add f(x) - f(baseline), in each order. Attributions are like the inputs (B, ...), in units of
    the score: each entry has the value of its feature.

    Cost: at most ``2 + permutations * (K - 1)`` evaluations per item of K features.
    Limits: mixes of item and baseline are unlike any data where features are correlated; values are random.

    Args:
        permutations: orders per item.
        antithetic: take orders in pairs, the second the reverse of the first; then ``permutations`` is even, and the
            standard error is that of the mean over pairs.
        seed: of the orders, 0 to 2**32 - 1.
        tolerance: draw orders until the standard error of the values, relative to their norm, is at most this, with
            ``permutations`` as the limit. Checked after 4, 8, 16, ... orders or pairs. None draws all.
    """

    name = "shapley_sampling"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        permutations: int = 26,
        antithetic: bool = True,
        features: int | Sequence[int] | str | Tensor | None = None,
        baseline: float | Sequence[float] | str | Tensor = 0.0,
        score: str = "auto",
        seed: int = 0,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(model, features=features, baseline=baseline, score=score)
        self.permutations = check_integer("permutations", permutations, 1)
        self.antithetic = bool(antithetic)
        if self.antithetic and self.permutations % 2:
            raise bad_argument("permutations", "an even number, for pairs", str(self.permutations))
        self.seed = check_integer("seed", seed, 0, MAX_SEED)
        self.tolerance = None if tolerance is None else check_positive("tolerance", tolerance)

    @override
    def _result(self, game: Game) -> SampledExplanation:
        shape, device = (game.call.batch, game.features.count), game.call.device
        found = Statistics.zeros(torch.zeros(shape, dtype=torch.float64, device=device))
        empty = self._empty(game)
        samples = self.permutations // (2 if self.antithetic else 1)
        for wanted, first, last in rounds(
            game.call, samples, self.tolerance, lambda: (found.mean, found.standard_error(keep=True))
        ):
            for features, items in game.features.by_count(wanted.tolist()).items():
                pair = torch.arange(len(items) * (last - first), device=device)
                for part in torch.split(pair, max(1, _ENTRIES_AT_A_TIME // features)):
                    item = torch.tensor(items, device=device)[part // (last - first)]
                    added = self._added(game, empty, item, first + part % (last - first), features)
                    every = torch.ones_like(item, dtype=torch.bool)
                    found.add(pad(added, (0, game.features.count - features)), item, every)
        error = found.standard_error()
        return SampledExplanation(
            **self._fields(game, found.mean),
            standard_error=game.features.spread(error.to(game.scores.dtype)),
            relative_standard_error=relative_error(found.mean, error).to(game.scores.dtype),
        )

    def _added(self, game: Game, empty: Tensor | None, item: Tensor, sample: Tensor, features: int) -> Tensor:
        """Compute what each feature adds in the samples (S,) of items (S,): (S, K)."""
        ids = game.call.item_ids[item]
        places = place_of_features(ids, sample, features, self.seed)
        if self.antithetic:
            places = torch.stack([places, features - 1 - places], 1).flatten(0, 1)
        orders = len(places) // len(item)
        source = self._source(game, ids, sample)
        least = 0 if empty is None else 1
        sizes = features - least

        def present(row: Tensor) -> Tensor:
            return places[row // sizes] < (least + row % sizes)[:, None]

        each = item.repeat_interleave(orders * sizes)
        scores = game.play(present, each, None if source is None else source.repeat_interleave(orders * sizes))
        of = item.repeat_interleave(orders)
        curve = [scores.view(len(places), sizes), game.scores[of, None]]
        curve = curve if empty is None else [empty[of, None], *curve]
        added = torch.cat(curve, 1).double().diff(dim=1).gather(1, places)
        return added.view(len(item), orders, features).mean(1)

    def _empty(self, game: Game) -> Tensor | None:
        """Score the empty coalitions (B,), where all orders of an item begin with the same."""
        return game.empty

    def _source(self, game: Game, item_ids: Tensor, sample: Tensor) -> Tensor | None:
        """Choose the baselines (S,) of samples, where there are several."""
        return None
