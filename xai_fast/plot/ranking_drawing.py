"""The drawings of a page about a ranking, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xai_fast.plot.page import text
from xai_fast.plot.ranking_layout import JOINED, Network, told_apart

__all__ = ["draw_network", "draw_strength", "draw_training"]

_RADIUS = 100
_HALF, _FLAT = 200, 130
_LETTERS = 15
_HORIZONTAL = 12


def draw_network(network: Network, names: Sequence[str]) -> str:
    """Draw features on a circle and the sets between them.

    Features are buttons for the page's script; sets carry their features in ``data-features``.

    Args:
        network: what to draw, at least one set.
        names: of all features.

    Returns:
        An ``svg`` element.
    """
    lines = []
    for one, share in reversed(list(zip(network.sets, network.shares, strict=True))):
        ends = [_point(network.places[i]) for i in one.indices]
        x, y = _point(network.junction(one))
        if one.order == 2:
            (x0, y0), (x1, y1) = ends
            path = f"M{x0:.1f} {y0:.1f}Q{x:.1f} {y:.1f} {x1:.1f} {y1:.1f}"
        else:
            path = "".join(f"M{a:.1f} {b:.1f}L{x:.1f} {y:.1f}" for a, b in ends)
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{1.8 + 2.4 * share:.1f}"/>' if one.order > 2 else ""
        members = " ".join(map(str, one.indices))
        lines.append(
            f'<g class="line order-{one.order}" data-features="{members}" opacity="{0.3 + 0.7 * share:.2f}">'
            f"<title>{text(JOINED.join(one.features))}</title>"
            f'<path d="{path}" stroke-width="{0.8 + 4.2 * share:.2f}"/>{dot}</g>'
        )
    horizontal = len(network.features) <= _HORIZONTAL
    high = _FLAT if horizontal else _HALF
    short = told_apart([names[i] for i in network.features], _LETTERS)
    nodes = [_node(i, names[i], short[names[i]], network.places[i], horizontal) for i in network.features]
    return (
        f'<svg viewBox="{-_HALF} {-high} {2 * _HALF} {2 * high}" role="group" aria-label="Network of interactions">'
        f"{''.join(lines)}{''.join(nodes)}</svg>"
    )


def draw_strength(effect: float, spread: float) -> str:
    """Draw a bar with a line at its end.

    Args:
        effect: its length, from -1 to 1.
        spread: the reach of the line on either side of the end, on the same scale.

    Returns:
        An ``svg`` element.
    """
    length = abs(effect)
    low, high = max(0.0, length - spread), min(1.0, length + spread)
    return (
        f'<svg class="strength{" negative" if effect < 0 else ""}" viewBox="0 0 100 10" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect class="track" width="100" height="10"/>'
        f'<rect class="fill" width="{100 * length:.1f}" height="10"/>'
        f'<rect class="spread" x="{100 * low:.1f}" y="4" width="{100 * (high - low):.1f}" height="2"/></svg>'
    )


def draw_training(training: Sequence[float], validation: Sequence[float], best: int) -> str:
    """Draw the losses of a training, epoch by epoch, on a logarithmic scale.

    Args:
        training: losses on the rows trained on.
        validation: on those held back, as many.
        best: the epoch that is marked.

    Returns:
        An ``svg`` element.
    """
    smallest = max(min((v for v in (*training, *validation) if v > 0), default=1.0), 1e-9)
    values = [[math.log10(max(v, smallest)) for v in losses] for losses in (training, validation)]
    low, high = math.floor(min(map(min, values))), math.ceil(max(map(max, values)))
    high = max(high, low + 1)
    across = 280 / max(1, len(validation) - 1)

    def place(epoch: int, value: float) -> tuple[float, float]:
        return 30 + across * epoch, 8 + 104 * (high - value) / (high - low)

    curves = []
    for kind, losses in zip(("trained", "held"), values, strict=True):
        points = " ".join("{:.1f},{:.1f}".format(*place(i, v)) for i, v in enumerate(losses))
        curves.append(f'<polyline class="{kind}" points="{points}"/>')
    grid = "".join(
        f'<line x1="30" x2="310" y1="{place(0, p)[1]:.1f}" y2="{place(0, p)[1]:.1f}"/>'
        f'<text x="25" y="{place(0, p)[1] + 3:.1f}">{10.0**p:g}</text>'
        for p in range(low, high + 1)
    )
    x, y = place(best, values[1][best])
    ends = f'<text class="epoch" x="30" y="126">1</text><text class="epoch" x="310" y="126">{len(validation)}</text>'
    return (
        '<svg viewBox="0 0 320 130" role="img" aria-label="Losses of the training, epoch by epoch">'
        f'<g class="grid">{grid}{ends}</g>{"".join(curves)}<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"/></svg>'
    )


def _point(place: tuple[float, float]) -> tuple[float, float]:
    """Give a place on the page, where y points down."""
    return _RADIUS * place[0], -_RADIUS * place[1]


def _node(feature: int, name: str, short: str, place: tuple[float, float], horizontal: bool) -> str:
    x, y = _point(place)
    left = x < -1e-6
    if horizontal:
        across = "middle" if abs(place[0]) < 0.15 else "end" if left else "start"
        turn = f'x="{1.09 * x:.1f}" y="{1.12 * y:.1f}" text-anchor="{across}"'
    else:
        angle = math.degrees(math.atan2(y, x)) + (180 if left else 0)
        turn = (
            f'transform="translate({1.07 * x:.1f} {1.07 * y:.1f}) rotate({angle:.1f})" '
            f'text-anchor="{"end" if left else "start"}"'
        )
    return (
        f'<g class="node" data-feature="{feature}" role="button" tabindex="0" aria-pressed="false" '
        f'aria-label="{text(name)}"><title>{text(name)}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        f"<text {turn}>{text(short)}</text></g>"
    )
