"""Where denoisers come from: shapes, pipelines of diffusers, UNets alone; and what is told of what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from compress.errors import ModelError, RecipeError
from compress.models.denoisers.loading import layer_names, load_denoiser
from compress.models.denoisers.schedule import Schedule, schedule_of
from compress.models.shapes import read_shape
from compress.models.source import DENOISER_SHAPES, ModelSource
from compress.recipe import dump, parse
from tests.denoising.tiny import example, load_tiny


def saved(directory: Path, **scheduler: Any) -> Path:
    """A pipeline's directory with the tiny UNet in float16, as diffusers lays it out."""
    loaded = load_tiny()
    (directory / "unet").mkdir(parents=True)
    (directory / "scheduler").mkdir()
    config = {"_class_name": "UNet2DConditionModel", **read_shape("denoisers", "tiny-unet", DENOISER_SHAPES)["unet"]}
    (directory / "unet" / "config.json").write_text(json.dumps(config))
    state = {name: value.half() for name, value in loaded.model.state_dict().items()}
    save_file(state, directory / "unet" / "diffusion_pytorch_model.safetensors")
    known = {**read_shape("denoisers", "tiny-unet", DENOISER_SHAPES)["scheduler"], **scheduler}
    (directory / "scheduler" / "scheduler_config.json").write_text(json.dumps(known))
    (directory / "model_index.json").write_text(json.dumps({"_class_name": "SomePipeline", "unet": ["diffusers", "X"]}))
    return directory


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_every_shape_is_known() -> None:
    import compress.models.denoisers as package

    folder = Path(next(iter(package.__path__))) / "shapes"
    assert {file.stem for file in folder.glob("*.json")} == set(DENOISER_SHAPES)


def test_stable_diffusion_has_its_size_and_layers() -> None:
    layers = layer_names(ModelSource("random:sd15-unet"))
    assert sum(isinstance(layer, torch.nn.Linear) for layer in layers.values()) == 184
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in layers.values()) == 98
    assert sum(layer.weight.numel() for layer in layers.values()) == 859_077_120
    assert all(layer.weight.is_meta for layer in layers.values())


def test_random_weights_are_those_of_the_seed() -> None:
    one, other = (load_denoiser(ModelSource("random:tiny-unet", seed=seed)).model for seed in (0, 1))
    again = load_tiny()
    assert again.random_weights
    assert "random weights" in again.description
    assert torch.equal(one.conv_in.weight, again.model.conv_in.weight)
    assert not torch.equal(one.conv_in.weight, other.conv_in.weight)
    with torch.no_grad():
        noise = one(*example())
    assert noise.shape == (2, 4, 8, 8)
    assert noise.std() > 0.1


def test_a_pipeline_and_its_unet_alone_are_opened(tmp_path: Path) -> None:
    pipeline = saved(tmp_path / "pipeline", num_train_timesteps=500)
    whole = load_denoiser(ModelSource(f"path:{pipeline}"))
    assert whole.pipeline == "SomePipeline"
    assert whole.schedule.num_train_timesteps == 500
    assert not whole.random_weights
    alone = load_denoiser(ModelSource(f"path:{pipeline / 'unet'}"))
    assert alone.schedule == Schedule()
    with torch.no_grad():
        assert torch.equal(whole.model(*example()), alone.model(*example()))


def test_a_pipeline_without_a_unet_is_told(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(
        ModelError,
        match=r"a pipeline without a denoiser: it holds neither unet/config.json, transformer",
    ):
        load_denoiser(ModelSource(f"path:{tmp_path}"))
    with pytest.raises(ModelError, match="no such directory"):
        load_denoiser(ModelSource(f"path:{tmp_path / 'other'}"))


def test_missing_weights_are_told(tmp_path: Path) -> None:
    pipeline = saved(tmp_path / "pipeline")
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no diffusion_pytorch_model.safetensors"):
        load_denoiser(ModelSource(f"path:{pipeline}"))


def test_shards_are_read(tmp_path: Path) -> None:
    pipeline = saved(tmp_path / "pipeline")
    unet = pipeline / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model-00001-of-00001.safetensors")
    index = {"weight_map": {"conv_in.weight": "diffusion_pytorch_model-00001-of-00001.safetensors"}}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert load_denoiser(ModelSource(f"path:{pipeline}")).model.conv_in.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"_class_name": "AuraFlowTransformer2DModel"},
            "of diffusers only UNet2DConditionModel, UNet2DModel, PixArtTransformer2DModel, DiTTr",
        ),
        ({"addition_embed_type": "image"}, "takes more than a sample, its timestep and one text's"),
        ({"block_out_channels": [32, 96]}, "does not fit the architecture"),
        ({"norm_num_groups": 7}, "config.json: "),
    ],
)
def test_a_unet_that_does_not_fit_is_told(tmp_path: Path, values: Mapping[str, Any], told: str) -> None:
    pipeline = saved(tmp_path / "pipeline")
    change(pipeline / "unet" / "config.json", **values)
    with pytest.raises(ModelError, match=told):
        load_denoiser(ModelSource(f"path:{pipeline}"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "whose steps follow velocities"),
        ({"_class_name": None}, "the name of a scheduler of diffusers is wanted"),
        ({"prediction_type": "flow"}, "one of epsilon, v_prediction, sample is wanted"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
    ],
)
def test_a_scheduler_that_does_not_fit_is_told(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    pipeline = saved(tmp_path / "pipeline", **values)
    with pytest.raises(ModelError, match=told):
        load_denoiser(ModelSource(f"path:{pipeline}"))


def test_timesteps_are_spread_over_the_schedule() -> None:
    schedule = schedule_of({"_class_name": "DDIMScheduler", "num_train_timesteps": 1000}, "here")
    assert schedule.timesteps(4).tolist() == [875, 625, 375, 125]
    assert schedule.timesteps(1000).tolist() == list(range(999, -1, -1))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (
            "timm:resnet18",
            "'timm:' has no models that denoise latents: write one of random, path, hf, such as random:sd15-unet",
        ),
        ("random:sd15-unett", "unknown shape 'sd15-unett': did you mean 'sd15-unet'?"),
        ("random:nllb-600m", "unknown shape 'nllb-600m'"),
        ("path:unet.safetensors", "a denoiser is a directory with its config"),
    ],
)
def test_models_and_tasks_go_together(model: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(f"name: x\nmodel: {model}\ntask: denoising\n", check_files=False)
    assert told in str(caught.value)


def test_a_dataset_of_denoising_is_drawn() -> None:
    text = "name: x\nmodel: random:tiny-unet\ntask: denoising\ncalibration: {dataset: parquet:x}\n"
    with pytest.raises(RecipeError, match="samples of denoising are drawn: write drawn, or leave it out"):
        parse(text, check_files=False)
    plain = parse("name: x\nmodel: random:tiny-unet\ntask: denoising\n", check_files=False)
    assert parse(dump(plain), check_files=False) == plain  # as an artefact's manifest spells it out
