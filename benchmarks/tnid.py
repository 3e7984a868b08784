"""Are interactions found? ``python -m benchmarks.tnid --weights FOLDER`` (Tables 1 and 2 of T-NID, and its appendix).

F1 to F10, ten trainings a function, each on a table of its own (30,000 rows in thirds). AUC of pairs, of every method;
AUC of orders 3 to 5 on the union of the sets that T-NID and NID found; and the sweep over representatives, effects and
aggregates, for which the derivatives are computed once. Networks are trained where the folder does not have them yet
(minutes a function); results are kept function by function, and what is there is not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.environment import describe
from benchmarks.tnid_table import RESULT, table
from benchmarks.tnid_training import one_network, trained
from xai_fast.datasets.known_functions import KnownFunction
from xai_fast.datasets.synthetic_functions import FUNCTIONS, TNID_FUNCTIONS
from xai_fast.interaction import (
    ANOVA,
    FAST,
    GLIDER,
    NID,
    HierarchicalLasso,
    IntegratedHessians,
    InteractionRanking,
    RuleFit,
    ShapleyInteractions,
)
from xai_fast.interaction.effects import AGGREGATES, EFFECTS, aggregated, effect_of
from xai_fast.interaction.representatives import STATISTICS, choose_representatives
from xai_fast.interaction.table import read_table
from xai_fast.kernels.combinations import unrank
from xai_fast.metrics.interaction_auc import (
    area_under_roc,
    interaction_auc,
    interaction_auc_on_union,
    is_interaction,
    r_precision,
)
from xai_fast.taylor import prepare
from xai_fast.taylor.sets import SetDerivatives

ALL = {function.name: function for function in (*FUNCTIONS.values(), *TNID_FUNCTIONS.values())}
ORDERS = (2, 3, 4, 5)
FOUR = ("mean", "min", "mode", "random")
ROWS = 200
"""Random rows beside the paper's four."""
KEPT = 10
"""Sets of an order that the published, subsampled detection extends (its k)."""

Derivatives = Mapping[int, tuple[list[tuple[int, ...]], Tensor]]
"""Per order the sets, and F_T of each at each row, (rows, sets)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was not measured yet, keep it as JSON, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tnid", description=__doc__.split("\n\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="folder for the trained networks")
    parser.add_argument("--functions", nargs="+", choices=tuple(ALL), default=list(ALL))
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--networks", type=int, default=10, help="trainings a function (10)")
    parser.add_argument("--tables", type=int, default=3, help="tables for the methods that train no network (3)")
    parser.add_argument("--trained-only", action="store_true", help="leave out networks that are not in the folder")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"functions": {}}
    for name, part in itertools.product(options.functions, options.parts):
        done = kept["functions"].setdefault(name, {})
        ready = all((options.weights / f"{name}-{recipe}.pt").exists() for recipe in NEEDS[part])
        if (part in done and not options.again) or (options.trained_only and not ready):
            continue
        started = time.perf_counter()
        done[part] = PARTS[part](ALL[name], options)
        kept["environment"] = describe()
        options.out.write_text(_written(kept), encoding="utf-8")
        print(f"{name} {part}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(table(kept))
    return 0


def _written(kept: Mapping[str, Any]) -> str:
    """Write results with a line for each part of each function."""
    functions = [
        f"{json.dumps(name)}: {{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in parts.items()) + "}"
        for name, parts in kept["functions"].items()
    ]
    environment = json.dumps(kept.get("environment"))
    return f'{{"environment": {environment},\n"functions": {{\n' + ",\n".join(functions) + "}}\n"


def _derivatives(network: nn.Module, rows: Tensor, orders: Sequence[int]) -> Derivatives:
    function = prepare(network, rows, score="logit")
    at = SetDerivatives(function, rows, torch.eye(rows.shape[1]))
    found = {}
    for order in orders:
        values = torch.cat([block for _, _, block in at.exhaustive(order)], 1)
        sets = [tuple(s) for s in unrank(torch.arange(values.shape[1]), order).tolist()]
        found[order] = (sets, values)
    return found


def _positive(sets: Sequence[tuple[int, ...]], function: KnownFunction) -> Tensor:
    return torch.tensor([is_interaction(s, function.interactions) for s in sets])


def _tnid(function: KnownFunction, options: argparse.Namespace, recipe: str) -> dict[str, Any]:
    """Pairs by T-NID: the paper's four rows, 200 random ones, and the sweep over all choices."""
    networks = trained(function, recipe, options.weights, networks=options.networks)
    result: dict[str, Any] = {"r2": networks.r2, "epochs": networks.epochs, "pairs": {}}
    sweep: dict[str, float] = {}
    for seed in range(options.networks):
        network = one_network(networks, seed)
        data = read_table("data", function.table(seed=seed).train.x)
        six = [choose_representatives(data, (name,), seed).rows for name in STATISTICS]
        rows = torch.cat([*six, choose_representatives(data, ROWS, seed).rows])
        sets, values = _derivatives(network, rows, (2,))[2]
        positive = _positive(sets, function)
        for name, chosen in (("four", [STATISTICS.index(s) for s in FOUR]), ("200", list(range(6, 6 + ROWS)))):
            for effect, aggregate in itertools.product(("absolute", "square"), ("mean", "median")):
                strength, _ = aggregated(effect_of(values[chosen], effect), aggregate)
                auc = float(area_under_roc(strength, positive))
                result["pairs"].setdefault(f"{name}, {aggregate} {effect}", []).append(auc)
        for key, auc in _sweep(values[:6], positive).items():
            sweep[key] = sweep.get(key, 0.0) + auc / options.networks
    return {**result, "sweep": {key: round(auc, 5) for key, auc in sweep.items()}}


