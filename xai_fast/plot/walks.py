"""A graph with the walks that matter most drawn over its edges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument
from xai_fast.interaction.walk_relevance import RelevantWalk, WalkRelevance
from xai_fast.plot.markup import Markup
from xai_fast.plot.similarity import links_svg

__all__ = ["links_of_walks", "walks_svg"]

_SIDE, _MARGIN = 480.0, 30.0
_LOOP = 10.0  # the radius of a step that stays at its node
_APART = 2.5  # between walks along one edge


def walks_svg(
    relevance: WalkRelevance, *, item: int = 0, top_k: int = 10, positions: NDArray[Any] | None = None
) -> Markup:
    """Draw a graph as SVG with its strongest walks.

    Walks are red where they speak for the target and blue where against it; the wider, the stronger. A circle is a step
    that stays at its node. Pointing at a walk shows its nodes, from the input to the readout, and its number.

    Args:
        relevance: of graphs, by `xai_fast.GNNLRP`.
        item: which graph.
        top_k: how many walks are drawn, at least 1.
        positions: (n, 2) where nodes are; by default edges pull them together, and all push each other apart.

    Returns:
        The text of an SVG; a notebook shows it.

    Raises:
        InputError: the positions do not fit.
    """
    label = "Walks in a graph that speak for the target, red, or against it, blue"
    return links_svg(links_of_walks(relevance, item, top_k, positions), label)


def links_of_walks(
    relevance: WalkRelevance, item: int, top_k: int, positions: NDArray[Any] | None = None
) -> dict[str, Any]:
    """Draw the strongest walks as links, over the edges of the graph and its nodes, in a square."""
    check_integer("top_k", top_k, 1)
    n = int(relevance.nodes_per_graph[item])
    joined = np.any([a[item, :n, :n].cpu().numpy() != 0 for a in relevance.adjacencies], 0)
    joined = (joined | joined.T) & ~np.eye(n, dtype=bool)
    places = _layout(joined) if positions is None else np.asarray(positions, dtype=float)
    if places.shape != (n, 2):
        raise bad_argument("positions", f"({n}, 2)", str(places.shape))
    low, high = places.min(0), places.max(0)
    places = _MARGIN + (places - low) / np.maximum(high - low, 1e-9).max() * (_SIDE - 2 * _MARGIN)
    walks = relevance[item].to("cpu").walks(top_k)[0]
    points = [f"{x:.1f} {y:.1f}" for x, y in places]
    return {
        "kind": "links",
        "ratio": 1.0,
        "box": [_SIDE, _SIDE],
        "frame": "".join(f"M{points[i]}L{points[j]}" for i, j in zip(*np.triu(joined).nonzero(), strict=True)),
        "lines": [_path(walk, rank, places) for rank, walk in enumerate(walks)],
        "words": [[str(i), round(x, 1), round(y + 5, 1), 9.6 * len(str(i))] for i, (x, y) in enumerate(places)],
        "values": [walk.relevance for walk in walks],
        "names": [" \N{RIGHTWARDS ARROW} ".join(map(str, walk.nodes)) for walk in walks],
    }


def _path(walk: RelevantWalk, rank: int, places: NDArray[Any]) -> str:
    """Give the path of a walk, beside those of other ranks, as most strong walks share edges."""
    angle = 2.4 * rank
    points = places + _APART * math.sqrt(rank) * np.array([math.cos(angle), math.sin(angle)])
    parts = [_point("M", points[walk.nodes[0]])]
    for before, after in itertools.pairwise(walk.nodes):
        x, y = points[after]
        stays = f"a{_LOOP},{_LOOP} 0 1 1 0.1,0.1"
        parts.append(stays + _point("L", (x, y)) if before == after else _point("L", (x, y)))
    return "".join(parts)


def _point(command: str, place: Sequence[float]) -> str:
    return f"{command}{place[0]:.1f},{place[1]:.1f}"


def _layout(joined: NDArray[Any], rounds: int = 300) -> NDArray[Any]:
    """Place nodes by forces (Fruchterman and Reingold 1991), from a circle: (n, 2)."""
    n = len(joined)
    angles = 2 * np.pi * np.arange(n) * (1 + 5**0.5) / 2
    places = np.stack([np.cos(angles), np.sin(angles)], 1) * np.sqrt(np.arange(1, n + 1) / n)[:, None]
    ideal = 1 / math.sqrt(n)
    for step in range(rounds):
        apart = places[:, None] - places
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-6)
        force = ideal**2 / distance**2 - joined * distance / ideal
        move = (apart * force[:, :, None]).sum(1) - 0.1 * places
        length = np.maximum(np.linalg.norm(move, axis=1, keepdims=True), 1e-9)
        places = places + move / length * np.minimum(length, 0.1 * (1 - step / rounds))
    return places
