"""Where pipelines come from: shapes and diffusers' directories; and what is told of what is missing or does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.errors import DataError, ModelError, RecipeError
from compress.models.pipelines.loading import LoadedPipeline, layer_names, load_pipeline
from compress.models.pipelines.parts import PipelineParts
from compress.models.pipelines.scheduler import sampling_config
from compress.models.source import PIPELINE_SHAPES, ModelSource
from compress.recipe import dump, parse
from tests.text_to_image.tiny import example, load_tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers', of schedulers' settings


@pytest.fixture
def pipeline(saved: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_every_shape_is_known() -> None:
    import compress.models.pipelines as package

    folder = Path(next(iter(package.__path__))) / "shapes"
    assert {file.stem for file in folder.glob("*.json")} == set(PIPELINE_SHAPES)


def test_stable_diffusion_has_its_size() -> None:
    layers = layer_names(ModelSource("random:sd15"))
    parts = {
        part: sum(each.weight.numel() for name, each in layers.items() if name.startswith(part))
        for part in ("text_encoder", "unet", "vae_decoder")
    }
    assert parts == {"text_encoder": 122_939_136, "unet": 859_077_120, "vae_decoder": 49_452_432}


def test_random_weights_are_those_of_the_seed(loaded: LoadedPipeline) -> None:
    again, other = load_tiny(), load_pipeline(ModelSource("random:tiny-sd", seed=1))
    assert again.random_weights
    assert "random weights" in again.description
    states = (each.model.state_dict() for each in (loaded, again, other))
    for one, same, another in zip(*(state.values() for state in states), strict=True):
        assert torch.equal(one, same)
        assert one.ndim == 1 or not torch.equal(one, another)
    assert loaded.model.text_encoder.embeddings.position_ids.tolist() == [list(range(77))]


def test_what_diffusers_saved_is_the_same_model(loaded: LoadedPipeline, saved: Path) -> None:
    opened = load_pipeline(ModelSource(f"path:{saved}"))
    assert not opened.random_weights
    assert opened.description == "tiny"
    inputs = example(loaded.tokenizer)
    with torch.no_grad():
        assert torch.equal(opened.model(*inputs), loaded.model(*inputs))
    assert opened.tokenizer("a red house").input_ids == loaded.tokenizer("a red house").input_ids
    random = load_pipeline(ModelSource(f"path:{saved}", weights="random", seed=3))
    assert random.random_weights
    assert not torch.equal(random.model.unet.conv_in.weight, loaded.model.unet.conv_in.weight)


def test_weights_under_their_old_names_are_read(loaded: LoadedPipeline, pipeline: Path) -> None:
    file = pipeline / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(file)
    for now, then in old.items():
        state = {name.replace(f".{now}.", f".{then}."): value for name, value in state.items()}
    assert any("query" in name for name in state)
    save_file(state, file)
    text = pipeline / "text_encoder" / "model.safetensors"
    named = {f"text_model.{name.removeprefix('text_model.')}": value for name, value in load_file(text).items()}
    save_file({**named, "text_model.embeddings.position_ids": torch.arange(77)[None]}, text)
    opened = load_pipeline(ModelSource(f"path:{pipeline}")).model.state_dict()
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(opened[name], value), name


def test_of_a_repository_only_what_is_wanted_is_downloaded() -> None:
    from fnmatch import fnmatch

    from compress.models.pipelines.loading import _WANTED

    part = "unet/diffusion_pytorch_model"
    wanted = ["model_index.json", "vae/config.json", f"{part}.safetensors", f"{part}-00001-of-00002.safetensors"]
    wanted += ["text_encoder/model.safetensors", "tokenizer/merges.txt", "scheduler/scheduler_config.json"]
    others = ["v1-5-pruned.safetensors", f"{part}.fp16.safetensors", f"{part}.bin", "safety_checker/model.safetensors"]
    found = [name for name in (*wanted, *others) if any(fnmatch(name, each) for each in _WANTED)]
    assert found == wanted


@pytest.mark.parametrize(
    "name",
    [
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_missing_part_is_told(pipeline: Path, name: str) -> None:
    (pipeline / name).unlink()
    with pytest.raises(ModelError, match=f"a part is missing: it holds no {name}"):
        load_pipeline(ModelSource(f"path:{pipeline}"))


def test_missing_files_are_told(pipeline: Path) -> None:
    with pytest.raises(ModelError, match="no such directory: name that of a pipeline"):
        load_pipeline(ModelSource(f"path:{pipeline / 'nothing'}"))
    shutil.rmtree(pipeline / "tokenizer")
    with pytest.raises(
        ModelError, match=r"no tokenizer: it holds neither tokenizer.json nor vocab.json and merges.txt"
    ):
        load_pipeline(ModelSource(f"path:{pipeline}"))
    (pipeline / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"text_encoder: holds no model.safetensors"):
        load_pipeline(ModelSource(f"path:{pipeline}"))


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ("vae", {"_class_name": "AutoencoderTiny"}, "vae: _class_name is AutoencoderTiny: only AutoencoderKL"),
        ("vae", {"shift_factor": 0.1}, "only a VAE whose latents are scaled alone"),
        ("vae", {"latent_channels": 8}, "the VAE has 8"),
        ("text_encoder", {"model_type": "t5"}, "model_type is t5: only CLIPTextModel"),
        (
            "text_encoder",
            {"hidden_size": 64},
            "the UNet's cross_attention_dim is 32, the text encoder's hidden_size 64",
        ),
        ("text_encoder", {"vocab_size": 100}, "does not fit the architecture"),
        ("unet", {"addition_embed_type": "text_time"}, "takes more than a sample"),
    ],
)
def test_parts_that_do_not_fit_are_told(pipeline: Path, part: str, values: Mapping[str, Any], told: str) -> None:
    change(pipeline / part / "config.json", **values)
    with pytest.raises(ModelError, match=told):
        load_pipeline(ModelSource(f"path:{pipeline}"))


def test_a_tokenizer_of_another_text_encoder_is_told(pipeline: Path) -> None:
    change(pipeline / "text_encoder" / "config.json", vocab_size=100)
    with pytest.raises(ModelError, match="has a token 519, and the text encoder knows 100"):
        load_pipeline(ModelSource(f"path:{pipeline}", weights="random"))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_model_decodes_what_diffusers_takes_for_the_clean_latents(loaded: LoadedPipeline, prediction: str) -> None:
    import diffusers

    numbers, sample, timestep = example(loaded.tokenizer)
    assert loaded.schedule.config is not None
    config = {**loaded.schedule.config, "prediction_type": prediction}
    parts = loaded.model
    model = PipelineParts(parts.text_encoder, parts.unet, parts.vae_decoder, config)
    scheduler = diffusers.DDIMScheduler.from_config(config, clip_sample=False)
    scheduler.set_timesteps(10)
    with torch.no_grad():
        found = parts.unet(sample, timestep, parts.text_encoder(numbers))
        clean = [
            scheduler.step(found[i : i + 1], int(timestep[i]), sample[i : i + 1]).pred_original_sample for i in range(2)
        ]
        pixels = parts.vae_decoder(torch.cat(clean) / 0.18215)
        torch.testing.assert_close(model(numbers, sample, timestep), pixels, rtol=1e-4, atol=1e-4)


def test_the_scheduler_is_its_own_or_another_on_the_same_levels() -> None:
    own = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_schedule": "scaled_linear"}
    found = sampling_config(own, None, "here")
    assert found["_class_name"] == "PNDMScheduler"
    assert found["skip_prk_steps"]
    assert found["steps_offset"] == 1
    ddim = sampling_config(own, "ddim", "here")
    assert (ddim["_class_name"], ddim["clip_sample"], ddim["beta_start"]) == ("DDIMScheduler", False, 0.00085)
    with pytest.raises(ModelError, match=r"LMSDiscreteScheduler, which is not known here: write task.*ddim, euler"):
        sampling_config({"_class_name": "LMSDiscreteScheduler"}, None, "here")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("timm:resnet18", "'timm:' has no pipelines that make images of texts: write one of random, path, hf"),
        ("random:sd1.5", "unknown shape 'sd1.5': did you mean 'sd15'?"),
        ("path:model.safetensors", "a pipeline is a directory with its config"),
    ],
)
def test_models_and_tasks_go_together(model: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(f"name: x\nmodel: {model}\ntask: text_to_image\n", check_files=False)
    assert told in str(caught.value)


def test_activations_of_a_pipeline_stay_float() -> None:
    text = "name: x\nmodel: random:tiny-sd\ntask: text_to_image\npasses: [quantize.static]\n"
    with pytest.raises(RecipeError, match=r"quantize.static: the parts of a pipeline .*: write quantize.weights"):
        parse(text, check_files=False)


def test_prompts_are_a_set_of_texts(tmp_path: Path) -> None:
    from compress.data.captions import open_captions

    file = tmp_path / "prompts.txt"
    file.write_text("a house\n\n two cats \nsnow\n")
    assert open_captions(f"text:{file}[1:3]").texts == ("two cats", "snow")
    assert len(open_captions("demo")) == 40
    with pytest.raises(DataError, match="there are only 3 prompts"):
        open_captions(f"text:{file}[0:4]")
    file.write_text("\n")
    with pytest.raises(DataError, match="holds no prompts"):
        open_captions(f"text:{file}")
    with pytest.raises(RecipeError, match="there is no file"):
        parse(f"name: x\nmodel: random:tiny-sd\ntask: {{text_to_image: {{dataset: 'text:{tmp_path / 'no'}'}}}}\n")
    plain = parse("name: x\nmodel: random:tiny-sd\ntask: text_to_image\n", check_files=False)
    assert parse(dump(plain), check_files=False) == plain  # as an artefact's manifest spells it out
