from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xai_fast.images import open_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def row(*colors: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (len(colors), 1))
    for x, color in enumerate(colors):
        image.putpixel((x, 0), color)
    return image


def palette_with_hole() -> io.BytesIO:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    return stored(image, transparency=1)


def rotated() -> io.BytesIO:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    return stored(row(RED, GREEN, BLUE), exif=exif)


def sixteen_bit() -> io.BytesIO:
    return stored(Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)))


PICTURES: dict[str, tuple[Callable[[], io.BytesIO], list[list[tuple[int, ...]]]]] = {
    "rgb": (lambda: stored(row(RED, GREEN)), [[RED, GREEN]]),
    "grey": (lambda: stored(row((7,), (200,), mode="L")), [[(7,) * 3, (200,) * 3]]),
    "one bit": (lambda: stored(row((0,), (1,), mode="1")), [[(0,) * 3, WHITE]]),
    "sixteen bit": (sixteen_bit, [[(0,) * 3, (100,) * 3, WHITE]]),
    "transparent": (
        lambda: stored(row((*RED, 255), (*RED, 0), (*RED, 51), mode="RGBA")),
        [[RED, WHITE, (255, 204, 204)]],
    ),
    "grey transparent": (lambda: stored(row((0, 255), (0, 0), mode="LA")), [[(0,) * 3, WHITE]]),
    "palette with a transparent colour": (palette_with_hole, [[RED, WHITE]]),
    "turned camera": (rotated, [[RED], [GREEN], [BLUE]]),
    "webp": (lambda: stored(row(RED, BLUE), "WEBP", lossless=True), [[RED, BLUE]]),
    "first frame": (
        lambda: stored(row(RED), "PNG", save_all=True, append_images=[row(BLUE)], default_image=False),
        [[RED]],
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_read_as_people_see_them(name: str) -> None:
    file, expected = PICTURES[name]
    image = open_image(file())
    assert image.mode == "RGB"
    assert np.asarray(image).tolist() == np.array(expected).tolist()


def truncated() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = stored(Image.fromarray(noise), "JPEG").getvalue()
    return whole[: len(whole) // 2]


def damaged_png() -> bytes:
    data = bytearray(stored(row(RED, GREEN, BLUE)).getvalue())
    position = data.index(b"IDAT")
    data[position + 6] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize("data", [b"", b"text", truncated(), damaged_png(), b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_broken_files_are_os_errors(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(data)
    with pytest.raises(OSError):  # noqa: PT011 - Pillow's messages differ by version
        open_image(file)
