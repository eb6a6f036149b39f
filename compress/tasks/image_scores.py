"""Scores of images: how near they are to others of the same seeds (PSNR, SSIM), and how near a set of them is to a set
of real ones (Fréchet distance and kernel distance, over resamples of both; precision and recall)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.tasks.base import Figure, Float, Scores
from compress.tasks.bootstrap import Resampled, resampling
from compress.tasks.statistics import mean_interval

Float64 = NDArray[np.float64]
RANGE = 2.0  # of pixels: from −1 to 1
HIGHEST_PSNR_DB = 100.0  # of images that are the same
_WINDOW = 7  # pixels of SSIM's side
_NEIGHBOUR = 3  # whose distance is a point's radius: Kynkäänniemi et al. 2019, section 3
_ROWS = 1000  # of a matrix of distances, at once
# Features that are wider, as Inception's 2,048, take seconds a resample: these have so few.
_WIDE, _FEW_RESAMPLES = 256, 50


def squared_errors(images: Float, reference: Float) -> Float64:
    """Mean squared error of each image, cut to −1 … 1.  [N, C, H, W] twice → [N]."""
    difference = np.clip(images, -1, 1).astype(np.float64) - np.clip(reference, -1, 1)
    errors: Float64 = np.square(difference).mean(axis=(1, 2, 3))
    return errors


def psnr_db(mean_squared_error: Float64) -> Float64:
    """10 · log₁₀(range² / error), at most HIGHEST_PSNR_DB."""
    least = RANGE**2 * 10 ** (-HIGHEST_PSNR_DB / 10)
    decibels: Float64 = 10 * np.log10(RANGE**2 / np.maximum(mean_squared_error, least))
    return decibels


def structural_similarity(images: Float, reference: Float) -> Float64:
    """SSIM of each image, as light from 0 to 1: Wang et al. 2004, doi:10.1109/TIP.2003.819861, eq. 13, in even windows
    of 7 × 7 pixels (or of the whole image, if that is smaller).  [N, C, H, W] twice → [N]."""
    x, y = ((np.clip(each, -1, 1).astype(np.float64) + 1) / 2 for each in (images, reference))
    size = min(_WINDOW, *x.shape[2:])
    mean_x, mean_y = _window_means(x, size), _window_means(y, size)
    unbiased = size * size / max(1, size * size - 1)
    variance_x = unbiased * (_window_means(x * x, size) - mean_x**2)
    variance_y = unbiased * (_window_means(y * y, size) - mean_y**2)
    covariance = unbiased * (_window_means(x * y, size) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    found: Float64 = (similar / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean(axis=(1, 2, 3))
    return found


def likeness(images: Float, reference: Float, seed: int) -> Scores:
    """How near images are to those of a reference, each to its own.  [N, C, H, W] twice.

    psnr_db  of the mean squared error of all; bootstrap, by the seed.
    ssim     mean over the images; Student's interval.
    """
    errors = squared_errors(images, reference)
    draws = resampling(range(len(errors)), seed).draws
    decibels = Resampled(float(psnr_db(errors.mean())), psnr_db(draws @ errors / len(errors)))
    return {
        "psnr_db": decibels.figure(len(images)),
        "ssim": mean_interval(structural_similarity(images, reference)),
    }


def _window_means(x: Float64, size: int) -> Float64:
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    means: Float64 = windows.mean(axis=(-2, -1))
    return means


@dataclass(frozen=True)
class Sample:
    """Features [N, D] of a set of images, and how often resamples draw each, [R, N]."""

    features: Float64
    draws: Float64

    @property
    def num_images(self) -> int:
        return len(self.features)

    def moments(self) -> tuple[Float64, Float64]:
        """Means [1 + R, D] and covariances [1 + R, D, D], of the set and of each resample."""
        count, size = self.features.shape
        weights = np.vstack([np.ones(count), self.draws]) / count
        means = weights @ self.features
        products = (self.features[:, :, None] * self.features[:, None, :]).reshape(count, size * size)
        second = (weights @ products).reshape(-1, size, size)
        covariances = (second - means[:, :, None] * means[:, None, :]) * (count / max(1, count - 1))
        return means, covariances

    def factors(self) -> Iterator[tuple[Float64, Float64]]:
        """Mean [D] and a factor F [at most D, D] of the covariance FᵀF, of the set and then of 50 resamples."""
        count, size = self.features.shape
        for weights in np.vstack([np.ones(count), self.draws[:_FEW_RESAMPLES]]):
            drawn, often = self.features[weights > 0], weights[weights > 0]
            mean = often @ drawn / count
            rows = (drawn - mean) * np.sqrt(often / max(1, count - 1))[:, None]
            yield mean, rows if len(rows) <= size else np.asarray(np.linalg.qr(rows, mode="r"))


def sample_of(features: Float64, seed: int) -> Sample:
    """Resampled by the seed: of two sets that are compared row by row, the same for both."""
    return Sample(features, resampling(range(len(features)), seed).draws)


def frechet_distance(mean_1: Float64, covariance_1: Float64, mean_2: Float64, covariance_2: Float64) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), the squared distance of two normal distributions.

    Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X; of images: Heusel et al. 2017, arXiv:1706.08500.  The trace
    of the root is taken of Σ₁^½ Σ₂ Σ₁^½, which is symmetric and has the same eigenvalues.
    """
    values, vectors = np.linalg.eigh(covariance_1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ covariance_2 @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return float(np.square(mean_1 - mean_2).sum() + np.trace(covariance_1) + np.trace(covariance_2) - 2 * cross)


def frechet_distance_of_factors(mean_1: Float64, factor_1: Float64, mean_2: Float64, factor_2: Float64) -> float:
    """`frechet_distance` of covariances FᵀF, whose trace of the root is the sum of the singular values of F₁F₂ᵀ: quick
    where there are fewer images than features."""
    product = factor_1 @ factor_2.T
    shorter = product @ product.T if len(product) <= len(product.T) else product.T @ product
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(shorter), 0)).sum()
    return float(np.square(mean_1 - mean_2).sum() + np.square(factor_1).sum() + np.square(factor_2).sum() - 2 * cross)


