"""Reading pictures for a model, a group ahead of the one that is explained."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from xai_fast.cli.files import Picture, content_id, shown
from xai_fast.suites import ImageModel, open_image

__all__ = ["Failure", "Prepared", "encoded", "prepare", "read_ahead"]

_READERS = 2
_JPEG_QUALITY = 86

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A picture that could not be read or explained, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """A picture that was read.

    Attributes:
        picture: which one.
        item_id: its identity, from the content of the file.
        inputs: (3, H, W) float32 in the model's input units.
        rgb: (H, W, 3) uint8, what the model sees.
        photo: JPEG of the same part of the picture for the report, at twice the resolution where the picture has it.
    """

    picture: Picture
    item_id: int
    inputs: Tensor
    rgb: NDArray[np.uint8]
    photo: bytes


def prepare(picture: Picture, model: ImageModel) -> Prepared | Failure:
    """Read a picture and prepare it for a model.

    Args:
        picture: which one.
        model: says what is cut out of it, and in which units.

    Returns:
        The picture, or why it could not be read.
    """
    try:
        data = picture.path.read_bytes()
        image = open_image(io.BytesIO(data))
    except UnidentifiedImageError:
        return Failure(shown(picture.name), "not a picture, or of a kind that Pillow cannot read")
    except Image.DecompressionBombError as error:
        return Failure(shown(picture.name), str(error))
    except OSError as error:
        return Failure(shown(picture.name), error.strerror or str(error))
    rgb = np.asarray(model.crop(image))
    return Prepared(picture, content_id(data), model.from_rgb(rgb), rgb, _photo(model, image))


def read_ahead(pictures: Sequence[Picture], size: int, read: Callable[[Picture], Result]) -> Iterator[list[Result]]:
    """Read pictures in groups, one group ahead of the one that is given out.

    Args:
        pictures: which ones, at least one.
        size: pictures a group.
        read: gives what is known about a picture; it runs in other threads.

    Yields:
        What ``read`` gave for each picture of a group.
    """
    groups = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    with ThreadPoolExecutor(_READERS) as readers:
        ahead = [readers.submit(read, picture) for picture in groups[0]]
        for following in [*groups[1:], ()]:
            group, ahead = ahead, [readers.submit(read, picture) for picture in following]
            yield [future.result() for future in group]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Give a picture as the content of a file.

    Args:
        image: any picture.
        kind: "PNG" or "JPEG".
        options: of Pillow's ``save``.

    Returns:
        The bytes.
    """
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _photo(model: ImageModel, image: Image.Image) -> bytes:
    height, width = model.size
    scale = 2 if image.height >= 2 * height and image.width >= 2 * width else 1
    return encoded(model.crop(image, scale), "JPEG", quality=_JPEG_QUALITY, optimize=True)
