"""Features of images by a small classifier: what distances between sets of images are taken in.

A distance is named after its features.  That in Inception's, 'inception-2015', is what is called FID; no other is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError
from compress.tasks.base import Float

Seen = tuple[NDArray[np.float64], NDArray[np.int64] | None]
_FILES = {
    "cifar-resnet56": "FILE.safetensors",
    "inception-2015": "weights-inception-2015-12-05-6726825d.pth, of torch-fidelity's releases on GitHub",
}
_WEIGHTS = Path(__file__).parent / "features"


@dataclass(frozen=True)
class Features:
    """A classifier of images [N, C, H, W] between −1 and 1.

    image_shape  (C, H, W) of what it takes; None: any.
    of           images → (features float64 [N, D], classes int64 [N], or None if it knows others than the task's).
    """

    name: str
    image_shape: tuple[int, int, int] | None
    of: Callable[[Float], Seen]

    def __call__(self, images: Float) -> Seen:
        """Raises DataError for images of another size."""
        if self.image_shape is not None and images.shape[1:] != self.image_shape:
            wanted, given = (" × ".join(map(str, sizes)) for sizes in (self.image_shape, images.shape[1:]))
            raise DataError(f"features '{self.name}' are of images of {wanted} (channels, height, width): got {given}")
        return self.of(images)


def digits_mlp() -> Features:
    """64 → 128 → 32 → 10, ReLU between; features are the 32.

    Trained on the first 1,297 of scikit-learn's digits: 94.4 % of the 500 others, which other people wrote, are
    right (`python tests/bench/digit_features.py`).
    """
    return Features("digits-mlp", (1, 8, 8), _digits_mlp)


def features_by(name: str, weights: str | None) -> Features:
    """name: 'digits-mlp', which ships, or 'cifar-resnet56' or 'inception-2015', whose weights are a file of the user's.

    Raises DataError for weights that are missing, or given to features that have their own.
    """
    if name == "digits-mlp":
        if weights is not None:
            raise DataError(f"features '{name}' have weights of their own: take feature_weights out")
        return digits_mlp()
    if weights is None:
        raise DataError(f"features '{name}' do not ship: write feature_weights: {_FILES[name]}")
    if name == "inception-2015":
        from compress.tasks.inception_features import inception_2015

        return inception_2015(weights)
    from compress.tasks.cifar_features import cifar_resnet56

    return cifar_resnet56(weights)


@cache
def _weights() -> dict[str, Float]:
    with np.load(_WEIGHTS / "digits_mlp.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _digits_mlp(images: Float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    weights = _weights()
    hidden = np.clip(images, -1, 1).reshape(len(images), -1).astype(np.float64)
    for layer in ("0", "1"):
        hidden = np.maximum(hidden @ weights[f"weight_{layer}"] + weights[f"bias_{layer}"], 0)
    logits = hidden @ weights["weight_2"] + weights["bias_2"]
    return hidden, logits.argmax(axis=1).astype(np.int64)


def weights_sha256(weights: str) -> str:
    """Of a classifier's file.  Raises DataError for one that cannot be read."""
    try:
        return hashlib.sha256(Path(weights).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"feature_weights {weights}: cannot be read: {error.strerror}") from error
