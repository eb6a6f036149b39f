"""Labelled images to train on: in memory or in a file without a name, varied by shifts and mirrors."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.data.decode import decode
from compress.data.images import ImageDataset
from compress.data.preprocess import Preprocessor

if TYPE_CHECKING:
    from compress.training.examples import Batch

KEPT_BYTES = 1 << 30  # decoded images up to so many bytes stay in memory
_SHIFT = 8  # an image is shifted by up to one such part of its side


@dataclass(frozen=True)
class Encoded:
    """The bytes of images one after another, where each begins and how many it has, and their classes."""

    content: mmap.mmap
    places: list[tuple[int, int]]
    labels: NDArray[np.int64]


class ImageExamples:
    """An `Examples` of a set's images, preprocessed as the model wants them.

    augment  'crop' shifts an image by up to an eighth of its sides, zeros (the mean colour) coming in; 'flip' mirrors
             it with probability one half.
    """

    def __init__(self, images: ImageDataset, preprocessor: Preprocessor, augment: Sequence[str] = ()) -> None:
        self.images, self.preprocessor, self.augment = images, preprocessor, tuple(augment)
        height, width = preprocessor.crop
        small = len(images) * 3 * height * width <= KEPT_BYTES
        self.pixels = np.zeros((len(images), height, width, 3), np.uint8) if small else None
        self.known = bytearray(len(images))

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def read(self) -> Encoded:
        """All images undecoded, in a file without a name."""
        places, labels = [], []
        with tempfile.TemporaryFile() as file:
            for sample in self.images.samples():
                places.append((file.tell(), len(sample.encoded)))
                file.write(sample.encoded)
                labels.append(sample.label)
            file.flush()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # outlives the file
        return Encoded(content, places, np.array(labels, dtype=np.int64))

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        """The images of these rows, float32 [N, 3, H, W], and their classes; `draw` None: unvaried."""
        import torch

        from compress.training.examples import Batch

        inputs = self.preprocessor.normalised(np.stack([self._image(row) for row in rows]))
        if draw is not None:
            inputs = varied(inputs, self.augment, draw)
        return Batch((torch.from_numpy(inputs),), torch.from_numpy(self.read.labels[list(rows)]))

    def _image(self, row: int) -> NDArray[np.uint8]:
        if self.pixels is not None and self.known[row]:
            kept: NDArray[np.uint8] = self.pixels[row]
            return kept
        start, size = self.read.places[row]
        encoded = self.read.content[start : start + size]
        image = self.preprocessor.cut(decode(encoded, f"dataset '{self.images.text}': image {row}"))
        if self.pixels is not None:
            self.pixels[row], self.known[row] = image, 1
        return image


def varied(images: NDArray[np.float32], augment: Sequence[str], draw: np.random.Generator) -> NDArray[np.float32]:
    """Images [N, C, H, W], each shifted and mirrored for itself, as `augment` says."""
    count, _, height, width = images.shape
    if "crop" in augment:
        down, right = -(-height // _SHIFT), -(-width // _SHIFT)
        padded = np.pad(images, ((0, 0), (0, 0), (down, down), (right, right)))
        tops = draw.integers(0, 2 * down + 1, count)
        lefts = draw.integers(0, 2 * right + 1, count)
        images = np.stack(
            [
                image[:, top : top + height, left : left + width]
                for image, top, left in zip(padded, tops, lefts, strict=True)
            ]
        )
    if "flip" in augment:
        mirrored = np.less(draw.random(count), 0.5)
        images = np.where(mirrored[:, None, None, None], images[:, :, :, ::-1], images)
    return np.ascontiguousarray(images)
