"""A recipe whose process is killed amid a round of distill.steps ends, run again, with the same file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from compress.models.generators.loading import save_generator
from compress.runtime.artefact import TRANSFORMER
from tests.generating import tiny

pytest.importorskip("sklearn")
pytest.importorskip("accelerate")
RECIPE = """
name: tiny
model: path:{model}
task: {{image_generation: {{dataset: "digits[0:64]", num_images: 10, batch_size: 10}}}}
calibration: {{dataset: "digits[0:32]"}}
passes:
  - distill.steps: {{steps: 2, rounds: 2, epochs: null, max_steps: 30, batch_size: 8}}
target: x86-vnni
evaluate: {{latency_runs: 5, throughput_batch_size: 2, float_model: false}}
"""
PROGRAM = """
import sys
from pathlib import Path
from compress.pipeline import run
from compress.recipe import parse
from compress.training import loop
loop.CHECKPOINT_SECONDS = 0.0
run(parse(Path(sys.argv[1]).read_text()), output=Path(sys.argv[2]))
"""


def started(recipe: Path, output: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(recipe), str(output)])


def amid_the_second_round(output: Path) -> bool:
    kept = [int(path.name.split("-")[1]) for path in output.rglob("round-2/checkpoints/step-*") if "." not in path.name]
    return any(5 <= step < 25 for step in kept)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_file(tmp_path: Path) -> None:
    save_generator(tiny(None, num_steps=16), tmp_path / "model")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(model=tmp_path / "model"))
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = started(recipe, broken)
    while not amid_the_second_round(broken):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (broken / "tiny" / "artefact").exists()
    for output in (broken, whole):
        assert started(recipe, output).wait() == 0
    files = [output / "tiny" / "artefact" / TRANSFORMER for output in (broken, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()
