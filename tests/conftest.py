"""What all tests share."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Tests run beside each other, one a core: more threads in each would only wait for one another.  Read when torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes that tests start in other directories import this checkout.
_ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
# Nothing is fetched from a hub by a test.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def assets() -> Path:
    """The directory of real photographs and weights; skips the test where there is none."""
    directory = os.environ.get("COMPRESS_TEST_ASSETS")
    if directory is None:
        pytest.skip("COMPRESS_TEST_ASSETS is not set: it names the directory of imagenet-sample-dev.parquet")
    return Path(directory)


@pytest.fixture(scope="session", autouse=True)
def shared_operators() -> Iterator[None]:
    """torch.onnx.export makes its table of 500 operators anew for every model, 0.7 s: here once an opset.

    Nothing in this project adds operators of its own to it.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:  # another torch keeps it elsewhere: tests take longer
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


# A recipe that runs in seconds: a small network with random weights, and 20 photographs that are noise.
TINY = """\
name: tiny
model: {source: "cifar:resnet8", weights: random}
task: {image_classification: {dataset: "folder:images"}}
calibration: {dataset: "folder:images[0:12]", batch_size: 8}
passes:
  - fold.batchnorm
  - quantize.static
evaluate: {latency_runs: 5, threads: 1}
"""


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two PNG images of 32 × 32 for each of ten classes."""
    directory = tmp_path_factory.mktemp("data") / "images"
    numbers = np.random.default_rng(0)
    for label in range(10):
        (directory / str(label)).mkdir(parents=True)
        for number in range(2):
            pixels = numbers.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(directory / str(label) / f"{number}.png")
    return directory


@pytest.fixture
def workplace(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with `tiny.yaml` and its images."""
    monkeypatch.chdir(_prepared(tmp_path, images))
    return tmp_path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A working directory in which `compress run tiny.yaml` was done, with what it printed in `stdout` and `stderr`.

    Made once, for all processes that run tests beside each other: not to be changed.
    """
    from filelock import FileLock
    from typer.testing import CliRunner

    from compress.cli import app

    beside_others = "PYTEST_XDIST_WORKER" in os.environ
    shared = tmp_path_factory.getbasetemp().parent if beside_others else tmp_path_factory.getbasetemp()
    directory = shared / "finished"
    with FileLock(shared / "finished.lock"):
        if not (directory / "stdout").exists():
            directory.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(_prepared(directory, images))
                result = CliRunner().invoke(app, ["run", "tiny.yaml"], catch_exceptions=False)
            assert result.exit_code == 0, result.stderr
            (directory / "stderr").write_text(result.stderr)
            (directory / "stdout").write_text(result.stdout)
    return directory


def _prepared(directory: Path, images: Path) -> Path:
    (directory / "images").symlink_to(images)
    (directory / "tiny.yaml").write_text(TINY)
    return directory