def _sweep(values: Tensor, positive: Tensor) -> dict[str, float]:
    """Give the AUC of every choice of representatives, effect and aggregate, from the derivatives at all six."""
    choices = [c for size in range(1, 7) for c in itertools.combinations(range(6), size)]
    names, strengths = [], []
    for effect, (chosen, aggregate) in itertools.product(EFFECTS, itertools.product(choices, AGGREGATES)):
        strengths.append(aggregated(effect_of(values[list(chosen)], effect), aggregate)[0].abs())
        names.append(f"{effect} {aggregate}: {', '.join(STATISTICS[i] for i in chosen)}")
    return dict(zip(names, area_under_roc(torch.stack(strengths), positive).tolist(), strict=True))


def _subsampled(derivatives: Derivatives, names: Sequence[str]) -> InteractionRanking:
    """Detect as published: all pairs, then extensions of the ten strongest sets of the order before (mean of |F_T|)."""
    found: dict[tuple[int, ...], float] = {}
    parents: set[tuple[int, ...]] | None = None
    for order, (sets, values) in derivatives.items():
        mean = dict(zip(sets, aggregated(effect_of(values, "absolute"), "mean")[0].tolist(), strict=True))
        if parents is not None:
            mean = {s: v for s, v in mean.items() if any(p in parents for p in itertools.combinations(s, order - 1))}
        found |= mean
        parents = set(sorted(mean, key=lambda s: -mean[s])[:KEPT])
    return InteractionRanking.from_effects(names, found)


def _orders(function: KnownFunction, options: argparse.Namespace) -> dict[str, Any]:
    """Orders 3 to 5 on the union of what T-NID and NID found in the same networks, as published, and R-precision."""
    networks = trained(function, "t-nid", options.weights, networks=options.networks)
    result: dict[str, Any] = {"r_precision": {"T-NID, 200 rows": [], "NID": []}}
    largest = max(len(s) for s in function.interactions)
    for seed in range(options.networks):
        network = one_network(networks, seed)
        data = read_table("data", function.table(seed=seed).train.x)
        rows = torch.cat([choose_representatives(data, w, seed).rows for w in (FOUR, ROWS)])
        at_all = _derivatives(network, rows, ORDERS)
        four, many = (
            {order: (sets, values[part]) for order, (sets, values) in at_all.items()}
            for part in (slice(None, -ROWS), slice(-ROWS, None))
        )
        means = [zip(s, v.double().abs().mean(0).tolist(), strict=True) for s, v in many.values()]
        exhaustive = InteractionRanking.from_effects(data.names, dict(itertools.chain(*means)))
        subsampled = _subsampled(four, data.names)
        weights = NID(network, order=None).detect(data.values)
        for order in (o for o in ORDERS if 3 <= o <= largest):
            for name, ranking in (("subsampled, four rows", subsampled), ("200 rows", exhaustive)):
                both = interaction_auc_on_union([ranking, weights], function.interactions, order)
                for method, auc in zip(("T-NID", "NID"), both or (0.0, 0.0), strict=True):  # nothing true was found
                    result.setdefault(f"{order}-way, {name}", {}).setdefault(method, []).append(auc)
        for method, ranking in (("T-NID, 200 rows", exhaustive), ("NID", weights)):
            result["r_precision"][method].append(r_precision(ranking, function.interactions))
    return result


