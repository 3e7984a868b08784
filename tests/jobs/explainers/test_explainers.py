"""Each explainer of a job against the method that it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_objects import LAYER, computation, explained, made, pictures, rows_model, save_rows, small_model
from torch import Tensor, nn

from xai_fast.attribution import GradCAM, GradCAMPlusPlus
from xai_fast.errors import InputError, ZeroCurvatureError
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.jobs.computation import Computation
from xai_fast.jobs.explainers import Chunk, ExplainerSpec, make_explainer
from xai_fast.jobs.references import ModelRef
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.layout import Status

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
