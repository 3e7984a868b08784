"""One self-contained HTML page about a ranking: lists by order, a network, pairs as a matrix, the network's fit."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xai_fast.arguments import check_integer
from xai_fast.files import write_whole
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.order_ranking import FeatureInteraction
from xai_fast.plot.colormap import COLORS, colormap, diverging_colormap
from xai_fast.plot.page import fill, page, template, text
from xai_fast.plot.ranking_drawing import draw_network, draw_strength, draw_training
from xai_fast.plot.ranking_layout import JOINED, PairMatrix, make_network, make_pair_matrix, strongest_sets

__all__ = ["Fit", "RankingReport", "render_ranking_report", "write_ranking_report"]

_SHADES = 33
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


@dataclass(frozen=True)
class RankingReport:
    """What the page says. All text is escaped; none of it is read as HTML.

    Attributes:
        title: the heading.
        kicker: a line above it: method and table.
        ranking: what was found.
        fit: of the network, or None where nothing is known about it.
        reading: how to read the numbers, a sentence or two.
        top_k: sets of each order that are listed, at least 1.
        network_sets: sets that are drawn, at most.
        network_features: features that are drawn, at most.
        matrix_features: features of the matrix, at most.
        notes: how the data was read, sentence by sentence.
        summary: labels and numbers at the top.
        settings: the options of the run.
        versions: of what produced it.

    Raises:
        InputError: a number is out of range.
    """

    title: str
    kicker: str
    ranking: InteractionRanking
    fit: Fit | None = None
    reading: str = ""
    top_k: int = 20
    network_sets: int = 24
    network_features: int = 24
    matrix_features: int = 30
    notes: Sequence[str] = ()
    summary: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, low in {"top_k": 1, "network_sets": 1, "network_features": 2, "matrix_features": 2}.items():
            check_integer(name, getattr(self, name), low)


def write_ranking_report(path: str | os.PathLike[str], report: RankingReport) -> None:
    """Write the page, whole or not at all.

    Args:
        path: where to; a file that is there is replaced.
        report: what it says.
    """
    write_whole(Path(path), render_ranking_report(report).encode("utf-8"))


def render_ranking_report(report: RankingReport) -> str:
    """Render the page; like that of `render_report`, it loads nothing.

    Args:
        report: what it says.

    Returns:
        The HTML document, to be stored as UTF-8.
    """
    ranking = report.ranking
    matrix = make_pair_matrix(ranking, report.matrix_features) if 2 in ranking.orders else None
    orders = sorted(order for order in ranking.orders if order > 1)
    shown: list[int | None] = [None, *orders] if len(orders) > 1 else list(orders)
    if 1 in ranking.orders:
        shown.append(1)
    listed = {i for order in shown for one in strongest_sets(ranking, order, report.top_k) for i in one.indices}
    body = fill(
        template("ranking.html"),
        warning=_warning(report.fit),
        tabs="".join(_tab(order, first=not i) for i, order in enumerate(shown)),
        panels="".join(_panel(report, order) for order in shown),
        options="".join(
            f'<option value="{i}">{text(ranking.feature_names[i])}</option>'
            for i in sorted(listed, key=lambda i: ranking.feature_names[i].casefold())
        ),
        matrix="" if matrix is None else _matrix(ranking, matrix),
        fit=_fit(report.fit),
        notes=_notes(report.notes),
    )
    summary = dict(report.summary) | ({} if report.fit is None else {report.fit.label: report.fit.text})
    return page(
        title=report.title,
        kicker=report.kicker,
        lead=text(report.reading),
        body=body,
        styles=["ranking.css"],
        scripts=["ranking.js"],
        style_values=_style_values(matrix),
        skip_to=("sets", "Skip to the interactions"),
        summary=summary,
        settings=report.settings,
        versions=report.versions,
        failures=(),
    )


def _style_values(matrix: PairMatrix | None) -> dict[str, str]:
    count = len(matrix.features) if matrix else 1
    return {"columns": str(count), "cell": "2.4rem" if count <= 14 else "1.6rem", "shades": _shades(matrix)}


def _warning(fit: Fit | None) -> str:
    if fit is None or fit.good:
        return ""
    return f'<p class="warning" role="note"><strong>Poor fit.</strong> {text(fit.verdict)}</p>'


def _tab(order: int | None, *, first: bool) -> str:
    name = "All orders" if order is None else _TITLES[order]
    return (
        f'<button type="button" role="tab" id="tab-{order or 0}" aria-controls="panel-{order or 0}" '
        f'aria-selected="{"true" if first else "false"}" tabindex="{0 if first else -1}">{name}</button>'
    )


def _panel(report: RankingReport, order: int | None) -> str:
    ranking = report.ranking
    found = strongest_sets(ranking, order, report.top_k)
    widest = max((abs(one.effect) + one.spread for one in found), default=1.0) or 1.0
    rows = [_row(ranking, one, order, rank, widest) for rank, one in enumerate(found, 1)]
    network = ""
    if order != 1:
        placed = make_network(ranking, order, report.network_sets, report.network_features)
        if placed.sets:
            name = "interactions" if order is None else _TITLES[order].lower()
            more = f" The other {placed.omitted:,} are weaker, or bring in too many features." if placed.omitted else ""
            sets = f"{len(placed.sets)} strongest {name}" if len(placed.sets) > 1 else f"strongest of the {name}"
            drawn = sorted({one.order for one in placed.sets})
            keys = "".join(f'<span class="key order order-{o}">{_TITLES[o].lower()}</span>' for o in drawn)
            star = " A star joins a set of three or more." if drawn[-1] > 2 else ""
            caption = f"{keys}The {sets}, lines as wide as the effects.{star}{more}"
            drawing = draw_network(placed, ranking.feature_names)
            network = f'<figure class="network">{drawing}<figcaption>{caption}</figcaption></figure>'
    return fill(
        template("ranking_panel.html"),
        order=str(order or 0),
        title="All orders" if order is None else _TITLES[order],
        note=_looked_at(ranking, order, len(found)),
        rows="".join(rows) or '<li class="nothing">No interaction.</li>',
        network=network,
    )


def _row(ranking: InteractionRanking, one: FeatureInteraction, panel: int | None, rank: int, widest: float) -> str:
    support = "".join(
        f"<li><span><bdi>{text(JOINED.join(part.features))}</bdi></span> <span>{_number(part.effect)}</span></li>"
        for part in ranking.support(one.indices)
    )
    place = f"Rank {one.rank} of its order; " if panel is None else ""
    return fill(
        template("ranking_row.html"),
        identity=f"set-{panel or 0}-{rank}",
        features=text(json.dumps(one.indices)),
        order=str(one.order),
        rank=str(rank),
        names=f'<span class="times">{JOINED}</span>'.join(f"<bdi>{text(name)}</bdi>" for name in one.features),
        bar=draw_strength(one.effect / widest, one.spread / widest),
        effect=_number(one.effect),
        about=f"{place}effect {_number(one.effect)} \u00b1 {_number(one.spread)} over the rows.",
        support=f'<p>Its subsets alone:</p><ol class="support">{support}</ol>' if support else "",
    )


def _looked_at(ranking: InteractionRanking, order: int | None, listed: int) -> str:
    if order is None:
        return f"The {listed} strongest of {len(ranking):,} interactions, whatever their order."
    found = ranking.order(order)
    how = "all there are" if found.exhaustive else "those that extend the strongest of the order before"
    if order == 1:
        return f"How strongly each feature acts by itself, to compare with; the {listed} strongest of {len(found):,}."
    return f"{found.candidates:,} sets were looked at, {how}; the {listed} strongest are listed."


def _matrix(ranking: InteractionRanking, matrix: PairMatrix) -> str:
    names = [ranking.feature_names[i] for i in matrix.features]
    count = len(names)
    pairs = ranking.order(2)
    wanted = np.array([(i, j) for i in matrix.features for j in matrix.features if i < j], np.int64).reshape(-1, 2)
    ranks = iter((pairs.places(wanted) + 1).tolist())
    rank = {(a, b): next(ranks) for a in range(count) for b in range(count) if a < b}
    cells: list[str] = []
    for a, name in enumerate(names):
        row = [f'<div role="gridcell" class="{_shade(matrix, a, b)}"></div>' for b in range(count)]
        header = f'<div role="rowheader" title="{text(name)}"><bdi>{text(name)}</bdi></div>'
        cells.append(f'<div role="row">{header}{"".join(row)}</div>')
    heads = "".join(f'<div role="columnheader" title="{text(n)}"><bdi>{text(n)}</bdi></div>' for n in names)
    data = {
        "names": names,
        "features": matrix.features,
        "pairs": [
            [a, b, _number(float(matrix.values[a, b])) if place else "", place] for (a, b), place in rank.items()
        ],
        "total": len(pairs),
    }
    less = f" The {count} features that act the most, of {count + matrix.omitted}." if matrix.omitted else ""
    steps = " Shades are roots of the squared effects." if ranking.settings.get("effect") == "square" else ""
    return fill(
        template("ranking_matrix.html"),
        data=text(json.dumps(data, separators=(",", ":"))),
        cells="".join(cells),
        heads=heads,
        ends="negative to positive" if matrix.signed else "no interaction to the strongest pair",
        note=less + steps,
    )


def _shade(matrix: PairMatrix, a: int, b: int) -> str:
    if a == b or math.isnan(matrix.values[a, b]):
        return "none"
    share = float(matrix.shades[a, b])
    return f"h{round((share + 1) / 2 * (_SHADES - 1) if matrix.signed else share * (_SHADES - 1))}"


def _shades(matrix: PairMatrix | None) -> str:
    table = diverging_colormap() if matrix is not None and matrix.signed else colormap()
    stations = [table[i * (COLORS - 1) // (_SHADES - 1)] for i in range(_SHADES)]
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in stations]
    rules = [f".matrix .h{i}{{background:{color}}}" for i, color in enumerate(colors)]
    return "".join(rules) + f".scale{{background:linear-gradient(90deg,{','.join(colors)})}}"


def _fit(fit: Fit | None) -> str:
    if fit is None:
        return ""
    drawing = ""
    if len(fit.validation_losses) > 1:
        curve = draw_training(fit.training_losses, fit.validation_losses, fit.best_epoch)
        drawing = (
            f'<figure class="training">{curve}<figcaption><span class="key">Loss on the rows trained on</span> '
            '<span class="key held">on those held back</span> (steps of ten); the dot is the epoch that was kept.'
            "</figcaption></figure>"
        )
    return (
        '<section class="part" id="fit"><h2>Does the network fit?</h2>'
        f'<p class="verdict{"" if fit.good else " poor"}">{text(fit.verdict)}</p>{drawing}</section>'
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{text(note)}</li>" for note in notes)
    return f'<section class="part" id="table"><h2>How the table was read</h2><ul>{items}</ul></section>'


def _number(value: float) -> str:
    """Give a number with three digits that count, and the sign of a true minus."""
    plain = f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    return plain.replace("-", "\u2212")
