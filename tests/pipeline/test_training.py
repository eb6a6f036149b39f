"""Trainings in recipes: teachers, launched processes, tracked losses, and whom a wrong recipe is told about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from compress.cli import app
from compress.errors import CompressError, MissingExtra, RecipeError
from compress.launching import Trainings
from compress.models.resnet_cifar import CifarResNet
from compress.pipeline import run
from compress.recipe import parse
from compress.runtime.session import open_session

RECIPE = """
name: taught
model: {{source: "cifar:resnet8", weights: random}}
task: {{image_classification: {{dataset: "parquet:{images}[0:8]"}}}}
calibration: {{dataset: "parquet:{images}", num_samples: 4}}
passes:
  - {passes}
target: x86-vnni
evaluate: {{latency_runs: 5, threads: 1, float_model: false}}
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve pictures of noise with their classes."""
    import io

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    draw = np.random.default_rng(0)
    rows = []
    for _ in range(12):
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(stream, "PNG")
        rows.append({"bytes": stream.getvalue(), "path": None})
    labels = draw.integers(0, 10, 12)
    file = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": rows, "label": pa.array(labels, pa.int64())}), file)
    return file


def recipe_text(images: Path, passes: str) -> str:
    return RECIPE.format(images=images, passes=passes)


@pytest.mark.slow
def test_a_recipe_learns_from_another_network_and_the_cache_is_filled(images: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = (
        f'{{source: "path:{tmp_path}/teacher.safetensors", architecture: "cifar:resnet8", cache: "{tmp_path}/logits"}}'
    )
    save_file(CifarResNet(1).state_dict(), tmp_path / "teacher.safetensors")
    text = recipe_text(
        images, f"distill: {{teacher: {teacher}, max_steps: 2, batch_size: 4, logits: {{temperature: 2}}}}"
    )
    row = run(parse(text), output=tmp_path / "runs")
    assert row.size_bytes > 0
    assert (tmp_path / "logits" / "teacher.json").is_file()
    manifest = json.loads((Path(row.artefact) / "compress.json").read_text())
    assert "distill.1_sha256" in manifest["lock"]


@pytest.mark.slow
def test_a_recipe_s_own_float_model_and_another_recipe_may_teach(images: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(recipe_text(images, "quantize.weights: {num_bits: 8}"))
    for number, teacher in enumerate(("", f'teacher: {{recipe: "{tmp_path}/other.yaml"}}, ')):
        passes = f"train.quantized: {{{teacher}num_bits: 4, max_steps: 1, batch_size: 4, logits: {{}}}}"
        row = run(parse(recipe_text(images, passes), [f"name=taught{number}"]), output=tmp_path / "runs")
        assert row.effective_bits < 9


def test_what_is_wrong_with_a_training_is_told_with_its_line(images: Path) -> None:
    passes = """distill:
      teacher: {source: "path:none.safetensors", architecture: "cifar:resnet56"}
      dataset: "parquet:none.parquet"
      epochs: null
      logits: {}
      batch_size: 10
      gradient_accumulation: 3"""
    with pytest.raises(RecipeError) as caught:
        parse(recipe_text(images, passes))
    text = str(caught.value)
    for told in (
        "<recipe>:8: distill: teacher.source: there is no file none.safetensors",
        "<recipe>:9: distill: dataset 'parquet:none.parquet': there is no file none.parquet",
        "<recipe>:10: distill: epochs is null: give max_steps then",
        "<recipe>:13: distill: gradient_accumulation is 3, which does not divide batch_size 10",
    ):
        assert told in text
    with pytest.raises(RecipeError, match="distill: nothing is taught: give logits, features or attention, or write"):
        parse(recipe_text(images, "distill"))


def test_options_of_a_launcher_without_one_are_told() -> None:
    from compress.cli.running import trainings

    with pytest.raises(CompressError, match="--num_processes is of a launcher: write --launcher accelerate beside it"):
        trainings(None, None, 2, None)
    with pytest.raises(CompressError, match=r"there is no file none.yaml: `accelerate config"):
        trainings("accelerate", Path("none.yaml"), None, None)
    assert trainings(None, None, None, "tensorboard").track == "tensorboard"
    launched = trainings("torchrun", None, 2, None).launcher
    assert launched is not None
    assert launched.arguments == ("--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2")


def test_a_program_for_losses_that_is_not_installed_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"--track mlflow needs an extra: pip install 'compress-toolkit\[mlflow\]'"):
        Trainings("mlflow")


QUANTIZED = """fold.batchnorm: {}
  - quantize.weights: {num_bits: 2}
  - """


@pytest.mark.slow
def test_a_quantized_network_is_trained_under_its_float_self_and_tuned(images: Path, tmp_path: Path) -> None:
    passes = f"""{QUANTIZED}distill.quantized: {{max_steps: 2, batch_size: 4, learning_rate: 0.01}}
  - tune.norms_and_scales: {{max_steps: 2, batch_size: 4}}"""
    row = run(parse(recipe_text(images, passes)), output=tmp_path / "runs")
    assert row.effective_bits < 3
    log = (tmp_path / "runs" / "taught" / "log.txt").read_text()
    assert log.count("step 2 of 2: loss ") == 2
    assert " images/s" in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "step", "options"),
    [
        ("", "finetune", "learning_rate: 0.001"),
        (QUANTIZED, "distill.quantized", "learning_rate: 0.001, clip_norm: null"),
    ],
)
def test_a_launched_training_ends_as_one_in_process(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, step: str, options: str
) -> None:
    """Two processes of two images each, without batch statistics, are one process of four; to 1e-4 of the scores."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "recipe.yaml"
    options += ", frozen_norms: true, max_steps: 3"
    found = {}
    for name, batch_size, launch in (
        ("one", 4, []),
        ("two", 2, ["--launcher", "torchrun", "--num_processes", "2", "--track", "tensorboard"]),
    ):
        file.write_text(recipe_text(images, f"{before}{step}: {{{options}, batch_size: {batch_size}}}"))
        arguments = ["run", str(file), "--set", f"name={name}", *launch, "--quiet"]
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        session = open_session(tmp_path / "runs" / name / "artefact" / "model.onnx")
        found[name] = session(torch.ones(1, 3, 32, 32).numpy())
    assert abs(found["one"] - found["two"]).max() < 1e-4 * abs(found["one"]).max()
    assert list((tmp_path / "runs" / "two" / "tracked").rglob("events*"))
