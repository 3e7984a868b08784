"""Quality of attributions by the protocol of the NeFLAG paper's tables: ``python -m benchmarks.quality``.

Deletion, insertion and their difference, black and Gaussian blur (sigma 20) averaged, for Integrated Gradients,
SmoothGrad, Expected Gradients and NeFLAG-1/10/20, under all three ranking rules; a sweep of the radius; and a search
for the best settings of each method on half of the items, reported on the other half. Whatever wins is reported.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from benchmarks.environment import describe
from benchmarks.quality_methods import PAPER_METHODS, maps, measure
from benchmarks.quality_search import SEARCHES, Choice, quick_search, search
from benchmarks.quality_suites import DIGITS, Suite, suite
from benchmarks.quality_table import RESULT, tables
from xai_fast.metrics import RANKINGS, rank_pixels

MODELS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", DIGITS)
RADII = (0.03, 0.1, 0.3, 0.5, 1.0)
SEARCH_STEPS = 16
SEARCH_PASSES = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the models that were asked for, and keep the result after each."""
    options = _options(arguments)
    results = _kept(options.out)
    protocol = {
        "steps": options.steps,
        "search_steps": min(options.steps, SEARCH_STEPS),
        "baselines": ["black", "blur"],
        "blur_sigma": 20.0,
        "score": "probability",
        "quick": options.quick,
    }
    chosen, chosen_on = _kept_choice(results, MODELS[0])
    for name in options.models:
        began = time.time()
        items = suite(name, options.photos)
        _say(f"{name}: {len(items.items)} items, {items.about}")
        result: dict[str, object] = {"environment": describe(), "protocol": protocol}
        result |= {"items": list(items.items), "about": items.about}
        result["rows"] = _paper_rows(items, options)
        if name in options.sweep:
            result["radius_sweep"] = _radius_sweep(items, options)
        if name in options.search:
            chosen, result["search"] = _search(items.half(0), options)
            chosen_on = f"half of the items of {name}"
        elif "search" in results["models"].get(name, {}):
            chosen, chosen_on = _kept_choice(results, name)
            result["search"] = results["models"][name]["search"]
        if chosen:
            result["held_out"] = _held_out(items.half(1), chosen, options) | {"chosen_on": chosen_on}
        result["minutes"] = round((time.time() - began) / 60, 1)
        results["models"][name] = result
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(tables(results))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, help="classifiers, in turn (all)")
    parser.add_argument("--photos", type=int, help="the most items per model; all by default, and 60 digits")
    parser.add_argument("--steps", type=int, default=32, help="steps per curve (32)")
    parser.add_argument("--sweep", nargs="*", default=[MODELS[0], DIGITS], help="models whose radius is swept")
    parser.add_argument(
        "--search", nargs="*", default=[MODELS[0], DIGITS], help="models that are searched; others keep what was chosen"
    )
    parser.add_argument("--quick", action="store_true", help="4 photos of Lite0, few samples: shows that it runs")
    parser.add_argument("--out", type=Path, help="the JSON file; models that are not run keep what it holds")
    options = parser.parse_args(arguments)
    if options.photos is not None and options.photos < 4:
        parser.error("--photos: expected at least 4, two a half")
    if options.quick:
        options.photos, options.steps = options.photos or 4, 6
    options.models = options.models or list(MODELS[:1] if options.quick else MODELS)
    options.out = options.out or (Path("out") / "quality-quick.json" if options.quick else RESULT)
    return options


