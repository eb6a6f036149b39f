"""The commands over targets, as a user gives them; this machine's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from compress.cli import app
from compress.devices import benches
from compress.devices import calibrate as calibrating
from compress.devices.calibrate import calibrate, compare
from compress.passes.base import silent
from compress.targets import load
from tests.devices.graphs import conv
from tests.graphs import quantized_classifier, write_artefact


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_an_artefact_is_checked_against_its_own_target_and_others(tmp_path: Path) -> None:
    directory = write_artefact(tmp_path / "tiny", quantized_classifier()).directory
    own = run("check", directory)
    assert (own.exit_code, own.output.splitlines()[-1]) == (0, f"{directory}, target generic: no problems found")
    both = run("check", directory, "--target", "generic", "--target", "ascend-310p")
    assert both.exit_code == 2
    assert both.output.splitlines()[-1] == f"{directory}, target ascend-310p: 2 problems"
    assert f"{directory}: x: its axis N is free, and ascend-310p wants fixed shapes: re-export" in both.output
    plain = json.loads(run("check", directory, "--target", "ascend-310p", "--json").stdout)
    assert [each["rule"] for each in plain[0]["found"] if not each["is_note"]] == ["opset", "dynamic-axis"]


def test_a_recipe_is_checked_against_targets_in_place_of_its_own(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    passes = "passes: [quantize.static]"
    recipe.write_text(f"name: tiny\nmodel: timm:resnet10t\ntask: image_classification\n{passes}\n")
    done = run("check", recipe, "--target", "apple-ane", "--target", "nvidia-t4")
    assert done.exit_code == 2
    told = f"error: {recipe}:4: quantize.static: num_bits is 8: target"
    assert done.stderr.splitlines() == [f"{told} apple-ane runs float activations only"]


def test_bad_input_is_told_without_a_traceback(tmp_path: Path) -> None:
    path = conv(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    for arguments, told in (
        (("check", path), f"error: {path}: which target is not known: give --target"),
        (("check", path, "--target", "rk3589"), "error: unknown target 'rk3589': did you mean 'rk3588'?"),
        (("check", tmp_path / "none.onnx", "--target", "web"), f"error: {tmp_path / 'none.onnx'}: no such file"),
        (("check", tmp_path / "broken.onnx", "--target", "web"), f"error: {tmp_path / 'broken.onnx'}: not an ONNX"),
        (("forecast", path, "--target", "rpi5", "--size", "N"), "error: --size N: write AXIS=NUMBER, as in --size"),
        (("forecast", tmp_path, "--target", "web"), "error: target web states no bandwidth_bytes_per_s, no peak_ops"),
        (
            ("calibrate-target", "-o", "m.txt"),
            "error: m.txt: a target's file ends with .yaml: write --output m.txt.yaml",
        ),
        (("calibrate-target", "-o", path.with_suffix(".yaml")), f"error: {path.with_suffix('.yaml')} is there already"),
    ):
        path.with_suffix(".yaml").touch()
        done = run(*arguments)
        assert done.exit_code == 2
        assert done.stderr.startswith(told), done.stderr


def test_a_forecast_of_a_file_is_printed(tmp_path: Path) -> None:
    done = run("forecast", conv(tmp_path), "--target", "rpi5")
    assert done.exit_code == 0
    assert "forecast, not measured" in done.output
    [plain] = json.loads(run("forecast", tmp_path / "model.onnx", "--target", "rpi5", "--json").stdout)
    assert plain["target"] == "rpi5"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rounds of few graphs."""
    monkeypatch.setattr(calibrating, "_SECONDS", 0.0)
    few = [benches._chain(), benches._product(64, 64, 64), benches._packed_product("row_ops_per_s.int4", 1, 64, 64, 4)]
    monkeypatch.setattr(calibrating, "benches", lambda: few)


@pytest.mark.usefixtures("quick")
def test_measured_figures_become_a_target_and_are_compared(tmp_path: Path) -> None:
    path = conv(tmp_path, batch=1)
    found = calibrate([path], 1, 8, silent)
    assert {figure.source for figure in found.figures.values()} == {"measured"}
    assert found.figures["peak_ops_per_s.float32"].value > 1e8
    file = tmp_path / "mine.yaml"
    bandwidth = "bandwidth_bytes_per_s: {value: 1e10, source: unverified}\n"
    file.write_text(calibrating.written(found, "x86-vnni", 1) + bandwidth)
    mine = load(str(file))
    assert mine.peak_ops_per_s.float32 is not None
    assert mine.weight_bits == load("x86-vnni").weight_bits
    [compared] = compare(found, mine, 8)
    assert compared.p10_ms <= compared.p50_ms
    assert compared.error == pytest.approx(compared.forecast_ms / compared.p50_ms - 1)
    assert compared.undisturbed_error >= compared.error
    assert calibrating.comparison_table([compared]).endswith(f"{path}, run")


@pytest.mark.usefixtures("quick")
def test_measured_figures_are_told_as_json_too(tmp_path: Path) -> None:
    path, file = conv(tmp_path, batch=1), tmp_path / "mine.yaml"
    done = run("calibrate-target", path, "-o", file, "--base", "rpi5", "--threads", 1, "--quiet", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["file"] == str(file)
    written = load(str(file)).peak_ops_per_s.float32
    assert written is not None
    assert told["figures"]["peak_ops_per_s.float32"]["value"] == pytest.approx(written.value, rel=1e-3)
    assert told["figures"]["peak_ops_per_s.float32"]["source"] == "measured"
    [ran] = told["runs"]
    assert (ran["path"], ran["phase"]) == (str(path), "run")
    assert ran["error"] == pytest.approx(ran["forecast_ms"] / ran["p50_ms"] - 1)
