"""hf:NAME[@REVISION][:SPLIT]: a dataset of the Hugging Face hub, through the `datasets` library (an extra)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.data.images import Sample
from compress.data.spec import DatasetSpec
from compress.errors import DataError, require


@dataclass(frozen=True)
class HubImages:
    """A split on disk, memory-mapped, its images undecoded."""

    text: str
    table: Any  # datasets.Dataset
    image: str
    label: str

    def labels(self) -> NDArray[np.int64]:
        return np.array([-1 if label is None else label for label in self.table[self.label]], dtype=np.int64)

    def where(self, row: int) -> str:
        return f"dataset '{self.text}': row {row}"

    def samples(self, start: int, stop: int) -> Iterator[Sample]:
        for row in range(start, stop):
            record = self.table[row]
            stored = record[self.image]
            if stored["bytes"] is None:
                try:
                    with open(stored["path"], "rb") as file:
                        encoded = file.read()
                except OSError as error:
                    raise DataError(f"{self.where(row)}: {stored['path']} cannot be read: {error.strerror}") from error
            else:
                encoded = stored["bytes"]
            yield Sample(encoded, record[self.label], self.where(row))


def open_hub(spec: DatasetSpec) -> HubImages:
    """Downloads the split once, into the cache of `datasets`.

    Raises MissingExtra without `datasets`; DataError if there is no such set or split, if the hub cannot be reached and
    the set is not in the cache, or if the split has not one column of images and one of class labels.
    """
    table = load_split(spec)
    import datasets

    features = table.features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if len(labels) != 1 and "label" in features:
        labels = ["label"]
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"dataset '{spec.text}' must have one column of images and one of class labels; its columns are: "
            f"{', '.join(f'{name} ({type(feature).__name__})' for name, feature in features.items())}"
        )
    return HubImages(spec.text, table.cast_column(images[0], datasets.Image(decode=False)), images[0], labels[0])


def load_split(spec: DatasetSpec) -> Any:
    """The datasets.Dataset of `hf:NAME[@REVISION][:SPLIT]`, downloaded once.

    Raises MissingExtra without `datasets`; DataError if there is no such set or split, or if the hub cannot be reached
    and the set is not in the cache.
    """
    require("datasets", "hf: datasets", "hub")
    import datasets

    location, _, split = spec.location.partition(":")
    name, _, revision = location.partition("@")
    try:
        split = split or _only_split(spec, datasets.get_dataset_split_names(name, revision=revision or None))
        return datasets.load_dataset(name, split=split, revision=revision or None)
    except DataError:
        raise
    except Exception as error:  # requests, hub, file system and builder errors of a dozen libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"dataset '{spec.text}' cannot be loaded: {reason}: check its name and split, and that the hub can be "
            f"reached; or download it elsewhere and write parquet:PATH"
        ) from error


def _only_split(spec: DatasetSpec, names: list[str]) -> str:
    if len(names) != 1:
        raise DataError(f"dataset '{spec.text}' has the splits {', '.join(names)}: write hf:NAME:{names[0]}")
    return names[0]
