"""kill -9 in the middle of a run, and the same command again completes it with the same bytes."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli import app

# `compress run tiny.yaml`, in processes that kill themselves when a function is called for the n-th time, or right
# after.  They are forked from one that has loaded the exporter, which takes most of a small run.  Prints how all end.
KILLER = """
import importlib, os, signal, sys

import onnxruntime, torch
import compress.jobs.images, compress.pipeline
from compress.cli import main

torch.onnx.export(torch.nn.ReLU(), (torch.ones(1),), dynamo=True, verbose=False)


def die(module, function, number, when):
    module, number = importlib.import_module(module), int(number)
    original, calls = getattr(module, function), 0

    def dying(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, function, dying)
    sys.argv = ["compress", "run", "tiny.yaml"]
    main()


for point in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            die(*point.split(":"))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    print(status, os.path.exists("runs/tiny/run.json"), flush=True)
"""
# In the order in which a run comes to them.  The float model's export and measurement come before those of the result.
POINTS = (
    "compress.jobs.images:measure:1:before",
    "compress.pipeline:write_row:1:after",
    "compress.applying:apply_one:2:before",
    "compress.models.snapshot:save_snapshot:1:after",
    "compress.jobs.images:export:1:after",
    "compress.pipeline:with_scores:1:after",
    "compress.pipeline:replace_directory:1:after",
    "compress.pipeline:write_row:1:after",
)


def hashes(artefact: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(artefact.iterdir())}


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_a_run_that_is_killed_everywhere_is_completed_with_the_same_bytes(finished_run: Path) -> None:
    whole = finished_run / "runs"
    killed = subprocess.run([sys.executable, "-c", KILLER, *POINTS], capture_output=True, text=True, check=False)
    assert killed.stdout.splitlines() == [f"{int(signal.SIGKILL)} False"] * len(POINTS), killed.stderr
    done = CliRunner().invoke(app, ["run", "tiny.yaml"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "going on after quantize.static, the last stage that was finished" in done.stderr
    assert hashes(Path("runs/tiny/artefact")) == hashes(whole / "tiny" / "artefact")
    [baseline] = Path("runs").glob("*-float-*")
    assert hashes(baseline / "artefact") == hashes(whole / baseline.name / "artefact")
    left = sorted(path.name for path in Path("runs/tiny").iterdir())
    assert left == [".lock", "artefact", "log.txt", "row.json", "run.json"]
    assert json.loads(Path("runs/tiny/run.json").read_text())["float"] == baseline.name
