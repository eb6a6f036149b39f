"""Artefacts of denoisers: what lies in them, that they compute what torch does, and what is told of wrong inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from compress.applying import apply
from compress.errors import ArtefactError, DataError, ParityError
from compress.exporter.denoisers import check_noise
from compress.exporter.parity import FLOAT_LIMIT
from compress.passes.quantize_static import QuantizeStatic
from compress.runtime.artefact import UNET, Artefact
from compress.runtime.denoising import open_unet
from compress.runtime.denoising.measure import parts_of
from tests.denoising.tiny import PRECISE, example, exported, load_tiny, quantized, task


def operators(artefact: Artefact) -> Counter[str]:
    graph = onnx.load(artefact.directory / UNET, load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


def test_the_directory_is_that_of_a_pipeline_of_diffusers(small_artefact: Artefact) -> None:
    directory = small_artefact.directory
    index = json.loads((directory / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["scheduler"] == ["diffusers", "DDIMScheduler"]
    assert json.loads((directory / "unet" / "config.json").read_text())["cross_attention_dim"] == 32
    assert (directory / "scheduler" / "scheduler_config.json").is_file()
    assert small_artefact.model_files == ("unet/model.onnx", "unet/model.onnx_data")


def test_weights_stay_codes(float_artefact: Artefact, small_artefact: Artefact) -> None:
    layers = load_tiny().model.modules()
    kinds = Counter(type(layer) for layer in layers)
    found = operators(small_artefact)
    assert found["MatMulNBits"] == kinds[torch.nn.Linear]
    assert found["DequantizeLinear"] == found["Conv"] == kinds[torch.nn.Conv2d]
    assert small_artefact.model_bytes < 0.25 * float_artefact.model_bytes


def test_the_file_is_the_model(float_artefact: Artefact, small_artefact: Artefact) -> None:
    plain = load_tiny().model
    apart = check_noise(plain, open_unet(float_artefact), example(), "float", rounds=False)
    assert apart < FLOAT_LIMIT
    coded = quantized(load_tiny().model)
    assert 1e-4 < check_noise(coded, open_unet(small_artefact), example(), "small", rounds=True) < 0.02
    with pytest.raises(ParityError, match=r"on 2 inputs the noise differs by .* of its spread; allowed is 0.05"):
        check_noise(plain, open_unet(small_artefact), example(), "small", rounds=True)


@pytest.mark.slow
def test_in_int_8_activations_are_rounded_too(tmp_path: Path) -> None:
    loaded = load_tiny()
    parameters = sum(values.nbytes for values in loaded.model.parameters())
    coded = apply(loaded.model, [QuantizeStatic(ignore=PRECISE)], lambda: [example(8)])
    artefact = exported(loaded, tmp_path / "artefact")
    assert (
        0 < check_noise(coded, open_unet(artefact), example(), "int8", rounds=True) < 0.1
    )  # as much as rounding itself
    assert operators(artefact)["QuantizeLinear"] > 50
    assert artefact.model_bytes < 0.35 * parameters


def test_one_timestep_may_serve_a_batch(float_artefact: Artefact) -> None:
    unet = open_unet(float_artefact)
    sample, _, states = (each.numpy() for each in example(3))
    same = unet(sample, np.full(3, 500, np.float32), states)
    given = {"sample": sample, "timestep": np.array([500], np.float32), "encoder_hidden_states": states}
    [found] = unet.session.run(None, given)  # as diffusers' pipelines call it
    np.testing.assert_allclose(found, same, atol=1e-4)


def test_more_noise_is_fewer_decibels() -> None:
    drawn = task(6)
    random = np.random.default_rng(0)
    reference = random.standard_normal((6, 4, 8, 8)).astype(np.float32)
    noise = random.standard_normal(reference.shape).astype(np.float32)
    little, much = (drawn.compare(reference + size * noise, reference)["sqnr_db"] for size in (0.01, 0.1))
    assert little.value == pytest.approx(40, abs=0.5)
    assert much.value == pytest.approx(20, abs=0.5)
    assert little.num_samples == 6
    assert little.low is not None
    assert little.low < little.value < little.high  # type: ignore[operator]  # both are there or none is
    assert drawn.compare(reference, reference)["sqnr_db"].value == pytest.approx(138.5, abs=0.1)


def test_samples_are_drawn_from_seeds_and_never_calibrate() -> None:
    from dataclasses import replace

    one = task(3)
    for left, right in zip(one.sample(1), next(one.batches(3)), strict=True):
        np.testing.assert_array_equal(left[0], right[1])
    other = replace(one, kind="calibration")
    assert not np.array_equal(one.sample(0)[0], other.sample(0)[0])
    assert one.fingerprint() != other.fingerprint()


def test_bytes_are_told_by_part(float_artefact: Artefact, small_artefact: Artefact) -> None:
    for artefact in (float_artefact, small_artefact):
        parts = parts_of(artefact)
        assert {"conv_in", "conv_out", "down_blocks", "mid_block", "time_embedding", "up_blocks", "graph"} <= set(parts)
        assert sum(parts.values()) == artefact.model_bytes
    small, plain = parts_of(small_artefact), parts_of(float_artefact)
    assert small["up_blocks"] < 0.2 * plain["up_blocks"]
    assert all(small[name] > 0.2 * plain[name] for name in PRECISE)


@pytest.mark.parametrize(
    ("place", "shape", "told"),
    [
        (0, (1, 4, 16, 16), "takes latents of 4 × 8 × 8 .channels, height, width.: got 1 of 4 × 16 × 16"),
        (0, (0, 4, 8, 8), "got 0 of"),
        (2, (1, 5, 64), "takes text states of 5 × 32 .tokens, width.: got 1 of 5 × 64"),
    ],
)
def test_wrong_sizes_are_told(small_artefact: Artefact, place: int, shape: tuple[int, ...], told: str) -> None:
    inputs = [each[:1].numpy() for each in example()]
    inputs[place] = np.zeros(shape, np.float32)
    with pytest.raises(DataError, match=told):
        open_unet(small_artefact)(*inputs)


def test_noise_that_is_no_number_is_told_with_its_timestep(small_artefact: Artefact) -> None:
    sample, timestep, states = (each.numpy() for each in example())
    sample = sample.copy()
    sample[1, 0, 0, 0] = np.inf
    with pytest.raises(ArtefactError, match=f"no finite number at timestep {timestep[1]:g}"):
        open_unet(small_artefact)(sample, timestep, states)
    with pytest.raises(DataError, match="timesteps are"):
        open_unet(small_artefact)(sample, np.array([np.nan, 1], np.float32), states)


def test_what_is_no_unet_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such directory: name the directory of a denoiser"):
        open_unet(tmp_path / "nothing")
    with pytest.raises(ArtefactError, match=r"holds no unet/model.onnx"):
        open_unet(tmp_path)


def test_it_runs_without_torch(small_artefact: Artefact) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from compress.runtime.denoising import open_unet\n"
        "from compress.tasks.denoising import Denoising\n"
        "import numpy as np\n"
        f"unet = open_unet({str(small_artefact.directory)!r})\n"
        "task = Denoising(unet.inputs, np.array([500], np.float32))\n"
        "print(unet(*task.sample(0)).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 4, 8, 8)"
