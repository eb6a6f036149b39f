"""`compress export`: a recipe's language model as one file for llama.cpp, from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.testing import CliRunner, Result

from compress import pipeline
from compress.cli import app, exporting
from compress.exporter.gguf import AUTO, TYPES

RECIPE = """
name: small
model: random:tiny-gemma3
task: {translation: {pairs: [en-fr], shots: "demo[0:1]", num_likelihood: 2, num_translations: 1, max_new_tokens: 4}}
calibration: {dataset: "demo[3:72]", num_samples: 4, max_seq_length: 64}
passes:
  - quantize.weights: {num_bits: 4, strategy: group, group_size: 32, symmetric: false, algorithm: gptq}
"""


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(RECIPE)


def export(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", "small.yaml", "--format", "gguf", *arguments], catch_exceptions=False)


def test_the_file_is_written_after_the_passes_and_what_lies_in_it_is_told() -> None:
    done = export()
    assert done.exit_code == 0, done.stderr
    file = Path("runs/small/small.gguf")
    assert done.stdout == f"{file}: {file.stat().st_size:,} bytes, 28 tensors: 1 F16, 14 Q4_1, 13 F32\n"
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "[1/3] load",
        "[2/3] quantize.weights",
        "[3/3] write",
    ]
    assert "compress export small.yaml --format gguf" in Path("runs/small/log.txt").read_text()

    # The passes are not done again for another type, and fallbacks are told.
    other = export("--type", "q5_0", "--output", "other.gguf")
    assert other.exit_code == 0
    assert other.stderr.splitlines()[1] == "going on after quantize.weights, the last stage that was finished"
    assert other.stdout.startswith("other.gguf: ")
    assert other.stdout.endswith("15 Q5_0, 13 F32\n")

    refused = export()
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: {file}: exists already: ")
    before = file.read_bytes()
    forced = export("--force", "--quiet", "--json")
    assert forced.stderr == ""
    assert file.read_bytes() == before
    told = {"file": str(file), "bytes": len(before), "types": {"F16": 1, "Q4_1": 14, "F32": 13}, "notes": []}
    assert json.loads(forced.stdout) == told


def test_a_run_that_was_stopped_after_its_passes_leaves_them_to_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "finish", lambda *arguments: None)  # of the float model, which is not asked for here
        patch.setattr(pipeline, "export_model", killed)
        patch.setattr(pipeline, "float_baseline", lambda *arguments: None)
        assert CliRunner().invoke(app, ["run", "small.yaml", "--quiet"]).exit_code == 130
    assert "going on after quantize.weights" in export().stderr


def test_a_fallback_is_told() -> None:
    told = export("--set", "passes.quantize.weights.group_size=16", "--quiet").stdout.splitlines()
    assert told[1].startswith(
        "note: F16 (16 bits) instead, since groups of 16 values are no multiple of 32: 14 tensors: blk.0."
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--type", "Q4_2"], "unknown GGUF type 'Q4_2': known: auto, F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1"),
        (["--set", "model=random:tiny-marian"], "the encoder–decoder 'marian' is not written as GGUF here"),
        (["--output", "."], ".: is a directory: name a file"),
    ],
)
def test_bad_input_is_one_message_before_any_work(arguments: list[str], told: str) -> None:
    done = export(*arguments, "--quiet")
    assert done.exit_code == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert not list(Path().rglob("*.gguf"))
    assert not list(Path().rglob("stages"))


def test_a_ternary_type_is_refused_where_nothing_is_ternary() -> None:
    done = export("--type", "TQ1_0", "--quiet")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: TQ1_0 holds ternary weights, ")
    assert not list(Path().rglob("*.gguf"))


def test_the_help_lists_every_type() -> None:
    told = get_type_hints(exporting.export, include_extras=True)["type"].__metadata__[0].help
    assert [kind for kind in (AUTO, *TYPES) if re.search(rf"\b{kind}\b", told) is None] == []


def test_a_recipe_of_images_is_refused() -> None:
    done = CliRunner().invoke(app, ["export", "efficientnet-lite0-w4", "--format", "gguf"])
    assert done.exit_code == 2
    told = "its task is image_classification: GGUF holds models that generate text"
    assert done.stderr == f"error: efficientnet-lite0-w4: {told}\n"


def test_another_format_is_a_matter_of_usage() -> None:
    done = CliRunner().invoke(app, ["export", "small.yaml", "--format", "ggml"])
    assert done.exit_code == 2
    assert "gguf" in done.stderr
