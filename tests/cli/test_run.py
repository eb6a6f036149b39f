"""`compress run` and what reads its results, from the command line, on a recipe that takes seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from compress import pipeline
from compress.budget import both
from compress.cli import app

pytestmark = pytest.mark.usefixtures("workplace")
ROW_KEYS = {"name", "model", "artefact", "command", "scores", "model_bytes", "misses", "latency_ratio"}


def compress(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def done(finished_run: Path, workplace: Path) -> Path:
    """The finished run of tiny.yaml, copied into the working directory; where it was done."""
    shutil.copytree(finished_run / "runs", workplace / "runs")
    return finished_run


def test_a_run_tells_its_stages_then_the_table_then_where_the_artefact_lies(done: Path) -> None:
    stdout, stderr = (done / "stdout").read_text(), (done / "stderr").read_text()
    assert [line.split(":")[0] for line in stderr.splitlines()] == [
        "tiny",
        "[1/6] load",
        "[2/6] float",
        "[3/6] fold.batchnorm",
        "[4/6] quantize.static",
        "[5/6] export",
        "[6/6] measure",
    ]
    assert "| tiny |" in stdout
    assert "- tiny: `compress run tiny.yaml`" in stdout
    size = sum(path.stat().st_size for path in Path("runs/tiny/artefact").iterdir())
    assert stdout.splitlines()[-1] == f"tiny: runs/tiny/artefact: {size:,} bytes"


def test_a_finished_run_is_not_done_again(done: Path) -> None:
    again = compress("run", "tiny.yaml")
    told = "finished before with the same recipe, code and data: not done again"
    assert again.stderr.splitlines() == ["tiny", f"tiny: {told}"]
    assert again.stdout == (done / "stdout").read_text()


@pytest.mark.usefixtures("done")
def test_passes_that_recipes_share_are_done_once_where_their_stages_are_kept() -> None:
    first = compress("run", "tiny.yaml", "--set", "name=first", "--keep-stages", "--quiet")
    assert first.exit_code == 0, first.stderr
    kept = Path("runs/.shared/stages")
    assert sorted(path.name.rpartition("-")[0] for path in kept.iterdir()) == ["fold.batchnorm", "quantize.static"]
    assert not Path("runs/first/stages").exists()
    second = compress("run", "tiny.yaml", "--set", "name=second")
    assert "going on after quantize.static, the last stage that was finished" in second.stderr
    assert "fold.batchnorm:" not in second.stderr
    graphs = [Path("runs", name, "artefact", "model.onnx").read_bytes() for name in ("tiny", "first", "second")]
    assert graphs[0] == graphs[1] == graphs[2]


@pytest.mark.slow
@pytest.mark.usefixtures("done")
def test_another_result_is_not_overwritten_unless_it_is_forced() -> None:
    before = Path("runs/tiny/artefact/compress.json").read_bytes()
    refused = compress("run", "tiny.yaml", "--set", "budget.size=10kB")
    assert refused.exit_code == 2
    told = "holds a result that other recipe values made: --force replaces it, another --output keeps it"
    assert refused.stderr == f"error: runs/tiny: {told}\n"
    assert refused.stdout == ""
    assert Path("runs/tiny/artefact/compress.json").read_bytes() == before

    # it misses its budget, so that it ends with 1, is kept and says so
    forced = compress("run", "tiny.yaml", "--set", "budget.size=10kB", "--force", "--quiet", "--json")
    assert forced.exit_code == 1
    assert forced.stderr == ""
    row = json.loads(forced.stdout)[1]
    assert row["misses"] == [f"the artefact takes {both(row['size_bytes'])}, the budget allows {both(10_000)}"]
    assert Path("runs/tiny/artefact/model.onnx").stat().st_size == row["model_bytes"]
    again = compress("run", "tiny.yaml", "--set", "budget.size=10kB")
    assert again.exit_code == 1
    assert "tiny misses its budget" in again.stdout


@pytest.mark.usefixtures("done")
def test_the_table_shows_finished_runs() -> None:
    rows = json.loads(compress("table", "--format", "json").stdout)
    assert rows[0]["is_float"]
    assert rows[1]["name"] == "tiny"
    assert set(rows[1]) >= ROW_KEYS
    assert compress("table", "runs/tiny", "--format", "csv").stdout.count("\n") == 3
    assert compress("table", "nowhere").exit_code == 2


@pytest.mark.usefixtures("done")
def test_an_artefact_is_verified_and_a_damaged_one_is_bad_input() -> None:
    verified = compress("verify", "runs/tiny/artefact", "--quiet")
    assert verified.exit_code == 0, verified.stdout
    assert {line.split(": ")[1] for line in verified.stdout.splitlines()} == {"holds exactly"}
    others = compress("verify", "runs/tiny/artefact", "--quiet", "--dataset", "folder:images[0:7]")
    assert "evaluation data (other figures are expected): not checked" in others.stdout

    model = Path("runs/tiny/artefact/model.onnx")
    model.write_bytes(model.read_bytes()[:-1])
    damaged = compress("verify", "runs/tiny/artefact")
    assert damaged.exit_code == 2
    assert damaged.stderr.startswith("error: runs/tiny/artefact/model.onnx: damaged: ")
    assert compress("run", "tiny.yaml").stderr == damaged.stderr


@pytest.mark.usefixtures("done")
def test_artefacts_are_timed_in_turn() -> None:
    timed = compress("bench", "runs/tiny/artefact", "runs/tiny/artefact/model.onnx", "--format", "json", "--quiet")
    first, second = json.loads(timed.stdout)
    assert first["latency_ratio"] is None
    assert second["latency_ratio"]["num_pairs"] > 0


def test_bad_input_is_told_before_anything_is_written() -> None:
    Path("bad.yaml").write_text(Path("tiny.yaml").read_text().replace("fold.batchnorm", "fold.batchnrom"))
    result = compress("run", "tiny.yaml", "bad.yaml")
    assert result.exit_code == 2
    assert result.stderr == "error: bad.yaml:6: unknown pass 'fold.batchnrom': did you mean 'fold.batchnorm'?\n"
    assert not Path("runs").exists()


def test_a_dry_run_plans_and_writes_nothing() -> None:
    result = compress("run", "tiny.yaml", "--dry-run", "--json")
    assert result.exit_code == 0
    [made] = json.loads(result.stdout)
    assert made["name"] == "tiny"
    assert made["model_bytes"] < made["float_bytes"]
    assert not Path("runs").exists()


def test_an_interruption_says_that_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "load", interrupted)
    result = compress("run", "tiny.yaml", "--quiet")
    assert result.exit_code == 130
    assert result.stderr == "interrupted: the same command goes on after the last finished stage\n"


def test_a_fault_of_the_program_is_told_in_a_line_and_its_traceback_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(*arguments: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(pipeline, "load", faulty)
    result = compress("run", "tiny.yaml", "--quiet")
    assert result.exit_code == 3
    told = "unexpected ZeroDivisionError: a fault of compress, not of the recipe: runs/tiny/log.txt has the traceback"
    assert result.stderr == f"error: {told}\n"
    log = Path("runs/tiny/log.txt").read_text()
    assert "in faulty" in log
    assert "ZeroDivisionError: division by zero" in log


def test_checking_tells_what_is_wrong_and_what_is_right() -> None:
    assert compress("check", "tiny.yaml").stdout == "tiny.yaml: no problems found\n"
    wrong = compress("check", "tiny.yaml", "--set", "passes.quantize.static.targets=[convv1]")
    assert wrong.exit_code == 2
    assert wrong.stderr.endswith("unknown layer 'convv1': did you mean 'conv1'?\n")


WITHOUT_TORCH = "import sys\nfor name in ('torch', 'torchvision', 'timm', 'transformers', 'onnxscript'):\n"
WITHOUT_TORCH += "    sys.modules[name] = None\nfrom compress.cli import main\nmain()"


def test_without_torch_recipes_are_checked_and_a_run_names_the_extra() -> None:
    def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    checked = without_torch("check", "tiny.yaml")
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == (
        "note: not checked: checking selectors needs an extra: pip install 'compress-toolkit[torch]'\n"
    )
    refused = without_torch("run", "tiny.yaml")
    assert refused.returncode == 2
    assert refused.stderr == "error: compress run needs an extra: pip install 'compress-toolkit[torch]'\n"
