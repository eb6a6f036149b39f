"""Bytes of a translator's files before they are written: its graphs are built with made-up codes, and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.exporter.text import graph_bytes, write_graphs
from compress.models.quantized import quantized_weights
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.passes import Pass, QuantizeDynamic, QuantizeWeights
from compress.passes.base import Context
from compress.sizing import file_bytes_of
from compress.targets import load

EMBEDDING = QuantizeWeights(targets=("role:embedding",), num_bits=8, strategy="group", group_size=16)
FOUR = QuantizeWeights(num_bits=4, strategy="group", group_size=16, symmetric=False)
THREE = QuantizeWeights(num_bits=3, strategy="channel")


@pytest.mark.parametrize("name", ["tiny-gemma3", "tiny-qwen2", "tiny-m2m100", "tiny-marian", "tiny-t5"])
@pytest.mark.parametrize(
    "passes", [(), (FOUR, EMBEDDING), (THREE,), (QuantizeDynamic(),)], ids=["float", "w4-e8", "w3", "dynamic"]
)
def test_the_forecast_is_within_half_a_percent_of_the_files(
    name: str, passes: tuple[Pass, ...], tmp_path: Path
) -> None:
    model = load_translator(ModelSource(f"random:{name}")).model
    context = Context(tuple, load("generic"))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    forecast = file_bytes_of(model, passes, context, graph_bytes)
    assert not quantized_weights(model)
    assert all((value == before[key]).all() for key, value in model.state_dict().items())
    for step in passes:
        model = step.apply(model, context)
    write_graphs(model, tmp_path, "0.0.0")
    assert forecast == pytest.approx(sum(file.stat().st_size for file in tmp_path.iterdir()), rel=0.005)
