"""Each explainer of a job against the method that it runs, the passes that they share, and classes of users."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_objects import computation, rows_model, save_rows, small_model
from torch import Tensor, nn

from xai_fast.attribution import GradCAM, GradCAMPlusPlus
from xai_fast.batch.computation import Computation, Outcome
from xai_fast.batch.explainers import Chunk, ExplainerSpec, make_explainer
from xai_fast.batch.explainers.clock import model_clock
from xai_fast.batch.references import ModelRef
from xai_fast.batch.spec import JobSpec
from xai_fast.batch.store.layout import Status
from xai_fast.errors import InputError, ZeroCurvatureError
from xai_fast.interaction.taylor_cam import TaylorCAM

LAYER = {"layer": "features"}


def pictures(tmp_path: Path, count: int = 6) -> Tensor:
    x = np.random.default_rng(1).normal(size=(count, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return torch.from_numpy(x)


def made(tmp_path: Path, explainer: Any, model: str = "small_model", **fields: Any) -> Computation:
    source = str(tmp_path / "x.npy")
    return computation(JobSpec(source=source, explainer=explainer, model=ModelRef(f"batch_objects:{model}"), **fields))


def explained(held: Computation) -> Outcome:
    indices = range(len(held.items))
    return held.explain([held.load(index) for index in indices], indices)


CAMS: list[tuple[str, dict[str, Any], type[GradCAM]]] = [
    ("gradcam", {}, GradCAM),
    ("gradcam", {"score": "probability", "relu": False, "upsample": [8, 8]}, GradCAM),
    ("gradcam++", {}, GradCAMPlusPlus),
    ("gradcam++", {"upsample": True}, GradCAMPlusPlus),
]


@pytest.mark.parametrize(("name", "options", "method"), CAMS, ids=str)
def test_activation_maps(name: str, options: dict[str, Any], method: type[GradCAM], tmp_path: Path) -> None:
    x = pictures(tmp_path)
    outcome = explained(made(tmp_path, name, parameters={**LAYER, **options}, target=[0, 1, 2, 3, 4, 0]))
    tupled = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    expected = method(small_model().eval(), "features", **tupled).attribute(x, target=[0, 1, 2, 3, 4, 0])
    torch.testing.assert_close(outcome.fields["attributions"], expected)
    assert outcome.fields["targets"].tolist() == [0, 1, 2, 3, 4, 0]
    assert outcome.evaluations == 6


def test_pairs_of_cells(tmp_path: Path) -> None:
    x = pictures(tmp_path)
    outcome = explained(made(tmp_path, "taylor_cam", parameters={**LAYER, "top_k": 200}))
    expected = TaylorCAM(small_model().eval(), "features").attribute(x)
    assert expected.targets is not None
    assert torch.equal(outcome.fields["targets"], expected.targets)
    torch.testing.assert_close(outcome.fields["scores"], expected.scores)
    for item, interactions in enumerate(expected.top_k(200)):
        cells, saliency = outcome.fields["cells"][item], outcome.fields["saliency"][item]
        assert len(interactions) == 120  # the pairs of 16 cells; the others are filled up
        assert bool((cells[120:] == -1).all() & (saliency[120:] == 0).all())
        torch.testing.assert_close(saliency[:120], torch.tensor([entry.saliency for entry in interactions]))
        assert [tuple(map(tuple, pair)) for pair in cells[:5].tolist()] == [entry.cells for entry in interactions[:5]]
        boxes = torch.tensor(expected.boxes(5)[item])
        torch.testing.assert_close(outcome.fields["boxes"][item, :5], boxes.float())
        assert not outcome.fields["boxes"][item, 120:].any()
    assert outcome.fields["input_size"].tolist() == [[16, 16]] * 6
    full = explained(made(tmp_path, "taylor_cam", parameters={**LAYER, "full": True, "smooth": "gelu"}))
    assert set(full.fields) == {"saliency", "scores", "targets"}
    torch.testing.assert_close(full.fields["saliency"], expected.saliency)


class Flat(nn.Module):
    """An output without curvature for some items: a product that is zero where the last pixel is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.AvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.features(x).flatten(1)
        switch = (x[:, 0, -1, -1] > 0).to(x)[:, None]
        return switch * cells[:, :2].square() * cells[:, 2:3] + cells[:, 3:5]


