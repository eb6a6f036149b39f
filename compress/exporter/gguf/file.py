"""The GGUF file itself: its header, and its tensors written one after another, some rows at a time.

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3, little-endian).
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from compress.errors import ArtefactError
from compress.exporter.directory import umask
from compress.passes.base import Progress

# A value of the header: a list holds values of one kind, and integers of lists are signed, as llama.cpp reads them.
Value = bool | int | float | str | list[str] | list[float] | list[int]

_MAGIC, _VERSION, _ALIGNMENT = b"GGUF", 3, 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it lies in the file.

    shape  as torch has it, the last dimension contiguous.
    kind   of its values: the name of a type of ggml's, 'F32', 'Q4_0', …
    parts  gives its bytes from front to back, in arrays of uint8 that together are `num_bytes` long.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    num_bytes: int
    parts: Callable[[], Iterator[NDArray[Any]]]


def write_file(path: Path, values: Mapping[str, Value], tensors: Sequence[StoredTensor], progress: Progress) -> int:
    """Write a file, which appears all at once, and return its size in bytes.

    Raises ArtefactError where the system does not let it be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(_header(values, tensors))
                for tensor in progress(tensors, "writing tensors", len(tensors)):
                    _write(stream, tensor)
                num_bytes = stream.tell()
            partial.chmod(0o666 & ~umask())  # mkstemp's own mode lets nobody else read it
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be written: {error.strerror}") from error
    return num_bytes


def _header(values: Mapping[str, Value], tensors: Sequence[StoredTensor]) -> bytes:
    """All before the first tensor's bytes."""
    from gguf.constants import GGMLQuantizationType

    header = bytearray(_MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(values)))
    for key, value in values.items():
        header += _text(key) + _packed(value)
    offset = 0
    for tensor in tensors:
        shape = tensor.shape[::-1]
        header += _text(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        header += struct.pack("<IQ", GGMLQuantizationType[tensor.kind], offset)
        offset += tensor.num_bytes + _padding(tensor.num_bytes)
    return bytes(header) + bytes(_padding(len(header)))


def _write(stream: BinaryIO, tensor: StoredTensor) -> None:
    begin = stream.tell()
    for part in tensor.parts():
        stream.write(part.data)
    written = stream.tell() - begin
    assert written == tensor.num_bytes, f"{tensor.name}: {written} bytes, {tensor.num_bytes} were promised"
    stream.write(bytes(_padding(written)))


def _packed(value: Value) -> bytes:
    """A value after the number of its kind."""
    if not isinstance(value, list):
        kind, form = _kind(value)
        return struct.pack("<I", kind) + (_text(value) if isinstance(value, str) else struct.pack(form, value))
    if not value or isinstance(value[0], str):  # of empty lists there are only those of texts
        kind, content = _STRING, b"".join(_text(str(text)) for text in value)
    elif isinstance(value[0], float):
        kind, content = _FLOAT32, struct.pack(f"<{len(value)}f", *value)
    else:
        kind, content = _INT32, struct.pack(f"<{len(value)}i", *value)
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + content


def _kind(value: bool | int | float | str) -> tuple[int, str]:
    if isinstance(value, bool):
        return _BOOL, "<?"
    if isinstance(value, int):
        return _UINT32, "<I"
    return (_FLOAT32, "<f") if isinstance(value, float) else (_STRING, "")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _padding(length: int) -> int:
    return -length % _ALIGNMENT
