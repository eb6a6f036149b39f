"""onnxruntime-node, installed into a folder of its own, gives the logits that onnxruntime gives in Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.interop import made

NODE, NPM = shutil.which("node"), shutil.which("npm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NODE is None or NPM is None, reason="no node or no npm: apt install nodejs npm"),
]

PIN = "onnxruntime-node@1.30.0"
SCRIPT = """
const ort = require("onnxruntime-node");
const [graph, path] = process.argv.slice(2);
const arrays = { float32: Float32Array, int64: BigInt64Array };
const tensor = ({ type, dims, data }) =>
  new ort.Tensor(type, type === "int64" ? BigInt64Array.from(data, BigInt) : arrays[type].from(data), dims);
(async () => {
  const given = Object.entries(JSON.parse(require("fs").readFileSync(path, "utf8")));
  const session = await ort.InferenceSession.create(graph);
  const { logits } = await session.run(Object.fromEntries(given.map(([name, one]) => [name, tensor(one)])), ["logits"]);
  console.log(JSON.stringify({ dims: logits.dims, data: [...logits.data] }));
})();
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true}')
    command = [str(NPM), "install", "--no-audit", "--no-fund", "--ignore-scripts", PIN]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "ask.js").write_text(SCRIPT)
    return folder


def away(packages: Path, directory: Path) -> float:
    """The largest difference of logits to those of Python, as a share of their standard deviation."""
    feeds = made.fed(directory)
    path = packages / "fed.json"
    path.write_text(made.as_json(feeds))
    command = [str(NODE), "ask.js", str(directory / "model.onnx"), str(path)]
    done = subprocess.run(command, cwd=packages, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    logits = made.expected(directory, feeds)
    assert found["dims"] == [*logits.shape]
    return float(np.abs(np.array(found["data"]).reshape(logits.shape) - logits).max() / logits.std())


def test_a_classifier_in_int8_gives_the_logits_of_python(packages: Path, tmp_path: Path) -> None:
    assert away(packages, made.classifier(tmp_path / "artefact", "x86-vnni")) < 1e-4


@pytest.mark.parametrize("passes", [made.FLOAT, made.EMBEDDING])
def test_a_decoder_gives_the_logits_of_python(packages: Path, tmp_path: Path, passes: str) -> None:
    assert away(packages, made.decoder(tmp_path, passes)) < 1e-4
