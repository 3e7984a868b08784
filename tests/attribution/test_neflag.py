"""NeFLAG equals the literal algorithm, whatever the batch."""

from __future__ import annotations

import functools
import shutil
import warnings
from collections.abc import Callable

import pytest
import torch
from all_pairs import all_pairs
from comparison import relative_rms
from networks import bumpy_mlp, images, relu_cnn, smooth_cnn, vectors
from torch import Tensor, nn
from torch._inductor.compile_fx import compile_fx

from xai_fast import InputError, NeFLAG
from xai_fast.attribution.neflag_reference import neflag_reference
from xai_fast.attribution.sphere_steps import STEPS
from xai_fast.engine.objective import SCORES

SMOOTH = {"radius": 0.3, "points": 6, "max_steps": 5}


@pytest.mark.parametrize(
    ("network", "step", "score", "aggregate", "start"),
    all_pairs(["smooth", "bumpy"], STEPS, SCORES, ["signed", "magnitude"], ["sphere", "box"]),
)
def test_equals_the_literal_algorithm(network: str, step: str, score: str, aggregate: str, start: str) -> None:
    model, x = (smooth_cnn(), images(4)) if network == "smooth" else (bumpy_mlp(), vectors(4))
    options = {
        "radius": 0.4,
        "points": 6,
        "max_steps": 4,
        "start": start,
        "step": step,
        "score": score,
        "aggregate": aggregate,
        "seed": 3,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = NeFLAG(model, **options).explain(x, internal_batch_size=5)
    maps, errors, counts = neflag_reference(model, x, **options)
    assert result.negative_points.tolist() == counts.tolist()
    assert relative_rms(result.attributions, maps) < 1e-10
    finite = errors.isfinite()
    assert torch.equal(result.standard_error.isfinite(), finite)
    assert relative_rms(result.standard_error[finite], errors[finite]) < 1e-8


def test_the_bumpy_network_needs_several_steps_and_loses_points() -> None:
    """Otherwise the comparison above would not see the loop over steps."""
    result = NeFLAG(bumpy_mlp(), radius=0.4, points=20, max_steps=4, seed=3).explain(vectors(8))
    assert 0 < int(result.negative_points.sum()) < 8 * 20
    assert int(result.evaluations.max()) > 2 * 20
    assert int(result.evaluations.max()) <= 5 * 20


def test_points_of_a_box_begin_at_gradients_of_their_own_and_those_of_a_small_sphere_do_not() -> None:
    """Of 150,000 entries those on the sphere change by a 400th of the radius."""
    torch.manual_seed(0)
    direction = torch.randn(150_000, dtype=torch.float64)
    model, x = (lambda rows: (rows * direction).sin().sum(1) / 1000), torch.zeros(1, 150_000).double()
    spread = {}
    for start in ("sphere", "box"):
        result = NeFLAG(model, radius=0.3, start=start, step="normalized", points=4, score="output").explain(x)
        assert result.negative_points.tolist() == [4]
        spread[start] = float(result.relative_standard_error)
    assert spread["sphere"] < 0.02 * spread["box"]


def test_float32_equals_the_literal_algorithm() -> None:
    """With ``sign``, an entry of F at zero may flip with rounding, so F is kept away from zero (asserted)."""
    model, x = smooth_cnn(torch.float32), images(3, torch.float32)
    for step in STEPS:
        result = NeFLAG(model, step=step, **SMOOTH).attribute(x)
        maps, _, _ = neflag_reference(model, x, step=step, **SMOOTH)
        assert relative_rms(result, maps) < 1e-5


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_of_an_item_does_not_depend_on_the_batch(step: str, dtype: torch.dtype) -> None:
    """One batch of 7, seven of 1, shuffled, any internal batch size.

    In float32 a sign of F can flip where F is of the size of its rounding error, and the map then differs at that
    entry: the sign rule is compared in float32 only over entries whose gradient at the item is above 1e-5 of the
        largest.
    """
    model, x = smooth_cnn(dtype), images(7, dtype)
    method = NeFLAG(model, step=step, **SMOOTH)
    expected = method.attribute(x)
    clear = torch.ones_like(x, dtype=torch.bool)
    if step == "sign" and dtype == torch.float32:
        at = x.clone().requires_grad_()
        probabilities = model(at).softmax(1)
        F = torch.autograd.grad(probabilities.max(1).values.sum(), at)[0].abs()
        clear = 1e-5 * F.amax((1, 2, 3), keepdim=True) < F
        assert clear.float().mean() > 0.99
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    single = torch.cat([method.attribute(x[i : i + 1], item_ids=[i]) for i in range(7)])
    shuffled = torch.empty_like(x)
    shuffled[order] = method.attribute(x[order], item_ids=order)
    variants = [single, shuffled, *(method.attribute(x, internal_batch_size=size) for size in (1, 2, 3, 7, 11, 100))]
    for variant in variants:
        assert relative_rms(variant[clear], expected[clear]) < tolerance


def test_other_ids_and_seeds_give_other_points() -> None:
    x = vectors(2)
    method = NeFLAG(bumpy_mlp(), step="tangent", points=3)
    same = method.attribute(x)
    assert torch.equal(method.attribute(x), same)
    assert relative_rms(method.attribute(x, item_ids=[5, 6]), same) > 1e-3
    assert relative_rms(NeFLAG(bumpy_mlp(), step="tangent", points=3, seed=1).attribute(x), same) > 1e-3


class TwoInputs(nn.Module):
    """A network of an image, a vector and a mask with a row an item."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Linear(12, 5)
        self.vector = nn.Linear(4, 5)

    def forward(self, image: Tensor, vector: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Join both."""
        return torch.tanh(self.image(image.flatten(1)) + mask * self.vector(vector)) * scale


def test_inputs_may_be_a_tuple_in_a_joint_space() -> None:
    model = TwoInputs().double().eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(5, 3, 2, 2, dtype=torch.float64, generator=generator)
    vector = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    mask = torch.rand(5, 5, dtype=torch.float64, generator=generator)
    method = NeFLAG(model, **SMOOTH)
    parts = method.explain((image, vector), additional_forward_args=(mask, 3.0), internal_batch_size=4).attributions

    class Joined(nn.Module):
        """The same network of one flat input."""

        def __init__(self, i: int) -> None:
            super().__init__()
            self.i = i

        def forward(self, flat: Tensor) -> Tensor:
            """Split and run."""
            return model(flat[:, :12].reshape(-1, 3, 2, 2), flat[:, 12:], mask[self.i : self.i + 1], 3.0)

    flat = torch.cat([image.flatten(1), vector], 1)
    for i in range(5):
        expected, _, _ = neflag_reference(Joined(i).eval(), flat[i : i + 1], item_ids=[i], **SMOOTH)
        got = torch.cat([part[i : i + 1].flatten(1) for part in parts], 1)
        assert relative_rms(got, expected) < 1e-10
    assert isinstance(parts, tuple)
    assert parts[0].shape == image.shape


@pytest.mark.parametrize("target", [4, [0, 1, 2], torch.tensor([2, 2, 9]), None])
def test_targets(target: object) -> None:
    model, x = smooth_cnn(), images(3)
    result = NeFLAG(model, **SMOOTH).explain(x, target=target)
    classes = model(x).argmax(1) if target is None else torch.as_tensor(target).expand(3)
    assert torch.equal(result.targets, classes)
    assert torch.allclose(result.scores, model(x).softmax(1).gather(1, classes[:, None])[:, 0])
    maps, _, _ = neflag_reference(model, x, target=target, **SMOOTH)
    assert relative_rms(result.attributions, maps) < 1e-10


def test_callable_targets_reach_into_any_output() -> None:
    inner, x = smooth_cnn(), images(3)

    class Detector(nn.Module):
        """A model with a dict for its output."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            """Return logits in a dict."""
            return {"logits": self.inner(x), "boxes": x.mean((1, 2))}

    result = NeFLAG(Detector().eval(), **SMOOTH).explain(x, target=lambda out: out["logits"].softmax(1)[:, 3])
    assert result.targets is None
    assert relative_rms(result.attributions, NeFLAG(inner, **SMOOTH).attribute(x, target=3)) < 1e-12
    with pytest.raises(InputError, match="target=callable"):
        NeFLAG(Detector().eval()).attribute(x)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("score", SCORES)
def test_models_with_one_output(score: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(6, 1).double()
    x = vectors(3)
    result = NeFLAG(lambda v: linear(v).tanh().reshape(shape), score=score, **SMOOTH).explain(x)
    value = linear(x).tanh()[:, 0]
    expected = {"probability": value.sigmoid(), "log_probability": value.sigmoid().log()}.get(score, value)
    assert torch.allclose(result.scores, expected)
    assert result.targets is None
    assert result.negative_points.tolist() == [6, 6, 6]


def test_a_linear_score_is_attributed_exactly() -> None:
    """For a logit w.x, F = w and each negative point of the sign rule adds w * radius * sign(w)."""
    w = torch.tensor([1.0, -2.0, 0.5, 0.0])
    attribution = NeFLAG(lambda x: x @ w, radius=0.25, score="logit").attribute(torch.randn(3, 4))
    assert torch.allclose(attribution, (0.25 * w.abs()).expand(3, 4), atol=1e-6)


def test_tolerance_draws_until_the_error_is_small() -> None:
    model, x = bumpy_mlp(), vectors(6)
    options = {"radius": 0.4, "max_steps": 6, "step": "tangent"}
    result = NeFLAG(model, points=64, tolerance=0.2, **options).explain(x)
    relative = result.standard_error.norm(dim=1) / result.attributions.norm(dim=1)
    for i in range(6):
        drawn = next(n for n in (4, 8, 16, 32, 64) if n >= int(result.negative_points[i]))
        exact = [
            NeFLAG(model, points=n, **options).explain(x[i : i + 1], item_ids=[i])
            for n in (4, 8, 16, 32, 64)
            if n <= 64
        ]
        errors = [float(e.standard_error.norm() / e.attributions.norm()) for e in exact]
        stop = next((k for k, error in enumerate(errors) if error <= 0.2), 4)
        assert relative_rms(result.attributions[i], exact[stop].attributions[0]) < 1e-12
        assert drawn <= (4, 8, 16, 32, 64)[stop]
        assert float(relative[i]) <= 0.2 or stop == 4
    assert len(set(result.evaluations.tolist())) > 1


def test_bfloat16_maps_point_the_same_way() -> None:
    model, x = relu_cnn(), images(8, torch.float32)
    full = NeFLAG(model, radius=0.3).attribute(x).flatten(1)
    half = NeFLAG(model, radius=0.3, precision="bf16").attribute(x)
    assert half.dtype == torch.float32
    assert float(torch.cosine_similarity(full, half.flatten(1)).min()) > 0.9


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_model_gives_the_same_maps_with_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two graphs serve every run: one without gradient for the items, one with it for the points, both of 4 rows."""
    torch.compiler.reset()  # what other tests compiled counts towards dynamo's limit of graphs for one function
    shapes: list[tuple[int, ...]] = []
    compile_model = torch.compile

    def counting(graph: torch.fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., object]:
        shapes.append(next(tuple(t.shape) for t in example_inputs if t.ndim == 4 and t.shape[1:] == (3, 12, 12)))
        return compile_fx(graph, example_inputs)

    monkeypatch.setattr(torch, "compile", functools.partial(compile_model, backend=counting))
    model, x = smooth_cnn(torch.float32), images(7, torch.float32)
    method = NeFLAG(model, step="normalized", compile=True, **SMOOTH)
    got = method.attribute(x, internal_batch_size=4)
    assert torch.equal(method.attribute(x, internal_batch_size=4), got)
    assert relative_rms(got, NeFLAG(model, step="normalized", **SMOOTH).attribute(x)) < 1e-5
    assert shapes == [(4, 3, 12, 12)] * 2
