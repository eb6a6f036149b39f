"""parquet:PATH in the Hugging Face image layout: a column `image` of {bytes, path} (or of bytes), a column `label`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.data.images import Sample
from compress.data.parquet_file import opened_parquet
from compress.data.spec import DatasetSpec, parquet_files
from compress.errors import DataError, require

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROWS_AT_ONCE = 32  # about 4 MB of photographs
BUFFER_BYTES = 1 << 20  # read a page after the other: a row group may hold gigabytes


@dataclass(frozen=True)
class ParquetImages:
    """One or more files, the rows numbered through."""

    text: str
    files: tuple[Path, ...]

    def labels(self) -> NDArray[np.int64]:
        parts = [np.zeros(0, np.int64)]
        for path in self.files:
            with self._opened(path) as file:
                column = file.read(columns=["label"]).column("label")
                if column.null_count:
                    row = sum(map(len, parts)) + column.is_null().to_pylist().index(True)
                    raise DataError(f"{self.where(row)}: the label is missing")
                parts.append(column.to_numpy().astype(np.int64))
        return np.concatenate(parts)

    def where(self, row: int) -> str:
        return f"dataset '{self.text}': row {row}"

    def samples(self, start: int, stop: int) -> Iterator[Sample]:
        row = 0
        for path in self.files:
            if row >= stop:
                return
            with self._opened(path) as file:
                groups: list[int] = []
                for group in range(file.metadata.num_row_groups):
                    count = file.metadata.row_group(group).num_rows
                    if row + count <= start and not groups:
                        row += count
                    else:
                        groups.append(group)
                for image, label in _rows(file, groups):
                    if row >= stop:
                        return
                    if row >= start:
                        yield Sample(self._bytes(image, row), label, self.where(row))
                    row += 1

    def _bytes(self, image: Any, row: int) -> bytes:
        encoded = image["bytes"] if isinstance(image, dict) else image
        if not isinstance(encoded, bytes):
            raise DataError(
                f"{self.where(row)}: the image has no bytes: the file must hold the images, not their paths"
            )
        return encoded

    @contextmanager
    def _opened(self, path: Path) -> Iterator[pq.ParquetFile]:
        """The file, while it is read, if it has the columns."""
        with opened_parquet(self.text, path, BUFFER_BYTES) as file:
            _check_columns(self.text, path, file.schema_arrow)
            yield file


def open_parquet(spec: DatasetSpec) -> ParquetImages:
    """Raises DataError if there is no such file, MissingExtra without pyarrow."""
    require("pyarrow", "reading parquet files", "torch")
    return ParquetImages(spec.text, parquet_files(spec))


def _rows(file: pq.ParquetFile, groups: list[int]) -> Iterator[tuple[Any, int]]:
    if not groups:
        return
    for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=["image", "label"], use_threads=False):
        # One image at a time becomes a Python object.
        for image, label in zip(batch.column("image"), batch.column("label"), strict=True):
            yield image.as_py(), int(label.as_py())


def _check_columns(text: str, path: Path, schema: Any) -> None:
    import pyarrow as pa

    for column in ("image", "label"):
        if column not in schema.names:
            there = ", ".join(schema.names) or "none"
            raise DataError(f"dataset '{text}': {path} has no column '{column}'; its columns are: {there}")
    label, image = schema.field("label").type, schema.field("image").type
    if not pa.types.is_integer(label):
        raise DataError(f"dataset '{text}': {path}: column 'label' holds {label}: class numbers are wanted")
    if pa.types.is_struct(image):
        image = image.field("bytes").type if image.get_field_index("bytes") >= 0 else image
    if not (pa.types.is_binary(image) or pa.types.is_large_binary(image)):
        raise DataError(f"dataset '{text}': {path}: column 'image' holds {image}: {{bytes, path}} is wanted")
