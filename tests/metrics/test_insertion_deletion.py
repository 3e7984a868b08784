"""Insertion and deletion against closed forms and against the literal definition."""

from __future__ import annotations

from collections.abc import Callable

import literal_metrics
import pytest
import torch
from all_pairs import all_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import images, relu_cnn, smooth_cnn, vectors
from torch import Tensor, nn

from xai_fast.errors import InputError, ModelError
from xai_fast.metrics import RANKINGS, InsertionDeletion, insertion_deletion

CURVES = ("deletion_curves", "insertion_curves", "deletion", "insertion", "difference")


def _maps(batch: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return images(batch, dtype, seed=9)


def _scorer(model: nn.Module, target: int, score: str) -> Callable[[Tensor], float]:
    def value(image: Tensor) -> float:
        with torch.no_grad():
            logits = model(image[None])[0]
        return float(
            {"logit": logits, "probability": logits.softmax(0), "log_probability": logits.log_softmax(0)}[score][target]
        )

    return value


@pytest.mark.parametrize(
    ("network", "score", "steps", "ranking", "baseline"),
    all_pairs(
        [smooth_cnn, relu_cnn], ["probability", "logit", "log_probability"], [10, 7, 1], RANKINGS, ["black", "blur"]
    ),
)
def test_equals_the_definition(
    network: Callable[..., nn.Module], score: str, steps: int, ranking: str, baseline: str
) -> None:
    model, x, maps = network(torch.float64), images(3), _maps()
    black = (-0.5, 0.25, 1.0)
    got = insertion_deletion(
        model, x, maps, score=score, ranking=ranking, steps=steps, baselines=(baseline,), black=black, blur_sigma=2.0
    )
    for item in range(3):
        target = int(model(x[item : item + 1]).argmax())
        scorer = _scorer(model, target, score)
        black_image = torch.tensor(black, dtype=x.dtype)[:, None, None].expand(x[item].shape)
        end = black_image if baseline == "black" else literal_metrics.blur(x[item], 2.0)
        values = literal_metrics.importance(maps[item], ranking)
        deletion = literal_metrics.curve(scorer, x[item], end, values, steps, True)
        insertion = literal_metrics.curve(scorer, end, x[item], values, steps, True)
        assert int(got.targets[item]) == target
        assert got.deletion_curves[item].tolist() == pytest.approx(deletion, abs=1e-12)
        assert got.insertion_curves[item].tolist() == pytest.approx(insertion, abs=1e-12)
        assert float(got.deletion[item]) == pytest.approx(literal_metrics.area(deletion, 144), abs=1e-12)
        assert float(got.insertion[item]) == pytest.approx(literal_metrics.area(insertion, 144), abs=1e-12)
        assert float(got.difference[item]) == pytest.approx(float(got.insertion[item] - got.deletion[item]), abs=1e-12)


def test_averages_its_baselines() -> None:
    model, x, maps = smooth_cnn(), images(3), _maps()
    noise = torch.randn_like(x)
    both = insertion_deletion(model, x, maps, baselines=("black", "blur", noise), black=-1.0, steps=9)
    assert both.baselines == ("black", "blur", "baselines[2]")
    alone = [insertion_deletion(model, x, maps, baselines=(b,), black=-1.0, steps=9) for b in ("black", "blur", noise)]
    for name in CURVES:
        torch.testing.assert_close(getattr(both, name), torch.stack([getattr(one, name) for one in alone]).mean(0))
    for i, one in enumerate(alone):
        torch.testing.assert_close(both.deletion_curves_by_baseline[i], one.deletion_curves)
        torch.testing.assert_close(both.insertion_curves_by_baseline[i], one.insertion_curves)


def _linear(weight: Tensor, bias: float) -> nn.Module:
    layer = nn.Linear(weight.numel(), 1).to(weight.dtype).eval()
    layer.weight.data.copy_(weight[None])
    layer.bias.data.fill_(bias)
    return layer


@given(
    weights=st.lists(st.integers(-20, 20), min_size=2, max_size=12),
    steps=st.integers(1, 30),
    bias=st.integers(-3, 3),
    baseline=st.integers(-2, 2),
)
@settings(deadline=None, max_examples=60)
def test_linear_model_has_piecewise_linear_curves(weights: list[int], steps: int, bias: int, baseline: int) -> None:
    """Contributions ``w (x - baseline)`` in their own order: the curves are their partial sums."""
    weight = torch.tensor(weights, dtype=torch.float64)
    x = vectors(2, entries=len(weights))
    contributions = weight * (x - baseline)
    got = insertion_deletion(
        _linear(weight, bias),
        x,
        contributions,
        score="logit",
        ranking="signed_sum",
        steps=steps,
        baselines=("black",),
        black=baseline,
    )
    largest_first = contributions.sort(1, descending=True).values
    sums = torch.cat([torch.zeros(2, 1, dtype=torch.float64), largest_first.cumsum(1)], 1)
    sums = sums[:, [k * len(weights) // steps for k in range(steps + 1)]]
    empty = weight.sum() * baseline + bias
    torch.testing.assert_close(got.insertion_curves, empty + sums, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        got.deletion_curves, empty + contributions.sum(1, keepdim=True) - sums, rtol=0, atol=1e-9
    )


def test_the_right_order_is_the_best() -> None:
    weight = torch.randn(30, dtype=torch.float64)
    x = vectors(1, entries=30)
    generator = torch.Generator().manual_seed(2)
    orders = torch.cat([weight * x, -(weight * x), torch.rand(100, 30, dtype=torch.float64, generator=generator)])
    got = insertion_deletion(
        _linear(weight, 0.3),
        x.expand(102, -1),
        orders,
        score="logit",
        ranking="signed_sum",
        steps=30,
        baselines=("black",),
    )
    assert (int(got.deletion.argmin()), int(got.deletion.argmax())) == (0, 1)
    assert (int(got.insertion.argmax()), int(got.insertion.argmin())) == (0, 1)
    assert (int(got.difference.argmax()), int(got.difference.argmin())) == (0, 1)


def test_equal_pixels_go_in_reading_order() -> None:
    weight = torch.arange(1.0, 7.0)
    got = insertion_deletion(
        _linear(weight, 0.0), torch.ones(1, 6), torch.zeros(1, 6), score="logit", steps=6, baselines=("black",)
    )
    assert got.insertion_curves[0].tolist() == [0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0]


def test_more_steps_than_pixels_repeat_points_and_keep_the_area() -> None:
    weight = torch.arange(1.0, 5.0)
    model, x = _linear(weight, 0.0), torch.ones(1, 4)
    options = {"score": "logit", "baselines": ("black",)}
    fine = insertion_deletion(model, x, weight[None], steps=11, **options)
    coarse = insertion_deletion(model, x, weight[None], steps=4, **options)
    assert fine.insertion_curves[0].tolist() == [[0, 4, 7, 9, 10][k * 4 // 11] for k in range(12)]
    torch.testing.assert_close(fine.insertion, coarse.insertion)
    torch.testing.assert_close(fine.deletion, coarse.deletion)


VARIANTS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "channels_last inputs": lambda x, a: (x.contiguous(memory_format=torch.channels_last), a),
    "channels_last maps": lambda x, a: (x, a.contiguous(memory_format=torch.channels_last)),
    "strided inputs": lambda x, a: (torch.stack([x, x], -1)[..., 0], a),
    "transposed inputs": lambda x, a: (x.transpose(2, 3).contiguous().transpose(2, 3), a),
    "inputs with a graph": lambda x, a: (x.clone().requires_grad_(), a.clone().requires_grad_()),
    "float32 maps": lambda x, a: (x, a.float()),
    "a sum of absolute values as map": lambda x, a: (x, a.abs().sum(1, keepdim=True)),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_memory_layout_does_not_matter(variant: str) -> None:
    model, x, maps = smooth_cnn(), images(4), _maps(4)
    expected = insertion_deletion(model, x, maps, steps=8)
    other = insertion_deletion(model, *VARIANTS[variant](x, maps), steps=8)
    _same(other, expected)
    assert not other.deletion_curves.requires_grad


def test_channels_last_reaches_the_model() -> None:
    seen: list[bool] = []

    def model(x: Tensor) -> Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return x.mean((2, 3))

    insertion_deletion(model, images(2).contiguous(memory_format=torch.channels_last), _maps(2), steps=3)
    assert all(seen)


def _same(got: InsertionDeletion, expected: InsertionDeletion, order: list[int] | None = None) -> None:
    for name in CURVES:
        value = getattr(expected, name)
        torch.testing.assert_close(getattr(got, name), value if order is None else value[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("internal_batch_size", [1, 2, 5, 7, 1000])
def test_internal_batch_size_does_not_matter(internal_batch_size: int) -> None:
    model, x, maps = smooth_cnn(), images(5), _maps(5)
    expected = insertion_deletion(model, x, maps, steps=6)
    _same(insertion_deletion(model, x, maps, steps=6, internal_batch_size=internal_batch_size), expected)


def test_batch_and_order_do_not_matter() -> None:
    model, x, maps = smooth_cnn(), images(5), _maps(5)
    targets = [3, 1, 4, 1, 5]
    order = [4, 2, 0, 3, 1]
    expected = insertion_deletion(model, x, maps, target=targets, steps=6)
    shuffled = insertion_deletion(model, x[order], maps[order], target=[targets[i] for i in order], steps=6)
    _same(shuffled, expected, order)
    for i, target in enumerate(targets):
        alone = insertion_deletion(model, x[i : i + 1], maps[i : i + 1], target=target, steps=6)
        _same(alone, expected, [i])


@pytest.mark.parametrize("internal_batch_size", [2, None])
@pytest.mark.parametrize("target", [None, 3, [1, 2, 3, 4, 5], torch.tensor([1, 2, 3, 4, 5])])
def test_targets(target: object, internal_batch_size: int | None) -> None:
    model, x = smooth_cnn(), images(5)
    got = insertion_deletion(model, x, _maps(5), target=target, steps=2, internal_batch_size=internal_batch_size)
    expected = model(x).argmax(1) if target is None else torch.as_tensor(target).expand(5)
    assert got.targets is not None
    assert torch.equal(got.targets, expected)
    clean = model(x).softmax(1).gather(1, expected[:, None])[:, 0]
    torch.testing.assert_close(got.deletion_curves[:, 0], clean.detach())
    torch.testing.assert_close(got.insertion_curves[:, -1], clean.detach())


def test_callable_target_and_arguments_by_row() -> None:
    net, x = smooth_cnn(), images(5)
    scale = torch.arange(1.0, 6.0, dtype=torch.float64)

    def model(inputs: Tensor, factor: Tensor, name: str) -> dict[str, Tensor]:
        return {name: net(inputs) * factor[:, None]}

    got = insertion_deletion(
        model,
        x,
        _maps(5),
        target=lambda outputs: outputs["out"][:, 2],
        additional_forward_args=(scale, "out"),
        steps=4,
        internal_batch_size=3,
    )
    plain = insertion_deletion(net, x, _maps(5), target=2, score="logit", steps=4)
    assert got.targets is None
    torch.testing.assert_close(got.deletion_curves, plain.deletion_curves * scale[:, None])


def _fails_at(row: int) -> Callable[[Tensor], Tensor]:
    calls = []

    def fail(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append(1)
        if len(calls) > row:
            raise KeyError("stop")

    return fail


@pytest.mark.parametrize("fails", [False, True])
def test_model_and_inputs_are_left_as_they_were(fails: bool) -> None:
    model, x, maps = relu_cnn(torch.float64), images(3), _maps()
    model.insert(0, nn.ReLU(inplace=True))
    model[1].weight.requires_grad_(False)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    copy, copy_maps = x.clone(), maps.clone()
    if fails:
        handle = model.register_forward_hook(_fails_at(3))
        with pytest.raises(KeyError, match="stop"):
            insertion_deletion(model, x, maps, steps=5, internal_batch_size=2)
        handle.remove()
    else:
        insertion_deletion(model, x, maps, steps=5)
    assert torch.is_grad_enabled()
    assert torch.equal(x, copy)
    assert torch.equal(maps, copy_maps)
    assert flags == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    assert not any(module.training or module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def _nan_below(x: Tensor) -> Tensor:
    """NaN for items whose mean falls below 0.5: only perturbed inputs do."""
    mean = x.mean((1, 2, 3))
    return torch.where(mean < 0.5, torch.nan, mean)[:, None]


def test_nan_scores_name_their_items() -> None:
    x = torch.stack([torch.full((3, 4, 4), value) for value in (9.0, 1.0, 9.0, 1.0)])
    baseline = x - x.new_tensor([0.0, 0.9, 0.0, 0.9])[:, None, None, None]
    with pytest.raises(ModelError, match=r"expected scores that are not NaN, got NaN .* inputs of 2 items: 1, 3$"):
        insertion_deletion(_nan_below, x, x, score="logit", baselines=(baseline,))


BAD = [
    ({"inputs": torch.zeros(2, 3, 4, 4, dtype=torch.int64)}, InputError, r"inputs: expected dtype float32 or float64"),
    ({"inputs": (torch.zeros(2, 3, 4, 4),)}, InputError, r"inputs: expected one tensor .* got a tuple"),
    ({"inputs": "photo"}, InputError, r"inputs: expected a tensor, got str"),
    ({"attributions": torch.zeros(3, 3, 4, 4)}, InputError, r"attributions: expected shape \(2, 3, 4, 4\) like the"),
    ({"attributions": torch.zeros(2, 3, 4, 5)}, InputError, r"any number of channels, got \(2, 3, 4, 5\)"),
    ({"attributions": torch.zeros(2, 4, 5)}, InputError, r"attributions: expected shape \(2, 3, 4, 4\)"),
    ({"attributions": torch.zeros(2, 3, 4, 4).to("meta")}, InputError, r"attributions: expected a tensor on cpu"),
    ({"attributions": torch.full((2, 3, 4, 4), torch.nan)}, InputError, r"NaN or infinity in 2 items: 0, 1"),
    (
        {"ranking": "sum"},
        InputError,
        r"ranking: expected one of signed_sum, abs_sum, sum_of_abs, per_channel, got 'sum'",
    ),
    ({"score": "softmax"}, InputError, r"score: expected one of auto, output, probability"),
    ({"target": 3}, InputError, r"target: expected classes from 0 to 2, got 3"),
    ({"target": [0, 1, 2]}, InputError, r"target: expected one class per item, so 2, got 3 classes"),
    ({"target": lambda outputs: outputs[:1, 0]}, InputError, r"model: expected one score per row, 2, got 1"),
    ({"steps": 0}, InputError, r"steps: expected an integer, at least 1, got 0"),
    ({"steps": 2.0}, InputError, r"steps: expected an integer, at least 1, got 2.0"),
    ({"steps": True}, InputError, r"steps: expected an integer, at least 1, got True"),
    ({"internal_batch_size": 0}, InputError, r"internal_batch_size: expected an integer, at least 1, got 0"),
    ({"baselines": ()}, InputError, r"baselines: expected a tuple of .* got none"),
    ({"baselines": "black"}, InputError, r"baselines: expected a tuple of .* got one str"),
    ({"baselines": torch.zeros(2, 3, 4, 4)}, InputError, r"baselines: expected a tuple of .* got one Tensor"),
    (
        {"baselines": ("black", "grey")},
        InputError,
        r"baselines\[1\]: expected a number, \"black\", \"blur\", \"mean\" or a tensor, got 'grey'",
    ),
    ({"baselines": (True,)}, InputError, r"baselines\[0\]: expected a number, .* or a tensor, got bool"),
    ({"baselines": (torch.zeros(5),)}, InputError, r"baselines\[0\]: .* broadcasts to the inputs \(2, 3, 4, 4\)"),
    ({"baselines": (torch.zeros(1).to("meta"),)}, InputError, r"baselines\[0\]: expected a tensor on cpu"),
    ({"black": (0.0, 1.0)}, InputError, r"black: expected one finite number, or 3, one per channel, got shape \(2,\)"),
    ({"black": "dark"}, InputError, r"black: expected one finite number, or 3, one per channel, got 'dark'"),
    ({"black": torch.nan}, InputError, r"black: expected one finite number, or 3, one per channel, got nan"),
    ({"blur_sigma": 0.0}, InputError, r"blur_sigma: expected a positive, finite number, got 0.0"),
    ({"additional_forward_args": [1]}, InputError, r"additional_forward_args: expected a tensor.*got a list"),
    ({"model": nn.Dropout()}, ModelError, r"model: expected evaluation mode, got training mode in Dropout"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), BAD, ids=[f"{next(iter(c))}-{i}" for i, (c, *_) in enumerate(BAD)]
)
def test_bad_arguments(change: dict[str, object], error: type[Exception], message: str) -> None:
    arguments = {
        "model": lambda x: x.mean((2, 3)),
        "inputs": torch.rand(2, 3, 4, 4),
        "attributions": torch.rand(2, 3, 4, 4),
        "steps": 3,
    }
    arguments |= change
    positional = [arguments.pop(name) for name in ("model", "inputs", "attributions")]
    with pytest.raises(error, match=message):
        insertion_deletion(*positional, **arguments)


def test_blur_of_features_is_refused() -> None:
    with pytest.raises(InputError, match=r"baselines\[1\]: expected .*, since inputs .* \(2, 4\) have no pixels"):
        insertion_deletion(nn.Linear(4, 3).eval(), torch.rand(2, 4), torch.rand(2, 4))


@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 4, 5), (2, 2, 3, 4, 5)])
def test_any_spatial_rank(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, dtype=torch.float64)
    got = insertion_deletion(lambda rows: rows.flatten(1).sum(1), x, x, score="logit", steps=1000, baselines=("black",))
    pixels = x[0, 0].numel()
    assert torch.equal(got.deletion_curves[:, -1], torch.zeros(2, dtype=torch.float64))
    sums = x.flatten(2).sum(1).sort(1, descending=True).values.cumsum(1)
    torch.testing.assert_close(got.insertion_curves[:, [1000 // pixels + 1, -1]], sums[:, [0, -1]])
