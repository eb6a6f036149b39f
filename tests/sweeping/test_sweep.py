"""`compress sweep`: recipes in their variants, those that fail among those that do not, and going on."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from compress import pipeline
from compress.cli import app

pytestmark = pytest.mark.usefixtures("workplace")


def sweep(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sweep", *arguments], catch_exceptions=False)


def names(result: Result) -> list[str]:
    return [row["name"] for row in json.loads(result.stdout) if not row["is_float"]]


def take_float_model(finished_run: Path) -> None:
    """To be quick: the float model that another run made."""
    [baseline] = (finished_run / "runs").glob("*-float-*")
    shutil.copytree(baseline, Path("runs") / baseline.name)


@pytest.mark.slow
def test_variants_are_run_the_failing_ones_told_and_nothing_is_done_twice(finished_run: Path) -> None:
    """One of three fails, as its data are gone; then the data are there, and only what was missing is done."""
    take_float_model(finished_run)
    Path("few").mkdir()
    varied = ["tiny.yaml", "--vary", "calibration.dataset=folder:images,folder:few,folder:images[0:4]"]
    first = sweep(*varied, "--json")
    assert first.exit_code == 2
    assert names(first) == ["tiny-dataset-folder-images", "tiny-dataset-folder-images-0-4"]
    [line] = [line for line in first.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: tiny-dataset-folder-few: --set calibration.dataset=folder:few: calibration: ")
    assert len(list(Path("runs").glob("*-float-*"))) == 1

    for source in Path("images").glob("*/0.png"):
        (Path("few") / source.parent.name).mkdir()
        (Path("few") / source.parent.name / source.name).write_bytes(source.read_bytes())
    second = sweep(*varied)
    assert second.exit_code == 0, second.stderr
    assert second.stderr.count("not done again") == 2
    assert second.stdout.count("- tiny-dataset-folder-few: `compress run tiny.yaml --set") == 1


def test_a_fault_is_told_with_the_log_that_has_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*arguments: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(pipeline, "load", faulty)
    result = sweep("tiny.yaml", "--vary", "seed=0,1", "--quiet")
    assert result.exit_code == 3
    assert result.stdout == ""
    told = "unexpected ZeroDivisionError: a fault of compress, not of the recipe"
    assert result.stderr.splitlines() == [
        f"error: tiny-seed-{n}: {told}: runs/tiny-seed-{n}/log.txt has the traceback" for n in (0, 1)
    ]
    assert "ZeroDivisionError: division by zero" in Path("runs/tiny-seed-1/log.txt").read_text()


def test_an_interruption_stops_all_and_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def interrupted(*arguments: object) -> None:
        begun.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "load", interrupted)
    assert sweep("tiny.yaml", "--vary", "seed=0,1", "--quiet").exit_code == 130
    assert len(begun) == 1


def test_what_is_wrong_with_the_command_is_told_before_any_work() -> None:
    wrong = sweep("tiny.yaml", "--vary", "passes.quantize.static.num_bits=8,9")
    assert wrong.exit_code == 2
    assert "error: --set passes.quantize.static.num_bits=9" in wrong.stderr
    local = sweep("tiny.yaml", "--jobs", "2")
    assert local.stderr == "error: --address, --jobs, --cpus-per-run and --gpus-per-run are of --engine ray\n"
    assert not Path("runs").exists()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ray" else found(name))
    result = sweep("tiny.yaml", "--engine", "ray")
    assert result.stderr == "error: compress sweep --engine ray needs an extra: pip install 'compress-toolkit[ray]'\n"


@pytest.mark.slow
def test_on_ray_runs_are_tasks_whose_failures_and_results_come_back(finished_run: Path) -> None:
    take_float_model(finished_run)
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'compress-toolkit[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        Path("few").mkdir()
        varied = ["tiny.yaml", "--vary", "calibration.dataset=folder:images,folder:few,folder:images[0:4]"]
        result = sweep(*varied, "--engine", "ray", "--json")
        assert result.exit_code == 2
        assert names(result) == ["tiny-dataset-folder-images", "tiny-dataset-folder-images-0-4"]
        assert "error: tiny-dataset-folder-few: --set calibration.dataset=folder:few: calibration: " in result.stderr
        again = sweep(*varied, "--engine", "ray", "--json", "--jobs", "1")
        assert again.stdout == result.stdout
        # the same runs as the local engine's, which finds them finished
        here = sweep("tiny.yaml", "--vary", "calibration.dataset=folder:images,folder:images[0:4]")
        assert here.exit_code == 0, here.stderr
        assert here.stderr.count("not done again") == 2
    finally:
        ray.shutdown()
