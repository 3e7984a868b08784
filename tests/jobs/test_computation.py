"""What becomes of a chunk of items: one that fails leaves the others alone, and equal chunks give equal bits."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_objects import computation, rows_model, save_rows
from torch import Tensor

from xai_fast import NeFLAG
from xai_fast.errors import InputError
from xai_fast.jobs.computation import Computation, ItemError, Outcome
from xai_fast.jobs.references import ModelRef, weights_sha256
from xai_fast.jobs.sources import SourceChanged
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.layout import Status

MODEL = ModelRef("batch_objects:rows_model")
POINTS = {"points": 4, "max_steps": 5}


@pytest.fixture
def rows(tmp_path: Path) -> tuple[Path, np.ndarray]:
    return tmp_path / "x.npy", save_rows(tmp_path / "x.npy")


def spec(source: Any, **fields: Any) -> JobSpec:
    return JobSpec(**{"source": source, "model": MODEL, "parameters": POINTS, "seed": 3, **fields})


def explained(held: Computation, indices: Sequence[int]) -> Outcome:
    return held.explain([held.load(index) for index in indices], indices)


def test_a_chunk_is_what_the_method_gives(rows: tuple[Path, np.ndarray]) -> None:
    outcome = explained(computation(spec(rows[0])), range(5, 12))
    method = NeFLAG(rows_model().eval(), **POINTS, seed=3)
    expected = method.explain(torch.from_numpy(rows[1][5:12]), item_ids=range(5, 12))
    assert isinstance(expected.attributions, Tensor)
    assert torch.equal(outcome.fields["attributions"], expected.attributions)
    assert torch.equal(outcome.fields["scores"], expected.scores)
    assert torch.equal(outcome.fields["negative_points"], expected.negative_points)
    assert outcome.statuses == [0] * 7
    assert outcome.reasons == [None] * 7
    assert outcome.evaluations == int(expected.evaluations.sum()) + 7
    assert outcome.model_seconds > 0


def test_equal_chunks_give_equal_bits(rows: tuple[Path, np.ndarray]) -> None:
    one, other = computation(spec(rows[0])), computation(spec(rows[0]))
    explained(other, [0, 7, 9])  # what came before does not matter
    first, second = explained(one, range(10, 30)), explained(other, range(10, 30))
    assert first.fields.keys() == second.fields.keys()
    assert all(torch.equal(first.fields[name], second.fields[name]) for name in first.fields)


@pytest.mark.parametrize("size", [1, 3, 7, 40])
def test_results_do_not_depend_on_the_chunk(size: int, rows: tuple[Path, np.ndarray]) -> None:
    held = computation(spec(rows[0]))
    whole = explained(held, range(40)).fields
    parts = [explained(held, range(start, min(start + size, 40))).fields for start in range(0, 40, size)]
    for name, value in whole.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [[0], [3], [9], [0, 1, 2], list(range(10)), [2, 5, 9]])
def test_what_fails_leaves_the_others_alone(bad: list[int], tmp_path: Path) -> None:
    x = save_rows(tmp_path / "x.npy", 10)
    good = explained(computation(spec(tmp_path / "x.npy")), range(10))
    x[bad, 0] = 1000
    np.save(tmp_path / "x.npy", x)
    model = ModelRef("batch_objects:picky_model")
    held = computation(spec(tmp_path / "x.npy", model=model))
    state = rows_model().state_dict()
    assert held.model is not None
    held.model.module.load_state_dict(state)
    outcome = explained(held, range(10))
    assert [i for i in range(10) if outcome.statuses[i] == Status.FAILED] == bad
    assert all((outcome.reasons[i] == "ValueError: a number above 100") == (i in bad) for i in range(10))
    if len(bad) == 10:
        assert outcome.fields == {}
        return
    kept = [i for i in range(10) if i not in bad]
    for name, value in good.fields.items():
        torch.testing.assert_close(outcome.fields[name][kept], value[kept], rtol=1e-5, atol=1e-6)
        blank = outcome.fields[name][bad]
        assert bool(blank.isnan().all() if blank.is_floating_point() else (blank == 0).all())


def test_not_finite_inputs_and_results_are_told(tmp_path: Path) -> None:
    x = save_rows(tmp_path / "x.npy", 6)
    x[2, 1], x[4, 0] = np.nan, np.inf
    np.save(tmp_path / "x.npy", x)
    held = computation(spec(tmp_path / "x.npy"))
    for index in (2, 4):
        with pytest.raises(ItemError, match="the input has NaN or infinity in 1 of its 6 numbers") as caught:
            held.load(index)
        assert caught.value.status is Status.NOT_FINITE
    totals = spec(tmp_path / "x.npy", model=None, explainer="batch_objects:Totals", parameters={"kind": "infinite"})
    outcome = explained(computation(totals), [1, 0, 3])
    assert outcome.statuses == [Status.NOT_FINITE, 0, 0]
    assert outcome.reasons[0] == "the result has NaN or infinity in attributions"
    assert outcome.fields["attributions"].isnan().tolist() == [True, False, False]


def test_an_undefined_error_is_no_failure(rows: tuple[Path, np.ndarray]) -> None:
    outcome = explained(computation(spec(rows[0], parameters={"points": 1})), range(8))
    assert outcome.statuses == [0] * 8
    assert not outcome.fields["relative_standard_error"].isfinite().any()


def test_memory_is_the_trouble_of_the_caller(rows: tuple[Path, np.ndarray]) -> None:
    held = computation(spec(rows[0], model=None, explainer="batch_objects:OutOfMemory", parameters={}))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        explained(held, range(4))


def test_weights_are_compared(rows: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    state = {name: value.numpy() for name, value in rows_model().state_dict().items()}
    np.savez(tmp_path / "w.npz", **state)
    model = ModelRef("batch_objects:weights_from_file", {"path": tmp_path / "w.npz"})
    found = computation(spec(rows[0], model=model)).weights_sha256
    assert found == weights_sha256(rows_model())
    pinned = ModelRef("batch_objects:weights_from_file", {"path": tmp_path / "w.npz"}, found)
    computation(spec(rows[0], model=pinned))
    # The same reference and arguments, and a factory that gives something else.
    state["last.bias"] = state["last.bias"] + 1e-6
    np.savez(tmp_path / "w.npz", **state)
    assert computation(spec(rows[0], model=model)).weights_sha256 != found
    with pytest.raises(InputError, match=r"model\.weights_sha256: expected weights with the hash"):
        computation(spec(rows[0], model=pinned))
    assert (
        computation(spec(rows[0], model=None, explainer="batch_objects:Totals", parameters={})).weights_sha256 is None
    )


def test_another_source_is_refused(rows: tuple[Path, np.ndarray]) -> None:
    held = computation(spec(rows[0]))
    identity = held.source.identity()
    save_rows(rows[0], 41)
    with pytest.raises(SourceChanged, match="shape"):
        Computation(spec(rows[0]), held.items, identity=identity)
    with pytest.raises(InputError, match="source: expected the 40 items of the job, got 41 items"):
        Computation(spec(rows[0]), held.items)


def test_a_source_is_checked_while_it_is_read(rows: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    held = Computation(spec(rows[0]), computation(spec(rows[0])).items)
    first = held.load(0)
    held.check_source()
    os.utime(rows[0], ns=(7, 7))
    save_rows(rows[0], 40, scale=2)
    assert torch.equal(held.load(1), torch.from_numpy(2 * rows[1][1]))  # new beside old
    assert torch.equal(first, torch.from_numpy(rows[1][0]))
    with pytest.raises(SourceChanged, match="time of the last change"):
        held.check_source()
    rows[0].unlink()
    with pytest.raises(SourceChanged, match="No such file"):
        held.check_source()


def test_double_models_get_double_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4, 6)))
    single, double = (
        computation(spec(tmp_path / "x.npy", model=ModelRef("batch_objects:rows_model", {"double": double})))
        for double in (False, True)
    )
    assert single.load(0).dtype == torch.float32
    assert double.load(0).dtype == torch.float64
    outcome = explained(double, range(4))
    assert outcome.statuses == [0] * 4
    assert outcome.fields["attributions"].dtype == torch.float32


PREPARED = [
    (np.float16, torch.float32),
    (np.uint8, torch.float32),
    (np.int16, torch.int64),
    (np.int32, torch.int64),
    (np.int64, torch.int64),
    (np.bool_, torch.bool),
]


@pytest.mark.parametrize(("stored", "prepared"), PREPARED, ids=[t.__name__ for t, _ in PREPARED])
def test_numbers_are_brought_to_the_model(stored: Any, prepared: torch.dtype, tmp_path: Path) -> None:
    values = np.arange(12).reshape(2, 6).astype(stored)
    np.save(tmp_path / "x.npy", values)
    found = computation(spec(tmp_path / "x.npy")).load(1)
    assert found.dtype == prepared
    assert found.tolist() == values[1].tolist()


def test_items_unlike_the_first_fail_alone() -> None:
    held = computation(spec("batch_objects:odd_items"))

    def load(index: int) -> Any:
        try:
            return held.load(index).dtype
        except ItemError as error:
            return error.status, error.reason

    outcomes = [load(index) for index in range(len(held.items))]
    assert outcomes[0] == outcomes[1] == outcomes[4] == torch.float32
    expected = "expected (6,) torch.float32 as of item 0, got "
    assert outcomes[2] == (Status.FAILED, expected + "(7,) torch.float32")
    assert outcomes[5] == (Status.FAILED, expected + "(6,) torch.int64")
    assert outcomes[3][0] is Status.UNREADABLE
    assert outcomes[6][0] is Status.UNREADABLE


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
    held = computation(spec(source, target=target))
    outcome = held.explain([held.load(index) for index in (3, 1)], (3, 1))
    assert outcome.fields["targets"].tolist() == [classes[3], classes[1]]
    with torch.no_grad():
        probabilities = rows_model()(torch.from_numpy(x[[3, 1]])).softmax(1)
    torch.testing.assert_close(outcome.fields["scores"], probabilities[[0, 1], [classes[3], classes[1]]])
    # Also for inputs that were loaded by somebody else.
    again = computation(spec(source, target=target)).explain([torch.from_numpy(x[1])], [1])
    assert again.fields["targets"].tolist() == [classes[1]]


def test_predicted_classes_and_functions_are_targets(rows: tuple[Path, np.ndarray]) -> None:
    with torch.no_grad():
        logits = rows_model()(torch.from_numpy(rows[1][:5]))
    assert torch.equal(explained(computation(spec(rows[0])), range(5)).fields["targets"], logits.argmax(1))
    outcome = explained(computation(spec(rows[0], target="batch_objects:first_logit")), range(5))
    assert "targets" not in outcome.fields
    torch.testing.assert_close(outcome.fields["scores"], logits[:, 0])


BAD_TARGETS = [
    ([0, 1], "target: expected a class for each of the 40 items, got 2 classes"),
    ("labels", 'target: expected "label", the label of the items of this array source'),
    ("label", "target: expected a source with labels"),
    ("batch_objects:first_logits", "target: expected a name in batch_objects.*did you mean 'first_logit'"),
    ("batch_objects:torch", "target: expected batch_objects:torch to be a function"),
]


@pytest.mark.parametrize(("target", "message"), BAD_TARGETS, ids=[m for _, m in BAD_TARGETS])
def test_bad_targets_are_refused(target: Any, message: str, rows: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(InputError, match=message):
        computation(spec(rows[0], target=target))


def test_a_class_that_is_missing_or_unknown_fails_its_item(rows: tuple[Path, np.ndarray]) -> None:
    held = computation(spec({"kind": "indexable", "path": "batch_objects:pairs"}, target="label"))
    with pytest.raises(ItemError, match="the item has no label to take as its target"):
        held.load(3)
    outcome = explained(computation(spec(rows[0], target=[0, 7, 1, 2] * 10)), range(4))
    assert outcome.statuses == [0, Status.FAILED, 0, 0]
    assert outcome.reasons[1] == "target: expected classes from 0 to 2, got 7"


def test_a_data_set_without_a_readable_item_says_so_once_and_for_all() -> None:
    held = computation(spec({"kind": "indexable", "path": "batch_objects:Lost"}))
    for _ in range(3):
        with pytest.raises(ItemError, match="KeyError"):
            held.load(0)
    assert held.source._data.reads == 3  # type: ignore[attr-defined]
    with pytest.raises(ItemError, match="none of the first 100 items can be read"):
        held.load(150)
    reads = held.source._data.reads  # type: ignore[attr-defined]
    with pytest.raises(ItemError, match="none of the first 100 items can be read"):
        held.load(151)
    assert held.source._data.reads == reads + 1  # type: ignore[attr-defined]


def write_tar(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(f"{name}.npy")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["images", "webdataset"])
def test_what_was_repaired_is_read_as_it_is(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    source: Any = tmp_path
    written = io.BytesIO()
    np.save(written, np.arange(6.0))
    if kind == "images":
        (tmp_path / "a.png").write_bytes(b"bad")
    else:
        source = write_tar(tmp_path / "a.tar", a=b"bad")
    held = computation(spec(source, decoder="batch_objects:read_header"))
    with pytest.raises(ItemError) as caught:
        held.load(0)
    assert caught.value.status is Status.UNREADABLE
    if kind == "images":
        (tmp_path / "a.png").write_bytes(bytes(range(6)))
    else:
        write_tar(tmp_path / "a.tar", a=written.getvalue())
    with pytest.raises(ItemError) as caught:
        held.load(0)
    assert caught.value.status is Status.CHANGED
    assert held.load(0, as_it_is=True).tolist() == [0, 1, 2, 3, 4, 5]


def test_an_item_too_large_for_the_memory_fails_alone() -> None:
    held = computation(spec({"kind": "indexable", "path": "batch_objects:Huge"}))
    assert held.load(0).tolist() == [0] * 6
    with pytest.raises(ItemError, match="too large for the memory: MemoryError: 10 TB") as caught:
        held.load(1)
    assert caught.value.status is Status.UNREADABLE
    assert held.load(2).tolist() == [2] * 6  # at the second try
    assert held.source._data.reads == {0: 2, 1: 2, 2: 2}  # type: ignore[attr-defined]  # 0 also for its shape


def test_large_numbers_are_finite(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((1, 6), 3e38, dtype=np.float32))
    assert computation(spec(tmp_path / "x.npy")).load(0).isfinite().all()


def test_threads_may_load_at_once(rows: tuple[Path, np.ndarray]) -> None:
    held = computation(spec("batch_objects:pairs", target="label"))
    found: list[tuple[int, float]] = []

    def load(index: int) -> None:
        found.extend((index, float(held.load(index)[0])) for _ in range(20))

    threads = [threading.Thread(target=load, args=(index,)) for index in (0, 1, 2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(abs(value - 0.6 * index) < 1e-6 for index, value in found)
    assert rows[0].exists()


def test_an_empty_chunk_is_fine(rows: tuple[Path, np.ndarray]) -> None:
    outcome = computation(spec(rows[0])).explain([], [])
    assert (outcome.fields, outcome.statuses, outcome.evaluations) == ({}, [], 0)
