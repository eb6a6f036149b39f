"""compress frontier: one recipe at many budgets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from compress.cli import app
from compress.collecting import entry_of
from compress.errors import CompressError
from compress.models.resnet_cifar import CifarResNet
from compress.report.plot import plot
from compress.results import rows_below
from compress.sweeping import local
from compress.sweeping.outcome import Outcome
from compress.sweeping.sizes import parse_sizes
from tests.report.test_plot import words
from tests.rows import INT4, INT8


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("0.1GB:0.5GB:5", [100_000_000, 200_000_000, 300_000_000, 400_000_000, 500_000_000]),
        ("1MB:1MiB:2", [1_000_000, 1_048_576]),
        (" 10 : 20 : 4 ", [10, 13, 16, 20]),
    ],
)
def test_sizes_are_evenly_spaced_with_both_ends(text: str, sizes: list[int]) -> None:
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1MB:2MB", "write FROM:TO:COUNT, such as 0.1GB:0.5GB:9"),
        ("1MB:2Mb:3", "unknown unit 'Mb': did you mean '2MB'?"),
        ("2MB:1MB:3", "2,000,000 to 1,000,000 bytes are not 3 sizes: write the smaller first"),
        ("1MB:2MB:one", "'one' is no number of sizes: write 2 or more"),
        ("1MB:2MB:1", "'1' is no number of sizes: write 2 or more"),
        ("1:3:9", "1 to 3 bytes are not 9 sizes"),
    ],
)
def test_what_is_no_range_of_sizes_is_told(text: str, told: str) -> None:
    with pytest.raises(CompressError) as caught:
        parse_sizes(text)
    assert str(caught.value).startswith(f"--sizes {text}: ")
    assert told in str(caught.value)


def test_a_curve_joins_its_own_rows(tmp_path: Path) -> None:
    plot([INT4, INT8], tmp_path / "points.svg")
    plot([INT4, INT8], tmp_path / "curve.svg", curve=[INT4, INT8])
    assert (tmp_path / "points.svg").read_bytes() != (tmp_path / "curve.svg").read_bytes()
    assert words(tmp_path / "points.svg") == words(tmp_path / "curve.svg")


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_a_recipe_is_run_at_each_size_and_what_cannot_be_is_told() -> None:
    save_file(CifarResNet(1).state_dict(), "net.safetensors")
    Path("auto.yaml").write_text(
        "extends: tiny.yaml\nname: auto\n"
        "model: {source: 'path:net.safetensors', architecture: 'cifar:resnet8', weights: pretrained}\n"
        "passes: [fold.batchnorm, quantize.weights: {num_bits: auto, choices: [2, 4, 8]}]\nbudget: {model_size: 1MB}\n"
    )
    done = CliRunner().invoke(app, ["frontier", "auto.yaml", "--sizes", "1000:60000000:3"])
    assert done.exit_code == 2, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    told = "budget.model_size is 1,000 bytes: what is not shared out takes "
    assert line.startswith(f"error: auto-model_size-1000: {told}")
    assert len(list(Path("runs").glob("auto-model_size-*/row.json"))) == 2
    assert Path("runs/auto-frontier.png").is_file()
    assert Path("runs/auto-frontier.csv").read_text().count("\n") == 3

    for found in rows_below([Path("runs")]):
        entry = entry_of(found)
        assert {f"{name}.weight" for name in entry.losses} == set(entry.quantization["weights"])

    again = CliRunner().invoke(app, ["frontier", "auto.yaml", "--sizes", "1000:60000000:3", "--quiet", "--json"])
    assert again.exit_code == 2
    assert {row["name"] for row in json.loads(again.stdout)} == {
        "auto-model_size-30000500",
        "auto-model_size-60000000",
    }


@pytest.mark.usefixtures("workplace")
def test_json_is_of_the_curve_and_of_what_is_drawn_beside_it(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = ["frontier", "tiny.yaml", "--sizes", "1MB:2MB:2", "--json"]
    monkeypatch.setattr(local, "run_local", lambda *_: [Outcome("tiny-1000000", INT4), Outcome("tiny-2000000", INT8)])
    done = CliRunner().invoke(app, [*todo, "--beside", str(finished_run / "runs" / "tiny")])
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {"tiny", "w4", "w8a8"} <= {row["name"] for row in rows}
    assert Path("runs/tiny-frontier.png").is_file()

    monkeypatch.setattr(local, "run_local", lambda *_: [Outcome("tiny-1000000", None, "no room")])
    failed = CliRunner().invoke(app, todo)
    assert (failed.exit_code, json.loads(failed.stdout)) == (2, [])
    assert failed.stderr == "error: tiny-1000000: no room\n"
