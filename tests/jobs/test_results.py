"""What a job stores: what the method gives in Python, item by item; one that fails leaves the others alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_objects import rows_model, save_rows, small_model

from xai_fast import Explanation, GradCAM, InteractionMap, NeFLAG, TaylorCAM
from xai_fast.errors import InputError, JobError
from xai_fast.jobs import JobSpec, Store, run
from xai_fast.jobs import open as open_store

MODEL = "batch_objects:rows_model"
POINTS = {"points": 4, "max_steps": 5}


@pytest.fixture
def rows(tmp_path: Path) -> np.ndarray:
    return save_rows(tmp_path / "x.npy")


def done(tmp_path: Path, source: Any = "x.npy", out: str = "out", **fields: Any) -> Store:
    """Run a job in this process, and open its store."""
    if isinstance(source, str) and ":" not in source:
        source = tmp_path / source
    given = {"model": MODEL, "options": POINTS, "seed": 3, "dtype": "float32", "batch_size": 8, **fields}
    run(JobSpec(source, **given), tmp_path / out, workers=0, progress=False)
    return open_store(tmp_path / out)


def test_a_job_is_what_the_method_gives(tmp_path: Path, rows: np.ndarray) -> None:
    """To the bit, as all items are in one chunk."""
    store = done(tmp_path, batch_size=64)
    method = NeFLAG(rows_model().eval(), **POINTS, seed=3)
    expected = method.explain(torch.from_numpy(rows), item_ids=range(40), internal_batch_size=64)
    found = store.explanation("neflag")
    assert type(found) is type(expected)
    assert found.settings == expected.settings
    assert found.tensors().keys() == expected.stored().keys()
    for name, value in expected.stored().items():
        assert torch.equal(found.tensors()[name], value)


@pytest.mark.parametrize(
    "fields", [{"shard_size": 1}, {"shard_size": 7}, {"batch_size": 1}, {"batch_size": 5}], ids=str
)
def test_results_do_not_depend_on_how_it_is_cut(tmp_path: Path, rows: np.ndarray, fields: dict[str, int]) -> None:
    whole, cut = done(tmp_path)[:].fields, done(tmp_path, out="cut", **fields)[:].fields
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [[0], [0, 1, 2], [2, 5, 9]])
def test_what_fails_leaves_the_others_alone(bad: list[int], tmp_path: Path) -> None:
    x = save_rows(tmp_path / "x.npy", 10)
    good = done(tmp_path)[:].fields
    x[bad, 0] = 1000
    np.save(tmp_path / "x.npy", x)
    store = done(tmp_path, out="picky", model="batch_objects:picky_model")
    assert [index for index, *_ in store.failures()] == bad
    assert {reason for *_, reason in store.failures()} == {"ValueError: a number above 100"}
    kept, found = [i for i in range(10) if i not in bad], store[:].fields
    for name, value in good.items():
        torch.testing.assert_close(found[name][kept], value[kept], rtol=1e-5, atol=1e-6)
        blank = found[name][bad]
        assert bool(blank.isnan().all() if blank.is_floating_point() else (blank == 0).all())


def test_inputs_that_are_not_finite_are_told(tmp_path: Path) -> None:
    x = save_rows(tmp_path / "x.npy", 6)
    x[2, 1], x[4, 0], x[5] = np.nan, np.inf, 1e30
    np.save(tmp_path / "x.npy", x)
    failures = list(done(tmp_path).failures())
    assert [entry[::2] for entry in failures] == [(2, "not_finite"), (4, "not_finite")]
    assert all(reason == "the input has NaN or infinity in 1 of its 6 numbers" for *_, reason in failures)


def test_double_models_get_double_inputs(tmp_path: Path, rows: np.ndarray) -> None:
    store = done(tmp_path, model={"reference": MODEL, "arguments": {"double": True}})
    method = NeFLAG(rows_model(double=True).eval(), **POINTS, seed=3)
    expected = method.attribute(torch.from_numpy(rows).double(), internal_batch_size=8)
    torch.testing.assert_close(store[:].fields["attributions"], expected.float(), rtol=1e-6, atol=1e-7)


PREPARED = [
    (np.float16, torch.float32),
    (np.uint8, torch.float32),
    (np.int16, torch.int64),
    (np.int64, torch.int64),
    (np.bool_, torch.bool),
]


@pytest.mark.parametrize(("stored", "prepared"), PREPARED, ids=[t.__name__ for t, _ in PREPARED])
def test_numbers_are_brought_to_the_model(stored: Any, prepared: torch.dtype) -> None:
    from xai_fast.jobs.inputs import Preparation
    from xai_fast.references import ModelRef

    values = np.arange(6).astype(stored)
    found = Preparation(ModelRef(MODEL).load())(values)
    assert found.dtype == prepared
    assert found.tolist() == values.tolist()


def test_items_unlike_the_first_fail_alone(tmp_path: Path) -> None:
    store = done(tmp_path, "batch_objects:odd_items")
    reasons = {index: (label, reason) for index, _, label, reason in store.failures()}
    expected = "expected (6,) torch.float32 as of the first item, got "
    assert reasons[2] == ("failed", expected + "((7,), 'torch.float32')")
    assert reasons[5] == ("failed", expected + "((6,), 'torch.int64')")
    assert {index: label for index, (label, _) in reasons.items() if index in (3, 6)} == {
        3: "unreadable",
        6: "unreadable",
    }
    assert reasons.keys() == {2, 3, 5, 6}


def test_an_item_too_large_for_the_memory_fails_alone(tmp_path: Path) -> None:
    failures = list(done(tmp_path, "batch_objects:Huge").failures())
    assert failures == [(1, "1", "unreadable", "MemoryError: 10 TB")]


TARGETS: list[tuple[Any, list[int]]] = [
    (2, [2, 2, 2, 2]),
    ([0, 2, 1, 0], [0, 2, 1, 0]),
    ("label", [1, 0, 2, 1]),
]


@pytest.mark.parametrize(("target", "classes"), TARGETS, ids=str)
def test_targets(target: Any, classes: list[int], tmp_path: Path) -> None:
    x = save_rows(tmp_path / "x.npy", 4)
    np.save(tmp_path / "y.npy", np.array([1, 0, 2, 1]))
    source = {"kind": "array", "path": tmp_path / "x.npy", "labels": tmp_path / "y.npy"}
    fields = done(tmp_path, source, target=target)[:].fields
    assert fields["targets"].tolist() == classes
    with torch.no_grad():
        probabilities = rows_model()(torch.from_numpy(x)).softmax(1)
    torch.testing.assert_close(fields["scores"], probabilities[range(4), classes])


def test_predicted_classes_and_functions_are_targets(tmp_path: Path, rows: np.ndarray) -> None:
    with torch.no_grad():
        logits = rows_model()(torch.from_numpy(rows))
    assert torch.equal(done(tmp_path)[:].fields["targets"], logits.argmax(1))
    store = done(tmp_path, out="function", target="batch_objects:first_logit")
    assert "targets" not in store.fields
    torch.testing.assert_close(store[:].fields["scores"], logits[:, 0])


BAD_TARGETS = [
    ([0, 1], "target: expected a class for each of the 40 items, got 2 classes"),
    ("labels", 'target: expected "label", the label of the items of this array source'),
    ("label", "target: expected a source with labels"),
    ("batch_objects:first_logits", "target: expected a name in batch_objects.*did you mean 'first_logit'"),
    ("batch_objects:torch", "target: expected batch_objects:torch to be a function"),
]


@pytest.mark.parametrize(("target", "message"), BAD_TARGETS, ids=[m for _, m in BAD_TARGETS])
def test_bad_targets_are_refused(target: Any, message: str, tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(InputError, match=message):
        done(tmp_path, target=target)
    assert not (tmp_path / "out" / "job.json").exists()


def test_a_class_that_is_missing_or_unknown_fails_its_item(tmp_path: Path, rows: np.ndarray) -> None:
    store = done(tmp_path, "batch_objects:pairs", target="label")
    assert [(index, reason) for index, *_, reason in store.failures()] == [
        (3, "the item has no label to take as its target")
    ]
    failures = list(done(tmp_path, out="unknown", target=[0, 7, 1, 2] * 10).failures())
    assert [index for index, *_ in failures] == list(range(1, 40, 4))
    assert failures[0][3] == "target: expected classes from 0 to 2, got 7"


def test_several_methods_in_one_pass(tmp_path: Path) -> None:
    pytest.importorskip("captum")
    x = np.random.default_rng(1).normal(size=(6, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    methods = [
        {"name": "gradcam", "options": {"layer": "features"}, "as": "cam"},
        {"name": "taylor_cam", "options": {"layer": "features"}},
        {"name": "captum:IntegratedGradients", "options": {"n_steps": 4}, "as": "ig"},
    ]
    store = done(tmp_path, method=methods, options={}, model="batch_objects:small_model", batch_size=8)
    inputs, model = torch.from_numpy(x), small_model().eval()
    assert list(store.methods) == ["cam", "ig", "taylor_cam"]
    cam = store.explanation("cam", range(6))
    assert torch.equal(cam.attributions, GradCAM(model, layer="features").attribute(inputs, internal_batch_size=8))
    assert cam.settings["layer"] == "features"
    pairs = store.explanation("taylor_cam", [5, 0])
    expected = TaylorCAM(model, layer="features").explain(inputs, internal_batch_size=8)
    assert isinstance(pairs, InteractionMap)
    assert isinstance(expected, InteractionMap)
    torch.testing.assert_close(pairs.attributions, expected[[5, 0]].attributions)
    assert (pairs.grid, pairs.geometry) == (expected.grid, expected.geometry)
    assert type(store.explanation("ig", [0])) is Explanation


def test_options_are_checked_before_anything_is_written(tmp_path: Path, rows: np.ndarray) -> None:
    for fields, message in (
        ({"options": {"points": 0}}, "options of neflag: points: expected an integer, at least 1, got 0"),
        ({"method": "batch_models:Sums", "options": {"size": 3}}, "options of batch_models:Sums"),
        ({"method": "batch_models:Nothing", "options": {}}, "method: expected a name in batch_models"),
        ({"method": "batch_objects:Rows", "options": {}}, "to be a subclass of xai_fast.Method"),
    ):
        with pytest.raises(InputError, match=message):
            done(tmp_path, **fields)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shard_size", [40, 20])
def test_a_job_that_cannot_work_ends_at_once(tmp_path: Path, rows: np.ndarray, shard_size: int) -> None:
    """A class that the model does not have: not a million failures, one by one, in hours."""
    if shard_size == 20:  # too few to say
        assert len(list(done(tmp_path, target=99, shard_size=20).failures())) == 40
        return
    with pytest.raises(JobError, match=r"first 40 items failed alike.*target: expected"):
        done(tmp_path, target=99)
    assert not list((tmp_path / "out").glob("shards/*/*"))
