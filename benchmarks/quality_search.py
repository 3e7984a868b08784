"""Settings that do best on half of the items, to be reported on the other half.

Every method gets the same care: its own options, the score, the ranking rule and the smoothing of the map are chosen by
the same search, so that no method wins by being the only one that was tuned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from benchmarks.quality_methods import Maps, maps, measure
from benchmarks.quality_suites import Suite
from xai_fast.engine.objective import SCORES
from xai_fast.kernels.sphere_step import RULES
from xai_fast.metrics import RANKINGS

__all__ = ["SEARCHES", "Choice", "quick_search", "search"]

Choice = dict[str, object]
Axes = Mapping[str, Sequence[Choice]]
"""Name of an axis to its values; a value sets one option or several that only make sense together."""


def _one(name: str, values: Sequence[object]) -> list[Choice]:
    return [{name: value} for value in values]


# The largest change of an entry is the radius with the step rule "sign"; it is about radius / sqrt(entries) with the
# others, which stay on the L2 sphere.
_RADII = {"sign": (0.03, 0.1, 0.2, 0.3, 0.5, 1.0), "normalized": (1.0, 3.0, 10.0, 30.0), "tangent": (3.0, 30.0, 100.0)}
_LAST: Axes = {
    "score": _one("score", SCORES),
    "ranking": _one("ranking", RANKINGS),
    "smooth": _one("smooth", (0.0, 1.0, 2.0, 4.0, 8.0)),
}
_AGGREGATES = _one("aggregate", ("signed", "magnitude"))

SEARCHES: dict[str, tuple[Choice, Axes]] = {
    "Integrated Gradients": ({"method": "integrated_gradients", "steps": 50}, _LAST),
    "SmoothGrad": (
        {"method": "smoothgrad", "samples": 50, "noise": 0.15, "aggregate": "signed"},
        {"noise": _one("noise", (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)), "aggregate": _AGGREGATES, **_LAST},
    ),
    "Expected Gradients": ({"method": "expected_gradients", "samples": 50}, _LAST),
    "NeFLAG": (
        {"method": "neflag", "points": 10, "radius": 0.1, "step": "sign", "aggregate": "signed"},
        {
            "aggregate": _AGGREGATES,
            "step and radius": [{"step": step, "radius": radius} for step in RULES for radius in _RADII[step]],
            **_LAST,
            "points": _one("points", (1, 5, 10, 20, 50)),
        },
    ),
}
"""Method to its start (the defaults) and its axes, in the order in which they are searched."""


def quick_search(start: Choice, axes: Axes) -> tuple[Choice, Axes]:
    """Cut a search down to two axes of two values and few samples, to show that it runs."""
    few = {name: count for name, count in {"samples": 10, "steps": 10, "points": 2}.items() if name in start}
    return start | few, {name: axes[name][:2] for name in ("ranking", "smooth")}


def search(
    suite: Suite, start: Choice, axes: Axes, *, steps: int, passes: int, say: Callable[[str], None]
) -> tuple[Choice, list[dict[str, object]]]:
    """Search one axis after the other, keeping the best value, until nothing changes.

    Args:
        suite: classifier and items to search on.
        start: the first settings; ``ranking`` and ``smooth`` are sum_of_abs and 0 unless named.
        axes: what to vary.
        steps: of the curves.
        passes: times through all axes at most.
        say: told each result.

    Returns:
        The best settings, and all that were tried with their mean difference score.
    """

    @functools.lru_cache(maxsize=4)
    def maps_of(settings: frozenset[tuple[str, object]]) -> Maps:
        return maps(suite, dict(settings))

    tried: dict[frozenset[tuple[str, object]], float] = {}

    def value(choice: Choice) -> float:
        key = frozenset(choice.items())
        if key not in tried:
            own = frozenset((name, option) for name, option in choice.items() if name not in ("ranking", "smooth"))
            scores = measure(
                suite,
                maps_of(own).attributions,
                ranking=str(choice["ranking"]),
                smooth=float(str(choice["smooth"])),
                steps=steps,
            )
            tried[key] = fmean(scores["difference"])
            say(f"{tried[key]:.4f} {choice}")
        return tried[key]

    best = {"score": "probability", "ranking": "sum_of_abs", "smooth": 0.0} | start
    for _ in range(passes):
        before = dict(best)
        for values in axes.values():
            best = max([best, *(best | change for change in values)], key=value)
        if best == before:
            break
    return best, [{"settings": dict(key), "difference": difference} for key, difference in tried.items()]