def _nid(function: KnownFunction, options: argparse.Namespace, recipe: str) -> dict[str, Any]:
    networks = trained(function, recipe, options.weights, networks=options.networks)
    x = function.inputs(1)  # of which NID reads the columns only
    found = [NID(one_network(networks, seed, "relu")).detect(x) for seed in range(len(networks.r2))]
    return {
        "r2": networks.r2,
        "epochs": networks.epochs,
        "pairs": {"NID": [interaction_auc(f, function.interactions) for f in found]},
    }


def _of_the_network(function: KnownFunction, options: argparse.Namespace) -> dict[str, Any]:
    """The methods that explain the same networks as T-NID."""
    networks = trained(function, "t-nid", options.weights, networks=options.networks)
    result: dict[str, list[float]] = {}
    for seed in range(options.networks):
        network = one_network(networks, seed)
        x = choose_representatives(read_table("data", function.table(seed=seed).train.x), ROWS, seed).rows
        found = {
            "GLIDER, 200 rows": GLIDER(network).detect(x),
            "Integrated Hessians, 200 rows": IntegratedHessians(network, steps=10).detect(x),
        }
        if seed < options.tables:
            found["Shapley (SII), 20 rows"] = ShapleyInteractions(network, background=x[100:150]).detect(x[:20])
        for name, ranking in found.items():
            result.setdefault(name, []).append(interaction_auc(ranking, function.interactions))
    return {"pairs": result}


def _of_the_table(function: KnownFunction, options: argparse.Namespace) -> dict[str, Any]:
    """The methods that fit a model of their own."""
    methods = {
        "ANOVA": (ANOVA(), None),
        "hierarchical lasso": (HierarchicalLasso(), None),
        "RuleFit, H statistic": (RuleFit(), 3000),
        "FAST (GA2M)": (FAST(), None),
    }
    result: dict[str, list[float]] = {name: [] for name in methods}
    for seed in range(options.tables):
        rows = function.table(seed=seed).train
        for name, (method, count) in methods.items():
            ranking = method.detect(rows.x[:count], rows.y[:count])
            result[name].append(interaction_auc(ranking, function.interactions))
    strength = function.pair_strength()
    pairs = sorted(itertools.combinations(range(len(strength)), 2), key=lambda p: -float(strength[p]))
    true = {f"{i + 1},{j + 1}": float(strength[i, j]) for i, j in pairs if function.interacts((i, j))}
    return {"pairs": result, "strength_of_the_true_pairs": true}


PARTS: dict[str, Callable[[KnownFunction, argparse.Namespace], dict[str, Any]]] = {
    "t-nid": lambda function, options: _tnid(function, options, "t-nid"),
    "t-nid-decay": lambda function, options: _tnid(function, options, "t-nid-decay"),
    "nid-m": lambda function, options: _nid(function, options, "nid-m"),
    "orders": _orders,
    "network": _of_the_network,
    "table": _of_the_table,
}
NEEDS = {
    "t-nid": ("t-nid",),
    "t-nid-decay": ("t-nid-decay",),
    "nid-m": ("nid-m",),
    "orders": ("t-nid",),
    "network": ("t-nid",),
    "table": (),
}
"""Networks that each part asks for."""


if __name__ == "__main__":
    sys.exit(main())
