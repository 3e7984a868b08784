"""Do interactions find what an answer rests on? ``python -m benchmarks.interactions`` (Table 3 of Taylor-CAM).

Sort-of-CLEVR: for each relational question, images that the relation network answers right; a hit is a top-1 pair of
cells of which one box meets the object that the question names and the other an object that decides the answer.
Yield-or-Go: how often the top pair joins the yield sign and a car where the answer is "stop". Three objects: whether
order 3 finds the triple that order 2 cannot see.

Sort-of-CLEVR runs in float64: a probability of 1 - 1e-9 still bends there, while in float32 it is 1 and all its
derivatives are zero.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.environment import describe
from benchmarks.interactions_table import RESULT, table
from xai_fast import GradCAM, TaylorCAM, taylor
from xai_fast.datasets import sort_of_clevr as clevr
from xai_fast.datasets import three_objects as three
from xai_fast.datasets import yield_or_go as road
from xai_fast.graph.cut import Downstream
from xai_fast.interaction import InteractionMap, cell_geometry
from xai_fast.interaction.geometry import CellGeometry
from xai_fast.models.relation_network import RelationNetwork, relation_network

GRID = (5, 5)
_BATCH = 25

Box = tuple[float, float, float, float]
Pairs = list[tuple[int, int]]
"""The top-1 pair of cells of each item, as indices."""
Asked = tuple[clevr.Scene, clevr.Question]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all three, keep the result as JSON, print tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interactions", description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[20, 200], help="images a question (20 and 200)")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    results = {
        "environment": describe(),
        "sort_of_clevr": _sort_of_clevr(sorted(options.images)),
        "yield_or_go": _yield_or_go(max(options.images)),
        "three_objects": _three_objects(max(options.images)),
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    return 0


def _answered_right(network: RelationNetwork, subtype: int, count: int) -> list[Asked]:
    """Take test scenes in turn, one question each, as long as the answer is right and something decides it."""
    found: list[Asked] = []
    start = 0
    while len(found) < count:
        batch = clevr.scenes(64, start=start, split="test")
        asked = [(s, clevr.ask(s, (start + i) % len(clevr.COLORS), "relational", subtype)) for i, s in enumerate(batch)]
        questions, answers = clevr.question_batch([q for _, q in asked])
        with torch.no_grad():
            right = network(clevr.image_batch(batch).double(), questions.double()).argmax(1) == answers
        found += [a for a, ok in zip(asked, right.tolist(), strict=True) if ok and a[1].relevant_objects]
        start += 64
    return found[:count]


def _batches(asked: Sequence[Asked]) -> list[tuple[Tensor, Tensor, Tensor]]:
    parts = [asked[i : i + _BATCH] for i in range(0, len(asked), _BATCH)]
    batches = []
    for part in parts:
        questions, answers = clevr.question_batch([question for _, question in part])
        batches.append((clevr.image_batch([scene for scene, _ in part]).double(), questions.double(), answers))
    return batches


def _top_pairs(saliency: Tensor) -> Pairs:
    n = saliency.shape[-1]
    best = saliency.flatten(1).argmax(1)
    return [(int(b) // n, int(b) % n) for b in best]


def _by_taylor_cam(network: RelationNetwork, scope: str) -> Callable[[Tensor, Tensor, Tensor], Pairs]:
    method = TaylorCAM(network, "tag", grid=GRID, scope=scope)
    return lambda images, questions, answers: _top_pairs(
        method.explain(images, target=answers, additional_forward_args=questions).saliency
    )


def _by_grad_cam(network: RelationNetwork) -> Callable[[Tensor, Tensor, Tensor], Pairs]:
    """The two cells with the largest values of the map."""
    method = GradCAM(network, "convolutions", relu=False)

    def pairs(images: Tensor, questions: Tensor, answers: Tensor) -> Pairs:
        maps = method.attribute(images, target=answers, additional_forward_args=questions).flatten(1)
        return [(int(a), int(b)) for a, b in maps.topk(2, dim=1).indices]

    return pairs


def _by_squared_derivatives(network: RelationNetwork) -> Callable[[Tensor, Tensor, Tensor], Pairs]:
    """The sum of the squared cross derivatives of all channels of two cells, after GLIDER (Tsang et al., 2020)."""
    downstream = Downstream(network, "tag")

    def pairs(images: Tensor, questions: Tensor, answers: Tensor) -> Pairs:
        with torch.no_grad():
            objects, _ = downstream.split(images, questions)

        def score(x: Tensor, q: Tensor, target: Tensor) -> Tensor:
            return network.relate(x, q).softmax(1).gather(1, target[:, None])[:, 0]

        function = taylor.ScoreFunction(score, extras=(questions, answers))
        hessian = taylor.hessian(function, objects).unflatten(2, objects.shape[1:]).unflatten(1, objects.shape[1:])
        return _top_pairs(hessian.square().sum((2, 4)).triu(1))

    return pairs


def _by_chance(images: Tensor, questions: Tensor, answers: Tensor) -> Pairs:
    generator = torch.Generator().manual_seed(int(1e6 * float(images.sum())) % 2**31)
    return [
        (int(a), int(b))
        for a, b in (torch.randperm(math.prod(GRID), generator=generator)[:2] for _ in range(len(images)))
    ]


def _meets(box: Sequence[float], other: Sequence[float]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _joins(boxes: Sequence[Sequence[float]], first: Sequence[Box], second: Sequence[Box]) -> bool:
    """Whether one box meets one of the first things, and another box one of the second."""
    return any(
        any(_meets(one, thing) for thing in first) and any(_meets(other, thing) for thing in second)
        for i, one in enumerate(boxes)
        for j, other in enumerate(boxes)
        if i != j
    )


def _hits(asked: Sequence[Asked], pairs: Pairs, geometry: CellGeometry, field: bool) -> list[bool]:
    box = geometry.field_box if field else geometry.cell_box
    hits = []
    for (scene, question), pair in zip(asked, pairs, strict=True):
        boxes = [box(divmod(cell, GRID[1])) for cell in pair]
        named = scene.objects[question.object_of_interest].box
        deciding = [scene.objects[i].box for i in question.relevant_objects]
        hits.append(_joins(boxes, [named], deciding))
    return hits


def _sort_of_clevr(counts: Sequence[int]) -> list[dict[str, object]]:
    network = relation_network().double().requires_grad_(False)
    methods = {
        "Taylor-CAM, local": _by_taylor_cam(network, "local"),
        "Taylor-CAM, global": _by_taylor_cam(network, "global"),
        "Grad-CAM, top two cells": _by_grad_cam(network),
        "squared cross derivatives (GLIDER)": _by_squared_derivatives(network),
        "random pair": _by_chance,
    }
    rows: list[dict[str, object]] = []
    geometry: CellGeometry | None = None
    for subtype in range(3):
        asked = _answered_right(network, subtype, max(counts))
        batches = _batches(asked)
        geometry = geometry or cell_geometry(network, "convolutions", batches[0][0], batches[0][1])
        for name, method in methods.items():
            pairs = [pair for batch in batches for pair in method(*batch)]
            for what, field in (("cell", False), ("receptive field", True)):
                hits = _hits(asked, pairs, geometry, field)
                rates = {str(count): sum(hits[:count]) / count for count in counts}
                rows.append({"question": subtype, "method": name, "box": what, "hits": rates})
            print(f"question {subtype} {name}: {rows[-2]['hits']}", file=sys.stderr, flush=True)
    return rows


def _yield_or_go(count: int) -> dict[str, object]:
    """How often the top pair joins the sign and a car, where the network rightly says stop."""
    network = road.yield_or_go().requires_grad_(False)
    scenes: list[road.RoadScene] = []
    start = 0
    while len(scenes) < count:
        batch = [road.road_scene(i, split="test") for i in range(start, start + 64)]
        with torch.no_grad():
            said = network(road.image_batch(batch)).argmax(1)
        scenes += [s for s, answer in zip(batch, said.tolist(), strict=True) if answer == s.answer == 1]
        start += 64
    scenes = scenes[:count]
    rates = {}
    for order_name, scope in (("local", "local"), ("global", "global")):
        found = TaylorCAM(network, "features", scope=scope).explain(road.image_batch(scenes), target=1)
        rates[order_name] = _road_hits(found, scenes) / count
    return {"scenes": count, "top_pair_joins_sign_and_car": rates}


def _road_hits(found: InteractionMap, scenes: Sequence[road.RoadScene]) -> int:
    hits = 0
    for scene, item in zip(scenes, found.boxes(1, of="field"), strict=True):
        if item and scene.sign is not None:
            hits += _joins(item[0], [scene.sign], list(scene.cars))
    return hits


def _three_objects(count: int) -> dict[str, object]:
    """Whether the top triple is the three keys, and what the top pair is."""
    network = three.three_objects().requires_grad_(False)
    boards = [three.board(i) for i in range(count)]
    x = three.board_batch(boards)
    triples = TaylorCAM(network, "board", order=3, score="logit").explain(x).top_k(1)
    pairs = TaylorCAM(network, "board", order=2, score="logit").explain(x).top_k(1)
    width = three.BOARD[1]

    def cells(found: Sequence[object]) -> tuple[int, ...]:
        return tuple(row * width + column for row, column in found[0].cells)  # type: ignore[attr-defined]

    return {
        "boards": count,
        "order_3_finds_the_three_keys": sum(cells(t) == b.keys for t, b in zip(triples, boards, strict=True)) / count,
        "order_2_finds_two_of_the_keys": sum(set(cells(p)) <= set(b.keys) for p, b in zip(pairs, boards, strict=True))
        / count,
        "order_2_finds_the_partners": sum(cells(p) == b.partners for p, b in zip(pairs, boards, strict=True)) / count,
    }


if __name__ == "__main__":
    sys.exit(main())
