"""Scores of images, worked by hand or held against what they must be."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from compress.data.images import open_images
from compress.data.pixels import in_channels, pixels_of
from compress.errors import DataError, ModelError
from compress.tasks.generation import ImageGeneration
from compress.tasks.image_features import digits_mlp, features_by
from compress.tasks.image_scores import (
    centred,
    covered,
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


@pytest.mark.parametrize(("count", "other"), [(2, 3), (3, 40), (40, 3), (200, 150)])
def test_wide_features_have_the_same_distance_of_fewer_resamples(
    count: int, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of fewer images than features, more, and either."""
    draw = np.random.default_rng(1)
    one, two = (
        sample_of(draw.standard_normal((size, 5)) + shift, seed)
        for seed, (size, shift) in enumerate([(count, 0), (other, 1)])
    )
    narrow = frechet(one, two)
    monkeypatch.setattr("compress.tasks.image_scores._WIDE", 4)
    wide = frechet(one, two)
    assert wide.value == pytest.approx(narrow.value, abs=1e-6)
    np.testing.assert_allclose(wide.resamples, narrow.resamples[:50], atol=1e-6)


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


def test_points_are_covered_within_the_third_neighbours_distance_worked_by_hand() -> None:
    # of 0, 1, 2, 3 the third nearest others lie 3, 2, 2, 3 away: from −3 to 6 all is covered, at the ends by 0 and 3
    others = np.array([[0.0], [1.0], [2.0], [3.0]])
    points = np.array([[-3.5], [-3.0], [1.7], [6.0], [6.5]])
    assert covered(points, others).tolist() == [False, True, True, True, False]


@given(some.integers(0, 2**32 - 1), some.integers(5, 30))
def test_all_of_a_set_is_covered_by_itself_and_by_what_is_added_nothing_is_lost(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    points = draw.standard_normal((count, 2))
    assert covered(points, points).all()
    assert not covered(points + 1e3, points).any()


def test_half_of_what_is_wanted_is_precise_and_recalled_by_half() -> None:
    left, right = NORMAL - 50, NORMAL + 50
    both = np.vstack([left, right])
    near = left + 1e-6
    assert covered(near, both).mean() == 1
    assert covered(both, near).mean() == 0.5


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
    pairs = list(open_images("digits[1297:1797]"))
    images = in_channels(np.stack([pixels_of(8)(image) for image, _ in pairs]), 1)
    features, seen = digits_mlp()(images)
    assert features.shape == (500, 32)
    assert np.mean(seen == [label for _, label in pairs]) == pytest.approx(0.944)
    with pytest.raises(DataError, match=r"are of images of 1 × 8 × 8 \(channels, height, width\): got 3 × 32 × 32"):
        digits_mlp()(np.zeros((1, 3, 32, 32), np.float32))


def test_real_digits_are_nearer_to_digits_than_noise_is() -> None:
    pytest.importorskip("sklearn")
    task = ImageGeneration(10, 8, 1, "digits[0:300]", num_images=300)
    images = in_channels(np.stack([pixels_of(8)(image) for image, _ in open_images("digits[300:600]")]), 1)
    noise = np.random.default_rng(0).uniform(-1, 1, images.shape).astype(np.float32)
    good, bad = task.score(images), task.score(noise)
    assert good["frechet_digits_mlp"].value < 0.1 * bad["frechet_digits_mlp"].value
    assert good["kid_digits_mlp"].value < bad["kid_digits_mlp"].value
    assert good["precision_digits_mlp"].value > 0.7 > 0.1 > bad["precision_digits_mlp"].value
    assert good["recall_digits_mlp"].value > 0.5 > bad["recall_digits_mlp"].value
    assert good["recall_digits_mlp"].num_samples == 300
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


def test_features_that_do_not_ship_want_a_file_and_others_none() -> None:
    with pytest.raises(DataError, match=r"features 'cifar-resnet56' do not ship: write feature_weights: FILE"):
        features_by("cifar-resnet56", None)
    with pytest.raises(DataError, match="features 'digits-mlp' have weights of their own: take feature_weights out"):
        features_by("digits-mlp", "some.safetensors")
    with pytest.raises(ModelError, match=r"there is no file none.safetensors"):
        features_by("cifar-resnet56", "none.safetensors")


def test_a_file_of_features_is_part_of_what_scores_are_of(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "weights"
    found = []
    for content in (b"one", b"other"):
        file.write_bytes(content)
        found.append(ImageGeneration(10, 8, 1, "digits[0:3]", feature_weights=str(file)).fingerprint())
    assert found[0] != found[1]
    file.unlink()
    with pytest.raises(DataError, match=r"feature_weights .*weights: cannot be read: No such file"):
        ImageGeneration(10, 8, 1, "digits[0:3]", feature_weights=str(file)).fingerprint()


@pytest.mark.skipif("COMPRESS_TEST_ASSETS" not in os.environ, reason="needs COMPRESS_TEST_ASSETS, the real ResNet-56")
def test_a_real_classifier_tells_real_photographs_from_others() -> None:
    assets = Path(os.environ["COMPRESS_TEST_ASSETS"])
    pairs = list(open_images(f"parquet:{assets}/cifar10-test.parquet[0:200]", num_classes=10))
    images = np.stack([pixels_of(32)(image) for image, _ in pairs])
    labels = np.array([label for _, label in pairs])
    extractor = features_by("cifar-resnet56", f"{assets}/resnet56-cifar10.safetensors")
    features, seen = extractor(images)
    assert features.shape == (200, 64)
    assert (seen == labels).mean() > 0.8  # 89.7 % of all 10,000
    noise, _ = extractor(np.random.default_rng(0).uniform(-1, 1, images.shape).astype(np.float32))
    own, other = (covered(each, features).mean() for each in (features, noise))
    assert own == 1
    assert other < 0.1
