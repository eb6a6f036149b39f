"""A recipe of a pipeline, from its model to its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.cli.showing import verification
from compress.comparing import compare
from compress.errors import DataError, ModelError
from compress.jobs import kind_of
from compress.jobs.text_to_image import calibration_of, load
from compress.pipeline import run
from compress.recipe import parse
from compress.report.table import render

RECIPE = """
name: tiny
model: random:tiny-sd
task: {{text_to_image: {{num_images: 3, num_steps: 3, guidance_scale: 3, dataset: "demo[0:2]", {more}}}}}
calibration: {{num_samples: 2, dataset: "demo[2:]", batch_size: 2}}
passes:
  - quantize.weights: {{targets: [vae_decoder, unet.conv_in, unet.conv_out], num_bits: 8}}
  - quantize.weights: {{targets: [unet], num_bits: 4, strategy: group, group_size: 32, algorithm: gptq}}
  - quantize.weights: {{targets: [text_encoder], num_bits: 8}}
evaluate: {{latency_runs: 5}}
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers', of schedulers' settings
def test_a_recipe_gives_an_artefact_and_a_row(tmp_path: Path) -> None:
    row = run(parse(RECIPE.format(more="image_size: 32")), output=tmp_path)
    assert row.random_weights
    assert row.latency_ratio is not None
    assert row.scores["psnr_db"].num_samples == 3
    assert row.scores["psnr_db"].value > 15
    assert 0.5 < row.scores["ssim"].value < 1
    assert row.evaluations is not None
    assert row.evaluations.per_image == 6
    assert row.evaluations.ratio is not None
    assert row.parts["unet"] > row.parts["vae_decoder"] > 0
    table = render([row])
    assert "PSNR to float, dB" in table
    assert "s/evaluation" in table
    assert verification(Path(row.artefact), None, None, 2, True).ok
    [baseline] = tmp_path.glob("*-float-*")
    found = compare(baseline, Path(row.artefact).parent).compared
    assert found.differences[0] == row.scores
    assert (Path(row.artefact).parent / "contact_sheet.png").is_file()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("image_size: 30", r"image_size is 30: images of random:tiny-sd are square, of a size that 4 divides"),
        ("scheduler: pndm, num_steps: 1", "it takes 2 steps or more"),
        (f"negative_prompt: '{'seven ' * 20}'", "takes 102 tokens: the text encoder takes 77"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_the_pipeline_does_not_take_is_told(more: str, told: str) -> None:
    text = RECIPE.format(more=more)
    recipe = parse(text.replace("num_steps: 3, ", "") if "num_steps" in more else text)
    with pytest.raises((ModelError, DataError), match=told):
        kind_of(recipe).load(recipe, False)


def test_prompts_of_the_scores_calibrate_nothing() -> None:
    text = RECIPE.format(more="").replace("num_samples: 2", "num_samples: 50")
    texts = calibration_of(parse(text.replace("demo[2:]", "demo[0:3]")))
    assert len(texts) == 50
    assert set(texts) == {"a bowl of oranges on a blue table, still life in oil"}
    with pytest.raises(DataError, match=r"calibration.dataset 'demo\[0:2\]' holds no prompt that the scores are not"):
        calibration_of(parse(text.replace("demo[2:]", "demo[0:2]")))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers', of schedulers' settings
@pytest.mark.parametrize("other", ["num_steps: 8", "guidance_scale: 2", "negative_prompt: dull"])
def test_what_passes_see_is_decided_by_how_images_are_sampled(other: str) -> None:
    """cache.steps keeps steps of one sampling, which no other may find again."""
    plain, changed = (
        load(parse("name: tiny\nmodel: random:tiny-sd\ntask: {text_to_image: {" + text + "}}"), False)
        for text in ("num_images: 3", f"num_images: 3, {other}")
    )
    assert plain.decided_by() != changed.decided_by()
