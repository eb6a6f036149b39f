"""Task: the data of a job, and the scores of anything that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
# A torch model or an ONNX session, wrapped: inputs [N, …] → outputs [N, …].  A task cannot tell which.
Predictor = Callable[[Float], Float]


@dataclass(frozen=True)
class Figure:
    """A measured number with its 95 % interval and the number of samples behind it.

    low and high are None where a figure has no sampling error (bytes, a count).
    """

    value: float
    low: float | None = None
    high: float | None = None
    num_samples: int | None = None


Scores = dict[str, Figure]  # by name, with unit in the name where it has one: top1, top5, agreement, kl_nats, …


@dataclass(frozen=True)
class Batch:
    """inputs float32 [N, …] as the artefact takes them; labels int64 [N]."""

    inputs: Float
    labels: NDArray[np.int64]


class Task(Protocol):
    """A job with data.  `evaluation` and `calibration` are re-iterable: every call starts anew."""

    @property
    def name(self) -> str: ...

    def evaluation(self) -> Iterator[Batch]: ...

    def calibration(self) -> Iterator[Batch]: ...

    def example(self) -> Float:
        """One real input, [1, …]."""
        ...

    def score(self, outputs: Float, labels: NDArray[np.int64]) -> Scores:
        """Scores of outputs on their own."""
        ...

    def compare(self, outputs: Float, reference: Float, labels: NDArray[np.int64]) -> Scores:
        """Scores of outputs against the float model's on the same inputs, in the same order."""
        ...

    def fingerprints(self) -> dict[str, str]:
        """sha256 of the evaluation and of the calibration data, as used."""
        ...


def predict(predictor: Predictor, batches: Sequence[Batch] | Iterator[Batch]) -> tuple[Float, NDArray[np.int64]]:
    """All outputs and labels, concatenated."""
    outputs, labels = [], []
    for batch in batches:
        outputs.append(predictor(batch.inputs))
        labels.append(batch.labels)
    return np.concatenate(outputs), np.concatenate(labels)
