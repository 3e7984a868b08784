"""Sample photos that installed packages carry; none of them is copied here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from xai_fast.errors import InputError, bad_argument
from xai_fast.images import open_image
from xai_fast.terminal import tell

__all__ = ["PHOTO_SOURCES", "Photo", "installed_folder", "sample_photos"]

PHOTO_SOURCES = ("scikit-image", "scikit-learn", "foolbox")
"""Packages with photos, by the name that pip knows."""

# Objects that an ImageNet class could name; the labels are ours where the package has none.
_SCIKIT_IMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
_SCIKIT_LEARN = ("china.jpg", "flower.jpg")


@dataclass(frozen=True)
class Photo:
    """A photo of an installed package.

    Attributes:
        name: unique among the sample photos, such as "foolbox/imagenet_00_243.jpg".
        path: the file.
        source: the package, one of `PHOTO_SOURCES`.
        label: the ImageNet class (0 to 999) that the package gives it, or None.
    """

    name: str
    path: Path
    source: str
    label: int | None = None

    def open(self) -> Image.Image:
        """Read the photo as upright RGB."""
        return open_image(self.path)


def sample_photos(sources: Sequence[str] = PHOTO_SOURCES) -> tuple[Photo, ...]:
    """List the sample photos of installed packages.

    scikit-image and scikit-learn have a few photos without labels; foolbox has twenty with ImageNet labels (it is
    looked up without being imported, so that it can be installed with ``--no-deps``).

    Args:
        sources: some of `PHOTO_SOURCES`.

    Returns:
        The photos, by source and then by file name. A photo that the installed version of a package no longer has is
        left out with a warning in the log.

    Raises:
        InputError: a source is unknown or not installed.
    """
    photos: list[Photo] = []
    for source in sources:
        if source == "scikit-image":
            photos += _named(source, installed_folder("skimage", source) / "data", _SCIKIT_IMAGE)
        elif source == "scikit-learn":
            photos += _named(source, installed_folder("sklearn", source) / "datasets" / "images", _SCIKIT_LEARN)
        elif source == "foolbox":
            photos += _foolbox(installed_folder("foolbox", "--no-deps foolbox") / "data")
        else:
            raise bad_argument("sources", f"some of {', '.join(PHOTO_SOURCES)}", repr(source))
    return tuple(photos)


def installed_folder(module: str, requirement: str) -> Path:
    """Find the folder of a package without importing it; an `InputError` says what to install."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the package {module} is not installed; pip install {requirement}")
    return Path(spec.submodule_search_locations[0])


def _named(source: str, folder: Path, names: Sequence[str]) -> list[Photo]:
    found = [Photo(f"{source}/{name}", folder / name, source) for name in names if (folder / name).is_file()]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        tell(f"the installed {source} has no {', '.join(missing)}")
    return found


def _foolbox(folder: Path) -> list[Photo]:
    files = sorted(folder.glob("imagenet_*_*.jpg"))
    if not files:
        tell("the installed foolbox has no photos named imagenet_XX_LABEL.jpg")
    return [Photo(f"foolbox/{file.name}", file, "foolbox", int(file.stem.rsplit("_", 1)[1])) for file in files]
