"""ImageClassification: which of the classes an image shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compress.data.images import ImageDataset, open_images
from compress.data.preprocess import Preprocessor
from compress.errors import ModelError
from compress.tasks.base import Batch, Float, Scores
from compress.tasks.statistics import mean_interval, paired_difference, wilson


@dataclass(frozen=True)
class ImageClassification:
    """A tasks.base.Task: inputs float32 [N, 3, H, W], outputs logits [N, num_classes].

    dataset                  of the scores: demo, parquet:PATH, folder:PATH or hf:NAME, each with [first:end] if wanted.
    calibration_dataset      of the passes, written alike.
    calibration_num_samples  at most so many images of it, drawn by calibration_seed; None: all.
    labels                   of the model: `folder:` sets may name their folders after them.
    """

    name: ClassVar[str] = "image_classification"

    preprocessor: Preprocessor
    num_classes: int
    dataset: str = "demo"
    calibration_dataset: str = "demo"
    calibration_num_samples: int | None = None
    calibration_seed: int = 0
    batch_size: int = 32
    calibration_batch_size: int = 32
    labels: tuple[str, ...] = ()

    @cached_property
    def evaluation_images(self) -> ImageDataset:
        """Raises DataError if the set cannot be used with the model."""
        return open_images(self.dataset, num_classes=self.num_classes, labels=self.labels)

    @cached_property
    def calibration_images(self) -> ImageDataset:
        """Raises DataError if the set cannot be used with the model."""
        images = open_images(self.calibration_dataset, num_classes=self.num_classes, labels=self.labels)
        return images.sample(self.calibration_num_samples, self.calibration_seed)

    def __len__(self) -> int:
        """The number of evaluation batches."""
        return -(-len(self.evaluation_images) // self.batch_size)

    def evaluation(self) -> Iterator[Batch]:
        return self._batches(self.evaluation_images, self.batch_size)

    def calibration(self) -> Iterator[Batch]:
        return self._batches(self.calibration_images, self.calibration_batch_size)

    def example(self) -> Float:
        """The first calibration image, [1, 3, H, W]."""
        return next(self._batches(self.calibration_images, 1)).inputs

    def score(self, outputs: Float, labels: NDArray[np.int64]) -> Scores:
        """top1 and top5 as shares with Wilson intervals; no top5 of five classes or fewer.

        Of equal logits the first class wins, as argmax has it.  Raises ModelError for outputs that are not finite
        logits [N, num_classes].
        """
        ranks = self.ranks(outputs, labels)
        scores = {"top1": wilson(int((ranks == 0).sum()), len(ranks))}
        if self.num_classes > 5:
            scores["top5"] = wilson(int((ranks < 5).sum()), len(ranks))
        return scores

    def compare(self, outputs: Float, reference: Float, labels: NDArray[np.int64]) -> Scores:
        """Against the float model's outputs on the same images.

        agreement        share of images whose first class is the same; Wilson.
        kl_nats          mean over the images of KL(softmax reference ‖ softmax outputs); Student's interval.
        top1_difference  top1 of outputs − top1 of reference, as a share (0.01 is one point); Tango's paired interval.
        """
        correct, correct_before = self.ranks(outputs, labels) == 0, self.ranks(reference, labels) == 0
        same = outputs.argmax(axis=1) == reference.argmax(axis=1)
        return {
            "agreement": wilson(int(same.sum()), len(same)),
            "kl_nats": mean_interval(kl_nats(reference, outputs), minimum=0.0),
            "top1_difference": paired_difference(correct, correct_before),
        }

    def fingerprints(self) -> dict[str, str]:
        """sha256 of the images and labels: {'evaluation': …, 'calibration': …}."""
        return {
            "evaluation": self.evaluation_images.fingerprint(),
            "calibration": self.calibration_images.fingerprint(),
        }

    def _batches(self, images: ImageDataset, batch_size: int) -> Iterator[Batch]:
        inputs: list[Float] = []
        labels: list[int] = []
        for image, label in images:
            inputs.append(self.preprocessor(image))
            labels.append(label)
            if len(inputs) == batch_size:
                yield Batch(np.stack(inputs), np.array(labels, dtype=np.int64))
                inputs, labels = [], []
        if inputs:
            yield Batch(np.stack(inputs), np.array(labels, dtype=np.int64))

    def ranks(self, outputs: Float, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of each image's true class among the logits, 0 the first: int64 [N].

        Raises ModelError for outputs that are not finite logits [N, num_classes].
        """
        if outputs.shape != (len(labels), self.num_classes):
            raise ModelError(
                f"the outputs have shape {list(outputs.shape)}: logits [{len(labels)}, {self.num_classes}] are wanted"
            )
        broken = int((~np.isfinite(outputs)).any(axis=1).sum())
        if broken:
            raise ModelError(f"the outputs for {broken} of {len(labels)} images are not finite numbers")
        own = np.take_along_axis(outputs, labels[:, None], axis=1)
        earlier = np.arange(self.num_classes)[None, :] < labels[:, None]
        ranks: NDArray[np.int64] = ((outputs > own) | ((outputs == own) & earlier)).sum(axis=1)
        return ranks


def kl_nats(reference: Float, outputs: Float) -> NDArray[np.float64]:
    """KL(softmax reference ‖ softmax outputs) of each row, in nats.  Logits [N, classes] → [N]."""
    ours, theirs = _log_softmax(outputs), _log_softmax(reference)
    divergence: NDArray[np.float64] = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    return np.maximum(divergence, 0.0)  # rounding leaves −1e-17 where both are the same


def _log_softmax(logits: Float) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    normalised: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalised
