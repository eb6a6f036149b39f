"""OpenVINO's ONNX front end opens int8 classifiers and decoders as exported, but for embeddings in 4 bits.

openvino is installed into a folder of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.interop import made

pytestmark = pytest.mark.slow

PINS = ("openvino==2026.4.1", "openvino-telemetry==2025.2.0")
SCRIPT = """
import json, sys
import numpy as np, openvino
graph, feeds = sys.argv[1], json.loads(open(sys.argv[2]).read())
feeds = {name: np.array(one["data"], one["type"]).reshape(one["dims"]) for name, one in feeds.items()}
model = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
print(json.dumps(model(feeds)[model.output("logits")].tolist()))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openvino")
    options = ("--quiet", "--no-deps", "--no-compile", "--no-cache-dir", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", folder, *PINS], check=True)
    return folder


def asked(packages: Path, graph: Path) -> subprocess.CompletedProcess[str]:
    path = graph.with_name("fed.json")
    path.write_text(made.as_json(made.fed(graph.parent)))
    command = [sys.executable, "-c", SCRIPT, str(graph), str(path)]
    paths = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)


def away(packages: Path, graph: Path) -> float:
    """The largest difference of logits to onnxruntime's, as a share of these logits' standard deviation."""
    done = asked(packages, graph)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.array(json.loads(done.stdout.splitlines()[-1]))
    logits = made.expected(graph.parent, made.fed(graph.parent))
    assert found.shape == logits.shape
    return float(np.abs(found - logits).max() / logits.std())


@pytest.mark.parametrize("target", ["generic", "x86-vnni"])
def test_a_classifier_in_int8_gives_the_logits_of_onnxruntime(packages: Path, tmp_path: Path, target: str) -> None:
    directory = made.classifier(tmp_path / "artefact", target)
    assert away(packages, directory / "model.onnx") < 0.1  # one step of int8 where the two round apart


@pytest.mark.parametrize(("passes", "limit"), [(made.FLOAT, 1e-4), (made.LINEAR, 0.15)])  # 4 bits: ours rounds inputs
def test_a_decoder_gives_the_logits_of_onnxruntime(packages: Path, tmp_path: Path, passes: str, limit: float) -> None:
    assert away(packages, made.decoder(tmp_path, passes) / "model.onnx") < limit


def test_an_embedding_in_four_bits_is_refused(packages: Path, tmp_path: Path) -> None:
    refused = asked(packages, made.decoder(tmp_path, made.EMBEDDING) / "model.onnx")
    assert refused.returncode != 0
    assert "Conversion is failed for: com.microsoft.GatherBlockQuantized\n" in refused.stderr
