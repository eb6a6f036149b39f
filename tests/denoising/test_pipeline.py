"""A recipe of a denoiser, from its model to its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.cli.showing import verification
from compress.comparing import compare
from compress.errors import ModelError
from compress.pipeline import run
from compress.recipe import parse
from compress.report.table import render

RECIPE = """
name: tiny
model: random:tiny-unet
task: {{denoising: {{num_samples: 3, num_tokens: 5, sample_size: {size}}}}}
calibration: {{num_samples: 2}}
passes:
  - quantize.weights: {{targets: [conv_in, conv_out, time_embedding], num_bits: 8}}
  - quantize.weights: {{num_bits: 4, strategy: group, group_size: 32, algorithm: gptq}}
evaluate: {{latency_runs: 5}}
"""


@pytest.mark.slow
def test_a_recipe_gives_an_artefact_and_a_row(tmp_path: Path) -> None:
    row = run(parse(RECIPE.format(size="null")), output=tmp_path)
    assert row.random_weights
    assert row.latency_ratio is not None
    assert row.scores["sqnr_db"].num_samples == 3
    assert row.scores["sqnr_db"].value > 10
    assert row.parts["mid_block"] > 0
    table = render([row])
    assert "signal/noise to float, dB" in table
    assert "Random weights" in table
    assert verification(Path(row.artefact), None, None, 2, True).ok
    [baseline] = tmp_path.glob("*-float-*")
    found = compare(baseline, Path(row.artefact).parent).compared
    assert found.differences[0] == {"sqnr_db": row.scores["sqnr_db"]}


def test_a_latent_of_a_wrong_size_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"sample_size is 9: latents of random:tiny-unet are square, of a size that 2"):
        run(parse(RECIPE.format(size=9)), output=tmp_path)
