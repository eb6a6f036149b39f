"""Artefacts of pipelines: what lies in them, that they compute what torch does, and what is told of wrong ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from compress import targets
from compress.applying import apply
from compress.cli import app
from compress.errors import ArtefactError, DataError, ModelError, ParityError
from compress.exporter.parity import FLOAT_LIMIT
from compress.exporter.parts import check_part, write_part
from compress.exporter.pipelines import check_activations, part_examples, signatures
from compress.models.activations import QuantizedActivation, set_activations
from compress.models.pipelines.loading import LoadedPipeline
from compress.models.pipelines.scheduler import sampling_config
from compress.passes.quantize_weights import QuantizeWeights
from compress.runtime.artefact import TEXT_ENCODER, VAE_DECODER, Artefact
from compress.runtime.denoising import open_unet
from compress.runtime.text_to_image import open_pipeline
from compress.runtime.text_to_image.directory import read_parts
from compress.runtime.text_to_image.graphs import open_decoder, open_text_encoder
from compress.runtime.text_to_image.measure import parts_of
from tests.text_to_image.tiny import SAMPLING, diffusers_pipeline, example, load_tiny, quantized

pytestmark = [  # diffusers', of schedulers' settings, and of numpy's old ways
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
SIZE = {"height": 16, "width": 16}
TOLERANCE = 1e-4  # of pixels between −1 and 1, after ten evaluations; 3e-6 was measured
PROMPT, NEGATIVE = "a red house, at sea", "blurred"


def opened(artefact: Artefact) -> dict[str, Any]:
    directory = artefact.directory
    return {
        "text_encoder": open_text_encoder(directory / TEXT_ENCODER),
        "unet": open_unet(directory),
        "vae_decoder": open_decoder(directory / VAE_DECODER),
    }


def test_the_directory_is_that_of_a_pipeline_of_diffusers(float_artefact: Artefact) -> None:
    directory = float_artefact.directory
    index = json.loads((directory / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "DDIMScheduler"]
    assert {name for name, kind in index.items() if kind == ["diffusers", "OnnxRuntimeModel"]} == set(opened_names())
    for part in opened_names():
        assert {"config.json", "model.onnx", "model.onnx_data"} == {file.name for file in (directory / part).iterdir()}
    assert json.loads((directory / "vae_decoder" / "config.json").read_text())["scaling_factor"] == 0.18215
    parts = parts_of(float_artefact)
    assert {*opened_names(), "tokenizer", "scheduler", "configs"} == set(parts)
    assert sum(parts.values()) == float_artefact.size_bytes


def opened_names() -> tuple[str, ...]:
    return "text_encoder", "unet", "vae_decoder"


def test_each_file_is_its_part(loaded: LoadedPipeline, float_artefact: Artefact) -> None:
    inputs = part_examples(loaded.model, example(loaded.tokenizer))
    for name, run in opened(float_artefact).items():
        part = getattr(loaded.model, name)
        assert check_part(part, run, inputs[name], name, "output", rounds=False) < FLOAT_LIMIT
    given = inputs["text_encoder"]
    part = load_tiny().model.text_encoder
    part.final_layer_norm.weight.data *= 1.1
    with pytest.raises(ParityError, match=r"on 2 inputs the text's states differs by"):
        check_part(part, opened(float_artefact)["text_encoder"], given, "x", "text's states", rounds=False)


@pytest.mark.parametrize(
    ("settings", "reads_codes"),
    [
        ({"num_bits": 8}, True),
        ({"num_bits": 4, "strategy": "group", "group_size": 16}, True),
        ({"num_bits": 8, "symmetric": False}, True),
        ({"num_bits": 3}, False),
    ],
)
def test_rows_of_an_embedding_are_read_from_codes(
    loaded: LoadedPipeline, tmp_path: Path, settings: dict[str, Any], reads_codes: bool
) -> None:
    inputs = example(loaded.tokenizer)
    step = QuantizeWeights(targets=("text_encoder.embeddings.token_embedding",), **settings)
    part = apply(load_tiny().model, [step], lambda: [inputs]).get_submodule("text_encoder")
    path, given = tmp_path / "text_encoder" / "model.onnx", (inputs[0].int(),)
    write_part(part, given, path, targets.load("generic"), signatures()["text_encoder"])
    operators = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    assert ("GatherBlockQuantized" in operators) == reads_codes
    assert check_part(part, open_text_encoder(path), given, "x", "text's states", rounds=False) < FLOAT_LIMIT


@pytest.mark.slow
def test_each_file_of_codes_is_its_part_and_changes_an_image_little(
    loaded: LoadedPipeline, float_artefact: Artefact, small_artefact: Artefact
) -> None:
    model = quantized(load_tiny().model, loaded.tokenizer)
    inputs = part_examples(model, example(loaded.tokenizer))
    for name, run in opened(small_artefact).items():
        apart = check_part(getattr(model, name), run, inputs[name], name, "output", rounds=True)
        assert 1e-5 < apart < 0.02
    assert small_artefact.model_bytes < 0.3 * float_artefact.model_bytes
    one, other = (open_pipeline(each)([PROMPT], [3]) for each in (float_artefact, small_artefact))
    assert 0 < np.abs(one - other).mean() < 0.2 * one.std()


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm-solver++", "pndm"])
def test_an_image_is_that_of_diffusers_from_the_same_latents(
    loaded: LoadedPipeline, float_artefact: Artefact, tmp_path: Path, scheduler: str, guidance: float
) -> None:
    import diffusers

    assert loaded.schedule.config is not None
    config = sampling_config(loaded.schedule.config, scheduler, "here")
    directory = Path(shutil.copytree(float_artefact.directory, tmp_path / "artefact"))
    (directory / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    ours = open_pipeline(directory)
    assert read_parts(directory).num_evaluations == (12 if scheduler == "pndm" else 10)
    image = ours([PROMPT], [3], replace(SAMPLING, guidance_scale=guidance), NEGATIVE)
    theirs = diffusers_pipeline(loaded)
    theirs.set_progress_bar_config(disable=True)
    settings = {key: value for key, value in config.items() if key != "_class_name"}
    theirs.scheduler = getattr(diffusers, config["_class_name"])(**settings)
    latents, plan = torch.from_numpy(ours.noise(3)), {"num_inference_steps": 5, "guidance_scale": guidance}
    made = theirs(PROMPT, negative_prompt=NEGATIVE, latents=latents, output_type="pt", **plan, **SIZE).images
    np.testing.assert_allclose(np.clip(image, -1, 1), 2 * made.numpy() - 1, atol=TOLERANCE)


def test_diffusers_opens_the_directory(float_artefact: Artefact) -> None:
    import diffusers

    absent = dict.fromkeys(("vae_encoder", "safety_checker", "feature_extractor"))
    theirs = diffusers.OnnxStableDiffusionPipeline.from_pretrained(float_artefact.directory, **absent)
    theirs.set_progress_bar_config(disable=True)
    ours = open_pipeline(float_artefact)
    plan = {"num_inference_steps": 2, "guidance_scale": 5.0, "output_type": "np"}
    # it takes a VAE of 8 pixels a latent for granted
    made = theirs(PROMPT, height=64, width=64, latents=ours.noise(3), **plan).images
    image = np.clip(ours([PROMPT], [3], replace(SAMPLING, num_steps=2)), -1, 1)
    np.testing.assert_allclose(image, 2 * made.transpose(0, 3, 1, 2) - 1, atol=TOLERANCE)


def test_an_image_depends_on_its_seed_and_its_prompt_alone(float_artefact: Artefact) -> None:
    pipeline = open_pipeline(float_artefact)
    few = replace(SAMPLING, num_steps=2)
    seen: list[int] = []

    def progress(items: Any, what: str, total: int) -> Any:
        seen.append(total)
        return iter(items)

    together = pipeline(["a house", PROMPT, PROMPT], [1, 2, 3], few, progress=progress)
    assert seen == [6]
    np.testing.assert_array_equal(pipeline([PROMPT], [2], few), together[1:2])
    assert np.abs(together[1] - together[2]).max() > 0.1
    assert np.abs(pipeline(["a house"], [2], few) - together[1]).max() > 1e-5


def test_a_prompt_that_is_too_long_is_told(float_artefact: Artefact) -> None:
    with pytest.raises(
        DataError, match=r"prompt 'seven seven.*…' takes \d+ tokens: the text encoder takes 77: shorten"
    ):
        open_pipeline(float_artefact)(["seven " * 20], [0])


@pytest.mark.parametrize(
    "name",
    [
        "unet/model.onnx",
        "vae_decoder/model.onnx",
        "text_encoder/model.onnx",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
    ],
)
def test_a_missing_part_is_told(float_artefact: Artefact, tmp_path: Path, name: str) -> None:
    directory = Path(shutil.copytree(float_artefact.directory, tmp_path / "artefact"))
    (directory / name).unlink()
    with pytest.raises(ArtefactError, match=f"a part is missing: it holds no {name}"):
        open_pipeline(directory)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("model_index.json", {"num_inference_steps": 0}, "num_inference_steps is 0"),
        ("model_index.json", {"guidance_scale": 0.5}, "guidance_scale is 0.5: 1 or more is wanted"),
        ("vae_decoder/config.json", {"scaling_factor": None}, "scaling_factor is None: a positive number is wanted"),
        ("scheduler/scheduler_config.json", {"_class_name": "UniPCMultistepScheduler"}, "images are made with one of"),
        ("tokenizer/tokenizer_config.json", {"pad_token": "nothing"}, "pad_token is nothing: one of the tokenizer's"),
    ],
)
def test_settings_that_do_not_fit_are_told(
    float_artefact: Artefact, tmp_path: Path, name: str, values: dict[str, Any], told: str
) -> None:
    directory = Path(shutil.copytree(float_artefact.directory, tmp_path / "artefact"))
    file = directory / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    with pytest.raises(ArtefactError, match=f"{name}: .*{told}"):
        open_pipeline(directory)


def test_parts_of_other_sizes_are_told(float_artefact: Artefact) -> None:
    parts = opened(float_artefact)
    with pytest.raises(DataError, match="takes latent_sample of 4 × 8 × 8: got 1 of 4 × 16 × 16"):
        parts["vae_decoder"](np.zeros((1, 4, 16, 16), np.float32))
    with pytest.raises(ArtefactError, match="no finite number"):
        parts["vae_decoder"](np.full((1, 4, 8, 8), np.nan, np.float32))
    with pytest.raises(ArtefactError, match=r"takes latent_sample .*: input_ids of tensor.int32. is wanted"):
        open_text_encoder(float_artefact.directory / VAE_DECODER)


def test_noise_that_is_no_number_is_told_with_its_timestep(
    float_artefact: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = open_pipeline(float_artefact)
    monkeypatch.setattr(pipeline, "noise", lambda seed: np.full((1, 4, 8, 8), np.inf, np.float32))
    with pytest.raises(ArtefactError, match=r"unet/model.onnx: gives noise that is no finite number at timestep 801"):
        pipeline([PROMPT], [0])


def test_grids_of_activations_are_refused() -> None:
    model = load_tiny().model
    set_activations(model, {"unet.conv_in:input": QuantizedActivation(0.1, 128)})
    with pytest.raises(ModelError, match="a pipeline's activations stay float"):
        check_activations(model)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_the_command_makes_images_of_texts(float_artefact: Artefact, tmp_path: Path) -> None:
    def command(*options: str) -> Any:
        return CliRunner().invoke(app, ["generate", str(float_artefact.directory), *options, "--quiet"])

    one, other = tmp_path / "one.png", tmp_path / "other.png"
    given = ("--prompt", PROMPT, "--negative-prompt", NEGATIVE, "--guidance", "3", "--steps", "2", "--seed", "5")
    for path in (one, other):
        assert command(*given, "-o", str(path)).exit_code == 0
    assert one.read_bytes() == other.read_bytes()
    assert size_of(one) == (16, 16)
    assert command(*given, "--num", "3", "-o", str(tmp_path / "three.png")).exit_code == 0
    assert size_of(tmp_path / "three.png") == (48, 16)
    for options, told in (
        ((), "say what to show: --prompt"),
        (("--class", "3"), "take --class out"),
        (("--prompt", "x", "--negative-prompt", "y", "--guidance", "1"), "--negative-prompt has no effect"),
        (("--prompt", "x", "--steps", "1001"), "1001 steps are too many or too few"),
    ):
        found = command(*options, "-o", str(tmp_path / "none.png"))
        assert found.exit_code == 2
        assert told in " ".join(found.output.split())


def test_it_runs_without_torch(float_artefact: Artefact) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'diffusers'): sys.modules[name] = None\n"
        "from compress.runtime.text_to_image import open_pipeline\n"
        f"print(open_pipeline({str(float_artefact.directory)!r})(['a house'], [0]).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 3, 16, 16)"
