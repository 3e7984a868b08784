from __future__ import annotations

import importlib.util

import pytest

from xai_fast.datasets import photos
from xai_fast.datasets.photos import PHOTO_SOURCES, sample_photos
from xai_fast.errors import InputError

MODULES = {"scikit-image": "skimage", "scikit-learn": "sklearn", "foolbox": "foolbox"}


@pytest.mark.parametrize("source", PHOTO_SOURCES)
def test_photos_of_a_package(source: str) -> None:
    if importlib.util.find_spec(MODULES[source]) is None:
        pytest.skip(f"needs the package {source}")
    found = sample_photos([source])
    assert len(found) == {"scikit-image": 5, "scikit-learn": 2, "foolbox": 20}[source]
    assert len({photo.name for photo in found}) == len(found)
    for photo in found:
        assert photo.source == source
        assert photo.name.startswith(source + "/")
        assert (photo.label is not None) == (source == "foolbox")
        assert photo.open().mode == "RGB"


def test_labels_are_those_of_the_file_names() -> None:
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("needs the package foolbox")
    labels = {photo.name: photo.label for photo in sample_photos(["foolbox"])}
    assert labels["foolbox/imagenet_00_243.jpg"] == 243
    assert labels["foolbox/imagenet_17_22.jpg"] == 22


def test_missing_packages_and_unknown_sources_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"sources: expected some of scikit-image, .* got 'imagenet'"):
        sample_photos(["imagenet"])
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    for source, hint in (("scikit-image", "scikit-image"), ("foolbox", "--no-deps foolbox")):
        with pytest.raises(InputError, match=rf"is not installed; pip install {hint}$"):
            sample_photos([source])


def test_a_photo_that_a_package_no_longer_has_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("needs the package scikit-learn")
    monkeypatch.setattr(photos, "_SCIKIT_LEARN", ("china.jpg", "gone.jpg"))
    assert [photo.name for photo in sample_photos(["scikit-learn"])] == ["scikit-learn/china.jpg"]
    assert "no gone.jpg" in caplog.text