@pytest.mark.parametrize("size", [1, 2, 6])
def test_whether_an_item_has_interactions_does_not_depend_on_the_others(size: int) -> None:
    x = torch.randn(6, 3, 16, 16)
    x[:, 0, -1, -1] = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, -1.0])
    explainer = make_explainer(ExplainerSpec("taylor_cam", {**LAYER, "score": "logit"}, "t"), Flat().eval(), 0)

    def flat(start: int) -> list[int]:
        try:
            found = explainer.explain(Chunk(x[start : start + size], 0, range(size)))
        except ZeroCurvatureError:  # all of the chunk; the computation takes it apart and asks for each
            return list(range(size))
        return list(found.reasons)

    failed = [start + position for start in range(0, 6, size) for position in flat(start)]
    assert failed == [1, 2, 4, 5]


def test_items_without_curvature_fail_with_the_remedy(tmp_path: Path) -> None:
    pictures(tmp_path)
    held = made(tmp_path, "taylor_cam", model="linear_model", parameters={**LAYER, "score": "logit"})
    outcome = explained(held)
    assert outcome.statuses == [Status.FAILED] * 6
    assert all(reason is not None and "smooth" in reason for reason in outcome.reasons)


@pytest.mark.parametrize("effect", ["signed", "absolute", "square"])
@pytest.mark.parametrize("target", [None, 1, [0, 1, 2, 0, 1]])
def test_effects_of_rows_are_mixed_derivatives(effect: str, target: Any, tmp_path: Path) -> None:
    x = torch.from_numpy(save_rows(tmp_path / "x.npy", 5))
    sets, scales = [[1, 0], [2, 5], [3, 4]], [1.0, 2.0, 3.0, 0.5, 1.0, 1.0]
    parameters = {"sets": sets, "scales": scales, "effect": effect}
    outcome = explained(made(tmp_path, "tnid", model="rows_model", parameters=parameters, target=target))
    model = rows_model().eval()
    classes = model(x).argmax(1).tolist() if target is None else [target] * 5 if isinstance(target, int) else target
    assert outcome.fields["targets"].tolist() == classes
    for row, c in zip(range(5), classes, strict=True):
        hessian = torch.autograd.functional.hessian(lambda v, c=c: model(v[None])[0, c], x[row])
        derivatives = torch.stack([hessian[i, j] * scales[i] * scales[j] for i, j in sets])
        wanted = {"signed": derivatives, "absolute": derivatives.abs(), "square": derivatives.square()}[effect]
        torch.testing.assert_close(outcome.fields["effects"][row], wanted, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(outcome.fields["scores"][row], model(x[row : row + 1])[0, c].detach())


def test_all_sets_of_an_order_and_other_chunks(tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", 9)
    held = made(tmp_path, "tnid", model="rows_model", parameters={"order": 3})
    whole = explained(held).fields["effects"]
    assert whole.shape == (9, 20)
    parts = [held.explain([held.load(i) for i in some], some).fields["effects"] for some in (range(4), range(4, 9))]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_effects_of_a_piecewise_linear_network_are_refused(tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", 3)
    model = ModelRef("torch.nn:Linear", {"in_features": 6, "out_features": 2})
    source = str(tmp_path / "x.npy")
    outcome = explained(computation(JobSpec(source=source, explainer="tnid", model=model, target=1)))
    assert all(reason is not None and "piecewise linear" in reason for reason in outcome.reasons)
    first = JobSpec(source=source, explainer="tnid", model=model, target=1, parameters={"order": 1})
    assert explained(computation(first)).statuses == [0] * 3


ALL = [
    ("gradcam", "x", "small_model", LAYER),
    ("taylor_cam", "x", "small_model", LAYER),
    ("taylor_cam", "x", "small_model", {**LAYER, "order": 3, "top_k": 5}),
    ("taylor_cam", "x", "small_model", {**LAYER, "smooth": "gelu", "full": True}),
    ("tnid", "r", "rows_model", {}),
    ("tnid", "r", "rows_model", {"order": 3, "score": "probability"}),
]


@pytest.mark.parametrize(("name", "source", "model", "parameters"), ALL, ids=str)
def test_bits_do_not_depend_on_what_came_before(
    name: str, source: str, model: str, parameters: dict[str, Any], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(12, 3, 16, 16)).astype(np.float32))
    save_rows(tmp_path / "r.npy", 12)
    path = str(tmp_path / f"{source}.npy")
    spec = JobSpec(source=path, explainer=name, parameters=parameters, model=ModelRef(f"batch_objects:{model}"))
    fresh, used = computation(spec), computation(spec)

    def run(held: Computation, indices: range) -> dict[str, Tensor]:
        outcome = held.explain([held.load(i) for i in indices], indices)
        assert outcome.statuses == [0] * len(indices)
        return outcome.fields

    for before in (range(3), range(1, 11), range(2)):
        run(used, before)
    for chunk in (range(4, 12), range(2, 3)):
        one, other = run(fresh, chunk), run(used, chunk)
        assert all(torch.equal(one[field], other[field]) for field in one)


BAD_TNID = [
    ({"sets": [[0, 6]]}, "sets: expected features from 0 to 5, got 6"),
    ({"scales": [1.0]}, "scales: expected a number for each of 6 features"),
]


@pytest.mark.parametrize(("parameters", "message"), BAD_TNID, ids=[m for _, m in BAD_TNID])
def test_sets_that_do_not_fit_the_rows_are_told(parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", 2)
    outcome = explained(made(tmp_path, "tnid", model="rows_model", parameters=parameters))
    assert all(reason is not None and message in reason for reason in outcome.reasons)


def test_sets_may_be_named_by_the_columns_of_a_table(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    x = save_rows(tmp_path / "x.npy", 4)
    pandas.DataFrame(x, columns=list("abcdef")).to_csv(tmp_path / "x.csv", index=False)
    sets = [["b", "a"], ["c", "f"]]
    by_number = made(tmp_path, "tnid", model="rows_model", parameters={"sets": [[0, 1], [2, 5]]})
    model = ModelRef("batch_objects:rows_model")

    def table(sets: object) -> Computation:
        return computation(
            JobSpec(source=str(tmp_path / "x.csv"), explainer="tnid", parameters={"sets": sets}, model=model)
        )

    torch.testing.assert_close(explained(table(sets)).fields["effects"], explained(by_number).fields["effects"])
    with pytest.raises(InputError, match=r"sets: expected a column of the table, one of a, b.*got 'g'"):
        table([["a", "g"]])
    with pytest.raises(InputError, match="different features in a set"):
        table([["a", "a"]])
    nameless = explained(made(tmp_path, "tnid", model="rows_model", parameters={"sets": sets}))
    assert (
        nameless.reasons
        == ["sets: expected features by number, since this source has no names for them, got names"] * 4
    )


FOUR = [
    {"name": "gradcam", "parameters": LAYER},
    {"name": "gradcam++", "parameters": LAYER},
    {"name": "taylor_cam", "parameters": {**LAYER, "top_k": 3}},
    {"name": "gradcam", "parameters": {**LAYER, "score": "probability", "relu": False}, "as": "probable"},
]


def passes(held: Computation) -> tuple[Outcome, int]:
    """Count the forward passes of the model in a chunk that is not the first."""
    assert held.model is not None
    explained(held)  # where cells lie in the picture, and the trace, are found once
    count = 0

    def hook(module: nn.Module, inputs: object) -> None:
        nonlocal count
        count += 1

    handle = held.model.module.register_forward_pre_hook(hook)
    outcome = explained(held)
    handle.remove()
    return outcome, count


def test_explainers_of_a_layer_share_one_forward_pass(tmp_path: Path) -> None:
    pictures(tmp_path)
    together, count = passes(made(tmp_path, FOUR))
    assert count == 1
    assert together.evaluations == 6
    for entry in FOUR:
        alone, count = passes(made(tmp_path, entry["name"], parameters=entry["parameters"]))
        assert count == 1
        for name, value in alone.fields.items():
            torch.testing.assert_close(together.fields[f"{entry.get('as', entry['name'])}.{name}"], value)


def test_other_layers_and_other_networks_have_passes_of_their_own(tmp_path: Path) -> None:
    pictures(tmp_path)
    apart = [
        {"name": "gradcam", "parameters": LAYER},
        {"name": "gradcam++", "parameters": {"layer": "features.0"}},
        {"name": "taylor_cam", "parameters": {**LAYER, "smooth": "gelu"}},
    ]
    assert passes(made(tmp_path, apart))[1] == 3


def test_a_layer_that_is_missing_is_told_before_anything_runs(tmp_path: Path) -> None:
    pictures(tmp_path)
    with pytest.raises(InputError, match=r"layer: expected a layer near that name, such as 'features'"):
        made(tmp_path, "gradcam", parameters={"layer": "feature"})


KINDS = [
    ("tensor", {"attributions"}),
    ("dataclass", {"totals", "signs"}),
    ("mapping", {"totals", "seed"}),
    ("named tuple", {"totals"}),
]


@pytest.mark.parametrize(("kind", "names"), KINDS, ids=[k for k, _ in KINDS])
def test_results_of_any_kind(kind: str, names: set[str], tmp_path: Path) -> None:
    x = torch.from_numpy(save_rows(tmp_path / "x.npy", 4))
    source = str(tmp_path / "x.npy")
    spec = JobSpec(source=source, explainer="batch_objects:Totals", parameters={"kind": kind}, seed=5)
    outcome = explained(computation(spec))
    assert set(outcome.fields) == names
    first = outcome.fields["attributions" if kind == "tensor" else "totals"]
    torch.testing.assert_close(first, x.sum(1))
    if kind == "dataclass":
        assert outcome.fields["signs"].dtype == torch.uint8
    if kind == "mapping":
        assert outcome.fields["seed"].tolist() == [5.0] * 4


WRONG = [
    ("other", "explainer: expected a tensor, mapping, dataclass or named tuple from batch_objects:Totals, got str"),
    ("nothing", "explainer: expected at least one tensor"),
    ("short", "explainer: expected fields (B, ...) with B = 1 from batch_objects:Totals, got attributions (0,)"),
]


@pytest.mark.parametrize(("kind", "reason"), WRONG, ids=[k for k, _ in WRONG])
def test_results_that_do_not_fit_are_told(kind: str, reason: str, tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", 2)
    source = str(tmp_path / "x.npy")
    outcome = explained(
        computation(JobSpec(source=source, explainer="batch_objects:Totals", parameters={"kind": kind}))
    )
    assert outcome.statuses == [Status.FAILED] * 2
    assert all(found is not None and found.startswith(reason) for found in outcome.reasons)


def test_classes_get_model_target_identities_and_seed(tmp_path: Path) -> None:
    x = torch.from_numpy(save_rows(tmp_path / "x.npy", 3))
    held = made(
        tmp_path, "batch_objects:Weighted", model="rows_model", parameters={"power": 2}, target=[0, 1, 2], seed=9
    )
    outcome = held.explain([held.load(2), held.load(0)], [2, 0])
    logits = rows_model()(x).detach()
    torch.testing.assert_close(outcome.fields["scores"], torch.stack([logits[2, 2], logits[0, 0]]) ** 2)
    assert outcome.fields["ids"].tolist() == [2, 0]
    assert outcome.fields["seed"].tolist() == [9, 9]


BAD_CLASSES: list[tuple[str, Mapping[str, Any], str]] = [
    ("batch_objects:Weightd", {}, "did you mean 'Weighted'"),
    ("batch_objects:Weighted", {"pwer": 2}, "parameters of batch_objects:Weighted: .*did you mean 'power'"),
    ("batch_objects:NoExplain", {}, "expected batch_objects:NoExplain to have a method explain"),
    ("batch_objects:torch", {}, "expected batch_objects:torch to be a class"),
]


@pytest.mark.parametrize(("name", "parameters", "message"), BAD_CLASSES, ids=[m for _, _, m in BAD_CLASSES])
def test_bad_classes_are_told(name: str, parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", 2)
    with pytest.raises(InputError, match=message):
        made(tmp_path, name, model="rows_model", parameters=parameters)


CAPTUM: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = [
    ("Saliency", {}, {"abs": False}, None),
    ("Saliency", {}, {}, 2),
    ("IntegratedGradients", {"multiply_by_inputs": False}, {"n_steps": 7}, [2, 0, 1]),
    ("IntegratedGradients", {}, {"n_steps": 7, "return_convergence_delta": True}, None),
    ("InputXGradient", {}, {}, [0, 0, 2]),
]


@pytest.mark.parametrize(("name", "options", "later", "target"), CAPTUM, ids=str)
def test_classes_of_captum(
    name: str, options: dict[str, Any], later: dict[str, Any], target: Any, tmp_path: Path
) -> None:
    attr = pytest.importorskip("captum.attr")
    x = torch.from_numpy(save_rows(tmp_path / "x.npy", 3))
    parameters = {**options, **later}
    held = made(tmp_path, f"captum.attr:{name}", model="rows_model", parameters=parameters, target=target)
    outcome = explained(held)
    model = rows_model().eval()
    classes = model(x).argmax(1) if target is None else torch.as_tensor(target).expand(3)
    expected = getattr(attr, name)(model, **options).attribute(x.clone().requires_grad_(), target=classes, **later)
    parts = expected if isinstance(expected, tuple) else (expected,)
    assert outcome.reasons == [None] * 3
    assert outcome.fields["targets"].tolist() == classes.tolist()
    for field, part in zip(("attributions", "convergence_delta"), parts, strict=False):
        torch.testing.assert_close(outcome.fields[field], part.detach().float())


BAD_CAPTUM: list[tuple[dict[str, Any], str]] = [
    (
        {"explainer": "captum.attr:Saliency", "parameters": {"n_step": 3}},
        "parameters of captum.attr:Saliency: .*'n_step'",
    ),
    ({"explainer": "captum.attr:IntegratedGradients", "parameters": {"target": 3}}, "'target'"),
    ({"explainer": "captum.attr:LayerActivation", "parameters": {}}, "a value for 'layer'"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_CAPTUM, ids=[m for _, m in BAD_CAPTUM])
def test_options_that_captum_does_not_take_are_told(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("captum.attr")
    save_rows(tmp_path / "x.npy", 3)
    with pytest.raises(InputError, match=message):
        made(tmp_path, model="rows_model", **fields)


def test_captum_gets_no_function_as_its_target(tmp_path: Path) -> None:
    pytest.importorskip("captum.attr")
    save_rows(tmp_path / "x.npy", 1)
    outcome = explained(made(tmp_path, "captum.attr:Saliency", model="rows_model", target="batch_objects:first_logit"))
    assert str(outcome.reasons[0]).startswith("target: expected classes, since attribute takes no function")


def test_our_own_classes_have_explain_too(tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", 3)
    options = {"points": 6, "max_steps": 30}
    by_name = explained(made(tmp_path, "neflag", model="rows_model", parameters=options, seed=2))
    by_class = explained(made(tmp_path, "xai_fast:NeFLAG", model="rows_model", parameters=options, seed=2))
    assert torch.equal(by_name.fields["attributions"], by_class.fields["attributions"])
    assert "standard_error" in by_class.fields


SETTINGS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("neflag", {"points": 3}, {"method": "NeFLAG", "points": 3, "score": "probability", "seed": 7}),
    ("gradcam", {**LAYER, "upsample": [8, 8]}, {"method": "GradCAM", "layer": "features", "upsample": [8, 8]}),
    ("taylor_cam", LAYER, {"method": "Taylor-CAM", "order": 2, "top_k": 20, "full": False}),
    ("tnid", {}, {"order": 2, "score": "logit", "effect": "signed", "smooth": None}),
    ("xai_fast:NeFLAG", {"points": 3}, {"method": "NeFLAG", "points": 3}),
    ("batch_objects:Weighted", {}, {}),
]


@pytest.mark.parametrize(("name", "parameters", "expected"), SETTINGS, ids=[name for name, _, _ in SETTINGS])
def test_settings_have_the_defaults_too(name: str, parameters: dict[str, Any], expected: dict[str, Any]) -> None:
    found = make_explainer(ExplainerSpec(name, parameters, name), small_model().eval(), 7).settings
    assert json.loads(json.dumps(found)) == found
    assert {key: found[key] for key in expected} == expected
    assert bool(found) == bool(expected)


class Slow(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        return SlowBack.apply(x)


class SlowBack(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        time.sleep(0.03)
        return 2 * gradient


def test_the_clock_counts_both_ways_through_the_model_and_nothing_else() -> None:
    model = Slow()
    x = torch.ones(2, requires_grad=True)
    started = time.perf_counter()
    with model_clock(model) as clock:
        assert clock is not None
        for _ in range(2):
            torch.autograd.grad(model(x).sum(), x)
            time.sleep(0.05)
        with torch.no_grad():
            model(x)
    # However slow the machine is: all that passed but what was slept outside the model.
    assert 0.12 < clock.seconds < time.perf_counter() - started - 0.1
    before = clock.seconds
    torch.autograd.grad(model(x).sum(), x)
    assert clock.seconds == before
