"""Generators come in: the one that ships, saved ones, fresh ones; and what is wrong with others is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from compress.errors import ModelError, RecipeError
from compress.models.generators.loading import layer_names, load_generator, save_generator
from compress.models.generators.noted import sampling_of
from compress.models.generators.sampling import Sampling
from compress.models.source import ModelSource
from compress.recipe import parse
from tests.generating import inputs, tiny


def test_the_teacher_ships_with_fifty_guided_steps() -> None:
    loaded = load_generator(ModelSource("flow:digits"))
    assert sampling_of(loaded.model) == Sampling(50, 2.0)
    assert sampling_of(loaded.model).num_evaluations == 100
    assert loaded.labels == tuple("0123456789")
    assert not loaded.random_weights


def test_a_fresh_model_gives_no_velocity_yet() -> None:
    model = load_generator(ModelSource("flow:digits", weights="random", seed=3)).model
    with torch.no_grad():
        assert not model(*inputs()).any()  # adaLN-Zero: the last layer begins as zero


def test_a_shape_for_coloured_images_takes_them() -> None:
    model = load_generator(ModelSource("flow:cifar10", weights="random")).model
    with torch.no_grad():
        given = model(torch.zeros(2, 3, 32, 32), torch.zeros(2), torch.tensor([0, 10]))
    assert given.shape == (2, 3, 32, 32)
    with pytest.raises(
        ModelError, match=r"has no weights of its own: write weights: random, and train it by train\.flow"
    ):
        load_generator(ModelSource("flow:cifar10"))


def test_a_saved_generator_is_the_same(tmp_path: Path) -> None:
    model = tiny(None, num_steps=5)
    save_generator(model, tmp_path / "saved")
    again = load_generator(ModelSource(f"path:{tmp_path / 'saved'}")).model
    with torch.no_grad():
        assert torch.equal(again(*inputs()), model(*inputs()))
    assert sampling_of(again) == Sampling(5)
    assert "blocks.0.attention.to_q" in layer_names(ModelSource(f"path:{tmp_path / 'saved'}"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"patch": 2}, "unknown key 'patch': did you mean 'patch_size'"),
        ({"patch_size": 3}, "patch_size 3 does not divide sample_size 8"),
        ({"num_heads": 3}, "num_heads 3 does not divide hidden_size 16"),
        ({"in_channels": 2}, "in_channels is 2: 1 is grey, 3 is coloured"),
        ({"hidden_size": 32}, "does not fit the architecture"),
    ],
)
def test_a_config_that_does_not_fit_is_told(tmp_path: Path, values: dict[str, int], told: str) -> None:
    save_generator(tiny(), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    with pytest.raises(ModelError, match=told):
        load_generator(ModelSource(f"path:{tmp_path}"))


def test_weights_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    model = tiny()
    model.proj_out.weight.data[0, 0] = torch.nan
    save_generator(model, tmp_path)
    with pytest.raises(ModelError, match=r"1 of the 256 values of 'proj_out.weight' are NaN or infinite"):
        load_generator(ModelSource(f"path:{tmp_path}"))


@pytest.mark.parametrize(
    ("model", "task", "told"),
    [
        ("timm:resnet18", "image_generation", "'timm:' has no models that make images: write one of flow, path"),
        ("flow:digit", "image_generation", "unknown flow 'digit': did you mean 'digits'?"),
        ("flow:digits", "translation: {pairs: [en-fr]}", "'flow:' has no translators"),
        ("path:model.safetensors", "image_generation", "a generator is a directory with its config"),
    ],
)
def test_models_and_tasks_go_together(model: str, task: str, told: str) -> None:
    written = task if ":" not in task else f"{{{task}}}"
    with pytest.raises(RecipeError) as caught:
        parse(f"name: x\nmodel: {model}\ntask: {written}\n", check_files=False)
    assert told in str(caught.value)
