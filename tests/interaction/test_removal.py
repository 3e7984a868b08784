"""Removal interactions equal a loop of whole runs of the model, for every layout; only the head runs for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import literal_removal as literal
import pytest
import torch
from taylor_networks import made, numbers
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from xai_fast import InputError, RemovalInteractions, TaylorCAM, UnsupportedOperation
from xai_fast.models.relation_network import PairwiseRelation


class Net(nn.Module):
    """A layer, and a head with a branch around the layer."""

    def __init__(self, layer: nn.Module, head: nn.Module, around: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.head, self.around = layer, head, around

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        y = self.head(self.layer(x), *more)
        return y if self.around is None else y * self.around(x.flatten(1))


class Classed(nn.Module):
    """Tokens behind a class token, sequence first where asked, through attention to logits of the class token."""

    def __init__(self, sequence_first: bool = False) -> None:
        super().__init__()
        self.first = sequence_first
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.embed = nn.Linear(4, 6)
        self.layer = nn.TransformerEncoderLayer(6, 2, 7, activation="gelu", batch_first=not sequence_first)
        self.after = nn.TransformerEncoderLayer(6, 2, 7, activation="relu", batch_first=not sequence_first)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1)
        x = x.transpose(0, 1) if self.first else x
        x = self.after(self.layer(x))
        return self.head(x[0] if self.first else x[:, 0])


class Related(nn.Module):
    """A relation network with a question."""

    def __init__(self) -> None:
        super().__init__()
        self.relation = PairwiseRelation(5, 3, width=12, layers=2)
        self.readout = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, objects: Tensor, question: Tensor) -> Tensor:
        return self.readout(self.relation(objects, question))


class Permuted(nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


def cnn(outputs: int = 4) -> nn.Module:
    head = nn.Sequential(nn.Conv2d(3, 4, 2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return Net(nn.Conv2d(1, 3, 3, 2, 1), nn.Sequential(*head, nn.Linear(8, outputs)), nn.Linear(24, 1))


def channels_last() -> nn.Module:
    layer = nn.Sequential(nn.Conv2d(1, 3, 3, 2, 1), Permuted(0, 2, 3, 1), nn.Linear(3, 5))
    return Net(layer, nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(30, 7), nn.ReLU(), nn.Linear(7, 3)))


def dense() -> nn.Module:
    return Net(nn.Conv2d(1, 3, 3, 2, 1), nn.Sequential(nn.Flatten(), nn.Linear(18, 9), nn.ReLU(), nn.Linear(9, 4)))


def volume() -> nn.Module:
    return Net(nn.Conv3d(1, 2, 2, 2), nn.Sequential(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 3)))


EVERY = slice(None)
GRID = [(0, EVERY, r, c) for r in range(2) for c in range(3)]
LAST = [(0, r, c, EVERY) for r in range(2) for c in range(3)]
TOKENS = [(0, t, EVERY) for t in range(4)]
CHANNELS = torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64)
WHOLE = numbers(3, 2, 3, seed=9)


@dataclass
class Case:
    """A model and its layer's cells, and options."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    cells: Sequence[tuple[object, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    baseline: Tensor | float = 0.0
    question: tuple[int, ...] | None = None

    def made(self) -> tuple[nn.Module, Tensor, Tensor | None]:
        question = None if self.question is None else numbers(self.shape[0], *self.question, seed=8)
        return made(self.build), numbers(*self.shape), question


