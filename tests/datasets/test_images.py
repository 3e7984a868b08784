from __future__ import annotations

import io
import struct
import zlib
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


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    return exif


def rotated() -> io.BytesIO:
    return stored(row(RED, GREEN, BLUE), exif=turned())


def sixteen_bit() -> io.BytesIO:
    return stored(Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)))


def tiff(
    values: object, bits: int, kind: int = 1, white: int = 1, data: bytes | None = None, **limits: float
) -> io.BytesIO:
    """Write one row of grey by hand: kind 1 is unsigned, 2 signed, 3 floats; limits are the tags of the range."""
    width = len(values)  # type: ignore[arg-type]
    data = np.asarray(values, f"<{' uif'[kind]}{bits // 8}").tobytes() if data is None else data
    tags = [(256, 4, width), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, white), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, 1), (279, 4, len(data)), (339, 3, kind)]
    ends = [(tag, 11, limits[name]) for tag, name in ((340, "low"), (341, "high")) if name in limits]
    entries = [struct.pack("<HHII", *tag[:2], 1, tag[2]) for tag in tags]
    entries += [struct.pack("<HHIf", *tag[:2], 1, tag[2]) for tag in ends]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return io.BytesIO(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory)


def png(color: int, data: bytes, transparent: bytes) -> io.BytesIO:
    """Write one row of two 16-bit pixels by hand; color 0 is grey, 2 RGB."""
    header = struct.pack(">IIBBBBB", 2, 1, 16, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(b"\0" + data)), (b"IEND", b""))
    written = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(written))


def greys(*values: int) -> list[list[tuple[int, ...]]]:
    return [[(value,) * 3 for value in values]]


UNSAID = "the file does not say which of its {} values, from {}, are black and white"

PICTURES: dict[str, tuple[Callable[[], io.BytesIO], list[list[tuple[int, ...]]] | str]] = {
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
    "floats from 0 to 1": (lambda: tiff([0, 0.25, 1], 32, 3), greys(0, 64, 255)),
    "floats from 0 to 255": (lambda: tiff([0, 100, 255], 32, 3), UNSAID.format("float32", "0 to 255")),
    "floats with NaN": (lambda: tiff([0, np.nan, 1], 32, 3), UNSAID.format("float32", "nan to nan")),
    "floats of a known range": (lambda: tiff([-1, 0, 1], 32, 3, low=-1, high=1), greys(0, 128, 255)),
    "32 bits": (lambda: tiff([0, 2**30, 2**31 - 1], 32, 2), UNSAID.format("int32", "0 to 2.14748e[+]09")),
    "32 bits of a known range": (lambda: tiff([-300, 0, 300], 32, 2, low=-300, high=300), greys(0, 128, 255)),
    "32 unsigned bits of a known range": (
        lambda: tiff([0, 2**31, 2**32 - 256], 32, high=2**32 - 256, low=0),
        greys(0, 128, 255),
    ),
    "signed 16 bits": (lambda: tiff([-1000, 0, 3000], 16, 2), UNSAID.format("int32", "-1000 to 3000")),
    "signed 16 bits of a known range": (lambda: tiff([-1000, 0, 3000], 16, 2, low=-1000, high=3000), greys(0, 64, 255)),
    "signed 8 bits": (lambda: tiff([-5, 0, 7], 8, 2), UNSAID.format("int8", "-5 to 7")),
    "12 bits": (lambda: tiff([0, 0x800, 0xFFF], 12, data=b"\x00\x08\x00\xff\xf0"), greys(0, 128, 255)),
    "12 of 16 bits": (lambda: tiff([0, 0x800, 0xFFF], 16, high=0xFFF), greys(0, 128, 255)),
    "16 bits, zero is white": (lambda: tiff([0, 25700, 65535], 16, white=0), greys(255, 155, 0)),
    "16 bits, big-endian, turned": (
        lambda: stored(Image.fromarray(np.array([[0, 65535]], np.uint16)), exif=turned()),
        [[(0,) * 3], [WHITE]],
    ),
    "16 bits, one transparent": (lambda: png(0, b"\x40\x01\x40\x02", b"\x40\x01"), [[WHITE, (64,) * 3]]),
    "colours of 16 bits, one transparent": (
        lambda: png(2, bytes(12), bytes(6)),
        r"one colour of 16 bits is transparent \(tRNS\)",
    ),
    "bmp": (lambda: stored(row(RED, BLUE), "BMP"), [[RED, BLUE]]),
    "gif": (lambda: stored(row(RED, BLUE), "GIF"), [[RED, BLUE]]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_read_as_people_see_them_or_refused_with_the_reason(name: str) -> None:
    file, expected = PICTURES[name]
    if isinstance(expected, str):
        with pytest.raises(OSError, match=expected):
            open_image(file())
        return
    image = open_image(file())
    assert image.mode == "RGB"
    assert np.asarray(image).tolist() == np.array(expected).tolist()


@pytest.mark.parametrize(
    ("file", "is_told"),
    [
        (lambda: tiff([0, 0x800, 0xFFF], 16), True),
        (lambda: tiff([0, 0x800, 0x1000], 16), False),
        (lambda: tiff([0, 0x800, 0xFFF], 16, high=0xFFF), False),
        (lambda: tiff([0, 0], 16), False),
        (lambda: tiff([0, 0.01], 32, 3), False),
        (lambda: stored(Image.fromarray(np.array([[0, 0xFFF]], np.uint16))), True),
        (sixteen_bit, False),
    ],
)
def test_that_a_picture_uses_12_of_its_16_bits_is_told_once(
    file: Callable[[], io.BytesIO], is_told: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xai_fast.terminal._said", {})
    for _ in range(2):
        open_image(file())
    assert ["12 or fewer" in record.message for record in caplog.records] == [True] * is_told


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
