"""Descriptions of jobs: what they refuse, how they are stored and compared, and what files they are read from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from xai_fast.errors import InputError
from xai_fast.jobs.spec import JobSpec
from xai_fast.references import ModelRef

MODEL = "package.module:factory"


def spec(**fields: Any) -> JobSpec:
    return JobSpec(**{"source": "x.npy", "model": ModelRef(MODEL), **fields})


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"source": np.zeros((2, 3))}, r"source: expected a file.*numpy\.save"),
    ({"source": torch.zeros(2, 3)}, r"source: expected a file.*in memory"),
    ({"source": [torch.zeros(3)]}, "source: expected a reference.*package.module:factory"),
    ({"source": 7}, "source: expected a folder.*got int"),
    ({"source": {"kind": "aray", "path": "x"}}, "source.kind: expected one of .*did you mean 'array'"),
    ({"source": {"kind": "array", "pth": "x"}}, "source: expected one of .*did you mean 'path'.*got 'pth'"),
    ({"source": {"kind": "array"}}, "source: expected a value for 'path'"),
    ({"source": {"kind": "array", "path": ["a.npy"]}}, "source.path: expected a path, got a list"),
    ({"source": ["a.npy", "b.npy"]}, "source: expected one file for an array, got 2 files"),
    ({"source": ["a.npy", "b.png"]}, "source: expected files of one kind, got array and images"),
    ({"source": []}, "source: expected at least one file"),
    ({"source": "\0"}, "source.path: expected a path"),
    ({"method": "neflg"}, "method: expected .*did you mean 'neflag'.*got 'neflg'"),
    ({"method": []}, "method: expected"),
    ({"method": ["neflag", "neflag"], "options": {}}, "method: expected different names.*'neflag' twice"),
    ({"method": [{"nme": "neflag"}]}, "method: expected one of name.*did you mean 'name'"),
    ({"method": ["neflag"], "options": {"points": 3}}, "options: expected none beside a list"),
    ({"method": [{"name": "neflag", "as": "a b"}]}, "method.as: expected"),
    ({"method": "__main__:Mine"}, "method: expected a module that other processes can import"),
    ({"target": "__main__:score"}, "target: expected a module that other processes can import"),
    ({"method": nn.Linear}, "method: expected"),
    ({"options": {"pointz": 3}}, "options of neflag: expected one of .*did you mean 'points'.*got 'pointz'"),
    ({"options": {"seed": 3}}, "options of neflag: expected no seed; it is a field of the job"),
    ({"options": {"radius": float("nan")}}, "options of neflag.radius: expected finite numbers"),
    ({"options": [3]}, "options: expected a mapping"),
    ({"options": {"radius": torch.ones(3)}}, "options of neflag.radius: expected numbers, text.*got a tensor"),
    ({"method": "gradcam"}, "options of gradcam: expected a value for 'layer'"),
    ({"options": {"radius": 10**400}}, "neflag.radius: expected integers of at most 64 bits, got 1329 bits"),
    ({"model": nn.Linear(2, 2)}, r"model: expected ModelRef\(.*got a Linear"),
    ({"model": {"referenc": MODEL}}, "model: expected one of reference.*did you mean 'reference'"),
    ({"model": "package.module:"}, 'model: expected "package.module:name"'),
    ({"model": "__main__:factory"}, "model: expected a module that other processes can import"),
    ({"model": None}, "model: expected a ModelRef.*got None"),
    ({"target": "a:b:c"}, "target: expected"),
    ({"target": -1}, "target: expected an integer, at least 0, got -1"),
    ({"target": [1, "2"]}, "target: expected an integer"),
    ({"target": lambda outputs: outputs[:, 0]}, 'target: expected "package.module:function"'),
    ({"shard_size": 0}, "shard_size: expected an integer"),
    ({"shard_size": True}, "shard_size: expected an integer"),
    ({"dtype": "float16"}, "dtype: expected one of float16_scaled.*got 'float16'"),
    ({"seed": -1}, "seed: expected an integer, from 0"),
    ({"decoder": "pilow"}, "decoder: expected one of pillow"),
    ({"max_attempts": 0}, "max_attempts: expected"),
    ({"batch_size": 0}, "batch_size: expected"),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES, ids=[m[:60] for _, m in MISTAKES])
def test_a_mistake_is_named_with_what_was_expected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        spec(**fields)


def test_unknown_fields_are_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"spec: expected one of source.*did you mean 'shard_size'.*got 'shardsize'"):
        JobSpec.from_dict({"source": "x.npy", "shardsize": 3})
    with pytest.raises(InputError, match="spec: expected a value for 'source'"):
        JobSpec.from_dict({"method": "neflag"})


SPECS: list[dict[str, Any]] = [
    {},
    {"source": "photos", "target": "label", "options": {"points": 3, "tolerance": 0.1}},
    {"source": ["a.png", Path("b.jpg")], "target": [1, 2]},
    {"source": {"kind": "table", "path": "t.csv", "columns": ["a", "b"], "label": "y"}, "method": "tnid_rows"},
    {"source": "package.data:make", "target": "package.module:score", "model": ModelRef(MODEL, {"wide": 2}, "a" * 64)},
    {"method": ["neflag", {"name": "gradcam", "options": {"layer": "f"}, "as": "last"}, "mine.module:Method"]},
    {"source": "a.tar", "method": "captum:Saliency", "dtype": "int8_scaled", "batch_size": 4},
]


@pytest.mark.parametrize("fields", SPECS)
def test_a_description_survives_being_stored(fields: dict[str, Any]) -> None:
    one = spec(**fields)
    stored = json.loads(json.dumps(one.to_dict()))
    other = JobSpec.from_dict(stored)
    assert other == one
    assert other.to_dict() == one.to_dict()
    assert one.differences(other) == []
    paths = other.source["path"]
    if other.source["kind"] != "indexable":
        assert all(Path(path).is_absolute() for path in (paths if isinstance(paths, list) else [paths]))


KINDS = [
    ("x.npy", "array"),
    ("x.SAFETENSORS", "array"),
    ("t.csv", "table"),
    ("t.parquet", "table"),
    ("train-{000..004}.tar", "webdataset"),
    ("folder/*.tar", "webdataset"),
    (["a.tar", "b.tar"], "webdataset"),
    ("a.b.c:make", "indexable"),
    ("photos", "images"),
    ("cat.png", "images"),
    (["cat.png", "dog.jpeg"], "images"),
]


@pytest.mark.parametrize(("source", "kind"), KINDS, ids=str)
def test_the_kind_of_a_source_is_known_by_its_name(source: Any, kind: str) -> None:
    assert spec(source=source).source["kind"] == kind


RESULTS_CHANGE = [
    ({"options": {"points": 5}}, "options.points: nothing in the store, 5 asked for"),
    ({"shard_size": 7}, "shard_size: 1024 in the store, 7 asked for"),
    ({"seed": 1}, "seed: 0 in the store, 1 asked for"),
    ({"dtype": "float32"}, 'dtype: "float16_scaled" in the store, "float32" asked for'),
    ({"target": 3}, "target: null in the store, 3 asked for"),
    ({"model": "package.module:other"}, f'model.reference: "{MODEL}" in the store, "package.module:other" asked for'),
    ({"model": ModelRef(MODEL, {"wide": 2})}, "model.arguments"),
    ({"source": {"kind": "array", "path": "x.npy", "key": "a"}}, "source.key: "),
    ({"decoder": "package.module:decode"}, "decoder: "),
    ({"method": "package.module:Mine"}, 'method: "neflag" in the store, "package.module:Mine" asked for'),
]


@pytest.mark.parametrize(("fields", "line"), RESULTS_CHANGE, ids=str)
def test_what_changes_results_is_told(fields: dict[str, Any], line: str) -> None:
    differences = spec().differences(spec(**fields))
    assert len(differences) == 1
    assert differences[0].startswith(line)


SAME = [{"batch_size": 3}, {"max_attempts": 9}, {"model": ModelRef(MODEL, {}, "a" * 64)}, {"source": "/moved/x.npy"}]


@pytest.mark.parametrize("fields", SAME, ids=str)
def test_what_changes_no_result_may_differ(fields: dict[str, Any]) -> None:
    assert spec().differences(spec(**fields)) == []


def test_two_named_weights_differ() -> None:
    one, other = (spec(model=ModelRef(MODEL, {}, digit * 64)) for digit in "ab")
    assert one.differences(other) == [
        f"model.weights_sha256: {'a' * 64} in the store, {'b' * 64} asked for",
    ]


def test_reading_a_description_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job.json may come from anybody."""
    (tmp_path / "trap.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    fields = {"model": "model", "method": "Method", "target": "target", "source": "data", "decoder": "decode"}
    JobSpec.from_dict({field: f"trap:{name}" for field, name in fields.items()})
    assert "trap" not in sys.modules


FILES = [
    ("job.yaml", "source: x.npy\nmodel: package.module:factory\noptions: {points: 3}\ntarget: [1, 2]\n"),
    (
        "job.yml",
        "source: {kind: array, path: x.npy}\nmodel: {reference: 'package.module:factory'}\n"
        "options:\n  points: 3\ntarget:\n- 1\n- 2\n",
    ),
    ("job.json", json.dumps({"source": "x.npy", "model": MODEL, "options": {"points": 3}, "target": [1, 2]})),
]


@pytest.mark.parametrize("number", ["3e-1", "3E-1", "3.e-1", ".3e0", "+30e-2"])
def test_numbers_in_yaml_are_those_of_python(number: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "job.yaml").write_text(f"source: x.npy\nmodel: package.module:factory\noptions: {{radius: {number}}}")
    assert dict(JobSpec.from_file(tmp_path / "job.yaml").options) == {"radius": 0.3}


@pytest.mark.parametrize(("name", "text"), FILES, ids=[name for name, _ in FILES])
def test_files_say_the_same(name: str, text: str, tmp_path: Path) -> None:
    if not name.endswith("json"):
        pytest.importorskip("yaml")
    (tmp_path / name).write_text(text)
    read = JobSpec.from_file(tmp_path / name)
    assert read == spec(source=tmp_path / "x.npy", options={"points": 3}, target=[1, 2])


BAD_FILES = [
    ("job.toml", "", "job file: expected a file that ends in"),
    ("job.json", "{", "is no JSON"),
    ("job.json", '{"seed": ' + "1" * 5000 + "}", "is no JSON"),
    ("job.json", '{"source": ' + "[" * 100_000, "is no JSON"),
    ("job.yaml", "seed: " + "1" * 5000, "is no YAML"),
    ("job.json", "[1]", "expected keys and values"),
    ("job.json", '{"seed": 1, "seed": 2}', "each key once, got 'seed' twice"),
    ("job.yaml", "a: [", "is no YAML"),
    ("job.yaml", "seed: 1\nseed: 2", "each key once, got 'seed' twice"),
    ("job.yaml", "source: x.npy\nmethd: neflag", "did you mean 'method'"),
    ("job.yaml", "!!python/object/apply:os.system ['true']", "is no YAML"),
    ("job.yaml", "", "expected keys and values"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD_FILES, ids=[m for _, _, m in BAD_FILES])
def test_bad_files_are_told(name: str, text: str, message: str, tmp_path: Path) -> None:
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        JobSpec.from_file(tmp_path / name)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        JobSpec.from_file(tmp_path / "job.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "source",
    "method",
    "options",
    "model",
    "target",
    "shard_size",
    "dtype",
    "seed",
    "decoder",
    "batch_size",
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), st.booleans())
def test_whatever_json_says_is_a_description_or_an_input_error(values: dict[str, Any], whole: bool) -> None:
    try:
        JobSpec.from_dict({**({"source": "x.npy", "model": MODEL} if whole else {}), **values})
    except InputError:
        return
