"""Teachers whose answers lie on disk, by what they were shown, so that each runs once for trainings alike."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.calls import logits_of
from compress.training.records import KEY_BYTES, Records

TOP = 64  # tokens whose probability is kept at each place


class Cached(ABC):
    """A function of the student's arguments: the logits of `teacher`, as they are kept.

    Raises ModelError for a directory that another teacher filled.
    """

    def __init__(self, teacher: Callable[..., Any], directory: Path, sha256: str) -> None:
        if isinstance(teacher, nn.Module):
            teacher.eval()
        self.teacher = teacher
        self.records = Records(directory, {"sha256": sha256, "keeps": type(self).__name__})

    def __call__(self, *inputs: Tensor) -> Tensor:
        rows = self.rows(inputs)
        keys = [key_of(row) for row in rows]
        missing = [number for number, key in enumerate(keys) if key not in self.records]
        if missing:
            with torch.no_grad():
                logits = logits_of(self.teacher(*(tensor[missing] for tensor in inputs))).detach().float().cpu()
            for number, found in zip(missing, logits, strict=True):
                self.records.keep(keys[number], self.kept(found, rows[number]))
        answers = [self.read(self.records[key]) for key in keys]
        return self.together(answers, inputs).to(inputs[0].device)

    def rows(self, inputs: Sequence[Tensor]) -> list[list[np.ndarray[Any, Any]]]:
        """What each example is known by: its part of every input."""
        arrays = [tensor.detach().cpu().contiguous().numpy() for tensor in inputs]
        return [[array[number] for array in arrays] for number in range(len(arrays[0]))]

    @abstractmethod
    def kept(self, logits: Tensor, row: Sequence[np.ndarray[Any, Any]]) -> bytes:
        """Of one example's logits."""

    @abstractmethod
    def read(self, payload: bytes) -> Tensor:
        """The logits that `kept` kept."""

    @abstractmethod
    def together(self, answers: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """A batch of them."""


class CachedTeacher(Cached):
    """Of a classifier: logits [N, classes], rounded to float16.  Raises ModelError for a teacher of anything else."""

    def kept(self, logits: Tensor, row: Sequence[np.ndarray[Any, Any]]) -> bytes:
        if logits.dim() != 1:
            raise ModelError(
                f"teacher.cache keeps logits [N, classes], and these are [N, {str(list(logits.shape))[1:]}"
            )
        return logits.half().numpy().tobytes()

    def read(self, payload: bytes) -> Tensor:
        return torch.from_numpy(np.frombuffer(payload, np.float16).astype(np.float32))

    def together(self, answers: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(answers))


class CachedTokens(Cached):
    """Of a language model: of the logits [N, T, tokens] the `TOP` likeliest at each place, as log-probabilities in
    float16; all other tokens share what is left alike.

    A row's padding on the right is no part of what it is known by, and has zeros for logits.
    """

    def rows(self, inputs: Sequence[Tensor]) -> list[list[np.ndarray[Any, Any]]]:
        return [[unpadded(part) for part in row] for row in super().rows(inputs)]

    def kept(self, logits: Tensor, row: Sequence[np.ndarray[Any, Any]]) -> bytes:
        places = logits[: len(row[-1])].log_softmax(-1)
        values, numbers = places.topk(min(TOP, places.shape[-1]))
        head = np.array([places.shape[-1], *values.shape], np.int32).tobytes()
        return head + numbers.numpy().astype(np.int32).tobytes() + values.numpy().astype(np.float16).tobytes()

    def read(self, payload: bytes) -> Tensor:
        tokens, places, top = np.frombuffer(payload, np.int32, 3).tolist()
        count = places * top
        numbers = np.frombuffer(payload, np.int32, count, 12).reshape(places, top).astype(np.int64)
        values = np.frombuffer(payload, np.float16, count, 12 + 4 * count).reshape(places, top).astype(np.float32)
        left = (1.0 - np.exp(values).sum(-1)).clip(min=1e-8) / max(1, tokens - top)
        logits = torch.from_numpy(np.log(left).astype(np.float32))[:, None].repeat(1, tokens)
        return logits.scatter_(1, torch.from_numpy(numbers), torch.from_numpy(values))

    def together(self, answers: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        whole = torch.zeros(len(answers), inputs[-1].shape[1], answers[0].shape[-1])
        for number, answer in enumerate(answers):
            whole[number, : len(answer)] = answer
        return whole


def unpadded(row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A row of numbers without what repeats its last one."""
    differ = np.flatnonzero(row != row[-1])
    return row[: (differ[-1] + 2) if len(differ) else 1]


def key_of(parts: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """Of the bytes, types and shapes of an example's parts."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(f"{part.dtype} {part.shape}".encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.digest()
