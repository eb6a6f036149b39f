"""parquet:PATH, parallel text: every column of strings is a language, named by its code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.parquet_file import opened_parquet
from compress.data.spec import DatasetSpec, parquet_files
from compress.errors import DataError, require

if TYPE_CHECKING:
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class ParquetText:
    """One or more files with the same columns, the rows numbered through."""

    text: str
    files: tuple[Path, ...]

    def languages(self) -> tuple[str, ...]:
        return self._shape[0]

    def num_rows(self) -> int:
        return sum(self._shape[1])

    def columns(self, languages: Sequence[str], start: int, stop: int) -> list[list[str]]:
        """Reads the row groups that hold the rows, and of these the columns."""
        columns: list[list[str]] = [[] for _ in languages]
        row = 0
        for path, count in zip(self.files, self._shape[1], strict=True):
            if row < stop and row + count > start:
                first, last = max(start - row, 0), min(stop - row, count)
                for column, cells in zip(columns, self._read(path, languages, first, last), strict=True):
                    column.extend(cells)
            row += count
        return columns

    def _read(self, path: Path, languages: Sequence[str], start: int, stop: int) -> list[list[str]]:
        with self._opened(path) as file:
            groups, skipped, row = [], 0, 0
            for group in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if row < stop and row + count > start:
                    groups.append(group)
                elif not groups:
                    skipped += count
                row += count
            table = file.read_row_groups(groups, columns=list(languages), use_threads=False)
            table = table.slice(start - skipped, stop - start)
            return [[cell or "" for cell in table.column(language).to_pylist()] for language in languages]

    @cached_property
    def _shape(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """(languages, rows of each file)."""
        languages: list[tuple[str, ...]] = []
        counts = []
        for path in self.files:
            with self._opened(path) as file:
                schema = file.schema_arrow
                languages.append(tuple(field.name for field in schema if _is_text(field.type)))
                counts.append(file.metadata.num_rows)
                if not languages[-1]:
                    there = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
                    raise DataError(f"dataset '{self.text}': {path} has no column of text; its columns are: {there}")
        for path, others in zip(self.files, languages, strict=True):
            if set(others) != set(languages[0]):
                different = sorted(set(others) ^ set(languages[0]))
                raise DataError(
                    f"dataset '{self.text}': {self.files[0]} and {path} have different columns: {', '.join(different)}"
                )
        return languages[0], tuple(counts)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[pq.ParquetFile]:
        """The file, while it is read; text that is none is told as a DataError, too."""
        try:
            with opened_parquet(self.text, path) as file:
                yield file
        except UnicodeDecodeError as error:
            raise DataError(f"dataset '{self.text}': {path} holds text that is not UTF-8: {error.reason}") from error


def open_parquet_text(spec: DatasetSpec) -> ParquetText:
    """Raises DataError if there is no such file, MissingExtra without pyarrow."""
    require("pyarrow", "reading parquet files", "torch")
    return ParquetText(spec.text, parquet_files(spec))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
