"""The images that artefacts made, kept beside their rows, and contact sheets of them: the same seeds side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.data.pixels import as_levels
from compress.errors import ArtefactError
from compress.files import appearing
from compress.report.page.entry import Line
from compress.report.row import Row
from compress.report.table import sort
from compress.tasks.base import Float

if TYPE_CHECKING:
    from PIL import Image

SAMPLES, SHEET = "samples.npz", "contact_sheet.png"  # in a run's directory
_COLUMNS = 20  # images of each artefact
_SIDE = 40  # pixels of an image at least: small ones are enlarged, each pixel to a square
_GAP, _TITLE = 2, 14  # pixels
_LINE_SIDE = 128  # pixels of an image on a page: twice of what a wide window shows of it


def write_samples(path: Path, images: Float, fingerprint: str) -> None:
    """Keep images [N, C, H, W], and what they were made for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, images=images, fingerprint=np.array(fingerprint))


def read_samples(path: Path, fingerprint: str | None = None) -> Float | None:
    """The images, if they are there and were made for that; None: for whatever."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if fingerprint is not None and str(file["fingerprint"]) != fingerprint:
                return None
            images: Float = file["images"]
            return images
    except (OSError, ValueError, KeyError):
        return None


def sheet_of(rows: Sequence[Row], path: Path) -> None:
    """Draw a contact sheet of the images that lie beside these rows, in the order of the table.

    Raises ArtefactError if none has any, or if they are of several sizes.
    """
    found = [(row.name, read_samples(Path(row.artefact).parent / SAMPLES)) for row in sort(rows)]
    given = [(name, images) for name, images in found if images is not None]
    if not given:
        raise ArtefactError(
            "no row has images beside it: a contact sheet is of tasks image_generation and text_to_image"
        )
    if len({images.shape[1:] for _, images in given}) > 1:
        raise ArtefactError("the rows' images are of several sizes: draw those of one model")
    draw_sheet(given, path)


def draw_sheet(given: Sequence[tuple[str, Float]], path: Path) -> None:
    """A line of images a name, images [N, C, H, W], under its name; the same images give the same bytes."""
    from PIL import Image, ImageDraw

    height, width = given[0][1].shape[2:]
    times = max(1, _SIDE // max(height, width))
    across, down = times * width + _GAP, times * height + _GAP + _TITLE
    columns = min(_COLUMNS, *(len(images) for _, images in given))
    sheet = Image.new("RGB", (columns * across + _GAP, len(given) * down + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for line, (name, images) in enumerate(given):
        draw.text((_GAP, line * down), name, fill="black")
        for column, levels in enumerate(as_levels(images[:columns])):
            place = (_GAP + column * across, line * down + _TITLE)
            sheet.paste(picture(levels, times), place)
    with appearing(path) as partial:
        sheet.save(partial, format="PNG")


def line_of(path: Path) -> Line | None:
    """The images that were kept in a file, as many as a sheet has of each artefact; None where there is none.

    Small ones are enlarged, each pixel to a square, and large ones made smaller; between them the ground shows through.
    """
    from PIL import Image

    try:
        with np.load(path, allow_pickle=False) as file:
            images, made_for = file["images"][:_COLUMNS], str(file["fingerprint"])
    except (OSError, ValueError, KeyError):
        return None
    drawn = [picture(levels, max(1, _LINE_SIDE // max(levels.shape[:2]))) for levels in as_levels(images)]
    for each in drawn:
        each.thumbnail((_LINE_SIDE, _LINE_SIDE))
    width, height = drawn[0].size
    gap = max(1, width // 16)
    line = Image.new("RGBA", (len(drawn) * (width + gap) - gap, height))
    for column, each in enumerate(drawn):
        line.paste(each, (column * (width + gap), 0))
    stream = io.BytesIO()
    line.save(stream, "PNG", optimize=True)
    return Line(made_for, len(drawn), stream.getvalue())


def picture(levels: NDArray[np.uint8], times: int = 1) -> Image.Image:
    """An image of uint8 [H, W, C], each pixel `times` in width and height."""
    from PIL import Image

    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
