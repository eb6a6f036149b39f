"""quantize.static: int8 weights, activations on grids wherever int8 kernels meet them, and the order of passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError, PromiseBroken
from compress.models.activations import quantized_activations, set_activations
from compress.models.calls import INPUT, record
from compress.models.layers import weighted_layers
from compress.models.observe import Observer
from compress.models.quantized import as_float, quantized_weights
from compress.models.sites import quantized_calls
from compress.passes import FoldBatchNorm, QuantizeStatic, QuantizeWeights
from compress.targets import load
from tests.nets import NETS, context, conv_net, images, run


def folded() -> nn.Module:
    return FoldBatchNorm().apply(conv_net(), context())


def observed(model: nn.Module, keys: list[str]) -> dict[str, Tensor]:
    """What the calls gave over the calibration images, activations float."""
    kept: dict[str, Tensor] = {}
    watch = {key: (lambda value, key=key: kept.update({key: value.clone()})) for key in keys}
    with as_float(model, weights=False), Observer(model, watch):
        run(model, images())
    return kept


@pytest.mark.parametrize("observer", ["minmax", "percentile", "entropy", "mse"])
def test_every_range_lies_within_what_was_seen_and_the_widest_holds_it_all(observer: str) -> None:
    model = QuantizeStatic(observer=observer).apply(folded(), context())  # type: ignore[arg-type]
    table = quantized_activations(model)
    for key, values in observed(model, list(table)).items():
        grid = table[key]
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        slack = grid.scale * 0.5001
        assert low - slack <= grid.low <= 0.0 <= grid.high <= high + slack, key
        if observer == "minmax":
            assert grid.low <= low + slack, key
            assert grid.high >= high - slack, key


@pytest.mark.parametrize("observer", ["minmax", "percentile", "entropy", "mse"])
def test_where_no_zero_points_run_zero_is_in_the_middle_of_every_grid(observer: str) -> None:
    there = replace(context(), target=load("nvidia-t4"))
    model = QuantizeStatic(observer=observer).apply(folded(), there)  # type: ignore[arg-type]
    table = quantized_activations(model)
    assert {grid.zero_point for grid in table.values()} == {128}
    for key, values in observed(model, list(table)).items():
        largest, steps = float(values.abs().max()), table[key].scale * 127
        assert steps <= largest * 1.0001, key
        if observer == "minmax":
            assert steps == pytest.approx(largest, rel=1e-6), key


@pytest.mark.parametrize("net", NETS)
def test_the_grids_are_those_that_int8_kernels_want(net: str) -> None:
    model = FoldBatchNorm().apply(NETS[net](), context())
    expected = quantized_calls(record(model, images(1)), set(weighted_layers(model)))
    QuantizeStatic().apply(model, context())
    assert list(quantized_activations(model)) == expected
    assert all(weight.num_bits == 8 for weight in quantized_weights(model).values())
    assert all(weight.scales.shape[1] == 1 for weight in quantized_weights(model).values())


def test_what_follows_a_relu_counts_from_zero() -> None:
    table = quantized_activations(QuantizeStatic().apply(folded(), context()))
    assert {key for key, grid in table.items() if grid.zero_point == 0} == {
        "act:hardtanh:0",
        "blocks.0.act:relu:0",
        "blocks.0.act:relu:1",
        "blocks.1.act:relu:0",
    }
    assert table["act:hardtanh:0"].high <= 6.0 * (1 + 1e-6)


def test_a_target_with_a_narrow_kernel_gets_small_codes() -> None:
    for target, largest in [("x86-avx2", 63), ("x86-vnni", 127)]:
        model = QuantizeStatic().apply(folded(), context(target=target))
        codes = torch.cat([weight.codes.flatten() for weight in quantized_weights(model).values()]).int()
        assert int(codes.abs().max()) == largest


def test_weights_that_an_int8_kernel_can_run_keep_their_codes() -> None:
    step = QuantizeWeights(4, strategy="group", group_size=4, group_scales="integer", ignore=("head",))
    model = step.apply(folded(), context())
    before = quantized_weights(model)
    QuantizeStatic().requires(model, context())
    after = quantized_weights(QuantizeStatic().apply(model, context()))
    assert all(torch.equal(after[name].codes, weight.codes) for name, weight in before.items())
    assert [name for name, weight in after.items() if weight.num_bits == 8] == ["head.weight"]


def test_two_passes_add_up() -> None:
    model = QuantizeStatic(targets=("blocks.0",)).apply(folded(), context())
    first = quantized_activations(model)
    QuantizeStatic(targets=("blocks.1", "head"), observer="minmax").apply(model, context())
    second = quantized_activations(model)
    assert set(first) < set(second)
    assert len(quantized_weights(model)) == 5
    assert INPUT not in second


def test_ranges_are_those_of_the_quantized_weights() -> None:
    """Weights of two bits change what activations reach."""
    two_bits = QuantizeWeights(2).apply(folded(), context())
    model = QuantizeStatic(observer="minmax").apply(two_bits, context())
    table = quantized_activations(model)
    key = "blocks.0.conv2:conv2d:0"
    values = observed(model, [key])[key]
    assert table[key].high == pytest.approx(float(values.max()), abs=table[key].scale)
    with as_float(model):
        assert abs(float(observed(model, [key])[key].max()) - table[key].high) > table[key].scale


def test_batches_are_one_set_of_images() -> None:
    whole, parts = (
        quantized_activations(QuantizeStatic().apply(folded(), context(batch_size=size))) for size in (8, 3)
    )
    for key, grid in whole.items():
        assert parts[key].zero_point == grid.zero_point
        assert parts[key].scale == pytest.approx(grid.scale, rel=1e-5)


def test_a_normalisation_that_would_run_in_float_is_to_be_folded_before() -> None:
    with pytest.raises(ModelError) as caught:
        QuantizeStatic().requires(conv_net(), context())
    expected = "quantize.static: bn follows conv_stem and would run in float: put fold.batchnorm before"
    assert str(caught.value) == expected


@pytest.mark.parametrize("options", [{"strategy": "group", "group_size": 4}, {"symmetric": False}])
def test_weights_that_no_int8_kernel_runs_are_refused(options: dict[str, object]) -> None:
    model = QuantizeWeights(4, targets=("blocks.0.conv2",), **options).apply(folded(), context())  # type: ignore[arg-type]
    with pytest.raises(ModelError) as caught:
        QuantizeStatic().requires(model, context())
    assert str(caught.value) == (
        "quantize.static: the weight of blocks.0.conv2 has a float scale or a zero point for each group, and no int8 "
        "kernel runs that: give its quantize.weights 'group_scales: integer', or put it under 'ignore'"
    )
    QuantizeStatic(ignore=("blocks.0.conv2",)).requires(model, context())


def test_activations_that_are_not_finite_are_told_of_by_name() -> None:
    model = folded()
    nn.init.constant_(model.blocks[0].conv1.bias, float("inf"))
    with pytest.raises(ModelError) as caught:
        QuantizeStatic().apply(model, context())
    assert str(caught.value) == "quantize.static: blocks.0.act:relu:0 is not finite on the calibration data"


def test_a_range_that_is_taken_away_breaks_the_promise() -> None:
    model = QuantizeStatic().apply(folded(), context())
    table = quantized_activations(model)
    del table["blocks.1.act:relu:0"]
    set_activations(model, table)
    with pytest.raises(PromiseBroken) as caught:
        QuantizeStatic().ensures(model, context())
    assert str(caught.value) == "quantize.static: blocks.1.act:relu:0 is float, 8 bits were asked for"


def test_what_a_device_does_not_take_is_told_before_any_work() -> None:
    generic = load("generic")
    assert QuantizeStatic(num_bits=4).problems(generic) == []
    assert QuantizeStatic(num_bits=4).problems(load("x86-vnni")) == [
        "num_bits is 4: target x86-vnni runs activations of 8 bits",
    ]
    weights_only = replace(generic, name="weights-only", activation_bits=(), weight_bits=(4,))
    assert QuantizeStatic(ignore=("role:lst",)).problems(weights_only) == [
        "unknown role 'lst': did you mean 'last'?",
        "num_bits is 8: target weights-only runs float activations only",
        "target weights-only runs no 8-bit weights per channel: choose another target",
    ]
    assert QuantizeStatic().problems(load("rk3588")) == []
    assert QuantizeStatic(targets=("a",), ignore=("b",)).selectors() == ("a", "b")
