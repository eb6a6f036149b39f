"""CachedTeacher: a classifier's logits on disk, by what it was shown, so that it runs once for trainings alike."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.training.phase import logits_of

KEY_BYTES = 16
ABOUT = "teacher.json"


class CachedTeacher:
    """A function of the student's arguments: the logits [N, classes] of `teacher`, rounded to float16 as they are kept.

    directory  takes a file of records (a key of the example's bytes, its logits) for each process that writes, and what
               the teacher was.  A record that was cut off by a kill is dropped.

    Raises ModelError for a directory that another teacher filled, or a teacher of anything but [N, classes].
    """

    def __init__(self, teacher: Callable[..., Any], directory: Path, sha256: str) -> None:
        if isinstance(teacher, nn.Module):
            teacher.eval()
        self.teacher, self.directory, self.sha256 = teacher, directory, sha256
        self.file = directory / f"logits-{os.environ.get('RANK', '0')}.bin"
        self.known: dict[bytes, np.ndarray[Any, np.dtype[np.float16]]] = {}
        self.classes = 0
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / ABOUT).is_file():
            self._load()

    def _load(self) -> None:
        about = json.loads((self.directory / ABOUT).read_text(encoding="utf-8"))
        if about["sha256"] != self.sha256:
            raise ModelError(f"{self.directory}: holds the logits of another teacher: name another cache, or remove it")
        self.classes = int(about["classes"])
        size = KEY_BYTES + 2 * self.classes
        for file in sorted(self.directory.glob("logits-*.bin")):
            content = file.read_bytes()
            whole = len(content) // size * size
            if whole < len(content) and file == self.file:
                os.truncate(file, whole)
            for start in range(0, whole, size):
                key = content[start : start + KEY_BYTES]
                self.known[key] = np.frombuffer(content, np.float16, self.classes, start + KEY_BYTES)

    def __call__(self, *inputs: Tensor) -> Tensor:
        keys = keys_of(inputs)
        missing = [row for row, key in enumerate(keys) if key not in self.known]
        if missing:
            with torch.no_grad():
                logits = logits_of(self.teacher(*(tensor[missing] for tensor in inputs))).detach().float().cpu()
            if logits.dim() != 2:
                raise ModelError(f"teacher.cache keeps logits [N, classes], and these are {list(logits.shape)}")
            self._keep([keys[row] for row in missing], logits.half().numpy())
        found = np.stack([self.known[key] for key in keys]).astype(np.float32)
        return torch.from_numpy(found).to(inputs[0].device)

    def _keep(self, keys: Sequence[bytes], logits: np.ndarray[Any, np.dtype[np.float16]]) -> None:
        if not self.classes:
            self.classes = logits.shape[1]
            about = json.dumps({"sha256": self.sha256, "classes": self.classes})
            partial = self.directory / f"{ABOUT}.{os.getpid()}"
            partial.write_text(about, encoding="utf-8")
            os.replace(partial, self.directory / ABOUT)
        with self.file.open("ab") as file:
            for key, row in zip(keys, logits, strict=True):
                file.write(key + row.tobytes())
                self.known[key] = row


def keys_of(inputs: Sequence[Tensor]) -> list[bytes]:
    """One key an example: of the bytes, types and shapes of its row in every input."""
    arrays = [tensor.detach().cpu().contiguous().numpy() for tensor in inputs]
    keys = []
    for row in range(len(arrays[0])):
        digest = hashlib.blake2b(digest_size=KEY_BYTES)
        for array in arrays:
            digest.update(f"{array.dtype} {array.shape[1:]}".encode())
            digest.update(array[row].tobytes())
        keys.append(digest.digest())
    return keys