def frechet(images: Sample, real: Sample) -> Resampled:
    """The Fréchet distance of the two sets, and of their resamples; in wide features of 50 of these."""
    if images.features.shape[1] > _WIDE:
        pairs = zip(images.factors(), real.factors(), strict=True)
        found = [frechet_distance_of_factors(*ours, *theirs) for ours, theirs in pairs]
    else:
        (means, covariances), (real_means, real_covariances) = images.moments(), real.moments()
        each = zip(means, covariances, real_means, real_covariances, strict=True)
        found = [frechet_distance(*one) for one in each]
    return Resampled(found[0], np.array(found[1:]))


def kernel_distance(images: Sample, real: Sample) -> Resampled:
    """Squared maximum mean discrepancy, unbiased, with the kernel (x · y / D + 1)³: the KID of Bińkowski et al. 2018,
    arXiv:1801.01401.  A resample that draws an image twice makes no pair of the two; one that draws only one image
    has no such distance: nan."""
    size = images.features.shape[1]

    def kernel(x: Float64, y: Float64) -> Float64:
        values: Float64 = (x @ y.T / size + 1) ** 3
        return values

    def within(sample: Sample) -> Float64:
        values = kernel(sample.features, sample.features)
        np.fill_diagonal(values, 0)
        weights = np.vstack([np.ones(sample.num_images), sample.draws])
        pairs = weights.sum(axis=1) ** 2 - np.square(weights).sum(axis=1)
        total: Float64 = ((weights @ values) * weights).sum(axis=1)
        mean: Float64 = np.divide(total, pairs, out=np.full_like(total, np.nan), where=pairs > 0)
        return mean

    weights = [np.vstack([np.ones(each.num_images), each.draws]) / each.num_images for each in (images, real)]
    between = ((weights[0] @ kernel(images.features, real.features)) * weights[1]).sum(axis=1)
    found = within(images) + within(real) - 2 * between
    return Resampled(float(found[0]), found[1:])


def covered(points: Float64, others: Float64, neighbour: int = _NEIGHBOUR) -> NDArray[np.bool_]:
    """Whether each point [N, D] lies no further from one of the others [M, D] than that one's third nearest of its own:
    Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 2.  → [N].

    Of images among real ones the share is precision, of real ones among images it is recall.
    """
    radii = np.concatenate(
        [np.partition(distances, neighbour, axis=1)[:, neighbour] for distances in _squared_distances(others, others)]
    )  # place 0 is the point itself
    return np.concatenate([(distances <= radii).any(axis=1) for distances in _squared_distances(points, others)])


def _squared_distances(points: Float64, others: Float64) -> Iterator[Float64]:
    """[N, D], [M, D] → parts of [N, M], one after another."""
    lengths = np.square(others).sum(axis=1)
    for start in range(0, len(points), _ROWS):
        part = points[start : start + _ROWS]
        yield np.maximum(np.square(part).sum(axis=1)[:, None] + lengths - 2 * part @ others.T, 0)


def centred(found: Resampled, num_samples: int, minimum: float = -np.inf) -> Figure:
    """The value with the middle 95 % of the resamples, moved so that their mean is the value.

    A resample of a set lies further from another set than the set itself, since it holds some images twice: its mean
    is too large, its spread is what is wanted.
    """
    moved = found.resamples - found.resamples.mean() + found.value
    low, high = np.percentile(moved, [2.5, 97.5])
    return Figure(found.value, max(minimum, float(low)), float(high), num_samples)


def centred_ratio(found: Resampled, reference: Resampled, num_samples: int) -> Figure:
    """found / reference, both of the same resamples, with its interval centred likewise, by its logarithm."""
    value = np.log(found.value / reference.value)
    logs = np.log(np.maximum(found.resamples, 1e-12) / np.maximum(reference.resamples, 1e-12))
    low, high = np.exp(np.percentile(logs - logs.mean() + value, [2.5, 97.5]))
    return Figure(float(np.exp(value)), float(low), float(high), num_samples)
