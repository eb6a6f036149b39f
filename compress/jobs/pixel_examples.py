"""Labelled images as generators are trained on them: between −1 and 1, grey or coloured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from compress.data.images import ImageDataset
from compress.data.pixels import in_channels, pixels_of
from compress.jobs.image_examples import ImageExamples

if TYPE_CHECKING:
    from compress.training.examples import Batch


class PixelExamples:
    """An `Examples` of images [N, channels, size, size] and their classes."""

    def __init__(self, images: ImageDataset, size: int, channels: int, augment: Sequence[str] = ()) -> None:
        self.coloured, self.channels = ImageExamples(images, pixels_of(size), augment), channels

    def __len__(self) -> int:
        return len(self.coloured)

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        """See `ImageExamples`."""
        import torch

        from compress.training.examples import Batch

        given = self.coloured.batch(rows, draw)
        [images] = given.inputs
        return Batch((torch.from_numpy(in_channels(images.numpy(), self.channels)),), given.labels)
