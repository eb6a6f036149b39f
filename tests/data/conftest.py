"""Small pictures in the layouts that datasets come in."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Encode = Callable[..., bytes]
Write = Callable[..., Path]


@pytest.fixture
def encode() -> Encode:
    """A picture of noise as the bytes of a file."""

    def make(seed: int = 0, size: tuple[int, int] = (20, 14), mode: str = "RGB", file: str = "PNG") -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(stream, file)
        return stream.getvalue()

    return make


@pytest.fixture
def write_parquet(tmp_path: Path) -> Write:
    """A file of images and labels in the Hugging Face layout."""

    def write(
        images: Sequence[bytes | None], labels: Sequence[int | None], name: str = "images.parquet", **options: object
    ) -> Path:
        column = pa.array(
            [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(images)],
            type=pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        )
        table = pa.table({"image": column, "label": pa.array(labels, type=pa.int64())})
        pq.write_table(table, tmp_path / name, **options)
        return tmp_path / name

    return write
