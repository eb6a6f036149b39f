"""digits: the 1,797 handwritten digits of 8 × 8 pixels that come with scikit-learn (Alpaydin & Kaynak 1998,
doi:10.24432/C50P49), in their order: 0 … 16 as grey levels 0 … 255."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.data.images import Sample
from compress.data.spec import DatasetSpec
from compress.errors import require

_LEVELS = 16  # of ink, from none


@dataclass(frozen=True)
class Digits:
    """A `Source`.  ink: uint8 [N, 8, 8]."""

    ink: NDArray[np.uint8]
    classes: NDArray[np.int64]

    def labels(self) -> NDArray[np.int64]:
        return self.classes

    def where(self, row: int) -> str:
        return f"digits, row {row}"

    def samples(self, start: int, stop: int) -> Iterator[Sample]:
        from PIL import Image

        for row in range(start, stop):
            stream = io.BytesIO()
            Image.fromarray(self.ink[row]).save(stream, format="PNG")
            yield Sample(stream.getvalue(), int(self.classes[row]), self.where(row))


def open_digits(spec: DatasetSpec) -> Digits:
    """Raises MissingExtra without scikit-learn."""
    require("sklearn", "the digits", "generation")
    from sklearn.datasets import load_digits

    found = load_digits()
    ink = np.rint(found.images * 255 / _LEVELS).astype(np.uint8)
    return Digits(ink, found.target.astype(np.int64))
