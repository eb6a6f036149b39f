"""From bytes to RGB, and every way in which that fails."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from compress.data.decode import decode
from compress.errors import DataError


def encoded(image: Image.Image, file: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("mode", "file"), [("RGB", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "JPEG")]
)
def test_every_mode_becomes_rgb_as_pil_converts_it(mode: str, file: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise).convert(mode), file)
    image = decode(content, "x")
    assert (image.mode, image.size) == ("RGB", (9, 6))
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    grey = np.array([[0, 255, 256], [0x1234, 0x8000, 0xFFFF]], dtype=np.uint16)
    pixels = np.asarray(decode(encoded(Image.fromarray(grey)), "x"))
    np.testing.assert_array_equal(pixels[:, :, 0], [[0, 0, 1], [0x12, 0x80, 0xFF]])
    np.testing.assert_array_equal(pixels[:, :, 0], pixels[:, :, 2])


def test_a_format_without_a_range_is_refused() -> None:
    content = encoded(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF")
    with pytest.raises(DataError, match="x: not an image that can be decoded"):
        decode(content, "x")


def test_the_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    assert decode(encoded(image, "JPEG", exif=exif), "x").size == (2, 4)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 a JPEG that ends", png_header(3, 3)])
def test_what_does_not_decode_is_a_data_error_that_names_the_place(content: bytes) -> None:
    with pytest.raises(DataError, match=rf"^row 17: not an image that can be decoded \({len(content)} bytes"):
        decode(content, "row 17")


@pytest.mark.parametrize("side", [10_000, 40_000])  # PIL warns of the first and refuses the second
def test_a_decompression_bomb_is_a_data_error(side: int) -> None:
    with pytest.raises(DataError, match=r"^row 17: the image has more than \d+ million pixels: scale it down$"):
        decode(png_header(side, side), "row 17")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_damaged_bytes_decode_or_are_a_data_error(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]))
    content = bytearray(encoded(Image.new("RGB", (12, 12), (200, 30, 90)), file))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        image = decode(bytes(content[:cut]), "x")
    except DataError:
        return
    assert image.mode == "RGB"
