"""quantize.weights: what is stored, by which algorithm, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.quantized import quantized_weights
from compress.numerics.grid import nearest
from compress.passes import FoldBatchNorm, QuantizeWeights
from compress.targets import load
from tests.nets import NETS, context, conv_net, images, run, transformer

NPU = load("rk3588")


def quantized(model: nn.Module, **options: object) -> nn.Module:
    step = QuantizeWeights(**options)  # type: ignore[arg-type]
    assert step.problems(load("generic")) == []
    step.requires(model, context())
    model = step.apply(model, context())
    step.ensures(model, context())
    return model


@pytest.mark.parametrize(
    ("options", "scales", "affine"),
    [
        ({}, (6, 1), False),
        ({"strategy": "tensor"}, (1, 1), False),
        ({"strategy": "group", "group_size": 10}, (6, 3), False),  # 27 inputs: 10, 10 and 7
        ({"symmetric": False}, (6, 1), True),
        ({"strategy": "group", "group_size": 10, "symmetric": False}, (6, 3), True),
        ({"strategy": "group", "group_size": 10, "group_scales": "integer"}, (6, 1), False),
    ],
)
def test_a_strategy_says_how_many_scales_there_are(
    options: dict[str, object], scales: tuple[int, int], affine: bool
) -> None:
    weight = quantized_weights(quantized(conv_net(), num_bits=4, **options))["conv_stem.weight"]
    assert weight.scales.shape == scales
    assert (weight.zero_points is not None) == affine
    assert (weight.multipliers is not None) == ("group_scales" in options)
    assert (weight.num_bits, weight.group_size) == (4, options.get("group_size"))


def test_only_what_is_selected_is_quantized_and_what_was_quantized_before_keeps_its_codes() -> None:
    model = quantized(conv_net(), num_bits=8, targets=("head", "role:first"))
    first = quantized_weights(model)
    assert {name: weight.num_bits for name, weight in first.items()} == {"conv_stem.weight": 8, "head.weight": 8}
    model = quantized(model, num_bits=3, ignore=("role:depthwise",))
    second = quantized_weights(model)
    assert [name for name, weight in second.items() if weight.num_bits == 8] == ["conv_stem.weight", "head.weight"]
    assert torch.equal(second["head.weight"].codes, first["head.weight"].codes)
    assert "blocks.1.conv_dw.weight" not in second
    assert len(second) == 5


def test_rounding_to_nearest_needs_no_data() -> None:
    model = transformer()
    expected = nearest(model.head.weight, 4)
    where = replace(context(), batches=lambda: pytest.fail("rtn asks for no calibration"))
    QuantizeWeights(num_bits=4).apply(model, where)
    assert torch.equal(quantized_weights(model)["head.weight"].codes, expected.codes)


X = nn.functional.interpolate(images(24, 3), 8, mode="bilinear")  # smooth, as photographs are


@pytest.mark.parametrize("net", NETS)
def test_gptq_loses_less_than_the_nearest(net: str) -> None:
    errors = {}
    for algorithm in ("rtn", "gptq"):
        model = FoldBatchNorm().apply(NETS[net](), context(X))
        expected = run(model, X)
        QuantizeWeights(num_bits=3, algorithm=algorithm).apply(model, context(X))  # type: ignore[arg-type]
        errors[algorithm] = float((run(model, X) - expected).square().mean())
    assert errors["gptq"] < 0.8 * errors["rtn"]


@pytest.mark.parametrize(("algorithm", "share"), [("gptq", 0.9), ("adaround", 0.99)])
def test_a_layer_s_own_output_loses_less_than_by_the_nearest(algorithm: str, share: float) -> None:
    errors = {}
    for each in ("rtn", algorithm):
        model = conv_net()
        expected = run(model.conv_stem, X)
        step = QuantizeWeights(num_bits=3, targets=("conv_stem",), algorithm=each, iterations=200)  # type: ignore[arg-type]
        step.apply(model, context(X))
        errors[each] = float((run(model.conv_stem, X) - expected).square().mean())
    assert errors[algorithm] < share * errors["rtn"]


@pytest.mark.parametrize("algorithm", ["gptq", "adaround"])
def test_calibrated_rounding_stops_after_the_last_selected_block(algorithm: str) -> None:
    where = context()
    seen: list[int] = []
    where = replace(where, progress=lambda items, what, total: seen.append(total) or iter(items))  # type: ignore[func-returns-value]
    targets = ("blocks.0",)
    QuantizeWeights(num_bits=4, targets=targets, algorithm=algorithm, iterations=2).apply(conv_net(), where)  # type: ignore[arg-type]
    assert seen == [2]  # the stem, and the block


class Spare(nn.Sequential):
    """The last of its layers does not run."""

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x))


def test_a_layer_that_does_not_run_is_named_and_rtn_rounds_it() -> None:
    model, where = Spare(*(nn.Linear(2, 2) for _ in range(3))), context(torch.randn(4, 2))
    with pytest.raises(ModelError) as caught:
        QuantizeWeights(num_bits=4, algorithm="gptq").apply(model, where)
    assert str(caught.value) == "2 did not run on the calibration data: put it under 'ignore'"
    assert quantized_weights(model) == {}
    QuantizeWeights(num_bits=4, ignore=("2",), algorithm="gptq").apply(model, where)
    QuantizeWeights(num_bits=4).apply(model, where)
    assert len(quantized_weights(model)) == 3


def test_a_weight_that_is_not_finite_is_refused_by_name() -> None:
    model = conv_net()
    with torch.no_grad():
        model.blocks[1].conv_pw.weight[0, 0] = float("nan")
    with pytest.raises(ModelError) as caught:
        QuantizeWeights(num_bits=4).requires(model, context())
    assert str(caught.value) == "quantize.weights: the weight of blocks.1.conv_pw is not finite"


def test_a_selector_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^unknown layer 'haed': did you mean 'head'\?$"):
        QuantizeWeights(num_bits=4, targets=("haed",)).requires(conv_net(), context())
    assert QuantizeWeights(num_bits=4, targets=("a",), ignore=("b",)).selectors() == ("a", "b")


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (QuantizeWeights(4), "num_bits is 4: target rk3588 takes weights of 8 bits"),
        (
            QuantizeWeights(8, strategy="group", group_size=32),
            "strategy is 'group': target rk3588 takes scales per channel",
        ),
        (
            QuantizeWeights(8, group_size=32),
            "strategy 'group' and group_size go together: give both, or neither",
        ),
        (
            QuantizeWeights(8, group_scales="integer"),
            "group_scales 'integer' is for strategy 'group', symmetric, and at most 4 bits",
        ),
        (QuantizeWeights(8, targets=("role:dephtwise",)), "unknown role 'dephtwise': did you mean 'depthwise'?"),
    ],
)
def test_what_a_device_does_not_take_is_told_before_any_work(step: QuantizeWeights, problem: str) -> None:
    assert step.problems(NPU) == [problem]


@pytest.mark.parametrize("change", [{"num_bits": 5}, {"symmetric": False}, {"strategy": "channel", "group_size": None}])
def test_integer_group_scales_stay_within_int8(change: dict[str, object]) -> None:
    step = QuantizeWeights(4, strategy="group", group_size=32, group_scales="integer")
    assert step.problems(load("generic")) == []
    assert replace(step, **change).problems(load("generic")) == [  # type: ignore[arg-type]
        "group_scales 'integer' is for strategy 'group', symmetric, and at most 4 bits"
    ]


def test_all_problems_are_told_at_once() -> None:
    step = QuantizeWeights(4, strategy="group", targets=("re:(",))
    assert len(step.problems(NPU)) == 4
