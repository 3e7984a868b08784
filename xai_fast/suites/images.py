"""Reading picture files as a person would see them."""

from __future__ import annotations

import os
from typing import IO

import numpy as np
from PIL import Image, ImageOps

__all__ = ["open_image"]

_PAPER = (255, 255, 255)


def open_image(file: str | os.PathLike[str] | IO[bytes]) -> Image.Image:
    """Read a picture as upright 8-bit RGB.

    The orientation that a camera noted in the EXIF data is applied, transparent parts are laid on white, 16-bit greys
    are scaled to 8 bits (Pillow would clip them), and of an animation the first frame is taken.

    Args:
        file: a path, or a binary file object.

    Returns:
        The whole decoded picture, mode "RGB".

    Raises:
        OSError: the file cannot be read, is no picture, or is truncated (Pillow's ``UnidentifiedImageError`` is one).
    """
    with Image.open(file) as stored:
        try:
            stored.load()
            picture = ImageOps.exif_transpose(stored)
        except (SyntaxError, ValueError, IndexError, EOFError) as error:
            # Pillow's decoders let these through for some damaged files; to the caller they are all a broken file.
            raise OSError(f"damaged picture: {error}") from error
        if picture.mode.startswith("I"):
            sixteen_bits = np.asarray(picture)
            picture = Image.fromarray((sixteen_bits.clip(0, 65535) // 257).astype(np.uint8))
        if picture.has_transparency_data:
            layers = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", layers.size, (*_PAPER, 255)), layers)
        return picture.convert("RGB")
