"""Small graphs whose speed is a figure of the machine: what is moved or computed in a run is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHAIN = 200  # kernels with nothing to do
_LAYERS = 6  # of depthwise convolutions: around a single one the change of layout takes longer than itself


@dataclass(frozen=True)
class Bench:
    """figure: the field of a target that it gives.  work: bytes, operations or kernels of a run."""

    figure: str
    about: str
    model: Any
    inputs: dict[str, NDArray[Any]]
    work: float


def benches() -> list[Bench]:
    """All of them; what gives the same figure stands together, and its median is taken."""
    return [
        _weights_read(),
        _chain(),
        _product(256, 1024, 1024),
        _convolution("peak_ops_per_s.float32", 128, 128, 3, 28),
        _convolution("peak_ops_per_s.float32", 64, 256, 1, 28),
        _convolution("depthwise_ops_per_s.float32", 192, 192, 3, 28, depthwise=True),
        _convolution("peak_ops_per_s.int8", 128, 128, 3, 28, quantized=True),
        _convolution("peak_ops_per_s.int8", 64, 256, 1, 28, quantized=True),
        _convolution("depthwise_ops_per_s.int8", 192, 192, 3, 28, depthwise=True, quantized=True),
        _packed_product("peak_ops_per_s.int4", 128, 1024, 2048, 4),
        _packed_product("row_ops_per_s.int4", 1, 2048, 8192, 4),
        _packed_product("row_ops_per_s.int8", 1, 2048, 8192, 8),
    ]


class _Graph:
    """Nodes one after another; the input is 'x', float32 or, for quantized layers, its codes in uint8."""

    def __init__(self, shape: tuple[int, ...], *, codes: bool = False) -> None:
        self.shape, self.codes = shape, codes
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def bench(self, output: str, figure: str, about: str, work: float) -> Bench:
        from onnx import TensorProto, helper

        kind = TensorProto.UINT8 if self.codes else TensorProto.FLOAT
        given = [helper.make_tensor_value_info("x", kind, self.shape)]
        made = [helper.make_tensor_value_info(output, kind, None)]
        graph = helper.make_graph(self.nodes, "bench", given, made, self.initializers)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
        numbers = (
            np.random.default_rng(0).integers(0, 256, self.shape, np.uint8) if self.codes else _random(*self.shape)
        )
        return Bench(figure, about, model, {"x": numbers}, work)


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _weights_read() -> Bench:
    """A product of one row: each weight is read once, and 128 MB are in no cache."""
    graph, shape = _Graph((1, 4096)), (4096, 8192)
    output = graph.op("MatMul", "x", graph.constant(_random(*shape)))
    return graph.bench(output, "bandwidth_bytes_per_s", "a product of one row reads 134 MB", 4.0 * shape[0] * shape[1])


def _chain() -> Bench:
    """Kernels of 16 numbers: all that they take is what a kernel takes beside its work."""
    graph, value = _Graph((1, 16)), "x"
    for number in range(_CHAIN):
        value = graph.op("Sin" if number % 2 else "Erf", value)
    return graph.bench(value, "kernel_seconds", f"a chain of {_CHAIN} kernels of 16 numbers", _CHAIN)


def _product(rows: int, inner: int, columns: int) -> Bench:
    graph = _Graph((rows, inner))
    output = graph.op("MatMul", "x", graph.constant(_random(inner, columns)))
    about = f"MatMul of {rows} × {inner} × {columns}"
    return graph.bench(output, "peak_ops_per_s.float32", about, 2.0 * rows * inner * columns)


def _convolution(
    figure: str,
    channels: int,
    filters: int,
    kernel: int,
    size: int,
    *,
    depthwise: bool = False,
    quantized: bool = False,
) -> Bench:
    """One convolution of [1, channels, size, size]; quantized: in uint8 and int8, as static quantization writes it."""
    graph = _Graph((1, channels, size, size), codes=quantized)
    groups, layers = channels if depthwise else 1, _LAYERS if depthwise else 1
    weight, value = _random(filters, channels // groups, kernel, kernel), "x"
    shared: dict[str, Any] = {"pads": [kernel // 2] * 4, "group": groups}
    scale, zero = graph.constant(np.array(0.05, np.float32)), graph.constant(np.array(128, np.uint8))
    for _ in range(layers):
        if quantized:
            floats = graph.op("DequantizeLinear", value, scale, zero)
            value = graph.op("QuantizeLinear", graph.op("Conv", floats, _codes(graph, weight), **shared), scale, zero)
        else:
            value = graph.op("Conv", value, graph.constant(weight), **shared)
    kind = f"{layers} depthwise Convs" if depthwise else "Conv"
    about = f"{kind} {kernel} × {kernel} of {channels} → {filters} channels, {size} × {size}"
    return graph.bench(value, figure, about, 2.0 * layers * filters * size * size * weight[0].size)


def _codes(graph: _Graph, weight: NDArray[np.float32]) -> str:
    """The weight in int8, with a scale an output channel."""
    scales, zeros = np.full(len(weight), 0.03, np.float32), np.zeros(len(weight), np.int8)
    codes = np.clip(np.round(weight / 0.03), -127, 127).astype(np.int8)
    return graph.op("DequantizeLinear", *(graph.constant(each) for each in (codes, scales, zeros)), axis=0)


def _packed_product(figure: str, rows: int, inner: int, columns: int, bits: int) -> Bench:
    """MatMulNBits in groups of 32, at the accuracy level that this program writes."""
    graph, block = _Graph((rows, inner)), 32
    codes = np.random.default_rng(0).integers(0, 256, (columns, inner // block, block * bits // 8), np.uint8)
    scales = np.full((columns, inner // block), 0.01, np.float32)
    output = graph.op(
        "MatMulNBits",
        "x",
        graph.constant(codes),
        graph.constant(scales),
        domain="com.microsoft",
        K=inner,
        N=columns,
        bits=bits,
        block_size=block,
        accuracy_level=4,
    )
    about = f"MatMulNBits of {bits} bits, {rows} × {inner} × {columns}"
    return graph.bench(output, figure, about, 2.0 * rows * inner * columns)
