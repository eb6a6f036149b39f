"""Pixels that generators are trained on and make: float32 [C, H, W] between −1 and 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.data.preprocess import Preprocessor

Float = NDArray[np.float32]


def pixels_of(size: int) -> Preprocessor:
    """From an image of any size to [3, size, size] between −1 and 1."""
    half = (0.5, 0.5, 0.5)
    return Preprocessor(resize=(size, size), crop=(size, size), mean=half, std=half)


def in_channels(images: Float, channels: int) -> Float:
    """[N, 3, H, W] as it is, or grey [N, 1, H, W]: the mean of the colours."""
    return images if channels == 3 else np.ascontiguousarray(images.mean(axis=1, keepdims=True))


def as_levels(images: Float) -> NDArray[np.uint8]:
    """[N, C, H, W] between −1 and 1, cut there → uint8 [N, H, W, C]."""
    levels: NDArray[np.uint8] = np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
    return levels.transpose(0, 2, 3, 1)
