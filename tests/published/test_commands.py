"""`compress table --results` and `compress verify RESULTS.md`, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from compress.cli import app

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("workplace")


def compress(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def page(finished_run: Path, workplace: Path) -> Path:
    """The finished run of tiny.yaml, published."""
    shutil.copytree(finished_run / "runs", workplace / "runs")
    told = compress("table", "--results", "RESULTS.md").stderr.splitlines()
    assert [line.split(": ") for line in told][1] == ["tiny", "added"]
    assert len(told) == 2
    return Path("RESULTS.md")


def test_published_rows_hold_beside_their_runs_and_without(page: Path) -> None:
    verified = compress("verify", str(page), "--quiet")
    assert verified.exit_code == 0, verified.output
    assert "tiny: recipe: holds exactly" in verified.stdout
    assert "tiny: top1: holds exactly" in verified.stdout
    assert "not checked" not in verified.stdout
    shutil.rmtree("runs")
    verified = compress("verify", str(page), "tiny", "--json")
    found = json.loads(verified.stdout)
    assert verified.exit_code == 0
    assert found["ok"]
    assert [check["verdict"] for check in found["checks"]] == ["EXACT", "EXACT", "EXACT", "UNCHECKED"]


def test_a_changed_recipe_ends_with_1(page: Path) -> None:
    recipe = Path("tiny.yaml").read_text()
    Path("tiny.yaml").unlink()
    Path("tiny.yaml").write_text(recipe.replace("quantize.static", "quantize.static: {observer: minmax}"))
    stale = compress("verify", str(page), "tiny", "--output", "nowhere")
    assert stale.exit_code == 1
    assert "tiny: recipe: stale: recorded `compress run tiny.yaml`, found changed since in passes" in stale.stdout


def test_the_published_rows_are_a_table_themselves(page: Path) -> None:
    text = page.read_text()
    shutil.rmtree("runs")
    names = [entry["name"] for entry in json.loads(compress("table", str(page), "--format", "json").stdout)]
    assert names[1] == "tiny"
    assert compress("table", str(page), "--html", "page.html").exit_code == 0
    assert "tiny" in Path("page.html").read_text()
    again = compress("table", str(page), "--results", str(page))
    assert (again.exit_code, again.stderr, page.read_text()) == (0, "", text)


def test_bad_input_ends_with_2(page: Path) -> None:
    for arguments, told in {
        ("RESULTS.md", "tinny"): "RESULTS.md: unknown row 'tinny': did you mean 'tiny'?",
        ("OTHER.md",): "OTHER.md: no such file: compress table runs --results OTHER.md writes it",
        ("RESULTS.md", "--dataset", "demo"): "RESULTS.md is a page, and --dataset is of an artefact: take it out",
        ("runs/tiny/artefact", "--rerun"): (
            "runs/tiny/artefact is an artefact, and --rerun is of a page such as RESULTS.md: take it out"
        ),
    }.items():
        refused = compress("verify", *arguments)
        assert (refused.exit_code, refused.stderr) == (2, f"error: {told}\n")


@pytest.mark.slow
def test_a_row_made_again_has_the_same_bytes_and_figures(page: Path) -> None:
    made = compress("verify", str(page), "--rerun", "--quiet")
    assert "tiny: bytes of the model file: holds exactly" in made.stdout
    assert "tiny: top1: holds exactly" in made.stdout
    assert "tiny: agreement: holds exactly" in made.stdout
    assert made.exit_code == (1 if "does not hold" in made.stdout else 0)  # times of a busy machine may part


def test_the_project_s_own_results_are_of_its_recipes_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    verified = compress("verify", "RESULTS.md", "--output", "nowhere")
    assert verified.exit_code == 0, verified.output
    for recipe in ("efficientnet-lite0-w8a8", "efficientnet-lite0-w4"):
        assert f"{recipe}: recipe: holds exactly" in verified.stdout


@pytest.mark.slow
def test_the_demo_s_int8_row_is_made_again(tmp_path: Path) -> None:
    made = compress("verify", str(ROOT / "RESULTS.md"), "--rerun", "efficientnet-lite0-w8a8", "--json")
    checks = {check["what"]: check for check in json.loads(made.stdout)["checks"]}
    held = {what.partition(": ")[2] for what, check in checks.items() if check["verdict"] in ("EXACT", "WITHIN")}
    assert held >= {"recipe", "size, ± 1%", "top1", "top1_difference", "agreement"}
