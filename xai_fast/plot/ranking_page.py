"""The page about a ranking: lists by order, networks, pairs as a matrix, and the fit of what is explained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_fast.arguments import check_integer
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.order_ranking import FeatureInteraction
from xai_fast.plot.colormap import colormap, diverging_colormap
from xai_fast.plot.items import Front
from xai_fast.plot.page import hex_colors, page, plain_json, script
from xai_fast.plot.ranking_layout import JOINED, junction, make_network, make_pair_matrix, strongest_sets, told_apart

__all__ = ["Fit", "RankingPages"]

_SHADES = 33
_NETWORK = (24, 24)  # sets and features that are drawn, at most
_MATRIX_FEATURES = 30
_LETTERS = 15
_TITLES = {1: "Main effects", 2: "Pairs", 3: "Triples", 4: "Quadruples", 5: "Quintuples", 6: "Sextuples"}


@dataclass(frozen=True)
class Fit:
    """How well the network that is explained fits the data.

    Attributes:
        label: of the number at the top, such as "R\u00b2 on rows held back".
        text: the number.
        good: whether it is good enough for interactions of the network to say something about the data.
        verdict: a sentence or two; above everything else if the fit is not good.
        training_losses: of each epoch; none if nothing is known.
        validation_losses: likewise.
        best_epoch: whose weights were kept.
    """

    label: str
    text: str
    good: bool
    verdict: str
    training_losses: Sequence[float] = ()
    validation_losses: Sequence[float] = ()
    best_epoch: int = 0


class RankingPages:
    """The page about a ranking and its data.

    Args:
        ranking: what was found.
        front: the text of the page.
        fit: of the network, or None where nothing is known about it.
        top_k: sets of each order that are listed, at least 1.

    Raises:
        InputError: top_k is out of range.
    """

    def __init__(
        self,
        ranking: InteractionRanking,
        front: Front | None = None,
        *,
        fit: Fit | None = None,
        top_k: int = 20,
    ) -> None:
        self._ranking = ranking
        self._fit = fit
        self._top_k = check_integer("top_k", top_k, 1)
        fitted = {} if fit is None else {fit.label: fit.text}
        poor = f"Poor fit. {fit.verdict}" if fit is not None and not fit.good else ""
        front = front or Front()
        self.front = dataclasses.replace(
            front,
            title=front.title or "What acts together",
            kicker=front.kicker or str(ranking.settings.get("method", "")),
            settings=front.settings or ranking.settings,
            summary={**front.summary, **fitted},
            warning=front.warning or poor,
        )

    def page(self) -> bytes:
        """Render the page."""
        return page(self.front, "ranking", ["ranking.js"], values={})

    def names(self) -> Iterator[str]:
        """List the scripts of the page."""
        yield "index"

    def script(self, name: str) -> bytes | None:
        """Write a script of the page, or give None where there is none of this name."""
        return script(name, plain_json(self._data())) if name == "index" else None

    def refresh(self) -> None:
        """Do nothing: a ranking does not change."""

    def _data(self) -> dict[str, Any]:
        ranking = self._ranking
        orders = sorted(order for order in ranking.orders if order > 1)
        shown: list[int | None] = [None, *orders] if len(orders) > 1 else list(orders)
        if 1 in ranking.orders:
            shown.append(1)
        return {
            "names": list(ranking.feature_names),
            "panels": [self._panel(order) for order in shown],
            "matrix": self._matrix() if 2 in ranking.orders else None,
            "fit": None if self._fit is None else dataclasses.asdict(self._fit),
        }

    def _panel(self, order: int | None) -> dict[str, Any]:
        found = strongest_sets(self._ranking, order, self._top_k)
        widest = max((abs(one.effect) + one.spread for one in found), default=1.0) or 1.0
        return {
            "order": order or 0,
            "title": "All orders" if order is None else _TITLES[order],
            "note": self._looked_at(order, len(found)),
            "sets": [self._set(one, order, widest) for one in found],
            "network": None if order == 1 else self._placed(order),
        }

    def _set(self, one: FeatureInteraction, panel: int | None, widest: float) -> dict[str, Any]:
        place = f"Rank {one.rank} of its order; " if panel is None else ""
        return {
            "features": one.indices,
            "effect": _number(one.effect),
            "share": one.effect / widest,
            "spread": one.spread / widest,
            "about": f"{place}effect {_number(one.effect)} \u00b1 {_number(one.spread)} over the rows.",
            "support": [
                [JOINED.join(part.features), _number(part.effect)] for part in self._ranking.support(one.indices)
            ],
        }

    def _placed(self, order: int | None) -> dict[str, Any] | None:
        ranking = self._ranking
        places, sets, shares = make_network(ranking, order, *_NETWORK)
        if not sets:
            return None
        count = len(sets)
        omitted = (len(ranking) if order is None else len(ranking.order(order))) - count
        name = "interactions" if order is None else _TITLES[order].lower()
        caption = f"The {count} strongest {name}" if count > 1 else f"The strongest of the {name}"
        caption += ", lines as wide as the effects."
        caption += " A star joins a set of three or more." if any(one.order > 2 for one in sets) else ""
        more = f" The other {omitted:,} are weaker, or bring in too many features." if omitted else ""
        names = ranking.feature_names
        short = told_apart([names[i] for i in places], _LETTERS)
        return {
            "caption": caption + more,
            "orders": [[o, _TITLES[o].lower()] for o in sorted({one.order for one in sets})],
            "nodes": [[i, short[names[i]], *place] for i, place in places.items()],
            "lines": [[one.indices, share, *junction(places, one)] for one, share in zip(sets, shares, strict=True)],
        }

    def _looked_at(self, order: int | None, listed: int) -> str:
        if order is None:
            return f"The {listed} strongest of {len(self._ranking):,} interactions, whatever their order."
        found = self._ranking.order(order)
        how = "all there are" if found.exhaustive else "those that extend the strongest of the order before"
        if order == 1:
            return f"The effect of each feature by itself, for comparison; the {listed} strongest of {len(found):,}."
        return f"{found.candidates:,} sets were looked at, {how}; the {listed} strongest are listed."

    def _matrix(self) -> dict[str, Any]:
        features, values, shades = make_pair_matrix(self._ranking, _MATRIX_FEATURES)
        count, total, pairs = len(features), len(self._ranking.feature_names), self._ranking.order(2)
        signed = bool((shades < 0).any())
        above = [(a, b) for a in range(count) for b in range(a + 1, count)]
        wanted = np.array([(features[a], features[b]) for a, b in above], np.int64).reshape(-1, 2)
        places = (pairs.places(wanted) + 1).tolist()
        less = f" The {count} features that act the most, of {total}." if total > count else ""
        steps = " Shades are roots of the squared effects." if self._ranking.settings.get("effect") == "square" else ""
        return {
            "features": features,
            "colors": hex_colors(diverging_colormap() if signed else colormap(), _SHADES),
            "ends": "negative to positive" if signed else "no interaction to the strongest pair",
            "note": less + steps,
            "total": len(pairs),
            "pairs": [
                [a, b, _number(float(values[a, b])) if place else "", place, _shade(float(shades[a, b]), signed)]
                for (a, b), place in zip(above, places, strict=True)
            ],
        }


def _shade(share: float, signed: bool) -> int | None:
    return None if math.isnan(share) else round(((share + 1) / 2 if signed else share) * (_SHADES - 1))


def _number(value: float) -> str:
    """Give a number with three digits that count, and the sign of a true minus."""
    plain = f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return plain.replace("-", "\u2212")
