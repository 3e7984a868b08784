"""From the content of a file to a picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from xai_fast.errors import bad_argument
from xai_fast.jobs.references import import_reference, suites_models
from xai_fast.jobs.sources.base import ItemError
from xai_fast.jobs.store.job_file import Status

__all__ = ["Decoder", "make_decoder"]

Decoder = Callable[[bytes], Any]
"""From the content of a file to a PIL image, or an array or tensor."""


def make_decoder(name: str) -> Decoder:
    """Find the decoder of a job."""
    suites_models()  # says how to install Pillow where it is missing
    if name == "pillow":
        return _pillow
    function = import_reference("decoder", name)
    if not callable(function):
        raise bad_argument("decoder", f"{name} to be a function", type(function).__name__)
    made: Decoder = function
    return made


def _pillow(data: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    from xai_fast.suites.images import open_image

    try:
        return open_image(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise ItemError(Status.UNREADABLE, "not a picture, or of a kind that Pillow cannot read") from error
    except Image.DecompressionBombError as error:
        raise ItemError(Status.UNREADABLE, str(error)) from error
    except OSError as error:
        raise ItemError(Status.UNREADABLE, error.strerror or str(error)) from error
