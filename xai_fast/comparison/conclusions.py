"""What can be concluded from a comparison, and what cannot, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_fast.axioms import CLAIMS

__all__ = ["BASELINES", "SIGNIFICANT", "conclude", "is_baseline"]

SIGNIFICANT = 0.05
"""Corrected p-values below are a difference that was found."""

BASELINES = ("random", "edges")
"""Methods that know nothing of the model; edges of pictures only."""

_FEW = 20
_NAMED = 6
"""Methods named in a list, at most."""

_PERTURBING = (
    *("occlusion", "feature_ablation", "rise", "lime", "kernel_shap", "shapley_sampling"),
    *("score_cam", "ablation_cam", "quantitative_input_influence", "removal_interactions"),
)
_PERTURBED = (
    *("insertion", "deletion", "insertion_deletion", "pixel_flipping", "aopc_morf", "aopc_lerf", "abpc", "irof"),
    *("faithfulness_correlation", "faithfulness_estimate", "sensitivity_n", "monotonicity", "monotonicity_correlation"),
    *("infidelity", "sufficiency"),
)
_CHANGED = (
    *("max_sensitivity", "average_sensitivity", "local_lipschitz", "relative_input_stability"),
    *("relative_output_stability", "relative_representation_stability", "input_invariance"),
)
_FAVOURED: dict[str, tuple[Sequence[str], str]] = {
    **dict.fromkeys(_PERTURBED, (_PERTURBING, "such methods replace parts of the input, as metrics of this kind do")),
    **dict.fromkeys(_CHANGED, (("random", "edges", "smoothgrad"), "what hardly depends on the model hardly changes")),
    "completeness": ([name for name, claimed in CLAIMS.items() if "completeness" in claimed], "their papers prove it"),
    "non_sensitivity": ([n for n, claimed in CLAIMS.items() if "sensitivity_b" in claimed], "their papers prove it"),
}
"""By metric, the methods that it favours by construction, and why."""

_OF_MAPS = ("sparseness", "complexity", "effective_complexity", "file_size")


def conclude(summary: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Say in sentences what follows of `Comparison.summary`: warnings, and what was found, a text per metric."""
    told: dict[str, list[str]] = {}
    for metric, found in summary["metrics"].items():
        for text in _warnings(found, summary, metric):
            told.setdefault(text, []).append(metric)
    warnings = [f"In {_listed(names)}, {text}" for text, names in told.items()]
    if summary["items"] < _FEW:
        few = f"With {_items(summary['items'])}, intervals are rough and only large differences can be found"
        warnings.insert(0, f"{few}; compare on {_FEW} or more.")
    return warnings, [_finding(metric, found, summary) for metric, found in summary["metrics"].items()]


def _warnings(found: Mapping[str, Any], summary: Mapping[str, Any], metric: str) -> Iterator[str]:
    """Give what has to be known of a metric, alike for all metrics of which it is true."""
    best = found["best"]
    baselines = [name for name in summary["methods"] if name in best and is_baseline(name)]
    if best and best[0] in baselines:
        yield f"the best mean is that of {best[0]}, which does not look at the model."
    elif baselines:
        yield f"the best method is within error of {_listed(baselines)}, which it should beat."
    if metric in _OF_MAPS:
        yield "values are about the maps alone: a good one does not make an explanation true."
    favoured, why = _FAVOURED.get(metric, ((), ""))
    wanted = {_plain(name) for name in favoured}
    present = [name for name in summary["methods"] if _plain(name) in wanted]
    if present:
        yield f"{_listed(present)} {'is' if len(present) == 1 else 'are'} favoured by construction: {why}."
    least = min(found["count"])
    if best and least < summary["items"]:
        yield f"values are missing: some method has only {least:,} of {summary['items']:,}."


def _finding(metric: str, found: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    best, methods = found["best"], summary["methods"]
    if not best:
        return f"{metric}: not defined for any item."
    top = best[0]
    mean, error = (found[what][methods.index(top)] for what in ("mean", "error"))
    with_error = f"{mean:.3g}" if error is None else f"{mean:.3g} \u00b1 {error:.2g}"
    told = [f"{metric} ({found['better']} is better): {top} has the best mean, {with_error}."]
    behind = sorted(_behind(top, found), key=lambda one: one["mean"])
    if behind:
        one, rest = behind[0], [other["b"] for other in behind[1:]]
        p = "p < 0.001" if one["p"] < 0.001 else f"p = {one['p']:.2g}"
        interval = f"95 % interval {one['low']:.2g} to {one['high']:.2g}, {p} after correction"
        more = f", and than {_listed(rest)}" if rest else ""
        told.append(f"It is better than {one['b']} by {one['mean']:.2g} ({interval}){more}.")
    if len(best) > 1:
        others = "any other method" if not behind else _listed(best[1:], "or")
        told.append(f"No difference was found between it and {others}.")
        cost = dict(zip(methods, summary["evaluations"]["mean"], strict=True))
        known = [name for name in best if cost[name] is not None and not is_baseline(name)]
        cheapest = min(known, key=lambda name: cost[name], default=top)
        if cheapest != top and top in known and cost[cheapest] < cost[top]:
            spent = f"{cost[cheapest]:.3g} gradient evaluation{'' if cost[cheapest] == 1 else 's'} per item"
            told.append(f"Of these {cheapest} costs least, {spent} in place of {cost[top]:.3g}.")
    if found["resolution"]:
        items = _items(summary["items"])
        told.append(f"With {items}, differences below about {found['resolution']:.2g} are as a rule not found.")
    return " ".join(told)


def _behind(top: str, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the differences between the best method and those that are worse, as by how much it is better."""
    sign = 1 if found["better"] == "higher" else -1
    for one in found["differences"]:
        if top in (one["a"], one["b"]) and one["corrected_p"] is not None and one["corrected_p"] <= SIGNIFICANT:
            turn = sign if one["a"] == top else -sign
            low, high = sorted((turn * one["corrected_low"], turn * one["corrected_high"]))
            b = one["b"] if one["a"] == top else one["a"]
            yield {"b": b, "mean": turn * one["mean"], "low": low, "high": high, "p": one["corrected_p"]}


def is_baseline(method: str) -> bool:
    """Say whether a method does not look at the model, so that a useful explanation has to beat it."""
    return _plain(method) in BASELINES


def _plain(method: str) -> str:
    """Give the name of a method without its options, its source and underscores."""
    return method.partition("(")[0].rpartition(":")[2].replace("_", "").lower()


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _listed(names: Sequence[str], joint: str = "and") -> str:
    if len(names) > _NAMED + 1:
        return f"{', '.join(names[:_NAMED])} {joint} {len(names) - _NAMED} others"
    return f" {joint} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
