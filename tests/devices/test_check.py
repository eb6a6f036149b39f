"""What targets do not take of a graph, by node, and what to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.cli.devices import checked
from compress.devices.check import Violation, check
from compress.targets import Target, load
from tests.devices.graphs import conv, nbits, saved
from tests.graphs import Builder, codes, quantized_classifier

ANY = load("generic")


def problems(model: Any, target: Target, directory: Path) -> list[tuple[str, str]]:
    path = model if isinstance(model, Path) else saved(model, directory)
    return [(each.rule, str(each)) for each in check(path, target) if not each.is_note]


def test_what_onnxruntime_runs_is_no_problem(tmp_path: Path) -> None:
    assert problems(conv(tmp_path), ANY, tmp_path) == []
    assert problems(nbits(tmp_path), ANY, tmp_path) == []
    assert problems(quantized_classifier(), load("x86-vnni"), tmp_path) == []


def test_a_free_axis_and_an_opset_are_told_by_name(tmp_path: Path) -> None:
    assert problems(conv(tmp_path), load("ascend-310p"), tmp_path) == [
        (
            "opset",
            "model: opset 21, and ascend-310p reads 13 to 18: "
            "re-export with target: ascend-310p, or export: {opset: 15}",
        ),
        (
            "dynamic-axis",
            "x: its axis N is free, and ascend-310p wants fixed shapes: re-export with target: ascend-310p",
        ),
    ]
    assert problems(conv(tmp_path, batch=1), replace(load("ascend-310p"), max_opset=21), tmp_path) == []


def test_operators_of_onnxruntime_alone_are_told_with_the_pass_that_avoids_them(tmp_path: Path) -> None:
    found = problems(nbits(tmp_path), replace(load("hexagon"), static_shapes=False), tmp_path)
    assert found == [
        (
            "operator",
            "matmulnbits_0: hexagon does not take com.microsoft.MatMulNBits: "
            "quantize.static in place of quantize.weights, or float weights",
        )
    ]
    g = Builder()
    product = g.op("MatMulInteger", g.op("Cast", "x", to=2), g.constant(codes(4, 4)))
    model = g.model(g.op("Cast", product, to=1), [1, 4])
    [(_, told)] = problems(model, replace(load("rk3588"), max_opset=21), tmp_path)
    assert told == "matmulinteger_1: rk3588 does not take MatMulInteger: quantize.static in place of quantize.dynamic"


def test_decoders_count_only_where_no_onnxruntime_folds_them(tmp_path: Path) -> None:
    g = Builder()
    weight = g.op("Cast", g.op("BitwiseAnd", g.constant(codes(4, 4)), g.constant(np.int8(7))), to=1)
    model = g.model(g.op("MatMul", "x", weight), [1, 4], opset=18)
    assert problems(model, load("apple-ane"), tmp_path) == []
    [(_, told)] = problems(model, load("rk3588"), tmp_path)
    assert told.endswith("rk3588 does not take BitwiseAnd: it decodes stored weights: store them in 8 bits")


def test_integer_activations_are_told_where_only_floats_or_only_symmetric_ones_run(tmp_path: Path) -> None:
    found = problems(quantized_classifier(), replace(load("nvidia-a100"), max_opset=21), tmp_path)
    assert {rule for rule, _ in found} == {"activation-type"}
    assert found[0][1] == (
        "quantizelinear_0: uint8 activations, and nvidia-a100 runs int8: re-export with target: nvidia-a100"
    )
    found = problems(quantized_classifier(), replace(load("apple-ane"), operators=None, static_shapes=False), tmp_path)
    assert {rule for rule, _ in found} == {"activation-bits"}


def test_a_bias_of_integers_is_told_where_it_must_be_float(tmp_path: Path) -> None:
    g = Builder()
    bias = g.op("DequantizeLinear", g.constant(np.zeros(4, np.int32)), g.constant(np.float32(0.1)))
    product = g.op("Gemm", g.qdq("x", zero_point=0, kind=np.int8), g.weight(codes(8, 4), axis=1), bias)
    model = g.model(product, [1, 8], opset=19)
    assert problems(model, load("nvidia-t4"), tmp_path) == [
        ("bias", f"{bias}: a bias in int32, and nvidia-t4 takes float ones: re-export with target: nvidia-t4")
    ]
    assert problems(model, load("rk3588"), tmp_path) == []


def test_weights_of_bits_and_granularities_that_do_not_run_are_told(tmp_path: Path) -> None:
    g = Builder()
    weight = g.op("DequantizeLinear", g.int4(codes(4, 8) // 16), g.constant(np.ones(4, np.float32)), axis=0)
    model = g.model(g.op("Gemm", "x", weight, transB=1), [1, 8])
    target = replace(load("rk3588"), max_opset=21, granularities=("group",))
    assert [rule for rule, _ in problems(model, target, tmp_path)] == ["weight-bits", "granularity"]


def test_int8_weights_that_saturate_are_told(tmp_path: Path) -> None:
    assert "int8-range" in {rule for rule, _ in problems(quantized_classifier(), load("x86-avx2"), tmp_path)}


def test_types_that_do_not_run_are_told(tmp_path: Path) -> None:
    g = Builder()
    model = g.model(g.op("Cast", g.op("Relu", g.op("Cast", "x", to=16)), to=1), [1, 4], opset=18)
    told = [text for rule, text in problems(model, load("ascend-310p"), tmp_path) if rule == "type"]
    assert told[0] == (
        "cast_0: Cast in bfloat16, and floats run in float16 on ascend-310p: "
        "export it in float32, which is compiled to what runs"
    )
    assert problems(model, load("ascend-910b"), tmp_path) == []


def test_an_axis_that_is_too_large_is_told(tmp_path: Path) -> None:
    g = Builder()
    model = g.model(g.op("Relu", "x"), [1, 9000], opset=18)
    [(rule, told)] = problems(model, load("rk3588"), tmp_path)
    assert (rule, told.split(": ")[1]) == ("size", "its output has an axis of 9000, and rk3588 takes 8192")


def test_channels_that_are_no_multiple_are_a_note(tmp_path: Path) -> None:
    [note] = check(conv(tmp_path), ANY)
    assert note == Violation(
        str(tmp_path / "model.onnx"),
        "conv_0",
        "channels",
        "4 channels, and generic computes multiples of 8",
        "prune.channels rounds to them, or 8 channels",
        is_note=True,
    )


def test_of_several_graphs_each_is_checked_and_named(tmp_path: Path) -> None:
    for name in ("unet", "vae_decoder"):
        (tmp_path / name).mkdir()
        conv(tmp_path / name)
    found = check(tmp_path, replace(load("ascend-310p"), max_opset=21))
    told = [each.file for each in found if each.rule == "dynamic-axis"]
    assert told == [str(tmp_path / name / "model.onnx") for name in ("unet", "vae_decoder")]
    text, refused = checked([tmp_path], ["ascend-310p"], as_json=False)
    assert refused
    assert f"{tmp_path}/unet/model.onnx: x: its axis N is free" in text
