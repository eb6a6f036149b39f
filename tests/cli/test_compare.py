"""`compress compare`, on a run and its float model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from compress.cli import app
from compress.runtime.artefact import open_artefact, write_manifest


def compress(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def runs(finished_run: Path, workplace: Path) -> tuple[Path, Path]:
    """The float model's run and the one that was compared with it, in the working directory."""
    shutil.copytree(finished_run / "runs", workplace / "runs")
    [baseline] = Path("runs").glob("*-float-*")
    return baseline, Path("runs/tiny")


def changed(artefact: Path, content: dict[str, Any]) -> None:
    """Another manifest over the same files."""
    manifest = open_artefact(artefact).manifest
    kept = {key: manifest[key] for key in ("lock", "model", "target", "quantization", "scores")}
    write_manifest(artefact, {**kept, **content})


def test_the_differences_are_those_that_the_run_measured(runs: tuple[Path, Path]) -> None:
    found = json.loads(compress("compare", *map(str, runs), "--json", "--quiet").stdout)
    row = json.loads((runs[1] / "row.json").read_text())
    [difference] = found["differences"]
    assert (difference["of"], difference["against"]) == ("tiny", runs[0].name)
    for name in ("agreement", "kl_nats", "top1_difference"):
        assert difference["scores"][name] == row["scores"][name]
    assert found["scores"]["tiny"]["top1"] == row["scores"]["top1"]
    [layers] = found["layers"]
    assert len(layers["sqnr_db"]) > 1
    assert all(value is None or value > 20 for value in layers["sqnr_db"].values())  # int8
    changes = [sample["change"] for sample in found["changed"]["samples"]]
    assert changes == sorted(changes, reverse=True)
    assert found["rows"]["tiny"]["command"] == "compress run tiny.yaml"


def test_against_the_float_model_each_is_compared_and_a_picture_drawn(runs: tuple[Path, Path]) -> None:
    shutil.copytree("runs/tiny", "runs/twin")
    arguments = ("compare", "runs/tiny", "runs/twin/artefact", "--against", "float", "--plot", "layers.svg", "--quiet")
    text = compress(*arguments).stdout
    for pair in ("twin against tiny", f"tiny against {runs[0].name}", f"twin against {runs[0].name}"):
        assert pair in text
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Scores",
        "### Paired differences",
        "### Bytes and latency",
        "### Changed most, in nats that the second's probabilities part from the first's",
        "### Weights that part most",
    ]
    assert Path("layers.svg").stat().st_size > 1000
    refused = compress(*arguments)
    assert refused.exit_code == 2
    assert refused.stderr == "error: layers.svg is there already: name another file, or give --force\n"


@pytest.mark.parametrize("what", ["model", "data"])
def test_artefacts_of_another_model_or_other_data_are_refused(what: str, runs: tuple[Path, Path]) -> None:
    artefact = runs[1] / "artefact"
    manifest = open_artefact(artefact).manifest
    if what == "model":
        changed(artefact, {"model": {**manifest["model"], "description": "another"}})
    else:
        changed(artefact, {"lock": {**manifest["lock"], "evaluation_sha256": "0" * 64}})
    refused = compress("compare", *map(str, runs), "--quiet")
    assert refused.exit_code == 2
    assert f"differ in their {what}: " in refused.stderr


def test_a_float_model_that_is_gone_is_asked_for(runs: tuple[Path, Path]) -> None:
    shutil.rmtree(runs[0])
    refused = compress("compare", "runs/tiny", "runs/tiny", "--against", "float", "--quiet")
    assert refused.exit_code == 2
    assert "does not lie beside it: --against DIRECTORY names one" in refused.stderr


def test_what_is_no_artefact_is_told(runs: tuple[Path, Path]) -> None:
    refused = compress("compare", str(runs[0]), "nowhere", "--quiet")
    assert refused.exit_code == 2
    assert "nowhere" in refused.stderr
