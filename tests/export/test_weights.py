"""Stored weights in the exported graph: the form that each consumer takes, and what onnxruntime makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from compress.export.build import build
from compress.export.codecs import stored_bytes
from compress.export.tidy import tidy
from compress.export.weights import with_room_for_bias
from compress.models.quantized import QuantizedActivation, quantized_weights, set_activations
from compress.numerics.weight import QuantizedWeight
from compress.runtime.session import optimized_ops
from compress.targets import Target
from tests.export.networks import (
    GENERIC,
    STATIC,
    Network,
    Tokens,
    channel_weight,
    group_weight,
    inputs,
    quantize_activations,
    quantize_weights,
    run,
    seeded,
)

How = Callable[[Tensor], QuantizedWeight]


def exported(model: nn.Module, target: Target = GENERIC) -> onnx.ModelProto:
    built = build(model, torch.from_numpy(inputs(1)), target)
    tidy(built)
    proto = ir.to_proto(built)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def fused(model: onnx.ModelProto, path: Path) -> dict[str, int]:
    onnx.save(model, path / "model.onnx")
    return optimized_ops(path / "model.onnx")


def torch_logits(model: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(inputs())).numpy()


INTEGER_KERNELS = {
    "QuantizeLinear": 1,
    "QLinearConv": 3,
    "QLinearAdd": 1,
    "QLinearGlobalAveragePool": 1,
    "QGemm": 1,
}


@pytest.mark.parametrize("how", [channel_weight, group_weight], ids=["8 bits", "4 bits in groups"])
def test_a_quantized_network_becomes_integer_kernels_whole(how: How, tmp_path: Path) -> None:
    model = quantize_activations(quantize_weights(seeded(Network), how))
    found = fused(exported(model), tmp_path)
    assert {name: count for name, count in found.items() if name not in ("Transpose", "Reshape", "Flatten")} == (
        INTEGER_KERNELS
    )


@pytest.mark.parametrize("target", [GENERIC, STATIC], ids=["dynamic", "static"])
def test_linear_layers_of_tokens_become_integer_kernels(target: Target, tmp_path: Path) -> None:
    found = fused(exported(quantize_activations(quantize_weights(seeded(Tokens))), target), tmp_path)
    assert found["QGemm"] + found.get("MatMulIntegerToFloat", 0) == 3
    assert not {"Gemm", "MatMul", "Conv"} & set(found)


@pytest.mark.parametrize("network", [Network, Tokens])
@pytest.mark.parametrize("how", [channel_weight, group_weight], ids=["8 bits", "4 bits in groups"])
def test_weights_alone_leave_the_float_graph_and_its_numbers(
    network: Callable[[], nn.Module], how: How, tmp_path: Path
) -> None:
    model = quantize_weights(seeded(network), how)
    proto = exported(model)
    np.testing.assert_allclose(run(proto, pixel_values=inputs()), torch_logits(model), rtol=1e-5, atol=1e-5)
    assert fused(proto, tmp_path) == fused(exported(seeded(network)), tmp_path)


def test_a_weight_without_an_int8_form_is_decoded_to_float(tmp_path: Path) -> None:
    def affine(weight: Tensor) -> QuantizedWeight:
        symmetric = channel_weight(weight, 4)
        zeros = torch.full((weight.shape[0], 1), 3, dtype=torch.int8)
        return QuantizedWeight(symmetric.codes, symmetric.scales, zeros, None, 4, None)

    model = quantize_activations(quantize_weights(seeded(Network), affine))
    assert "QLinearConv" not in fused(exported(model), tmp_path)


def test_a_convolution_with_float_results_takes_a_float_weight(tmp_path: Path) -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.conv(x)).mean((2, 3))

    model = quantize_weights(seeded(One))
    set_activations(model, {"input": QuantizedActivation(0.03, 128)})
    found = fused(exported(model), tmp_path)
    assert found["DequantizeLinear"] == found["QuantizeLinear"] == 1  # the input's
    assert found["Conv"] == 1


def test_a_weight_that_is_used_twice_is_stored_once() -> None:
    model = quantize_activations(quantize_weights(seeded(Tokens)))
    names = [tensor.name for tensor in exported(model).graph.initializer]
    assert names.count("mix.weight") == 1
    assert not [name for name in names if name.startswith("mix.weight_") and name != "mix.weight_scale"]


def test_the_file_holds_stored_bytes_and_no_float_copy() -> None:
    model = quantize_weights(seeded(Network), group_weight)
    sizes = {tensor.name: len(tensor.raw_data) for tensor in exported(model).graph.initializer}
    for name, weight in quantized_weights(model).items():
        assert sum(size for key, size in sizes.items() if key.startswith(name)) == stored_bytes(weight)


def test_the_model_is_afterwards_as_it_was() -> None:
    model = quantize_activations(quantize_weights(seeded(Network)))
    model.train()
    before = torch_logits(model)
    exported(model)
    assert model.training
    assert model.activation.inplace
    np.testing.assert_array_equal(torch_logits(model), before)


@pytest.mark.parametrize("num_bits", [4, 6])
def test_activations_of_fewer_bits_are_clipped_integers(num_bits: int, tmp_path: Path) -> None:
    model = quantize_activations(quantize_weights(seeded(Network)), num_bits)
    proto = exported(model)
    assert fused(proto, tmp_path)["QLinearConv"] == 3
    found, expected = run(proto, optimize=False, pixel_values=inputs()), torch_logits(model)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(np.unique(expected)) > 20


# --- biases


def biased(scale: float) -> QuantizedWeight:
    return QuantizedWeight(
        torch.tensor([[100, -50]], dtype=torch.int8), torch.tensor([[scale]]), None, None, 8, None
    )


def test_a_bias_that_fits_leaves_the_weight_alone() -> None:
    weight = biased(1e-3)
    assert with_room_for_bias(weight, np.array([3.0], np.float32), 0.02) is weight


def test_a_bias_too_large_for_int32_raises_the_scale_of_its_row() -> None:
    # 3 / (0.02 · 1e-8) is 1.5e10: the scale must be 3 / (0.02 · 2^30) = 1.397e-7, the codes 14 times smaller.
    roomy = with_room_for_bias(biased(1e-8), np.array([3.0], np.float32), 0.02)
    assert float(roomy.scales) == pytest.approx(1.397e-7, rel=1e-3)
    assert roomy.codes.tolist() == [[7, -4]]


def test_a_channel_that_is_switched_off_gives_its_bias() -> None:
    model = seeded(Network)
    with torch.no_grad():
        model.stem.weight[0] = 0  # type: ignore[index,operator]
        model.stem.bias[0] = 1.5  # type: ignore[index,operator]
    quantize_weights(model)
    scales = model.stem.parametrizations["weight"][0].scales  # type: ignore[index,union-attr]
    scales[0] = 1e-12
    model = quantize_activations(model)
    np.testing.assert_allclose(
        run(exported(model), optimize=False, pixel_values=inputs()), torch_logits(model), atol=1e-3
    )
