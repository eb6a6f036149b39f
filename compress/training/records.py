"""Records: bytes by key on disk, appended as they come, for one thing that the directory is about."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import ModelError

KEY_BYTES = 16
ABOUT = "teacher.json"
_HEAD = struct.Struct(f"<{KEY_BYTES}sI")  # key, bytes that follow


class Records:
    """The records below `directory`: a file for each process that writes, and what all are about.

    A record that was cut off by a kill is dropped.

    Raises ModelError for a directory that is about something else.
    """

    def __init__(self, directory: Path, about: Mapping[str, Any]) -> None:
        self.directory = directory
        self.file = directory / f"logits-{os.environ.get('RANK', '0')}.bin"
        self.places: dict[bytes, tuple[Path, int, int]] = {}
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / ABOUT
        if not path.is_file():
            partial = directory / f"{ABOUT}.{os.getpid()}"
            partial.write_text(json.dumps(about), encoding="utf-8")
            os.replace(partial, path)
        elif json.loads(path.read_text(encoding="utf-8")) != about:
            raise ModelError(f"{directory}: holds the logits of another teacher: name another cache, or remove it")
        for file in sorted(directory.glob("logits-*.bin")):
            self._read_heads(file)

    def _read_heads(self, file: Path) -> None:
        size, place = file.stat().st_size, 0
        with file.open("rb") as stream:
            while place + _HEAD.size <= size:
                stream.seek(place)
                key, length = _HEAD.unpack(stream.read(_HEAD.size))
                if place + _HEAD.size + length > size:
                    break
                self.places[key] = (file, place + _HEAD.size, length)
                place += _HEAD.size + length
        if place < size and file == self.file:
            os.truncate(file, place)

    def __contains__(self, key: bytes) -> bool:
        return key in self.places

    def __getitem__(self, key: bytes) -> bytes:
        file, place, length = self.places[key]
        with file.open("rb") as stream:
            stream.seek(place)
            return stream.read(length)

    def keep(self, key: bytes, payload: bytes) -> None:
        with self.file.open("ab") as stream:
            place = stream.tell()
            stream.write(_HEAD.pack(key, len(payload)) + payload)
        self.places[key] = (self.file, place + _HEAD.size, len(payload))
