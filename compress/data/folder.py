"""folder:PATH, one sub-folder a class; and demo, the photographs in the foolbox package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.data.imagenet import imagenet_wordnet_ids
from compress.data.images import Sample
from compress.data.spec import DatasetSpec, folder_path
from compress.errors import DataError, require, unknown

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class ImageFiles:
    """Files with their labels, in a fixed order."""

    files: tuple[tuple[Path, int], ...]

    def labels(self) -> NDArray[np.int64]:
        return np.array([label for _, label in self.files], dtype=np.int64)

    def where(self, row: int) -> str:
        return str(self.files[row][0])

    def samples(self, start: int, stop: int) -> Iterator[Sample]:
        for path, label in self.files[start:stop]:
            try:
                encoded = path.read_bytes()
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from error
            yield Sample(encoded, label, str(path))


def open_demo(spec: DatasetSpec) -> ImageFiles:
    """The 20 labelled ImageNet photographs that foolbox carries, foolbox itself not imported.

    Their names are imagenet_<number>_<class>.jpg.  Raises MissingExtra if foolbox is not installed.
    """
    require("foolbox", "the demo images", "demo")
    found = importlib.util.find_spec("foolbox")
    folders = found.submodule_search_locations if found else None
    files = sorted(Path(folders[0], "data").glob("imagenet_*_*.jpg")) if folders else []
    return ImageFiles(tuple((path, int(path.stem.rpartition("_")[2])) for path in files))


def open_folder(spec: DatasetSpec, num_classes: int | None, labels: Sequence[str]) -> ImageFiles:
    """PATH/<class>/…/<image>, sorted by path; files that do not end like an image are left alone.

    The folders are named after the model's labels, or after class numbers, or (models of ImageNet-1k) after WordNet
    ids; a set with as many folders as the model has classes may name them anything: their sorted order counts then.
    """
    root = folder_path(spec)
    classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    numbers = class_numbers(spec.text, [path.name for path in classes], num_classes, labels)
    files = tuple((path, number) for folder, number in zip(classes, numbers, strict=True) for path in _images(folder))
    if not files:
        raise DataError(f"dataset '{spec.text}' holds no images: expected {root}/<class>/<image>.jpg")
    return ImageFiles(files)


def class_numbers(text: str, names: Sequence[str], num_classes: int | None, labels: Sequence[str]) -> list[int]:
    """The class of each folder, by the rules of `open_folder`."""
    by_label = {_plain(label): number for number, label in enumerate(labels)}
    known = [name for name in names if _plain(name) in by_label]
    if known and len(known) == len(names):
        return [by_label[_plain(name)] for name in names]
    if all(name.isascii() and name.isdigit() for name in names):
        return [int(name) for name in names]
    if num_classes == 1000 and set(names) <= set(imagenet_wordnet_ids()):
        by_id = {wordnet_id: number for number, wordnet_id in enumerate(imagenet_wordnet_ids())}
        return [by_id[name] for name in names]
    if num_classes is None or len(names) == num_classes:
        return list(range(len(names)))
    if known:
        stranger = next(name for name in names if name not in known)
        raise DataError(f"dataset '{text}': {unknown('class', stranger, _few(stranger, labels))}")
    raise DataError(
        f"dataset '{text}': its {len(names)} folders ({', '.join(names[:3])}, …) are neither labels nor class numbers "
        f"of the model, which has {num_classes} classes: name them after its labels"
    )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()


def _few(name: str, labels: Sequence[str]) -> list[str]:
    """Labels near the name first: what an error can list without filling the screen."""
    import difflib

    return difflib.get_close_matches(name, labels, n=5, cutoff=0.6) or [*labels[:5], "…"]
