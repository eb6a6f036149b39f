"""A parquet file, opened with care: checksums verified, pages read one after another, faults told in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq


@contextmanager
def opened_parquet(dataset: str, path: Path, buffer_bytes: int = 0) -> Iterator[pq.ParquetFile]:
    """Scope: the file, while it is read; whatever pyarrow finds wrong with it meanwhile is told as a DataError.

    dataset       as the recipe writes it.
    buffer_bytes  read at once; 0: a column of a row group whole.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=buffer_bytes, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"dataset '{dataset}': {path} is damaged or not a parquet file ({size} bytes): {reason}"
        ) from error