def _kept(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": {}}


def _kept_choice(results: Mapping[str, dict], name: str) -> tuple[dict[str, Choice], str]:
    """Return the settings that an earlier search on half of a model's items chose, and what they were chosen on."""
    held_out = results["models"].get(name, {}).get("held_out")
    return (held_out["settings"], held_out["chosen_on"]) if held_out else ({}, "")


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def statistics(values: Sequence[float]) -> dict[str, object]:
    """Give the mean of some values, its standard error, and the values."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"mean": fmean(values), "standard_error": error, "items": list(values)}


def rows_of(
    items: Suite, name: str, settings: Mapping[str, object], rankings: Sequence[str], smooth: float, steps: int
) -> list[dict[str, object]]:
    """Measure one method under some ranking rules; its maps are computed once."""
    computed = maps(items, settings)
    rows: list[dict[str, object]] = []
    before: tuple[Tensor, dict[str, list[float]]] | None = None
    for ranking in rankings:
        importance = rank_pixels(computed.attributions, ranking=ranking)
        # Maps of magnitudes or of one channel rank alike under several rules.
        if before is not None and torch.equal(importance, before[0]):
            scores = before[1]
        else:
            scores = measure(items, computed.attributions, ranking=ranking, smooth=smooth, steps=steps)
        before = (importance, scores)
        row = {"method": name, "ranking": ranking, "settings": dict(settings), "gradients": computed.gradients}
        rows.append(row | {metric: statistics(values) for metric, values in scores.items()})
        _say(f"{items.name} {name} {ranking}: difference {fmean(scores['difference']):.4f}")
    return rows


def _affordable(name: str, settings: Mapping[str, object], quick: bool) -> tuple[str, dict[str, object]]:
    """Cut samples and points down where the run is a quick one, and say so in the method's name."""
    limits = {"samples": 10, "points": 5} if quick else {}
    few = {option: min(int(str(settings[option])), most) for option, most in limits.items() if option in settings}
    cut = [f"{option}={value}" for option, value in few.items() if value != settings[option]]
    return f"{name} (quick: {', '.join(cut)})" if cut else name, {**settings, **few}


def _paper_rows(items: Suite, options: argparse.Namespace) -> list[dict[str, object]]:
    rows = []
    for name, settings in PAPER_METHODS.items():
        rows += rows_of(items, *_affordable(name, settings, options.quick), RANKINGS, 0.0, options.steps)
    return rows


def _radius_sweep(items: Suite, options: argparse.Namespace) -> list[dict[str, object]]:
    rows = []
    for radius in RADII[2:3] if options.quick else RADII:
        for aggregate in ("signed", "magnitude"):
            settings = {"method": "neflag", "points": 10, "radius": radius, "aggregate": aggregate}
            name, settings = _affordable(f"NeFLAG-10 {radius} {aggregate}", settings, options.quick)
            measured = rows_of(items, name, settings, ("signed_sum", "sum_of_abs"), 0.0, options.steps)
            rows += [row | {"radius": radius, "aggregate": aggregate} for row in measured]
    return rows


def _search(half: Suite, options: argparse.Namespace) -> tuple[dict[str, Choice], dict[str, object]]:
    chosen: dict[str, Choice] = {}
    trails: dict[str, object] = {}
    for name, (start, axes) in SEARCHES.items():
        if options.quick:
            start, axes = quick_search(start, axes)
        chosen[name], trails[name] = search(
            half,
            start,
            axes,
            steps=min(options.steps, SEARCH_STEPS),
            passes=1 if options.quick else SEARCH_PASSES,
            say=lambda line, name=name: _say(f"search {half.name} {name}: {line}"),
        )
    return chosen, {"items": list(half.items), "tried": trails}


def _held_out(half: Suite, chosen: Mapping[str, Choice], options: argparse.Namespace) -> dict[str, object]:
    rows = []
    for name, choice in chosen.items():
        label, default = _affordable(f"{name}, defaults", SEARCHES[name][0], options.quick)
        rows += rows_of(half, label, default, ["sum_of_abs"], 0.0, options.steps)
        own = {key: value for key, value in choice.items() if key not in ("ranking", "smooth")}
        rows += rows_of(half, f"{name}, chosen", own, [choice["ranking"]], choice["smooth"], options.steps)
    by_name = {row["method"]: row["difference"]["items"] for row in rows}
    ours = by_name["NeFLAG, chosen"]
    pairs = [
        {
            "pair": f"NeFLAG, chosen - {name}",
            "difference": statistics([a - b for a, b in zip(ours, theirs, strict=True)]),
        }
        for name, theirs in by_name.items()
        if name != "NeFLAG, chosen"
    ]
    return {"items": list(half.items), "rows": rows, "pairs": pairs, "settings": dict(chosen)}


if __name__ == "__main__":
    sys.exit(main())
