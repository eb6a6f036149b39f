"""The plan: bytes counted by hand, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.jobs import kind_of
from compress.passes.training import TrainingPass
from compress.plan import layer_plans, plan, training_forwards
from compress.recipe import parse

pytestmark = pytest.mark.usefixtures("workplace")


def bytes_of(*overrides: str) -> dict[str, tuple[int, int]]:
    """Bits and bytes of each layer's weight."""
    recipe = parse(Path("tiny.yaml"), overrides)
    planned = layer_plans(recipe.passes, kind_of(recipe).load(recipe, allow_code=False).model)
    return {layer.name: (layer.num_bits, layer.stored_bytes) for layer in planned}


def test_int8_weights_take_a_byte_a_code_and_two_a_channel() -> None:
    layers = bytes_of()
    assert layers["conv1"] == (8, 16 * 3 * 9 + 16 * 2)
    assert layers["linear"] == (8, 10 * 64 + 10 * 2)


def test_layers_that_no_pass_targets_stay_float() -> None:
    layers = bytes_of("passes.quantize.static.ignore=[linear]")
    assert layers["linear"] == (32, 10 * 64 * 4)
    assert layers["conv1"][0] == 8


@pytest.mark.parametrize(
    ("parameters", "stored_bytes"),
    [
        ("{num_bits: 4}", 10 * 64 / 2 + 10 * 2),
        ("{num_bits: 3, symmetric: false}", 10 * 64 * 3 / 8 + 10 * 2 + 10 * 3 / 8),
        ("{num_bits: 8, strategy: tensor}", 10 * 64 + 2),
        ("{num_bits: 4, strategy: group, group_size: 32}", 10 * 64 / 2 + 20 * 2),
        # a scale for each of the 10 rows, four bits for each of their 4 groups of 20, 20, 20 and 4
        ("{num_bits: 2, strategy: group, group_size: 20, group_scales: integer}", 10 * 64 / 4 + 10 * 2 + 40 / 2),
    ],
)
def test_every_format_is_counted_as_it_is_stored(parameters: str, stored_bytes: float) -> None:
    # planes of 2 and 1 bits: 30 bits of zero points take 3 + 2 bytes
    expected = stored_bytes + (1.25 if "false" in parameters else 0)
    assert bytes_of(f"passes=[quantize.weights: {parameters}]")["linear"][1] == expected


def test_a_training_s_grids_and_its_steps_are_counted() -> None:
    layers = bytes_of("passes=[train.quantized: {num_bits: 2}]")
    assert layers["conv1"] == (8, 16 * 3 * 9 + 16 * 2)  # the first layer has bits of its own
    assert layers["layer1.0.conv1"] == (2, 16 * 16 * 9 / 4 + 16 * 2)
    recipe = parse(
        Path("tiny.yaml"), ["passes=[finetune: {max_steps: 50, epochs: null, batch_size: 4}, finetune: {epochs: 2}]"]
    )
    by_steps, by_epochs = (step for step in recipe.passes if isinstance(step, TrainingPass))
    job = kind_of(recipe).load(recipe, allow_code=False)
    assert training_forwards(by_steps, job) == 50 * 4 * 3  # forward and backward are three
    assert training_forwards(by_epochs, job) == 128 * 3  # 24 images are one step of its batch


def test_forecasts_are_labelled_and_nothing_is_written() -> None:
    made = plan(parse(Path("tiny.yaml")))
    lines = list(made.lines())
    assert lines[0] == "tiny: load, float, fold.batchnorm, quantize.static, export, measure"
    assert all(line.startswith("forecast: ") for line in lines[-2:])
    assert made.model_bytes > sum(layer.stored_bytes for layer in made.layers)
    # 432 + 2 · 2304 + 4608 + 9216 + 18432 + 36864 + 640 weights
    assert 4 * 74_800 < made.float_bytes < 4 * 74_800 + 100_000
    assert made.seconds > 0
    assert sorted(path.name for path in Path().iterdir()) == ["images", "tiny.yaml"]
