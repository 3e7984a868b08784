"""Pictures of interactions between features, each drawn on a matplotlib axis that the caller made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.plot.colormap import colormap, diverging_colormap
from xai_fast.plot.ranking_layout import joined, make_network, make_pair_matrix, strongest_sets, told_apart

__all__ = ["ORDER_COLORS", "show_interaction_network", "show_pair_heatmap", "show_ranking"]

ORDER_COLORS = {1: "#6a6670", 2: "#d4480c", 3: "#2a78c2", 4: "#0b8a63", 5: "#8f5bd6", 6: "#b3245f"}
"""One colour per order; colour-blind readers tell neighbouring ones apart."""

_ORDER_NAMES = {1: "main effects", 2: "pairs", 3: "triples", 4: "quadruples", 5: "quintuples", 6: "sextuples"}
_INK, _SOFT, _EMPTY = "#1d1b20", "#6a6670", "#e9e5df"
_HORIZONTAL = 12
"""With more names than this around a circle, they are written outwards from it, where they cannot meet."""

_SMALLEST_LETTERS = 5.0
_LEAST_REACH, _REACH = 1.3, 1.85
"""Of the axis of a network, whose circle has the radius 1: the names are outside the circle."""

_LETTERS = 9.0
_BAR_NAMES, _HEATMAP_NAMES, _NETWORK_NAMES = 44, 18, 20  # letters of the names of a set, and of a name, at most


def show_ranking(
    ax: Any,
    ranking: InteractionRanking,
    *,
    order: int | None = None,
    k: int = 15,
) -> None:
    """Draw the strongest sets as bars, the strongest at the top, with the standard deviation over the representatives.

    The standard deviation of a magnitude is not drawn below zero.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        ranking: of any orders.
        order: one order, 1 for main effects; None for all interactions together, in a colour per order.
        k: how many sets, at least 1.

    Raises:
        InputError: there is no such order, or a number is out of range.
    """
    found = strongest_sets(ranking, order, k)
    _bare(ax)
    if not found:
        _say(ax, "no interaction")
        return
    places = range(len(found))
    effects, spread = np.array([(one.effect, one.spread) for one in found]).T
    ax.barh(places, effects, height=0.62, color=[ORDER_COLORS[one.order] for one in found], zorder=2)
    below = np.minimum(spread, effects) if (effects >= 0).all() else spread
    ax.errorbar(
        effects, places, xerr=np.stack([below, spread]), fmt="none", ecolor=_INK, elinewidth=1.0, capsize=2.5, zorder=3
    )
    shown = [name for one in found for name in one.features]
    ax.set_yticks(places, [joined(one.features, _BAR_NAMES, shown) for one in found], parse_math=False)
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.axvline(0, color=_INK, linewidth=0.8)
    ax.set_xlabel(_effect_name(ranking))
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5))
    ax.grid(axis="x", color=_EMPTY, linewidth=0.8, zorder=0)
    ax.tick_params(axis="y", length=0)
    orders = sorted({one.order for one in found})
    if order is None and len(orders) > 1:
        _legend(ax, orders, "lower right" if (effects >= 0).all() else "best")


def show_pair_heatmap(ax: Any, ranking: InteractionRanking, *, features: int = 30) -> Any:
    """Draw the effects of pairs as a matrix of the features that act the most, in the order of the data.

    Shades are relative to the strongest pair; of squared effects they are roots. Pairs that were not looked at, or not
    kept, are grey. Where names would be too small to read, only every second, third, ... one is written.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        ranking: with pairs.
        features: how many, at most; the strongest are chosen.

    Returns:
        The ``matplotlib.image.AxesImage``.

    Raises:
        InputError: there are no pairs, or a number is out of range.
    """
    from matplotlib.colors import ListedColormap  # loaded already, by whoever made the axis

    matrix = make_pair_matrix(ranking, features)
    count = len(matrix.features)
    table = diverging_colormap() if matrix.signed else colormap()
    colors = ListedColormap(table / 255).with_extremes(bad=_EMPTY)
    shades = np.ma.masked_array(matrix.shades, np.isnan(matrix.values) | np.eye(count, dtype=bool))
    drawn = ax.imshow(shades, cmap=colors, vmin=-1.0 if matrix.signed else 0.0, vmax=1.0, interpolation="nearest")
    for side in ax.spines.values():
        side.set_visible(False)
    names = list(told_apart([ranking.feature_names[i] for i in matrix.features], _HEATMAP_NAMES).values())
    points = _points(ax) / count
    every = max(1, math.ceil(_SMALLEST_LETTERS / (0.8 * points)))
    size = min(10.0, max(_SMALLEST_LETTERS, 0.8 * points * every))
    ax.set_xticks(range(0, count, every), names[::every], rotation=90, fontsize=size, parse_math=False)
    ax.set_yticks(range(0, count, every), names[::every], fontsize=size, parse_math=False)
    ax.tick_params(length=0)
    if matrix.omitted:
        ax.set_xlabel(f"the strongest {count} of {count + matrix.omitted} features", color=_SOFT)
    return drawn


def show_interaction_network(
    ax: Any,
    ranking: InteractionRanking,
    *,
    order: int | None = None,
    k: int = 24,
    features: int = 24,
) -> None:
    """Draw the strongest sets as a network: features on a circle, a line per pair, a star per larger set.

    Only features of the sets that are drawn are there and named, so it is as readable for hundreds of features as for
    ten. Strong sets have wide, opaque lines, and their features are close on the circle.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        ranking: of any orders.
        order: 2 or more; None for all together, in a colour per order.
        k: sets, at most.
        features: at most; at least 2.

    Raises:
        InputError: there is no such order, or a number is out of range.
    """
    network = make_network(ranking, order, k, features)
    _bare(ax)
    ax.set_aspect("equal")
    ax.set_axis_off()
    if not network.sets:
        _say(ax, "no interaction")
        return
    # The weakest first, so that the strong ones lie above them.
    for one, share in reversed(list(zip(network.sets, network.shares, strict=True))):
        color, middle = ORDER_COLORS[one.order], network.junction(one)
        for x, y in _curves([network.places[i] for i in one.indices], middle):
            ax.plot(x, y, linewidth=0.8 + 4.2 * share, color=color, alpha=0.25 + 0.7 * share, zorder=2 + share)
        if one.order > 2:
            ax.plot(*middle, "o", markersize=4 + 5 * share, color=color, markeredgecolor="white", zorder=3.5)
    shown = [ranking.feature_names[i] for i in network.places]
    room = _make_room(ax, max(map(len, told_apart(shown, _NETWORK_NAMES).values())))
    names = told_apart(shown, min(_NETWORK_NAMES, room))
    for feature, (x, y) in network.places.items():
        ax.plot(x, y, "o", markersize=8, color=_INK, markeredgecolor="white", zorder=4)
        _label(ax, names[ranking.feature_names[feature]], x, y, len(network.places) <= _HORIZONTAL)
    orders = sorted({one.order for one in network.sets})
    if len(orders) > 1:
        _legend(ax, orders, "upper left")
    if network.omitted:
        text = f"the strongest {len(network.sets)} of {len(network.sets) + network.omitted:,} sets"
        ax.text(0.5, 0.0, text, transform=ax.transAxes, ha="center", va="top", color=_SOFT, fontsize=8)


def _curves(ends: list[tuple[float, float]], middle: tuple[float, float]) -> list[Any]:
    """Give the lines of a set: one from feature to feature, bent, or one from each feature to the junction."""
    if len(ends) > 2:
        return [([x, middle[0]], [y, middle[1]]) for x, y in ends]
    t = np.linspace(0.0, 1.0, 25)[:, None]
    start, end = np.array(ends)
    return [((1 - t) ** 2 * start + 2 * t * (1 - t) * np.array(middle) + t**2 * end).T]


def _label(ax: Any, name: str, x: float, y: float, horizontal: bool) -> None:
    left = x < -1e-6
    across = "center" if horizontal and abs(x) < 0.15 else "right" if left else "left"
    options: dict[str, Any] = {"ha": across, "va": "center", "fontsize": _LETTERS, "color": _INK, "parse_math": False}
    if horizontal:
        ax.text(1.1 * x, 1.12 * y, name, **options)
    else:
        turned = math.degrees(math.atan2(y, x)) + (180 if left else 0)
        ax.text(1.08 * x, 1.08 * y, name, rotation=turned, rotation_mode="anchor", **options)


def _points(ax: Any) -> float:
    box = ax.get_window_extent()
    return 72 * float(min(box.width, box.height)) / float(ax.figure.dpi)


def _make_room(ax: Any, letters: int) -> int:
    """Set the limits so that names of so many letters fit around the circle; give how many there is room for."""
    wanted = 1.12 / max(1 - 2 * 0.58 * _LETTERS * letters / _points(ax), 0.1)
    reach = min(max(wanted, _LEAST_REACH), _REACH)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    return max(3, int((reach - 1.1) * _points(ax) / (2 * reach) / (0.55 * _LETTERS)))


def _legend(ax: Any, orders: list[int], where: str) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=ORDER_COLORS[o], label=_ORDER_NAMES[o]) for o in orders]
    ax.legend(handles=handles, loc=where, frameon=False, fontsize=8)


def _effect_name(ranking: InteractionRanking) -> str:
    effects = {"square": "squared derivative", "absolute": "absolute derivative", "signed": "derivative"}
    kind = effects.get(str(ranking.settings.get("effect")), "effect")
    aggregate = ranking.settings.get("aggregate")
    return f"{aggregate} {kind} over {len(ranking.representatives)} rows" if aggregate else kind


def _bare(ax: Any) -> None:
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _say(ax: Any, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=_SOFT)
    ax.set_xticks([])
    ax.set_yticks([])
