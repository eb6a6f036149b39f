"""Scores of images, worked by hand or held against what they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from compress.errors import DataError
from compress.tasks.generation import ImageGeneration
from compress.tasks.image_features import digits_mlp
from compress.tasks.image_scores import (
    centred,
    frechet,
    frechet_distance,
    kernel_distance,
    psnr_db,
    sample_of,
    squared_errors,
    structural_similarity,
)

NORMAL = np.random.default_rng(0).standard_normal((200, 3))


def test_the_distance_of_two_normals_is_worked_by_hand() -> None:
    # ‖(3, 4)‖² = 25; tr(I + 4 I − 2 · 2 I) = 2
    assert frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 4.0]), 4 * np.eye(2)) == pytest.approx(27)


@given(some.integers(0, 2**32 - 1))
def test_a_distance_to_oneself_is_zero_and_goes_both_ways(seed: int) -> None:
    draw = np.random.default_rng(seed)
    roots, means = draw.standard_normal((2, 3, 3)), draw.standard_normal((2, 3))
    one, other = (root @ root.T for root in roots)
    assert frechet_distance(means[0], one, means[0], one) == pytest.approx(0, abs=1e-6)
    there = frechet_distance(means[0], one, means[1], other)
    assert there == pytest.approx(frechet_distance(means[1], other, means[0], one))
    assert there > -1e-9


def test_moments_are_numpys_and_those_of_the_rows_that_were_drawn() -> None:
    sample = sample_of(NORMAL, 0)
    means, covariances = sample.moments()
    np.testing.assert_allclose(means[0], NORMAL.mean(axis=0))
    np.testing.assert_allclose(covariances[0], np.cov(NORMAL.T))
    drawn = np.repeat(NORMAL, sample.draws[0].astype(int), axis=0)
    np.testing.assert_allclose(means[1], drawn.mean(axis=0))
    np.testing.assert_allclose(covariances[1], np.cov(drawn.T))


def test_an_interval_of_the_distance_holds_the_value() -> None:
    found = centred(frechet(sample_of(NORMAL, 0), sample_of(NORMAL[:100] + 1, 1)), 200)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_the_kernel_distance_is_unbiased_and_worked_by_hand() -> None:
    # (x · y + 1)³ of one number: 8 within the first, 125 within the second, 27 between them
    one, other = np.full((20, 1), 1.0), np.full((20, 1), 2.0)
    assert kernel_distance(sample_of(one, 0), sample_of(other, 1)).value == pytest.approx(8 + 125 - 2 * 27)
    near = np.random.default_rng(1).standard_normal((400, 3))
    found = kernel_distance(sample_of(NORMAL, 0), sample_of(near, 1))
    assert abs(found.value) < 3 * found.resamples.std()


def test_psnr_is_of_the_whole_range() -> None:
    black, white = np.full((1, 1, 8, 8), -1, np.float32), np.full((1, 1, 8, 8), 1, np.float32)
    assert psnr_db(squared_errors(black, white)).tolist() == [0.0]
    assert psnr_db(squared_errors(black, black + 0.2)).item() == pytest.approx(20, abs=1e-4)
    assert psnr_db(squared_errors(black, black)).tolist() == [100.0]
    assert squared_errors(black - 5, black).tolist() == [0.0]


def test_structure_is_like_itself_and_unlike_its_inverse() -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (3, 1, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(structural_similarity(image, image), 1)
    assert (structural_similarity(image, -image) < 0).all()
    flat = np.zeros((1, 1, 8, 8), np.float32)
    # light of 0.5 and 0.75, c1 = 0.01²
    assert structural_similarity(flat, flat + 0.5).item() == pytest.approx((0.75 + 1e-4) / (0.8125 + 1e-4))


def test_the_shipped_classifier_knows_digits_that_it_was_not_trained_on() -> None:
    pytest.importorskip("sklearn")
    from compress.data.images import open_images
    from compress.data.pixels import in_channels, pixels_of

    pairs = list(open_images("digits[1297:1797]"))
    images = in_channels(np.stack([pixels_of(8)(image) for image, _ in pairs]), 1)
    features, seen = digits_mlp()(images)
    assert features.shape == (500, 32)
    assert np.mean(seen == [label for _, label in pairs]) == pytest.approx(0.944)
    with pytest.raises(DataError, match=r"are of images of 1 × 8 × 8 \(channels, height, width\): got 3 × 32 × 32"):
        digits_mlp()(np.zeros((1, 3, 32, 32), np.float32))


def test_real_digits_are_nearer_to_digits_than_noise_is() -> None:
    pytest.importorskip("sklearn")
    from compress.data.images import open_images
    from compress.data.pixels import in_channels, pixels_of

    task = ImageGeneration(10, 8, 1, "digits[0:300]", num_images=300)
    images = in_channels(np.stack([pixels_of(8)(image) for image, _ in open_images("digits[300:600]")]), 1)
    noise = np.random.default_rng(0).uniform(-1, 1, images.shape).astype(np.float32)
    good, bad = task.score(images), task.score(noise)
    assert good["frechet_digits_mlp"].value < 0.1 * bad["frechet_digits_mlp"].value
    assert good["kid_digits_mlp"].value < bad["kid_digits_mlp"].value
    same = task.compare(images, images)
    assert same["frechet_ratio_digits_mlp"].value == 1
    assert same["psnr_db"].value == 100
    assert same["ssim"].value == pytest.approx(1)
    assert same["class_accuracy_digits_mlp_difference"].value == 0
    assert math.isfinite(task.compare(noise, images)["frechet_ratio_digits_mlp"].value)


def test_features_of_other_images_are_refused() -> None:
    with pytest.raises(
        DataError, match="features 'digits-mlp' are of images of 1 × 8 × 8, the model makes 3 × 32 × 32"
    ):
        _ = ImageGeneration(10, 32, 3).extractor
