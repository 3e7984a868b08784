"""Explainers that are classes: those of users, captum's, and our own by their name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from batch_objects import computation, explained, made, rows_model, save_rows

from xai_fast.errors import InputError
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.layout import Status

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
