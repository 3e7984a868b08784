"""AGI equals the literal paths to other classes, and counts what it took."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparison import relative_rms
from literal_walks import agi_path, gradient_of, spread_classes
from networks import bumpy_mlp, smooth_cnn, vectors
from networks import images as pictures
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xai_fast import AGI, InputError

SCORE = {
    "auto": lambda logits, k: logits.softmax(1)[:, k],
    "logit": lambda logits, k: logits[:, k],
    "log_probability": lambda logits, k: logits.log_softmax(1)[:, k],
}
CASES = [
    ("smooth", "auto", {"step": 0.05, "classes": 4, "max_steps": 6}),
    ("smooth", "logit", {"step": 0.02, "classes": 20, "max_steps": 3}),
    ("smooth", "log_probability", {"step": 0.05, "classes": 9, "max_steps": 5, "low": -0.7, "high": 0.9}),
    ("bumpy", "auto", {"step": 0.05, "classes": 1, "max_steps": 15}),
    ("bumpy", "auto", {"step": 0.1, "classes": 2, "max_steps": 20, "high": 1.1}),
    ("bumpy", "auto", {"step": 0.1, "max_steps": 1}),
]


@pytest.mark.parametrize(("network", "score", "options"), CASES)
def test_equals_the_literal_paths(network: str, score: str, options: dict[str, Any]) -> None:
    model, x = (smooth_cnn(), pictures(3)) if network == "smooth" else (bumpy_mlp(), vectors(6))
    x = x.clamp(options.get("low", -5.0), options.get("high", 5.0))
    result = AGI(model, score=score, **options).explain(x, internal_batch_size=4)
    settings = {"step": 0.05, **options}
    classes = settings.pop("classes", 20)
    for i in range(len(x)):
        label = int(result.targets[i])
        others = spread_classes(label, 10 if network == "smooth" else 3, classes)
        paths = [agi_path(model, SCORE[score], x[i : i + 1], label, k, **settings) for k in others]
        maps = torch.cat([contribution for contribution, _, _ in paths])
        assert relative_rms(result.attributions[i], maps.mean(0)) < 1e-8
        if len(maps) > 1:
            assert relative_rms(result.standard_error[i], maps.std(0) / len(maps) ** 0.5) < 1e-8
        assert int(result.paths[i]) == len(others)
        assert int(result.reached[i]) == sum(there for _, _, there in paths)
        assert int(result.evaluations[i]) == 2 * sum(points for _, points, _ in paths)


def test_some_paths_of_these_cases_end_at_their_class_and_some_do_not() -> None:
    """Otherwise the comparison above would not see both ends."""
    result = AGI(bumpy_mlp(), step=0.1, max_steps=3).explain(vectors(6))
    assert 0 < int(result.reached.sum()) < int(result.paths.sum()) == 12
    assert len(set(result.evaluations.tolist())) > 2


def test_a_path_loses_what_its_contributions_add_up_to() -> None:
    """With small steps the sum is f(x) - f(end), whatever the path."""
    model, x = bumpy_mlp(), vectors(4)
    result = AGI(model, step=1e-4, classes=2, max_steps=60).explain(x)
    for i in range(4):
        label, gone = int(result.targets[i]), []
        for other in spread_classes(label, 3, 2):
            now = x[i : i + 1].clone()
            for _ in range(60):
                towards = gradient_of(lambda at, other=other: model(at).softmax(1)[:, other], now)
                now = now + 1e-4 * towards.sign()
            with torch.no_grad():
                gone.append(float((model(x[i : i + 1]).softmax(1) - model(now).softmax(1))[0, label]))
        assert abs(float(result.attributions[i].sum()) - sum(gone) / 2) < 0.02 * max(map(abs, gone))


def test_a_tolerance_ends_at_classes_that_are_spread() -> None:
    seen: set[int] = set()

    class Many(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x @ torch.randn(6, 99, generator=torch.Generator().manual_seed(3)).double(), x[:, :1]], 1)

    model = Many().eval()
    whole = AGI(model, max_steps=2).explain(vectors(2))
    assert whole.paths.tolist() == [20, 20]
    some = AGI(model, max_steps=2, tolerance=1e6).explain(vectors(2))
    assert some.paths.tolist() == [4, 4]
    for i in range(2):
        label = int(some.targets[i])
        spread = spread_classes(label, 100, 20)
        maps = [
            agi_path(model, SCORE["auto"], vectors(2)[i : i + 1], label, spread[k], step=0.05, max_steps=2)[0]
            for k in (0, 8, 4, 16)
        ]
        seen |= {spread[k] // 25 for k in (0, 8, 4, 16)}
        assert relative_rms(some.attributions[i], torch.cat(maps).mean(0)) < 1e-8
    assert seen >= {0, 1, 3}


class Checkpointed(nn.Module):
    """A network whose reentrant checkpoint allows no `torch.autograd.grad`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = bumpy_mlp()

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=True)


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("kind", ["checkpoint", "in place"])
def test_models_that_cannot_go_back_twice_in_the_ordinary_way(kind: str) -> None:
    plain, x = bumpy_mlp(), vectors(3)
    model = Checkpointed() if kind == "checkpoint" else (lambda rows: plain(rows.mul_(1.0)))
    expected = AGI(plain, max_steps=4).explain(x)
    got = AGI(model.eval() if kind == "checkpoint" else model, max_steps=4).explain(x)
    torch.testing.assert_close(got.attributions, expected.attributions, rtol=1e-12, atol=1e-14)
    assert got.evaluations.tolist() == expected.evaluations.tolist()
    if kind == "checkpoint":
        assert all(p.grad is None for p in model.parameters())


def test_a_compiled_model_is_explained() -> None:
    plain, x = bumpy_mlp(), vectors(3)
    expected = AGI(plain, max_steps=4).explain(x)
    got = AGI(torch.compile(plain, backend="aot_eager"), max_steps=4).explain(x)
    torch.testing.assert_close(got.attributions, expected.attributions, rtol=1e-10, atol=1e-12)


def test_several_inputs_share_their_steps() -> None:
    a, b = vectors(2)[:, :4].reshape(2, 2, 2), vectors(2)[:, 4:]
    model = bumpy_mlp()
    parts = AGI(lambda a, b: model(torch.cat([a.flatten(1), b], 1)), max_steps=4).attribute((a, b))
    whole = AGI(model, max_steps=4).attribute(vectors(2))
    torch.testing.assert_close(torch.cat([part.flatten(1) for part in parts], 1), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("model", "options", "target", "message"),
    [
        (bumpy_mlp(), {"step": 0.0}, None, "step: expected a positive"),
        (bumpy_mlp(), {"classes": 0}, None, "classes: expected an integer, at least 1"),
        (bumpy_mlp(), {"max_steps": 0}, None, "max_steps: expected an integer, at least 1"),
        (bumpy_mlp(), {"low": [0.0, 1.0]}, None, "low: expected one finite number, or 6"),
        (bumpy_mlp(), {"high": 1.0}, None, "inputs: expected values from low to high, got others in"),
        (bumpy_mlp()[:1], {}, lambda out: out[:, 0], "target: expected classes, since paths lead.* got a callable"),
        (nn.Linear(6, 1).double(), {}, None, "model: expected several classes, .* got a single output"),
    ],
)
def test_errors_name_what_does_not_fit(model: nn.Module, options: dict[str, Any], target: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AGI(model.eval(), **options).explain(vectors(3) * 3, target)
