"""A recipe of a generator, from its model to table and picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from compress.cli.showing import verification
from compress.collecting import entry_of
from compress.comparing import compare
from compress.models.generators.loading import save_generator
from compress.pipeline import run
from compress.recipe import parse
from compress.report.sheet import SHEET, sheet_of
from compress.report.table import render
from compress.results import rows_below
from tests.generating import tiny

RECIPE = """
name: tiny
model: path:{model}
task: {{image_generation: {{dataset: "digits[0:64]", num_images: 20, batch_size: 10}}}}
calibration: {{dataset: "digits[0:32]"}}
passes:
  - distill.guidance: {{max_steps: 2, batch_size: 8}}
  - distill.steps: {{steps: 2, rounds: 1, max_steps: 2, batch_size: 8}}
  - quantize.static
target: x86-vnni
evaluate: {{latency_runs: 5, throughput_batch_size: 2}}
"""


@pytest.mark.slow
def test_a_recipe_gives_an_artefact_a_row_and_a_sheet(tmp_path: Path) -> None:
    save_generator(tiny(), tmp_path / "model")
    recipe = parse(RECIPE.format(model=tmp_path / "model"))
    row = run(recipe, output=tmp_path / "runs")
    assert row.evaluations is not None
    assert row.evaluations.per_image == 2  # of 16
    assert row.latency_ratio is not None
    assert row.scores["psnr_db"].num_samples == 20
    table = render([row])
    assert "Fréchet distance (digits-mlp)" in table
    assert "FID" not in table
    directory = Path(row.artefact).parent
    with Image.open(directory / SHEET) as drawn:
        assert drawn.size[0] > 20 * 40
    sheet_of([row], tmp_path / "sheet.png")
    lines = [entry_of(each).line for each in rows_below([tmp_path / "runs"])]
    assert [line and (line.made_for, line.num) for line in lines] == 2 * [(lines[0] and lines[0].made_for, 20)]
    [baseline] = (tmp_path / "runs").glob("*-float-*")
    found = compare(baseline, directory).compared
    assert found.differences[0] == {name: row.scores[name] for name in found.differences[0]}
    assert "psnr_db" in found.differences[0]
    changes = [each.change for each in found.changed]
    assert changes == sorted(changes, reverse=True)
    assert verification(Path(row.artefact), None, None, 2, True).ok
