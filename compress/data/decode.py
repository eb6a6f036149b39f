"""From the bytes of an image file to an RGB image; every way in which that fails is a DataError."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from compress.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


def decode(encoded: bytes, where: str) -> Image:
    """The image as RGB, turned as its EXIF orientation says.  `where` names it in errors.

    Grey, palette and CMYK images are converted, transparency is dropped, 16-bit grey keeps its high byte, and of an
    animation the first frame is taken.  Raises DataError if the bytes do not decode, or decode to more pixels than PIL
    takes for an attack (decompression bombs).
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd EXIF data or palettes do not change the pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(encoded)) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                return _rgb(upright)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = f"{(Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels"
            raise DataError(f"{where}: the image has more than {limit}: scale it down") from error
        # PIL's decoders raise a dozen kinds of errors on damaged bytes: struct.error, SyntaxError, zlib.error, …
        except Exception as error:
            start = encoded[:8].hex(" ") or "nothing"
            raise DataError(f"{where}: not an image that can be decoded ({len(encoded)} bytes: {start} …)") from error


def _rgb(image: Image) -> Image:
    from PIL import Image as images

    if image.mode.startswith("I;16"):
        return images.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no fixed range")  # convert('RGB') would clip it at 255
    return image.convert("RGB")
