"""The file beside the graphs that holds their weights: each written as it comes, equal ones once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

WEIGHTS = "model.onnx_data"
SMALLEST = 1024  # bytes; what is smaller lies in the graph
_ALIGNMENT, _PAGE = 64, 4096  # bytes; onnxruntime maps whole pages, so that large weights begin at one


class Counter:
    """A stream that keeps nothing of what is written but the number of its bytes."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        return


class WeightFile:
    """`directory`/model.onnx_data, written from front to back: the same bytes for the same weights in the same order.
    Without a directory its bytes are counted, and nothing is written.

    A weight that equals an earlier one, of the same or of another graph, is not written again.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.places: dict[bytes, tuple[int, int]] = {}
        self.stream: Counter | BinaryIO = Counter() if directory is None else (directory / WEIGHTS).open("wb")

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()

    def tensor(self, array: NDArray[Any], name: str) -> ir.ExternalTensor:
        """Write the array, unless it is there, and return the tensor that says where."""
        data = np.ascontiguousarray(array).data.cast("B")
        digest = content_hash(array)
        if digest not in self.places:
            alignment = _PAGE if data.nbytes >= _PAGE else _ALIGNMENT
            self.stream.write(bytes(-self.stream.tell() % alignment))
            self.places[digest] = (self.stream.tell(), data.nbytes)
            self.stream.write(data)
        offset, length = self.places[digest]
        return ir.ExternalTensor(
            WEIGHTS,
            offset,
            length,
            ir.DataType.from_numpy(array.dtype),
            shape=ir.Shape(array.shape),
            name=name,
            base_dir=self.directory or "",
        )


def content_hash(array: NDArray[Any]) -> bytes:
    """Equal for arrays of the same bytes, whatever their shape and type."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=20).digest()
