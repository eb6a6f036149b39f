"""GGUF files: their header as data, and their tensors dequantized one at a time.

The header of a model with 262,144 tokens is read in a second; the format is described at
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ModelError, require

# Value types by number: those of one size, and the two that hold their own length.
_SCALARS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "|b1", 10: "<u8", 11: "<i8"}
_SCALARS |= {12: "<f8"}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class GgufTensor:
    """Where one tensor lies.  shape: as torch has it, the last dimension contiguous."""

    name: str
    shape: tuple[int, ...]
    kind: int
    begin: int
    num_bytes: int


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file that was checked to hold all that its header promises."""

    path: Path
    values: dict[str, Any]
    tensors: dict[str, GgufTensor]

    @property
    def architecture(self) -> str:
        return str(self.values["general.architecture"])

    def value(self, key: str, default: Any = None) -> Any:
        """What the header says under 'ARCHITECTURE.`key`'.  Raises ModelError if it lacks what has no default."""
        found = self.values.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise ModelError(f"{self.path}: its header lacks '{self.architecture}.{key}': the file is not whole")
        return found

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor, dequantized.  Raises ModelError for a type that cannot be."""
        from gguf import GGMLQuantizationType, dequantize

        tensor = self.tensors[name]
        data = np.memmap(self.path, np.uint8, "r", tensor.begin, (tensor.num_bytes,))
        rows = int(np.prod(tensor.shape[:-1], dtype=np.int64))
        try:
            values = dequantize(data.reshape(rows, -1), GGMLQuantizationType(tensor.kind))
        except (NotImplementedError, ValueError) as error:
            raise ModelError(
                f"{self.path}: '{name}' is of type {tensor.kind}, which cannot be dequantized here: "
                f"convert the file to F16 or Q8_0"
            ) from error
        return np.array(values, dtype=np.float32, order="C").reshape(tensor.shape)


def read_gguf(path: Path) -> GgufFile:
    """The header of a file, no tensor yet.

    Raises ModelError for a file that is missing, foreign, truncated, or of another byte order.
    """
    require("gguf", "reading GGUF files", "torch")
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    size = path.stat().st_size
    if size < 24:
        raise ModelError(f"{path} is not a GGUF file ({size} bytes)")
    data = np.memmap(path, np.uint8, "r")
    reader = _Reader(memoryview(data), path)  # type: ignore[arg-type]
    if bytes(data[:4]) != b"GGUF":
        raise ModelError(f"{path} is not a GGUF file: it begins with {bytes(data[:4])!r}")
    reader.at = 4
    version = reader.scalar("<u4")
    if version not in (2, 3):
        told = "is big-endian" if version in (2 << 24, 3 << 24) else f"is of version {version}"
        raise ModelError(f"{path} {told}: little-endian GGUF files of version 2 or 3 are read")
    num_tensors, num_values = reader.scalar("<u8"), reader.scalar("<u8")
    values = {}
    for _ in range(num_values):
        key = reader.string()
        values[key] = reader.value(reader.scalar("<u4"))
    if not isinstance(values.get("general.architecture"), str):
        raise ModelError(f"{path}: its header names no architecture: it holds no model")
    found = [reader.tensor() for _ in range(num_tensors)]
    alignment = int(values.get("general.alignment", 32))
    if alignment < 1:
        raise ModelError(f"{path}: damaged: its tensors are aligned to {alignment} bytes")
    begin = -(-reader.at // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in found:
        num_bytes = _num_bytes(path, name, shape, kind)
        if begin + offset + num_bytes > size:
            raise ModelError(
                f"{path} is truncated: '{name}' ends at byte {begin + offset + num_bytes}, the file at {size}: "
                f"copy or download it again"
            )
        tensors[name] = GgufTensor(name, shape, kind, begin + offset, num_bytes)
    return GgufFile(path, values, tensors)


def _num_bytes(path: Path, name: str, shape: tuple[int, ...], kind: int) -> int:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError) as error:
        raise ModelError(f"{path}: '{name}' is of the unknown type {kind}: the file is damaged, or too new") from error
    numel = 1
    for length in shape:
        numel *= length
    if not shape or shape[-1] % block:
        raise ModelError(f"{path}: damaged: '{name}' of shape {list(shape)} is stored in blocks of {block}")
    return numel // block * block_bytes


@dataclass
class _Reader:
    """A place in the header; whatever runs over the end is a ModelError."""

    data: memoryview
    path: Path
    at: int = 0

    def take(self, num_bytes: int) -> memoryview:
        if num_bytes > len(self.data) - self.at:
            raise ModelError(f"{self.path} is truncated: its header runs over its {len(self.data)} bytes: get it again")
        taken = self.data[self.at : self.at + num_bytes]
        self.at += num_bytes
        return taken

    def scalar(self, kind: str) -> Any:
        return np.frombuffer(self.take(np.dtype(kind).itemsize), kind)[0].item()

    def string(self) -> str:
        (length,) = struct.unpack("<Q", self.take(8))
        return str(self.take(length), "utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise ModelError(f"{self.path}: damaged: its header holds a value of the unknown type {kind}")
        inner, length = self.scalar("<u4"), self.scalar("<u8")
        if inner in _SCALARS:
            dtype = np.dtype(_SCALARS[inner])
            return np.frombuffer(self.take(length * dtype.itemsize), dtype).tolist()
        if length > len(self.data):  # each element takes a byte at least
            raise ModelError(f"{self.path} is truncated: its header lists {length} values: get it again")
        return [self.value(inner) for _ in range(length)]

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self.string(), self.scalar("<u4")
        if dimensions > _MAX_DIMENSIONS:
            raise ModelError(f"{self.path}: damaged: '{name}' has {dimensions} dimensions")
        shape = tuple(self.scalar("<u8") for _ in range(dimensions))[::-1]
        return name, shape, self.scalar("<u4"), self.scalar("<u8")
