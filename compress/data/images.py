"""ImageDataset: labelled photographs, streamed from where they lie.

    open_images("parquet:images.parquet[0:128]", num_classes=1000)

reads nothing but labels until it is iterated, and then holds one image at a time.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from compress.data.decode import decode
from compress.data.spec import DatasetSpec, parse_spec
from compress.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Sample:
    """One image as it is stored, and where that is, for errors."""

    encoded: bytes
    label: int
    where: str


class Source(Protocol):
    """A whole set, without its slice."""

    def labels(self) -> NDArray[np.int64]:
        """All labels, without reading an image."""
        ...

    def where(self, row: int) -> str:
        """How errors name a row."""
        ...

    def samples(self, start: int, stop: int) -> Iterator[Sample]:
        """The rows from `start` to before `stop`, one at a time."""
        ...


@dataclass(frozen=True)
class ImageDataset:
    """Labelled images.  Iterating, as often as wanted, yields (RGB image, label) in the order of the rows.

    text    as the recipe writes it.
    rows    the rows of `source` that are used, ascending.
    """

    text: str
    source: Source
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Image, int]]:
        for sample in self.samples():
            yield decode(sample.encoded, sample.where), sample.label

    def samples(self) -> Iterator[Sample]:
        """The images undecoded."""
        wanted = iter(self.rows)
        row = next(wanted)
        for number, sample in enumerate(self.source.samples(self.rows[0], self.rows[-1] + 1), start=self.rows[0]):
            if number == row:
                yield sample
                row = next(wanted, -1)

    def sample(self, num_samples: int | None, seed: int = 0) -> ImageDataset:
        """At most `num_samples` of the images, drawn without replacement and left in their order; None: all.

        Drawn, not cut off: a folder's images are sorted by class.
        """
        if num_samples is None or num_samples >= len(self):
            return self
        rows = tuple(sorted(random.Random(seed).sample(self.rows, num_samples)))
        return ImageDataset(self.text, self.source, rows)

    def fingerprint(self) -> str:
        """sha256 (hex) over the bytes and label of every image in order: the same for the same images elsewhere."""
        digest = hashlib.sha256()
        for sample in self.samples():
            for part in (sample.encoded, str(sample.label).encode()):
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
        return digest.hexdigest()


def open_images(text: str, *, num_classes: int | None = None, labels: Sequence[str] = ()) -> ImageDataset:
    """The dataset that a recipe names: demo, digits, parquet:PATH, folder:PATH or hf:NAME, each with an optional
    [first:end].

    num_classes  of the model: every label must be below it.
    labels       of the model: the folders of `folder:` may be named after them.

    Raises DataError for a set that is missing, damaged, empty or does not fit the model, MissingExtra where a package
    is wanted.
    """
    spec = parse_spec(text)
    source = _source(spec, num_classes, labels)
    numbers = source.labels()
    if not len(numbers):
        raise DataError(f"dataset '{text}' holds no images")
    rows = spec.rows(len(numbers))
    _check_labels(source, numbers[rows.start : rows.stop], rows, num_classes)
    return ImageDataset(text, source, rows)


def _source(spec: DatasetSpec, num_classes: int | None, labels: Sequence[str]) -> Source:
    # Imported here: each needs its own package or none.
    if spec.kind == "parquet":
        from compress.data.parquet import open_parquet

        return open_parquet(spec)
    if spec.kind == "hf":
        from compress.data.hub import open_hub

        return open_hub(spec)
    if spec.kind == "digits":
        from compress.data.digits import open_digits

        return open_digits(spec)
    from compress.data.folder import open_demo, open_folder

    return open_demo(spec) if spec.kind == "demo" else open_folder(spec, num_classes, labels)


def _check_labels(source: Source, labels: NDArray[np.int64], rows: range, num_classes: int | None) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= (num_classes if num_classes is not None else np.inf)))
    if not len(bad):
        return
    allowed = "labels begin at 0" if num_classes is None else f"the model has {num_classes} classes"
    others = f" ({len(bad)} such images)" if len(bad) > 1 else ""
    raise DataError(f"{source.where(rows[bad[0]])}: label {labels[bad[0]]}, but {allowed}{others}")
