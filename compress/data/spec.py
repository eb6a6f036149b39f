"""DatasetSpec: what a recipe's `dataset:` says, such as `parquet:images.parquet[0:128]`.  Reads no image."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compress.errors import DataError, unknown

_SLICED = re.compile(r"(?P<rest>.*)\[(?P<slice>[^\[\]]*)\]", re.DOTALL)
_SLICE = re.compile(r"\s*(\d{0,12})\s*:\s*(\d{0,12})\s*")


@dataclass(frozen=True)
class DatasetSpec:
    """`kind:location[start:stop]`; stop None: to the end."""

    text: str
    kind: str
    location: str
    start: int = 0
    stop: int | None = None

    def rows(self, total: int, what: str = "images") -> range:
        """The rows of a set of `total` that the slice takes.  Raises DataError if it reaches beyond the set."""
        stop = total if self.stop is None else self.stop
        if self.start >= total or stop > total:
            raise DataError(f"dataset '{self.text}': there are only {total} {what}: write [0:{total}]")
        return range(self.start, stop)

    def file(self) -> Path:
        """The one file that the location names.  Raises DataError if there is none."""
        path = Path(self.location).expanduser()
        if not path.is_file():
            what = "this is a folder" if path.is_dir() else "there is no file"
            raise DataError(f"dataset '{self.text}': {what}: {path}")
        return path


@dataclass(frozen=True)
class Grammar:
    """How a kind of data names its sets.

    what      the kind, for messages: 'dataset'.
    kinds     what may stand before the colon.
    examples  for messages.
    hint      what to write for a path that stands alone.
    alone     kinds that come with the program or a package, and have nothing after them.
    """

    what: str
    kinds: tuple[str, ...]
    examples: str
    hint: Callable[[str], str]
    alone: tuple[str, ...] = ("demo",)

    def parse(self, text: str) -> DatasetSpec:
        """Raises DataError, with what to write instead, for an unknown kind, a missing location or a bad slice."""
        sliced = _SLICED.fullmatch(text)
        start, stop = _bounds(text, sliced["slice"]) if sliced else (0, None)
        kind, colon, location = (sliced["rest"] if sliced else text).strip().partition(":")
        if kind in self.alone and not colon:
            return DatasetSpec(text, kind, "", start, stop)
        if kind in self.alone:
            raise DataError(f"dataset '{text}': {kind} takes no path: write {kind}")
        if not colon:
            hint = self.hint(kind) if "/" in kind or "." in kind else f"write {self.examples}"
            raise DataError(f"dataset '{text}' does not say what kind it is: {hint}")
        if kind not in self.kinds:
            raise DataError(f"dataset '{text}': {unknown(f'kind of {self.what}', kind, self.kinds)}")
        if not location:
            raise DataError(f"dataset '{text}' has nothing after its colon: write {self.examples}")
        return DatasetSpec(text, kind, location, start, stop)


IMAGES = Grammar(
    "dataset",
    ("demo", "digits", "parquet", "folder", "hf"),
    "demo, parquet:images.parquet, folder:images/ or hf:ORG/NAME:validation",
    lambda path: f"write folder:{path} or parquet:{path}",
    alone=("demo", "digits"),
)


def parse_spec(text: str) -> DatasetSpec:
    """A set of images.  Raises DataError, with what to write instead, for text that names none."""
    return IMAGES.parse(text)


def dataset_problems(text: str) -> list[str]:
    """What is wrong with a dataset as far as can be told without reading it: its text, and whether its files exist."""
    try:
        spec = parse_spec(text)
        if spec.kind == "parquet":
            parquet_files(spec)
        if spec.kind == "folder":
            folder_path(spec)
    except DataError as error:
        return [str(error)]
    return []


def parquet_files(spec: DatasetSpec) -> tuple[Path, ...]:
    """The file, or the files that a pattern such as `data/test-*.parquet` matches, in the order of their names."""
    path = Path(spec.location).expanduser()
    if path.is_file():
        return (path,)
    if path.is_dir():
        raise DataError(f"dataset '{spec.text}': {path} is a folder: write parquet:{path}/*.parquet")
    found = tuple(Path(name) for name in sorted(glob.glob(str(path))))
    if not found:
        raise DataError(f"dataset '{spec.text}': there is no file {path}")
    return found


def folder_path(spec: DatasetSpec) -> Path:
    """The folder.  Raises DataError if there is none."""
    path = Path(spec.location).expanduser()
    if path.is_file():
        raise DataError(f"dataset '{spec.text}': {path} is a file: folder: takes a folder with one sub-folder a class")
    if not path.is_dir():
        raise DataError(f"dataset '{spec.text}': there is no folder {path}")
    return path


def _bounds(text: str, inside: str) -> tuple[int, int | None]:
    numbers = _SLICE.fullmatch(inside)
    if numbers is None:
        raise DataError(f"dataset '{text}': [{inside}] is not a slice: write [first:end], such as [0:128]")
    start, stop = int(numbers[1] or 0), int(numbers[2]) if numbers[2] else None
    if stop is not None and stop <= start:
        raise DataError(f"dataset '{text}': the slice [{inside}] is empty: write [first:end], such as [0:128]")
    return start, stop
