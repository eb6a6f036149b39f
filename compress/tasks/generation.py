"""ImageGeneration: images of classes, from fixed seeds, against real ones and against those of the float model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compress.data.images import ImageDataset, open_images
from compress.data.pixels import in_channels, pixels_of
from compress.errors import DataError
from compress.tasks.base import Float, Scores
from compress.tasks.image_features import Features, features_by, weights_sha256
from compress.tasks.image_scores import (
    Sample,
    centred,
    centred_ratio,
    covered,
    frechet,
    kernel_distance,
    likeness,
    sample_of,
)
from compress.tasks.lpips import perceptual_distance
from compress.tasks.statistics import paired_difference, wilson


@dataclass(frozen=True)
class ImageGeneration:
    """Image i is of class i modulo the number of classes, from the seed `seed` + i.

    dataset                   real images that the made ones are compared with.
    num_images                that are made.
    features                  by name: what distances are taken in, and which classifier tells the class; it is part of
                              the scores' names, as 'digits_mlp'.
    feature_weights           the classifier's file, if it does not ship.
    sample_size, in_channels  of the model's images.
    lpips                     whether images are compared by that distance as well.
    """

    name: ClassVar[str] = "image_generation"

    num_classes: int
    sample_size: int
    in_channels: int
    dataset: str = "digits"
    num_images: int = 1000
    features: str = "digits-mlp"
    seed: int = 0
    feature_weights: str | None = None
    lpips: bool = False

    @property
    def classes(self) -> NDArray[np.int64]:
        return np.arange(self.num_images, dtype=np.int64) % self.num_classes

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.num_images)

    @cached_property
    def real_images(self) -> ImageDataset:
        return open_images(self.dataset, num_classes=self.num_classes)

    @cached_property
    def extractor(self) -> Features:
        """Raises DataError if the features are of images of another size."""
        found = features_by(self.features, self.feature_weights)
        shape = (self.in_channels, self.sample_size, self.sample_size)
        if found.image_shape not in (None, shape):
            wanted, given = (" × ".join(map(str, sizes)) for sizes in (found.image_shape or (), shape))
            raise DataError(
                f"features '{self.features}' are of images of {wanted}, the model makes {given}: choose others"
            )
        return found

    @cached_property
    def _real(self) -> Sample:
        pixels = pixels_of(self.sample_size)
        images = np.stack([pixels(image) for image, _ in self.real_images])
        return sample_of(self.extractor(in_channels(images, self.in_channels))[0], self.seed + 1)

    @property
    def _suffix(self) -> str:
        return self.features.replace("-", "_")

    def score(self, images: Float) -> Scores:
        """Of images [num_images, C, H, W] alone.

        frechet_FEATURES         Fréchet distance to the real images; bootstrap.
        kid_FEATURES             kernel distance to them; bootstrap.
        class_accuracy_FEATURES  share in which the classifier sees the class that was asked for; Wilson; of features
                                 that know these classes.
        precision_FEATURES       share that lies among the real images; Wilson, of the images.
        recall_FEATURES          share of the real images that lies among these; Wilson, of the real ones.
        """
        features, seen = self.extractor(images)
        precise, recalled = covered(features, self._real.features), covered(self._real.features, features)
        sample = sample_of(features, self.seed)
        classes = {}
        if seen is not None:
            classes = {f"class_accuracy_{self._suffix}": wilson(int((seen == self.classes).sum()), len(images))}
        return {
            f"frechet_{self._suffix}": centred(frechet(sample, self._real), len(images), 0.0),
            f"kid_{self._suffix}": centred(kernel_distance(sample, self._real), len(images)),
            **classes,
            f"precision_{self._suffix}": wilson(int(precise.sum()), len(precise)),
            f"recall_{self._suffix}": wilson(int(recalled.sum()), len(recalled)),
        }

    def compare(self, images: Float, reference: Float) -> Scores:
        """Against the float model's images of the same classes and seeds.

        psnr_db                            of the mean squared error of all; bootstrap.
        ssim                               mean over the images; Student's interval.
        lpips                              mean over the images, if it was asked for; Student's interval.
        frechet_ratio_FEATURES             of the two Fréchet distances; bootstrap, both on the same resamples.
        class_accuracy_FEATURES_difference as a share; Tango's paired interval.
        """
        (features, seen), (before, seen_before) = self.extractor(images), self.extractor(reference)
        ours, theirs = (frechet(sample_of(each, self.seed), self._real) for each in (features, before))
        found = {
            **likeness(images, reference, self.seed),
            **({"lpips": perceptual_distance(images, reference)} if self.lpips else {}),
            f"frechet_ratio_{self._suffix}": centred_ratio(ours, theirs, len(images)),
        }
        if seen is not None and seen_before is not None:
            right, right_before = seen == self.classes, seen_before == self.classes
            found[f"class_accuracy_{self._suffix}_difference"] = paired_difference(right, right_before)
        return found

    def fingerprint(self) -> str:
        """sha256 of the real images, of what is compared with them, and of the classifier, if it is a file."""
        told = f"{self.real_images.fingerprint()} {self.num_images} {self.num_classes} {self.seed} {self.features}"
        if self.lpips:
            told += " lpips"
        if self.feature_weights is not None:
            told += f" {weights_sha256(self.feature_weights)}"
        return hashlib.sha256(told.encode()).hexdigest()
