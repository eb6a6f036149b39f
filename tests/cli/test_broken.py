"""Ten broken inputs: each gives one clear message and exit code 2, and nothing is left that looks like a result."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compress.cli import app

pytestmark = pytest.mark.usefixtures("workplace")


class Bomb:
    """Unpickling it makes a directory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def nan_weights() -> None:
    import torch
    from safetensors.torch import save_file

    from compress.models.load import load_model
    from compress.models.source import ModelSource

    state = load_model(ModelSource("cifar:resnet8", weights="random")).model.state_dict()
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    save_file({name: value.contiguous() for name, value in state.items()}, "nan.safetensors")


def told(text: str | bytes, *overrides: str) -> list[str]:
    """What `compress run` says of this recipe on stderr, after the stages it went through."""
    Path("broken.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    sets = [part for override in overrides for part in ("--set", override)]
    result = CliRunner().invoke(app, ["run", "broken.yaml", "--quiet", *sets], catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert not list(Path().glob("runs/*/artefact"))
    return result.stderr.splitlines()


def recipe() -> str:
    return Path("tiny.yaml").read_text()


def test_a_wrong_key() -> None:
    assert told(recipe().replace("batch_size: 8", "batchsize: 8")) == [
        "error: broken.yaml:4: calibration: unknown key 'batchsize': did you mean 'batch_size'?"
    ]


def test_a_wrong_type() -> None:
    assert told(recipe(), "seed=first") == [
        "error: --set seed=first: seed is 'first': write an integer from 0 to 4294967295"
    ]


def test_a_missing_file() -> None:
    [line] = told(recipe(), "model={source: 'path:weights.safetensors', architecture: 'cifar:resnet8'}")
    assert "weights.safetensors" in line
    assert "no file" in line


def test_a_pickle_that_runs_code() -> None:
    Path("bomb.pth").write_bytes(pickle.dumps({"conv1.weight": Bomb()}))
    [line] = told(recipe(), "model={source: 'path:bomb.pth', architecture: 'cifar:resnet8'}")
    assert line.startswith("error: ")
    assert "bomb.pth" in line
    assert not Path("exploded").exists()


def test_a_truncated_parquet() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"label": list(range(1000))}), "whole.parquet")
    Path("cut.parquet").write_bytes(Path("whole.parquet").read_bytes()[:-20])
    [line] = told(recipe(), "task.dataset=parquet:cut.parquet")
    assert line.startswith("error: --set task.dataset=parquet:cut.parquet: task: ")
    assert "cut.parquet" in line.rpartition("task: ")[2]


def test_no_images() -> None:
    Path("empty/0").mkdir(parents=True)
    [line] = told(recipe(), "task.dataset=folder:empty")
    assert "dataset 'folder:empty' holds no images" in line


def test_weights_that_are_not_numbers() -> None:
    nan_weights()
    [line] = told(recipe(), "model={source: 'path:nan.safetensors', architecture: 'cifar:resnet8'}")
    assert "'layer2.0.conv1.weight'" in line
    assert "1 of the 4608 values" in line


def test_an_unknown_layer() -> None:
    assert told(recipe(), "passes.quantize.static.targets=[layer2.0.conv3]") == [
        "error: --set passes.quantize.static.targets=[layer2.0.conv3]: quantize.static: "
        "unknown layer 'layer2.0.conv3': did you mean 'layer2.0.conv2'?"
    ]


def test_a_target_that_cannot_run_it() -> None:
    lines = told(recipe().replace("- quantize.static", "- quantize.weights: {num_bits: 3}") + "target: rk3588\n")
    assert lines == ["error: broken.yaml:7: quantize.weights: num_bits is 3: target rk3588 takes weights of 8 bits"]


def test_yaml_that_cannot_be_read() -> None:
    [line] = told(b"name: tiny\nmodel: [timm:resnet18\ntask: image_classification\n")
    assert line.startswith("error: broken.yaml:3: not YAML: ")
    [line] = told(b"\x89PNG\r\n\x1a\n\x00\xff")
    assert line == "error: broken.yaml:1: not text in UTF-8: a recipe is a YAML file"
