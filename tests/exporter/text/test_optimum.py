"""Optimum opens what is exported, by its own classes and names, and writes the tokens that the torch model writes.

optimum-onnx lives on older versions of transformers than this package: it is installed into a folder of its own, before
torch, numpy and onnxruntime of here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compress.exporter.text import export_translator
from compress.models.source import ModelSource
from compress.models.translators import load_translator

pytestmark = pytest.mark.slow

PINS = (
    "optimum-onnx==0.1.0",
    "optimum==2.1.0",
    "transformers==4.57.6",
    "tokenizers==0.22.2",
    "huggingface-hub==0.36.2",
)
# tiny-qwen3 is missing: Optimum takes Qwen 3's heads for width / heads wide, which its config denies.
NAMES = ("tiny-gemma3", "tiny-llama", "tiny-qwen2", "tiny-m2m100", "tiny-marian", "tiny-t5")
IDS = [[70, 107, 114, 50, 66], [90, 61, 62, 63, 64]]
SETTINGS = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "num_beams": 1}
SCRIPT = """
import json, sys
sys.modules["diffusers"] = None  # there is none: that of this package wants a later huggingface-hub
import torch
from optimum.onnxruntime import ORTModelForCausalLM, ORTModelForSeq2SeqLM

directories, ids, settings = json.loads(sys.argv[1])
ids = torch.tensor(ids)
for directory, family in directories:
    model = (ORTModelForCausalLM if family == "decoder" else ORTModelForSeq2SeqLM).from_pretrained(directory)
    print(json.dumps(model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings).tolist()))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Optimum, and with what it needs in other versions than this package."""
    folder = tmp_path_factory.mktemp("optimum")
    options = ("--quiet", "--no-deps", "--no-compile", "--no-cache-dir", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", folder, *PINS], check=True)
    return folder


def test_optimum_writes_the_tokens_of_the_torch_models(packages: Path, tmp_path: Path) -> None:
    ids, expected, directories = torch.tensor(IDS), [], []
    for name in NAMES:
        loaded = load_translator(ModelSource(f"random:{name}"))
        export_translator(loaded, tmp_path / name, target="generic")
        expected.append(loaded.model.generate(ids, attention_mask=torch.ones_like(ids), **SETTINGS).tolist())
        directories.append((str(tmp_path / name), loaded.family))
    command = [sys.executable, "-c", SCRIPT, json.dumps([directories, IDS, SETTINGS])]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(packages)}, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    written = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert dict(zip(NAMES, written, strict=True)) == dict(zip(NAMES, expected, strict=True))
