"""Do interactions find what an answer rests on? ``python -m benchmarks.interactions`` (Table 3 of Taylor-CAM).

Sort-of-CLEVR: for each relational question, images that the relation network answers right; a hit is a top-1 pair of
cells of which one box meets the object that the question names and the other an object that decides the answer. Boxes
are the cells, and those of 24 pixels that the published code of Taylor-CAM draws. A random pair is not drawn: its rate
is the share of all pairs that are hits.
Yield-or-Go: how often the top pair joins the yield sign and a car where the answer is "stop". Three objects: whether
order 3 finds the triple that order 2 cannot see.

Derivatives run in float64: a probability of 1 - 1e-9 still bends there, while in float32 it is 1 and all its
derivatives are zero. Removal needs float32 only.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from benchmarks.environment import describe
from benchmarks.interactions_table import QUESTIONS, RESULT, table
from xai_fast import GradCAM, RemovalInteractions, TaylorCAM, taylor
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
Finder = Callable[[Tensor, Tensor, Tensor], dict[str, Pairs]]
"""From images, questions and answers to top-1 pairs, by the name of a method."""
Asked = tuple[clevr.Scene, clevr.Question]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, keep the result of each part as JSON, print tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interactions", description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=200, help="images a question (200)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART", help="those not measured yet by default")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON file; parts that are not run stay")
    options = parser.parse_args(arguments)
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    for part in options.parts or [part for part in PARTS if part not in results]:
        results[part] = {"environment": describe(), "images": options.images, "found": PARTS[part](options.images)}
        lines = [f"{json.dumps(name)}: {json.dumps(results[name])}" for name in PARTS if name in results]
        options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"{part}: {results[part]['found']}", file=sys.stderr, flush=True)
    print(table(results))
    return 0


def answered_right(network: RelationNetwork, subtype: int, count: int, start: int = 0) -> list[Asked]:
    """Take test scenes in turn, one question each, as long as the answer is right and something decides it."""
    found: list[Asked] = []
    while len(found) < count:
        batch = clevr.scenes(64, start=start, split="test")
        asked = [(s, clevr.ask(s, (start + i) % len(clevr.COLORS), "relational", subtype)) for i, s in enumerate(batch)]
        questions, answers = clevr.question_batch([q for _, q in asked])
        with torch.no_grad():
            right = network(clevr.image_batch(batch).double(), questions.double()).argmax(1) == answers
        found += [a for a, ok in zip(asked, right.tolist(), strict=True) if ok and a[1].relevant_objects]
        start += 64
    return found[:count]


def batches_of(asked: Sequence[Asked]) -> list[tuple[Tensor, Tensor, Tensor]]:
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


def _by_taylor_cam(network: RelationNetwork, scope: str) -> Finder:
    method = TaylorCAM(network, "tag", grid=GRID, scope=scope)

    def pairs(images: Tensor, questions: Tensor, answers: Tensor) -> dict[str, Pairs]:
        found = method.explain(images, target=answers, additional_forward_args=questions)
        return {f"Taylor-CAM, {scope}": _top_pairs(found.saliency)}

    return pairs


def _by_removal(network: RelationNetwork, score: str) -> Finder:
    """The largest interaction, and for comparison the one of largest magnitude."""
    single = relation_network().requires_grad_(False)
    method = RemovalInteractions(single, "convolutions", score=score, sign="both")

    def pairs(images: Tensor, questions: Tensor, answers: Tensor) -> dict[str, Pairs]:
        found = method.explain(images.float(), target=answers, additional_forward_args=questions.float())
        assert found.sums is not None
        name = f"removal, {score.replace('_', '-')}"
        return {name: _top_pairs(found.sums), f"{name}, by magnitude": _top_pairs(found.sums.abs())}

    return pairs


def _by_occlusion(network: RelationNetwork) -> Finder:
    """The two cells whose removal takes most from the probability."""
    single = relation_network().requires_grad_(False)

    def pairs(images: Tensor, questions: Tensor, answers: Tensor) -> dict[str, Pairs]:
        rows: Pairs = []
        with torch.no_grad():
            maps = single.convolutions(images.float())
            for map_, question, answer in zip(maps, questions.float(), answers, strict=True):
                kept = 1 - torch.eye(math.prod(GRID)).reshape(-1, 1, *GRID)
                logits = single.relate(single.tag(map_ * kept), question.expand(len(kept), -1))
                # By log-probability, whose order is that of the probability, also near 1.
                one, other = logits.double().log_softmax(1)[:, answer].topk(2, largest=False).indices.tolist()
                rows.append((one, other))
        return {"two cells of largest occlusion": rows}

    return pairs


def _by_grad_cam(network: RelationNetwork) -> Finder:
    """The two cells with the largest values of the map."""
    method = GradCAM(network, "convolutions", relu=False)

    def pairs(images: Tensor, questions: Tensor, answers: Tensor) -> dict[str, Pairs]:
        maps = method.attribute(images, target=answers, additional_forward_args=questions).flatten(1)
        return {"Grad-CAM, top two cells": [(int(a), int(b)) for a, b in maps.topk(2, dim=1).indices]}

    return pairs


def _by_squared_derivatives(network: RelationNetwork) -> Finder:
    """The sum of the squared cross derivatives of all channels of two cells, after GLIDER (Tsang et al., 2020)."""
    downstream = Downstream(network, "tag")

    def pairs(images: Tensor, questions: Tensor, answers: Tensor) -> dict[str, Pairs]:
        with torch.no_grad():
            objects, _ = downstream.split(images, questions)

        def score(x: Tensor, q: Tensor, target: Tensor) -> Tensor:
            return network.relate(x, q).softmax(1).gather(1, target[:, None])[:, 0]

        function = taylor.ScoreFunction(score, extras=(questions, answers))
        hessian = taylor.hessian(function, objects).unflatten(2, objects.shape[1:]).unflatten(1, objects.shape[1:])
        name, features = "squared cross derivatives (GLIDER)", hessian[:, :, :-2, :, :-2]  # without the coordinates
        return {
            name: _top_pairs(hessian.square().sum((2, 4)).triu(1)),
            f"{name}, coordinates left out": _top_pairs(features.square().sum((2, 4)).triu(1)),
        }

    return pairs


def meets(box: Sequence[float], other: Sequence[float]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _joins(boxes: Sequence[Sequence[float]], first: Sequence[Box], second: Sequence[Box]) -> bool:
    """Whether one box meets one of the first things, and another box one of the second."""
    return any(
        any(meets(one, thing) for thing in first) and any(meets(other, thing) for thing in second)
        for i, one in enumerate(boxes)
        for j, other in enumerate(boxes)
        if i != j
    )


def published_box(cell: Sequence[int]) -> Box:
    """Give the box that the published code of Taylor-CAM draws, a fifth of the picture and 4.5 pixels around it."""
    side, around = clevr.IMAGE_SIZE / GRID[0], 4.5
    row, column = (side * at for at in cell)
    return column - around, row - around, column + side + around, row + side + around


def _boxes(geometry: CellGeometry) -> dict[str, list[Sequence[float]]]:
    """Give the box of each cell, by the kind of box."""
    kinds = {"cell": geometry.cell_box, "24 pixels": published_box}
    return {name: [box(divmod(i, GRID[1])) for i in range(math.prod(GRID))] for name, box in kinds.items()}


def _hit(asked: Asked, boxes: Sequence[Sequence[float]]) -> bool:
    scene, question = asked
    named = scene.objects[question.object_of_interest].box
    return _joins(boxes, [named], [scene.objects[i].box for i in question.relevant_objects])


FINDERS: Mapping[str, Callable[[RelationNetwork], Finder] | None] = {
    "random pair": None,
    "Taylor-CAM, local": functools.partial(_by_taylor_cam, scope="local"),
    "Taylor-CAM, global": functools.partial(_by_taylor_cam, scope="global"),
    "squared cross derivatives": _by_squared_derivatives,
    "Grad-CAM": _by_grad_cam,
    "occlusion": _by_occlusion,
    "removal, log-odds": functools.partial(_by_removal, score="log_odds"),
    "removal, probability": functools.partial(_by_removal, score="probability"),
}


def _question(count: int, subtype: int, finder: str) -> list[dict[str, object]]:
    """Give the rates of hits of one way to find pairs, which may have several names, with both kinds of boxes."""
    network = relation_network().to(torch.float64).requires_grad_(False)
    asked = answered_right(network, subtype, count)
    batches = batches_of(asked)
    boxes = _boxes(cell_geometry(network, "convolutions", batches[0][0], batches[0][1]))
    every = list(itertools.combinations(range(math.prod(GRID)), 2))
    hits: dict[tuple[str, str], list[float]] = {}
    make = FINDERS[finder]
    if make is None:
        for kind, of in boxes.items():
            hits[finder, kind] = [sum(_hit(one, [of[a], of[b]]) for a, b in every) / len(every) for one in asked]
    find = make(network) if make else lambda *_: {}
    for batch, start in zip(batches, itertools.count(0, _BATCH)):  # counting has no end
        for name, pairs in find(*batch).items():
            for kind, of in boxes.items():
                found = hits.setdefault((name, kind), [])
                found += [_hit(asked[start + i], [of[a], of[b]]) for i, (a, b) in enumerate(pairs)]
    return [
        {"method": name, "box": kind, "rate": fmean(found), "standard_error": stdev(found) / math.sqrt(count)}
        for (name, kind), found in hits.items()
    ]


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


PARTS: Mapping[str, Callable[[int], object]] = {
    **{
        f"{question}: {finder}": functools.partial(_question, subtype=subtype, finder=finder)
        for (subtype, question), finder in itertools.product(enumerate(QUESTIONS), FINDERS)
    },
    "yield_or_go": _yield_or_go,
    "three_objects": _three_objects,
}


if __name__ == "__main__":
    sys.exit(main())
