"""Forecasts worked by hand: rooflines, memory, energy, and what they stand on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.devices.forecast import forecast
from compress.devices.rendering import as_plain, as_text
from compress.errors import ArtefactError
from compress.targets import load
from tests.devices.graphs import conv, figured, nbits, saved
from tests.graphs import Builder, codes, quantized_classifier

CONV_OPS = 2 * 4 * 8 * 8 * 27  # out · 2 · inputs of a number
CONV_READ, CONV_WRITTEN = 4 * (3 * 64 + 108), 4 * 4 * 64


def test_a_convolution_takes_its_operations_or_its_bytes_whichever_is_longer(tmp_path: Path) -> None:
    path = conv(tmp_path)
    slow_memory = figured(tmp_path, bandwidth_bytes_per_s=1e3, peak_ops_per_s={"float32": 1e9})
    [found] = forecast(path, slow_memory)
    [kernel] = found.kernels  # Relu is done with it
    assert (kernel.operator, kernel.binds) == ("Conv", "memory")
    assert (kernel.cost.products, kernel.cost.bytes_read, kernel.cost.bytes_written) == (
        CONV_OPS,
        CONV_READ,
        CONV_WRITTEN,
    )
    assert found.seconds == pytest.approx((CONV_READ + CONV_WRITTEN) / 1e3)
    slow_peak = figured(tmp_path, bandwidth_bytes_per_s=1e12, peak_ops_per_s={"float32": 1e3})
    [found] = forecast(path, slow_peak)
    assert found.kernels[0].binds == "compute"
    assert found.seconds == pytest.approx(CONV_OPS / 1e3)


def test_floats_take_two_bytes_where_they_run_in_float16(tmp_path: Path) -> None:
    path = conv(tmp_path)
    device = figured(tmp_path, "ascend-310p", bandwidth_bytes_per_s=1e3, peak_ops_per_s={"float16": 1e9})
    [found] = forecast(path, device)
    assert found.bytes_moved == (CONV_READ + CONV_WRITTEN) // 2
    assert found.memory.weights == 2 * 108


def test_a_quantized_layer_reads_and_writes_bytes(tmp_path: Path) -> None:
    path = saved(quantized_classifier(), tmp_path)
    device = figured(tmp_path, bandwidth_bytes_per_s=1e6, peak_ops_per_s={"int8": 1e9})
    [found] = forecast(path, device)
    by_operator = {kernel.operator: kernel.cost for kernel in found.kernels}
    assert list(by_operator) == ["QuantizeLinear", "Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    assert by_operator["Conv"].arithmetic == by_operator["Gemm"].arithmetic == "int8"
    assert by_operator["Conv"].bytes_written == 4 * 64
    assert by_operator["Flatten"].bytes_moved == 0


def test_packed_weights_are_read_packed_and_multiplied_by_the_integer_kernel(tmp_path: Path) -> None:
    path = nbits(tmp_path)
    device = figured(tmp_path, bandwidth_bytes_per_s=1e6, peak_ops_per_s={"int8": 1e9, "int4": 5e8})
    [found] = forecast(path, device)
    [kernel] = found.kernels
    assert (kernel.cost.arithmetic, kernel.cost.products) == ("int4", 2 * 64 * 32)
    assert kernel.cost.bytes_read == 4 * 64 + 32 * 64 // 2 + 4 * 64
    assert set(found.figures) == {"bandwidth_bytes_per_s", "peak_ops_per_s.int4"}
    device = figured(tmp_path, bandwidth_bytes_per_s=1e12, peak_ops_per_s={"int8": 1e9}, row_ops_per_s={"int8": 1e3})
    [found] = forecast(path, device)
    assert found.seconds == pytest.approx(2 * 64 * 32 / 1e3)


def test_a_stored_weight_counts_as_it_is_decoded(tmp_path: Path) -> None:
    g = Builder()
    stored = g.constant(np.zeros((8, 16), np.uint8))
    weight = g.op("Mul", g.op("Cast", stored, to=1), g.constant(np.float32(0.1)))
    path = saved(g.model(g.op("MatMul", "x", weight), [1, 8]), tmp_path)
    [found] = forecast(path, figured(tmp_path, bandwidth_bytes_per_s=1e6, peak_ops_per_s={"float32": 1e9}))
    assert [kernel.operator for kernel in found.kernels] == ["MatMul"]
    assert found.memory.weights == 4 * 8 * 16


def test_a_lookup_reads_its_rows_alone(tmp_path: Path) -> None:
    g = Builder()
    table = g.constant(np.zeros((1000, 16), np.float32))
    path = saved(g.model(g.op("Gather", table, g.op("Cast", "x", to=7)), [1, 3]), tmp_path)
    [found] = forecast(path, figured(tmp_path, bandwidth_bytes_per_s=1e6))
    gather = found.kernels[-1].cost
    assert (gather.bytes_read, gather.bytes_written) == (3 * 16 * 4 + 3 * 8, 3 * 16 * 4)
    assert found.memory.weights == 4 * 16000


def test_activations_are_freed_after_their_last_reading(tmp_path: Path) -> None:
    g = Builder()  # x and its Exp, then that and the next: never three at once
    path = saved(g.model(g.op("Tanh", g.op("Exp", g.op("Sin", "x"))), [1, 100]), tmp_path)
    [found] = forecast(path, figured(tmp_path, bandwidth_bytes_per_s=1e6))
    assert found.memory.activations == 3 * 400  # the caller's input stays
    assert (found.memory.weights, found.memory.cache, found.memory.peak) == (0, 0, 1200)


def test_a_shape_that_follows_from_sizes_is_computed(tmp_path: Path) -> None:
    g = Builder()
    rows = g.op("Slice", g.op("Shape", "x"), g.constant(np.array([0])), g.constant(np.array([1])))
    flat = g.op("Reshape", "x", g.op("Concat", rows, g.constant(np.array([-1])), axis=0))
    path = saved(g.model(g.op("Relu", flat), ["N", "height", 4]), tmp_path)
    device = figured(tmp_path, bandwidth_bytes_per_s=1e6)
    with pytest.raises(ArtefactError, match="the size of 'height' is open: give --size height=NUMBER"):
        forecast(path, device)
    [found] = forecast(path, device, sizes={"height": 5})
    assert found.kernels[-1].cost.bytes_written == 4 * 20


def test_energy_is_bytes_and_operations_at_their_picojoules(tmp_path: Path) -> None:
    path = conv(tmp_path)
    figures = {"bandwidth_bytes_per_s": 1e6, "peak_ops_per_s": {"float32": 1e9}}
    [found] = forecast(path, figured(tmp_path, **figures, picojoules_per_byte=100, picojoules_per_op={"float32": 2}))
    assert found.joules == pytest.approx(((CONV_READ + CONV_WRITTEN) * 100 + CONV_OPS * 2) * 1e-12)
    [found] = forecast(path, figured(tmp_path, **figures))
    assert (found.joules, found.missing) == (None, ("picojoules_per_byte", "picojoules_per_op.float32"))
    assert "energy: no forecast: mine states no picojoules_per_byte, no picojoules_per_op.float32" in as_text(found)


def test_depthwise_convolutions_and_kernels_have_figures_of_their_own(tmp_path: Path) -> None:
    g = Builder()
    weight = g.constant(np.ones((4, 1, 3, 3), np.float32))
    path = saved(g.model(g.op("Conv", "x", weight, group=4, pads=[1, 1, 1, 1]), [1, 4, 8, 8]), tmp_path)
    figures = {"bandwidth_bytes_per_s": 1e12, "peak_ops_per_s": {"float32": 1e12}}
    [found] = forecast(path, figured(tmp_path, **figures, depthwise_ops_per_s={"float32": 1e3}, kernel_seconds=0.5))
    assert found.seconds == pytest.approx(2 * 4 * 64 * 9 / 1e3 + 0.5)
    assert "Conv (depthwise)" in as_text(found)
    assert set(found.figures) == {"bandwidth_bytes_per_s", "depthwise_ops_per_s.float32", "kernel_seconds"}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("generic", "target generic states no bandwidth_bytes_per_s, no peak_ops_per_s.float32: write a file"),
        ("ascend-910b", "target ascend-910b states no bandwidth_bytes_per_s: write a file with 'extends: ascend-910b'"),
        ("rk3588", "target rk3588 states no peak_ops_per_s.float16: write a file"),
    ],
)
def test_what_a_target_does_not_state_is_named(target: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError) as caught:
        forecast(conv(tmp_path), load(target))
    assert str(caught.value).startswith(told)


def test_a_forecast_says_that_it_is_one_and_on_what_it_stands(tmp_path: Path) -> None:
    [found] = forecast(conv(tmp_path), load("rpi5"))
    text = as_text(found)
    assert text.startswith(f"forecast, not measured: {tmp_path / 'model.onnx'}, run, on rpi5: 0.000 ms")
    assert "bandwidth_bytes_per_s       1.14e+10   unverified: sustained" in text
    assert "memory at once: 0.00 MB (weights 0.00 + activations 0.00), the runtime itself not counted" in text
    plain = as_plain(found)
    assert (plain["kind"], plain["operations"]) == ("forecast", CONV_OPS)
    assert plain["figures"]["peak_ops_per_s.float32"]["source"] == "unverified"


def test_the_same_weight_is_counted_once(tmp_path: Path) -> None:
    g = Builder()
    weight = g.constant(codes(16, 16).astype(np.float32))
    path = saved(g.model(g.op("MatMul", g.op("MatMul", "x", weight), weight), [1, 16]), tmp_path)
    [found] = forecast(path, load("rpi5"))
    assert found.memory.weights == 4 * 256


def test_each_graph_of_a_generator_is_a_run_of_its_own(tmp_path: Path) -> None:
    for name in ("vae_decoder", "unet", "text_encoder"):
        (tmp_path / name).mkdir()
        conv(tmp_path / name)
    found = forecast(tmp_path, figured(tmp_path, bandwidth_bytes_per_s=1e3, peak_ops_per_s={"float32": 1e9}))
    assert [each.phase for each in found] == ["text encoder", "evaluation", "decoder"]
    assert {each.operations for each in found} == {CONV_OPS}
    (tmp_path / "generator" / "transformer").mkdir(parents=True)
    conv(tmp_path / "generator" / "transformer")
    [alone] = forecast(tmp_path / "generator", load(str(tmp_path / "mine.yaml")))
    assert alone.phase == "evaluation"


def test_a_normalised_group_keeps_its_shape(tmp_path: Path) -> None:
    g = Builder()
    ones = g.constant(np.ones(4, np.float32))
    path = saved(g.model(g.op("GroupNormalization", "x", ones, ones, num_groups=2), ["N", 4, 8, 8]), tmp_path)
    [found] = forecast(path, figured(tmp_path, bandwidth_bytes_per_s=1e3, peak_ops_per_s={"float32": 1e9}))
    [kernel] = found.kernels
    assert kernel.cost.bytes_written == 4 * 4 * 64
