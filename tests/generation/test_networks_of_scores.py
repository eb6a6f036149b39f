"""Scores by networks whose weights are no part of this program: here those networks with random weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from compress.errors import DataError, ModelError
from compress.tasks.generation import ImageGeneration
from compress.tasks.image_features import features_by
from compress.tasks.lpips import perceptual_distance

torch = pytest.importorskip("torch")
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 3, 40, 40)).astype(np.float32)


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """torch-fidelity's network with random weights, and the file of these."""
    pytest.importorskip("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as module

    drawn = pytest.MonkeyPatch()
    with torch.random.fork_rng(), drawn.context() as patch:
        torch.manual_seed(0)
        patch.setattr(module, "load_state_dict_from_url", lambda *given, **more: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("random", ["2048"])
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), file)
    return file, network


def test_features_are_those_of_the_network_on_bytes(inception: tuple[Path, Any]) -> None:
    file, network = inception
    found, classes = features_by("inception-2015", str(file))(IMAGES)
    assert found.shape == (3, 2048)
    assert classes is None
    wanted = network(torch.from_numpy(np.rint((IMAGES + 1) * 127.5).astype(np.uint8)))[0]
    np.testing.assert_allclose(found, wanted.double().numpy(), rtol=1e-4, atol=1e-6)


def test_grey_images_are_grey_colours(inception: tuple[Path, Any]) -> None:
    features = features_by("inception-2015", str(inception[0]))
    grey = IMAGES[:2, :1]
    np.testing.assert_array_equal(features(grey)[0], features(np.repeat(grey, 3, axis=1))[0])


def test_a_task_in_these_features_tells_distances_and_no_class(inception: tuple[Path, Any]) -> None:
    pytest.importorskip("sklearn")
    task = ImageGeneration(10, 8, 1, "digits[0:5]", 4, "inception-2015", feature_weights=str(inception[0]))
    images = np.random.default_rng(1).uniform(-1, 1, (4, 1, 8, 8)).astype(np.float32)
    assert {*task.score(images)} == {f"{name}_inception_2015" for name in ("frechet", "kid", "precision", "recall")}
    same = task.compare(images, images)
    assert same["frechet_ratio_inception_2015"].value == pytest.approx(1)
    assert not any(name.startswith("class_accuracy") for name in same)


def test_the_file_must_be_given_and_be_of_that_network(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    with pytest.raises(DataError, match=r"write feature_weights: weights-inception-2015-12-05-6726825d\.pth"):
        features_by("inception-2015", None)
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="not the state dict of torch-fidelity's Inception"):
        features_by("inception-2015", str(tmp_path / "other.pth"))


@pytest.fixture
def alexnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """AlexNet with random weights where torchvision would fetch them."""
    pytest.importorskip("torchmetrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchmetrics' own imports
        from torchvision.models import alexnet as build

    def drawn(**given: Any) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build(weights=None)

    monkeypatch.setattr("torchvision.models.alexnet", drawn)


@pytest.mark.usefixtures("alexnet")
def test_the_distance_is_nothing_to_oneself_and_grows_with_noise() -> None:
    noise = np.random.default_rng(2).standard_normal(IMAGES.shape).astype(np.float32)
    same, near, far = (perceptual_distance(IMAGES + share * noise, IMAGES) for share in (0, 0.05, 0.5))
    assert same.value == 0
    assert 0 < near.value < far.value
    assert near.low is not None
    assert near.low < near.value
    assert near.num_samples == 3


@pytest.mark.usefixtures("alexnet")
def test_grey_images_and_small_ones() -> None:
    grey = IMAGES[:, :1]
    coloured = np.repeat(grey, 3, axis=1)
    one, other = perceptual_distance(grey, grey[::-1].copy()), perceptual_distance(coloured, coloured[::-1].copy())
    assert one.value == pytest.approx(other.value)
    with pytest.raises(DataError, match="lpips wants images of 32 pixels or more, these have 8: take it out"):
        perceptual_distance(IMAGES[:, :, :8, :8], IMAGES[:, :, :8, :8])


def test_weights_that_cannot_be_fetched_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchmetrics")

    def offline(**given: Any) -> Any:
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models.alexnet", offline)
    with pytest.raises(DataError, match="AlexNet's weights cannot be fetched"):
        perceptual_distance(IMAGES, IMAGES)
