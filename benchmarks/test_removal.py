"""Speed of removal interactions against a loop over pairs that runs the whole model: ratios of times taken in turn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.measure import in_turn, ratio
from xai_fast import RemovalInteractions
from xai_fast.datasets import sort_of_clevr as clevr
from xai_fast.datasets.photos import sample_photos
from xai_fast.engine.layers import hooked
from xai_fast.models.classifiers import load
from xai_fast.models.relation_network import relation_network

_PAIRS = 6
"""Pairs of the loop that are timed; all of them take as long."""


def _relation_network() -> tuple[nn.Module, str, Tensor, Tensor | None]:
    scenes = clevr.scenes(4, split="test")
    questions, _ = clevr.question_batch([clevr.ask(scene, 0, "relational", 0) for scene in scenes])
    return relation_network().requires_grad_(False), "convolutions", clevr.image_batch(scenes), questions


def _lite0() -> tuple[nn.Module, str, Tensor, Tensor | None]:
    network = load("efficientnet-lite0")
    photos = [network.transform(photo.open()) for photo in sample_photos(["foolbox"])[:4]]
    return network.model, "_blocks.14", torch.stack(photos), None


@pytest.mark.parametrize("make", [_relation_network, _lite0], ids=["relation network, 5 x 5", "Lite0, 7 x 7"])
def test_against_a_loop_over_pairs(
    benchmark: BenchmarkFixture, make: Callable[[], tuple[nn.Module, str, Tensor, Tensor | None]]
) -> None:
    """At least 20 times less than four runs of the model for each pair of cells."""
    model, layer, x, question = make()
    method = RemovalInteractions(model, layer, sign="both")
    found = method.explain(x, additional_forward_args=question)
    assert found.targets is not None
    assert found.sums is not None
    n, given = found.cells, [value[:1] for value in (x, question) if value is not None]
    pairs = list(itertools.combinations(range(n), 2))
    listed = [pair for pair in pairs if bool(found.sums[0][pair])]
    chosen = (listed + pairs)[:_PAIRS]

    def logits(*removed: int) -> Tensor:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            changed = output.clone()
            changed.flatten(2)[:, :, list(removed)] = 0
            return changed

        with torch.no_grad(), hooked([model.get_submodule(layer)], hook):
            return model(*given)[0]

    target = int(found.targets[0])
    others = logits().scatter(0, torch.tensor(target), -torch.inf).softmax(0)

    def score(*removed: int) -> float:
        outputs = logits(*removed)
        return float(outputs[target] - outputs @ others)

    def loop() -> list[float]:
        return [score() - score(i) - score(j) + score(i, j) for i, j in chosen]

    one = in_turn({"ours": lambda: method.explain(x, additional_forward_args=question), "loop": loop}, 3)
    benchmark.pedantic(lambda: method.explain(x, additional_forward_args=question), rounds=1)
    per_pair, per_image = ratio(one, "loop", "ours") / _PAIRS, len(x)
    factor = per_pair * per_image * len(pairs)
    known = [(value, float(found.sums[0][pair])) for value, pair in zip(loop(), chosen, strict=True) if pair in listed]
    runs = 1 + n + len(pairs)
    benchmark.extra_info |= {
        "seconds": one,
        "pair_loop_over_ours": factor,
        "loop_that_keeps_single_cells_over_ours": factor * runs / (4 * len(pairs)),
        "runs_of_the_head_an_image": int(found.evaluations[0]),
        "difference": max(abs(a - b) for a, b in known) / float(found.sums[0].abs().max()),
        "threads": torch.get_num_threads(),
    }
    assert known
    assert benchmark.extra_info["difference"] < 1e-3
    assert found.evaluations.tolist() == [1 + n + math.comb(8, 2)] * len(x)
    assert factor >= 20
