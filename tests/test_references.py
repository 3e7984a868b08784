"""Things given by reference: found or explained, models checked, weights hashed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_objects import Rows, rows_model, save_rows
from torch import nn

from xai_fast.errors import InputError
from xai_fast.references import ModelRef, call_reference, import_reference, weights_sha256

MISTAKES = [
    ("batch_object:rows_model", {}, "there is no module 'batch_object'"),
    ("batch_objects.inner:rows_model", {}, "there is no module 'batch_objects.inner'"),
    ("batch_objects:rows_modl", {}, r"model: expected a name in batch_objects.*did you mean 'rows_model'"),
    ("batch_objects:Rows.frward", {}, r"did you mean 'forward'"),
    ("batch_objects:rows_model", {"feature": 3}, r"expected one of features.*did you mean 'features'\?.*got 'feature'"),
    ("batch_objects:Rows", {"features": 3}, "arguments of batch_objects:Rows: expected a value for 'classes'"),
    (
        "batch_objects:no_model",
        {},
        "expected batch_objects:no_model to return an nn.Module, an ImageModel or an estimator, got str",
    ),
    ("batch_objects:torch", {}, "expected batch_objects:torch to be a function or class, got module"),
    ("batch_objects:a_module", {}, "model: expected batch_objects:a_module to be a function or class, got Linear"),
    (
        "batch_objects:by_position",
        {},
        "arguments of batch_objects:by_position: expected a value for 'classes', got none",
    ),
    (
        "batch_objects:weights_from_file",
        {"path": "/no/such/weights.npy"},
        "model: expected batch_objects:weights_from_file to return, got FileNotFoundError: .*weights.npy.*, line",
    ),
    ("batch_objects:any_sizes", {}, "model: expected batch_objects:any_sizes to return, got TypeError: .*in_features"),
    ("rows_model", {}, "model: expected package.module:factory, or one of efficientnet-lite0, .*got 'rows_model'"),
    ("efficientnet-lite7", {}, "model: expected package.module:factory, or one of .*did you mean 'efficientnet-lite"),
]


@pytest.mark.parametrize(("reference", "arguments", "message"), MISTAKES, ids=[r for r, _, _ in MISTAKES])
def test_mistakes_are_named(reference: str, arguments: dict[str, object], message: str) -> None:
    pytest.importorskip("PIL")
    with pytest.raises(InputError, match=message):
        ModelRef(reference, arguments).load()


def test_an_import_that_fails_inside_a_module_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import a_package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        import_reference("model", "half_installed:factory")


def test_models_come_in_evaluation_mode() -> None:
    loaded = ModelRef("batch_objects:Rows", {"features": 4, "classes": 2}).load()
    assert isinstance(loaded.module, Rows)
    assert not any(module.training for module in loaded.module.modules())
    assert loaded.image_model is None


def test_image_models_keep_their_preparation() -> None:
    pytest.importorskip("PIL")
    pytest.importorskip("safetensors")
    loaded = ModelRef("xai_fast.models.generated_shapes:small_classifier").load()
    assert loaded.for_pictures().size == (28, 28)
    assert ModelRef("batch_objects:small_model").load().for_pictures().size == (224, 224)


def test_names_may_be_dotted() -> None:
    assert import_reference("x", "batch_objects:Rows.forward") is Rows.forward
    assert call_reference("x", "fractions:Fraction.from_float", {"f": 0.5}) == 0.5


def test_the_hash_is_that_of_names_dtypes_shapes_and_bytes() -> None:
    model = nn.Linear(3, 2)
    state = hashlib.sha256()
    for name in ("bias", "weight"):  # sorted
        value = model.state_dict()[name]
        state.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        state.update(value.numpy().tobytes())
    assert weights_sha256(model) == state.hexdigest()


def changed(kind: str) -> nn.Module:
    model = rows_model()
    with torch.no_grad():
        if kind == "one bit":
            model.first.weight[0, 0] = torch.nextafter(model.first.weight[0, 0], torch.tensor(9.0))
        elif kind == "a name":
            model.third = model.last
            del model.last
        elif kind == "dtype":
            model.double()
        elif kind == "shape":
            model.first.weight = nn.Parameter(model.first.weight.reshape(6, 8))
        elif kind == "a buffer that is not stored":
            model.register_buffer("shift", torch.zeros(1), persistent=False)
    return model


@pytest.mark.parametrize("kind", ["one bit", "a name", "dtype", "shape", "a buffer that is not stored"])
def test_any_change_of_the_weights_changes_the_hash(kind: str) -> None:
    assert weights_sha256(rows_model()) == weights_sha256(changed("nothing"))
    assert weights_sha256(rows_model()) != weights_sha256(changed(kind))


def test_the_hash_takes_parts_of_any_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Module()
    for name, value in {
        "low": torch.randn(5, 3).bfloat16(),
        "flags": torch.tensor([True, False]),
        "single": torch.tensor(3),
        "none": torch.zeros(0, 4),
        "turned": torch.randn(4, 5).T,
    }.items():
        module.register_buffer(name, value)
    whole = weights_sha256(module)
    monkeypatch.setattr("xai_fast.references._BYTES_AT_ONCE", 4)
    assert weights_sha256(module) == whole


def test_what_a_model_ref_is_read_from(tmp_path: Path) -> None:
    ref = ModelRef("a.b:c", {"path": tmp_path, "sizes": (1, 2), "rate": np.float32(0.5)}, "0" * 64)
    assert ref.to_dict() == {
        "reference": "a.b:c",
        "arguments": {"path": str(tmp_path), "sizes": [1, 2], "rate": 0.5},
        "weights_sha256": "0" * 64,
    }
    assert ModelRef.read(ref.to_dict()) == ref
    assert ModelRef.read("a.b:c") == ModelRef("a.b:c")
    assert save_rows(tmp_path / "x.npy").shape == (40, 6)


BAD_REFS = [
    ({"reference": "a:b", "weights_sha256": "abc"}, "model.weights_sha256: expected 64 hexadecimal digits"),
    ({"reference": "a:b", "arguments": [1]}, "model.arguments: expected a mapping"),
    ({"reference": "a:b", "arguments": {"x": {1, 2}}}, r"model.arguments.x: expected numbers, text.*got a set"),
    ({"reference": "resnet18-random", "arguments": {"x": 1}}, "model.arguments: expected none for the model"),
    ({"arguments": {}}, "model: expected a value for 'reference'"),
    (7, "model: expected a ModelRef"),
]


@pytest.mark.parametrize(("value", "message"), BAD_REFS, ids=[m[:40] for _, m in BAD_REFS])
def test_malformed_refs_are_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelRef.read(value)