CASES = {
    "map": Case(cnn, (3, 1, 4, 6), GRID),
    "map, all cells": Case(cnn, (2, 1, 4, 6), GRID, {"shortlist": None}),
    "map, triples": Case(dense, (2, 1, 4, 6), GRID, {"shortlist": 5, "order": 3}),
    "map, all triples, both signs": Case(dense, (2, 1, 4, 6), GRID, {"shortlist": None, "order": 3, "sign": "both"}),
    "a baseline per channel": Case(cnn, (2, 1, 4, 6), GRID, {"baseline": CHANNELS}, CHANNELS[:, None, None]),
    "numbers per channel": Case(cnn, (2, 1, 4, 6), GRID, {"baseline": [0.3, -0.2, 0.7]}, CHANNELS[:, None, None]),
    "a baseline of the map": Case(cnn, (2, 1, 4, 6), GRID, {"baseline": WHOLE, "shortlist": 3}, WHOLE),
    "a number": Case(cnn, (2, 1, 4, 6), GRID, {"baseline": -0.5}, -0.5),
    "channels last": Case(channels_last, (2, 1, 4, 6), LAST, {"shortlist": 4, "baseline": [1.0, 2, 3, 4, 5]},
                          torch.arange(1.0, 6).double()),
    "volume": Case(volume, (2, 1, 4, 6, 4), [(0, EVERY, *p) for p in itertools.product(range(2), range(3), range(2))]),
    "tokens behind a class token": Case(Classed, (2, 4, 4), [(0, 1 + t, EVERY) for t in range(4)], {"skip_tokens": 1}),
    "sequence first": Case(lambda: Classed(True), (2, 4, 4), [(1 + t, 0, EVERY) for t in range(4)],
                           {"skip_tokens": 1, "layout": "sequence_first", "order": 3}),
    "with a question": Case(lambda: Net(nn.Linear(3, 5), Related()), (2, 4, 3), TOKENS, {"grid": (2, 2)}, 0.0, (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equals_whole_runs_of_the_model(name: str) -> None:
    case = CASES[name]
    model, x, question = case.made()
    result = RemovalInteractions(model, "layer", **case.options).explain(x, None, question)
    order, shortlist = case.options.get("order", 2), case.options.get("shortlist", 8)
    for i in range(len(x)):
        given = (x[i : i + 1],) if question is None else (x[i : i + 1], question[i : i + 1])
        outputs = model(*given).detach()[0]
        score = literal.log_odds(outputs, int(outputs.argmax()))
        expected = literal.interactions(
            model, model.layer, given, case.cells, score, order=order, shortlist=shortlist, baseline=case.baseline
        )
        assert float(expected.abs().max()) > 1e-6
        torch.testing.assert_close(result.sums[i], expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))
    kept = result.sums if case.options.get("sign") == "both" else result.sums.clamp(min=0)
    torch.testing.assert_close(result.saliency, kept.square(), rtol=0, atol=0)
    assert torch.equal(result.facts["no_interactions"], (kept == 0).flatten(1).all(1))
    n, short = len(case.cells), min(len(case.cells), shortlist or len(case.cells))
    runs = 1 + n + sum(math.comb(short, size) for size in range(2, order + 1))
    assert result.evaluations.tolist() == [runs] * len(x)


def scores_of(name: str) -> Callable[[Tensor, int], float]:
    return {
        "output": lambda z, c: float(z[c]),
        "probability": lambda z, c: float(z.softmax(0)[c]),
        "auto": lambda z, c: float(z.softmax(0)[c]),
        "log_probability": lambda z, c: float(z.log_softmax(0)[c]),
    }[name]


@pytest.mark.parametrize("name", ["output", "probability", "auto", "log_probability"])
def test_other_scores_are_taken_as_they_are(name: str) -> None:
    model, x = made(cnn), numbers(2, 1, 4, 6)
    result = RemovalInteractions(model, "layer", score=name).explain(x, [1, 3])
    for i, target in enumerate((1, 3)):
        expected = literal.interactions(
            model, model.layer, (x[i : i + 1],), GRID, lambda z, c=target: scores_of(name)(z, c), order=2, shortlist=8
        )
        torch.testing.assert_close(result.sums[i], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("outputs", "target", "score"),
    [
        (1, None, lambda z: float(z[0])),
        (1, 1, lambda z: float(z[0])),
        (1, 0, lambda z: -float(z[0])),
        (4, lambda outputs: outputs.square().sum(1), lambda z: float(z.square().sum())),
    ],
    ids=["single output", "class 1", "class 0", "callable"],
)
def test_targets(outputs: int, target: Any, score: Callable[[Tensor], float]) -> None:
    model, x = made(lambda: cnn(outputs)), numbers(1, 1, 4, 6)
    result = RemovalInteractions(model, "layer").explain(x, target)
    expected = literal.interactions(model, model.layer, (x,), GRID, score, order=2, shortlist=8)
    torch.testing.assert_close(result.sums[0], expected, rtol=1e-8, atol=1e-10)


class Additive(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.tanh().sum((2, 3))


class Product(nn.Module):
    """The product of two cells, the other cells added."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        product = flat[..., 1] * flat[..., 4]
        return product + flat.sum(2).exp().log()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_axioms(dtype: torch.dtype) -> None:
    """Cells that are added have none (dummy), a product has its value, and interactions are linear in the outputs."""
    x = numbers(3, 1, 4, 6).to(dtype)
    additive = made(lambda: Net(nn.Conv2d(1, 3, 3, 2, 1), Additive())).to(dtype)
    found = RemovalInteractions(additive, "layer", shortlist=None, sign="both").explain(x)
    assert not bool(found.sums.any())
    assert found.facts["no_interactions"].all()
    model = made(lambda: Net(nn.Conv2d(1, 3, 3, 2, 1), Product())).to(dtype)
    for target in range(3):
        found = RemovalInteractions(model, "layer", shortlist=None, sign="both", score="output").explain(x, target)
        maps = model.layer(x).detach().flatten(2)[:, target]
        expected = torch.zeros(3, 6, 6, dtype=dtype)
        expected[:, 1, 4] = maps[:, 1] * maps[:, 4]
        torch.testing.assert_close(found.sums, expected, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=0)


def test_rounding_of_large_outputs_is_no_interaction() -> None:
    """Cells that are added, in float32: log-odds near zero are differences of logits near 1000."""
    torch.manual_seed(0)
    parts = (nn.Conv2d(3, 64, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = Net(nn.Conv2d(1, 3, 3, 2, 1), nn.Sequential(*parts, nn.Linear(64, 5))).eval()
    model.head[-1].bias.data += 1000
    found = RemovalInteractions(model, "layer", shortlist=None, sign="both").explain(torch.randn(8, 1, 10, 10))
    assert not bool(found.sums.any())
    assert float(found.scores.abs().max()) < 3


def test_cells_that_stand_in_for_one_another_rank_with_both_signs_only() -> None:
    """The maximum of two cells with the same value: removing one takes nothing away."""

    class Largest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0, 0, :2].amax(1), x[:, 0, 0, 2]], 1)

    model = Net(nn.Conv2d(1, 1, 1, bias=False), Largest()).double().eval()
    model.layer.weight.data.fill_(1.0)
    x = torch.tensor([[[[2.0, 2.0, 0.5]]]], dtype=torch.float64)
    for sign, pairs in {"positive": [], "both": [((0, 0), (0, 1))]}.items():
        found = RemovalInteractions(model, "layer", sign=sign, shortlist=None).explain(x, 0)
        assert float(found.sums[0, 0, 1]) == pytest.approx(-2.0)
        assert [one.cells for one in found.top_k(3)[0]] == pairs
        assert bool(found.facts["no_interactions"]) is not bool(pairs)


def test_only_the_head_runs_for_the_rows() -> None:
    """Operations: the model once per item, and the head 25 + 28 times."""
    torch.manual_seed(0)
    front = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GELU(), nn.Conv2d(16, 4, 6, 6))
    head = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 5))
    model, x = Net(front, head).eval(), torch.randn(3, 3, 30, 30)
    method = RemovalInteractions(model, "layer")
    assert method.explain(x).evaluations.tolist() == [1 + 25 + 28] * 3

    def operations(run: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    maps = front(x).detach()
    whole, behind = operations(lambda: model(x)), operations(lambda: head(maps))
    assert operations(lambda: method.explain(x)) == whole + (25 + 28) * behind
    assert whole > 10 * behind


def test_rows_at_once_are_bounded() -> None:
    seen: list[int] = []

    class Watching(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            seen.extend([out.numel()] if isinstance(out, Tensor) else [])
            return out

    model, x = made(cnn), numbers(5, 1, 4, 6)
    method = RemovalInteractions(model, "layer")
    whole = method.explain(x)
    with Watching():
        few = method.explain(x, internal_batch_size=2)
    torch.testing.assert_close(few.sums, whole.sums, rtol=1e-10, atol=1e-12)
    assert max(seen) <= 2 * 4 * 3 * 4 * 6  # two rows of the widest tensor of the model; sums of two items are smaller


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "order": ({"order": 4}, "order: expected"),
    "shortlist": ({"shortlist": 1}, "shortlist: expected"),
    "triples": ({"shortlist": 2, "order": 3}, "shortlist: expected"),
    "sign": ({"sign": "negative"}, "sign: expected one of positive, both"),
    "score": ({"score": "odds"}, "score: expected"),
    "text": ({"baseline": "blur"}, "baseline: expected a finite number, or a tensor of some, got 'blur'"),
    "NaN": ({"baseline": math.nan}, "baseline: expected a finite number"),
    "channels": ({"baseline": [1.0, 2.0]}, r"baseline: expected a number, 3 values, one per channel, .* \(3, 2, 3\)"),
    "map": ({"baseline": torch.zeros(2, 2, 3)}, r"baseline: expected .*got shape \(2, 2, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_gets_a_named_error(wrong: str) -> None:
    options, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        RemovalInteractions(made(cnn), "layer", **options).explain(numbers(1, 1, 4, 6))


def test_a_head_that_cannot_be_traced_is_named() -> None:
    class Picks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([row[row > 0].sum() for row in x]).unsqueeze(1)

    with pytest.raises(UnsupportedOperation, match=r"\(behind layer\)"):
        RemovalInteractions(Net(nn.Conv2d(1, 3, 1), Picks()).eval(), "layer").explain(torch.randn(1, 1, 3, 3))


def test_boxes_are_those_of_taylor_cam() -> None:
    model, x = made(cnn), numbers(2, 1, 4, 6)
    mine, other = RemovalInteractions(model, "layer").explain(x), TaylorCAM(model, "layer").explain(x)
    assert mine.geometry == other.geometry
    assert mine.geometry is not None
    assert len(mine.boxes(1)[0][0]) == 2
