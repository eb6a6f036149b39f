"""Bytes before there is a file: the graph of a model whose codes are zero is that of the result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import compress
from compress.exporter.build import build
from compress.exporter.size import file_bytes
from compress.exporter.tidy import write
from compress.passes import FoldBatchNorm, Pass, QuantizeStatic, QuantizeWeights
from compress.sizing import file_bytes_of
from compress.targets import load
from tests.nets import context, conv_net, images

FOUR = QuantizeWeights(num_bits=4, strategy="group", group_size=16, group_scales="integer", ignore=("head",))
EIGHT = QuantizeWeights(num_bits=8, targets=("head",))


@pytest.mark.parametrize(
    "passes",
    [
        (FoldBatchNorm(), FOUR, EIGHT, QuantizeStatic()),
        pytest.param((FoldBatchNorm(), QuantizeStatic(observer="minmax")), marks=pytest.mark.slow),
        pytest.param((FoldBatchNorm(), QuantizeWeights(num_bits=3, symmetric=False)), marks=pytest.mark.slow),
        pytest.param((), marks=pytest.mark.slow),
    ],
    ids=["w4a8", "w8a8", "w3", "float"],
)
def test_the_forecast_is_within_half_a_percent_of_the_file(passes: tuple[Pass, ...], tmp_path: Path) -> None:
    target, example = load("generic"), images(1)
    # in a file this small 100 bytes are a percent: constants that happen to be equal
    network = conv_net()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    forecast = file_bytes_of(network, passes, context(), lambda model: file_bytes(model, (example,), target))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    result = compress.apply(conv_net(), list(passes), lambda: [(images(48),)], target=target)
    write(build(result, (example,), target), tmp_path / "model.onnx", target, compress.__version__)
    assert forecast == pytest.approx((tmp_path / "model.onnx").stat().st_size, rel=0.005, abs=100)
