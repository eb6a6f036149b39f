"""What onnxruntime decodes is what QuantizedWeight.dequantize says, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compress.exporter.codecs import stored_bytes
from compress.exporter.decoder import Decoder, has_int8_form
from compress.exporter.nodes import CONSTANT, Writer
from compress.numerics.ternary import ternary
from compress.numerics.weight import TERNARY_BITS, Packing, QuantizedWeight, code_range
from tests.exporter.networks import operators, run


def decoded(weight: QuantizedWeight, form: str = "float32", transposed: bool = False) -> onnx.ModelProto:
    """A model whose output is the decoded weight."""
    end = ir.node("Identity", [None])
    end.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([], end.outputs, nodes=[end], opset_imports={"": 21})
    decoder = Decoder(Writer(graph), end, "layer.weight", weight)
    end.replace_input_with(0, decoder.float32(transposed) if form == "float32" else decoder.int8(transposed, True))
    return ir.to_proto(ir.Model(graph, ir_version=10))


def random_weight(
    shape: tuple[int, ...], num_bits: int, group_size: int | None, affine: bool, multiplied: bool, seed: int
) -> QuantizedWeight:
    numbers = torch.Generator().manual_seed(seed)
    low, high = code_range(num_bits)
    columns = int(np.prod(shape[1:]))
    groups = 1 if group_size is None else -(-columns // group_size)

    def integers(least: int, most: int, *sizes: int) -> torch.Tensor:
        return torch.randint(least, most + 1, sizes, generator=numbers)

    scales = torch.rand(shape[0], 1 if multiplied else groups, generator=numbers).half().float() + 0.5
    return QuantizedWeight(
        integers(low, high, *shape).to(torch.int8),
        scales,
        integers(low, high, shape[0], groups).to(torch.int8) if affine else None,
        integers(1, 16, shape[0], groups).to(torch.uint8) if multiplied else None,
        num_bits,
        group_size,
    )


def random_ternary(rows: int, fours: int, packing: Packing, group_size: int | None, seed: int) -> QuantizedWeight:
    numbers = torch.Generator().manual_seed(seed)
    return ternary(torch.randn(rows, fours, 2, 2, generator=numbers), packing, group_size)


def random_midrise(
    shape: tuple[int, ...], num_bits: int, group_size: int | None, multiplied: bool, seed: int
) -> QuantizedWeight:
    return replace(random_weight(shape, num_bits, group_size, False, multiplied, seed), midrise=True)


weights = (
    st.builds(
        random_midrise,
        shape=st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple),
        num_bits=st.integers(2, 7),
        group_size=st.none() | st.integers(1, 20),
        multiplied=st.booleans(),
        seed=st.integers(0, 2**31),
    )
    | st.builds(
        random_ternary,
        rows=st.integers(1, 7),
        fours=st.integers(1, 20),
        packing=st.sampled_from(tuple(TERNARY_BITS)),
        group_size=st.sampled_from([None, 4, 12]),
        seed=st.integers(0, 2**31),
    )
    | st.builds(
        random_weight,
        shape=st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple),
        num_bits=st.integers(2, 8),
        group_size=st.none() | st.integers(1, 20),
        affine=st.booleans(),
        multiplied=st.booleans(),
        seed=st.integers(0, 2**31),
    )
)


@given(weights)
@settings(deadline=None, max_examples=30)
def test_the_float_form_is_dequantize_to_the_bit(weight: QuantizedWeight) -> None:
    expected = weight.dequantize().numpy()
    np.testing.assert_array_equal(run(decoded(weight)), expected)
    np.testing.assert_array_equal(run(decoded(weight), optimize=False), expected)


@given(weights.filter(lambda weight: len(weight.shape) == 2))
@settings(deadline=None, max_examples=10)
def test_the_transposed_float_form_is_its_transpose(weight: QuantizedWeight) -> None:
    np.testing.assert_array_equal(run(decoded(weight, transposed=True)), weight.dequantize().T.numpy())


@given(weights.filter(has_int8_form))
@settings(deadline=None, max_examples=20)
def test_the_int8_form_is_dequantize_to_the_bit(weight: QuantizedWeight) -> None:
    np.testing.assert_array_equal(run(decoded(weight, "int8")), weight.dequantize().numpy())


@given(weights)
@settings(deadline=None, max_examples=30)
def test_the_stored_constants_take_stored_bytes(weight: QuantizedWeight) -> None:
    constants = [tensor for tensor in decoded(weight).graph.initializer if not tensor.name.startswith(CONSTANT)]
    assert sum(len(tensor.raw_data) for tensor in constants) == stored_bytes(weight)


def simple(codes: list[list[int]], num_bits: int = 4, **more: torch.Tensor | None) -> QuantizedWeight:
    parts = {"zero_points": None, "multipliers": None, **more}
    return QuantizedWeight(
        torch.tensor(codes, dtype=torch.int8), torch.tensor([[0.5]]), **parts, num_bits=num_bits, group_size=2
    )


def test_a_weight_worked_by_hand() -> None:
    weight = simple([[1, -8, 7, 2, 3]], multipliers=torch.tensor([[1, 2, 16]], dtype=torch.uint8))
    expected: NDArray[np.float32] = np.array([[0.5, -4.0, 7.0, 2.0, 24.0]], np.float32)
    np.testing.assert_array_equal(run(decoded(weight)), expected)


def test_products_that_leave_int8_have_no_int8_form() -> None:
    sixteen = torch.tensor([[16]], dtype=torch.uint8)
    assert has_int8_form(simple([[-8, 7]], multipliers=sixteen))  # −128 … 112
    assert not has_int8_form(simple([[-9, 7]], 5, multipliers=sixteen))
    assert not has_int8_form(simple([[8, 7]], 5, multipliers=sixteen))  # 128
    assert not has_int8_form(simple([[1, 1]], zero_points=torch.tensor([[0]], dtype=torch.int8)))


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_all_but_the_dequantize_linear_folds_when_the_session_loads(form: str, tmp_path: object) -> None:
    from compress.runtime.session import optimized_ops

    weight = random_weight((8, 4, 3, 3), 5, 9, affine=False, multiplied=form == "float32", seed=0)
    weight = weight if form == "float32" else random_weight((8, 4, 3, 3), 5, None, False, False, seed=0)
    path = f"{tmp_path}/decoded.onnx"
    onnx.save(decoded(weight, form), path)
    assert {"Gather", "Cast", "Add"} <= set(operators(onnx.load(path)))
    assert set(optimized_ops(path)) <= {"Identity", "DequantizeLinear"}
