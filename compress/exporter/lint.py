"""Slow paths of ONNX Runtime on x86 in a graph, each by the node that takes it, with what it costs and what to write.

The graph alone is read, nothing is run.  Costs were measured with onnxruntime 1.31.1 on two cores with AVX512-VNNI, as
ratios of times that were taken in turn; those of MatMulNBits on one row, 2048 → 6144.  Whether a node was fused can be
seen in `compress.runtime.session.optimized_ops`; the tests hold these rules against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.exporter.lint_graph import LintGraph

MAX_OPSET, MAX_IR_VERSION = 26, 13  # that onnxruntime 1.31.1 loads
_LARGE_INT64 = 8192  # elements: 64 kB, more than any shape or axis takes

# Operators that have a quantized kernel, and become it when all their inputs and their output are quantized.
_FUSED_WHOLE = {"Add", "Mul", "Concat", "Where", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu", "Softmax"}
_NO_KERNEL = {
    "ReduceMean": "GlobalAveragePool, where it is the mean of height and width",
    "BatchNormalization": "fold it into the convolution before it",
    "Pad": "the padding of the convolution after it",
    "Sub": "Add of a negated constant",
    "Div": "Mul by the inverse",
    "HardSwish": "x · Sigmoid(x) by quantized Sigmoid and Mul, or ReLU",
    "HardSigmoid": "a quantized Sigmoid",
}


@dataclass(frozen=True)
class Finding:
    """node: by name.  why: what is slow, with the measured number.  instead: what to write."""

    node: str
    rule: str
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.node}: {self.rule}: {self.why}: {self.instead}"


def lint(model: Any) -> list[Finding]:
    """Every slow path in an onnx.ModelProto, or in the file at a path, in the order of the nodes."""
    import onnx

    if isinstance(model, str | Path):
        model = onnx.load(model, load_external_data=False)
    graph = LintGraph(model)
    found = [*_versions(model), *_large_int64(graph)]
    for node in graph.nodes:
        for rule in _RULES:
            found += [Finding(graph.name(node), *texts) for texts in rule(graph, node)]
    return found


# A rule yields (rule, why, instead) for a node that breaks it.
Texts = tuple[str, str, str]


def _versions(model: Any) -> Iterator[Finding]:
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset > MAX_OPSET:
        why = f"onnxruntime 1.31.1 loads at most opset {MAX_OPSET}, this is {opset}"
        yield Finding("model", "opset", why, "opset 21")
    if model.ir_version > MAX_IR_VERSION:
        why = f"onnxruntime 1.31.1 loads at most IR version {MAX_IR_VERSION}, this is {model.ir_version}"
        yield Finding("model", "ir-version", why, "IR version 10")


def _large_int64(graph: LintGraph) -> Iterator[Finding]:
    for name, tensor in graph.initializers.items():
        size = 1
        for dim in tensor.dims:
            size *= dim
        if graph.kind(name) == "INT64" and size > _LARGE_INT64:
            yield Finding(name, "large-int64", f"{size:,} indices of 8 bytes", "int32, which Gather takes as well")


def _float64(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if not graph.is_constant(node.output[0]) and graph.kind(node.output[0]) == "DOUBLE":
        yield "float64", "a float64 MatMul takes 2.0× the time of float32, and Conv has no kernel", "float32"


def _integer_convolution(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if node.op_type == "ConvInteger":
        why = "it takes 6.4× the time of the float32 convolution"
        yield "conv-integer", why, "DequantizeLinear → Conv → QuantizeLinear, which becomes QLinearConv: 0.2×"


def _signed_activations(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if node.op_type == "QLinearConv" and graph.kind(node.input[0]) == "INT8":
        yield "int8-activations", "QLinearConv of int8 inputs takes 25× the time of uint8 ones", "uint8 activations"
    if node.op_type != "QuantizeLinear" or graph.is_constant(node.input[0]) or graph.kind(node.output[0]) != "INT8":
        return
    readers = [reader for dequantize in graph.readers(node.output[0]) for reader in graph.readers(dequantize.output[0])]
    if any(reader.op_type not in ("MatMul", "Gemm") for reader in readers):  # those two take both alike
        why = "a residual network of int8 activations takes 2.0× the time of uint8: not all of it is fused"
        yield "int8-activations", why, "uint8 activations, with the zero point 128 higher"


def _wide_activations(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if node.op_type == "QuantizeLinear" and graph.kind(node.output[0]) in ("INT16", "UINT16"):
        why = "convolutions of 16-bit activations are not fused and take 5.5× the time of uint8"
        yield "wide-activations", why, "uint8 activations"


def _weight_codes(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if node.op_type == "QLinearConv":
        codes, zero_point = node.input[3], node.input[5]
    elif node.op_type in ("Conv", "MatMul", "Gemm") and graph.dequantizer(node.input[0]) is not None:
        dequantize = graph.dequantizer(node.input[1])
        if dequantize is None or not graph.is_constant(dequantize.input[0]):
            return
        codes, zero_point = dequantize.input[0], dequantize.input[2] if len(dequantize.input) > 2 else ""
    else:
        return
    kind, is_conv = graph.kind(codes), node.op_type in ("Conv", "QLinearConv")
    if kind == "UINT8" and node.op_type != "Gemm":  # QGemm takes both alike
        cost = "3.9×" if is_conv else "1.7×"
        yield "uint8-weights", f"it takes {cost} the time of int8 weights", "int8 weights, symmetric"
    elif kind == "INT8" and is_conv and zero_point and graph.any_nonzero(zero_point):
        yield "affine-weights", "zero points of weights cost a convolution 1.4× its time", "symmetric weights"
    elif (
        kind not in ("INT8", "UINT8") and graph.dequantizer(node.input[0]) is not None and node.op_type != "QLinearConv"
    ):
        why = f"{kind} weights are not fused: decoded in each run, 6.5× the time of int8"
        yield "weight-codes", why, "decode them to int8 by operators that fold when the model loads (Gather, Cast)"


def _unfused_product(graph: LintGraph, node: Any) -> Iterator[Texts]:
    """Conv and Gemm whose weights lie in DequantizeLinear are fused whole, or decode their weights in each run."""
    if node.op_type not in ("Conv", "Gemm", "ConvTranspose") or graph.dequantizer(node.input[1]) is None:
        return
    if graph.dequantizer(node.input[0]) is None:
        if node.op_type == "Gemm" and not graph.attribute(node, "transB"):
            return  # becomes MatMulNBits
        why = "its weights are decoded in each run: a depthwise Conv takes 3.2×, a Gemm 3.0× the time of float"
        yield "weight-only", why, "decode by Cast and Mul, which fold when the model loads"
        return
    if node.op_type == "ConvTranspose":
        yield (
            "no-quantized-kernel",
            "ConvTranspose decodes its weights in each run",
            "float weights, or Resize and Conv",
        )
        return
    if node.op_type == "Gemm" and _integer_bias(graph, node):
        return  # a float output is as good
    quantizer, blocker = graph.quantizer_after(node)
    if quantizer is not None:
        if node.op_type == "Conv" and graph.bias_scale_differs(node):
            why = "an int32 bias of another scale than input · weight keeps it from being fused: 3.4× the time"
            yield "bias-scale", why, "a bias scale of input scale · weight scale, or a float bias"
        return
    cost = "3.4× the time of the fused network" if node.op_type == "Conv" else "2.9× the time of float"
    if blocker is None:
        instead = "quantize its output" + (", or give the bias as int32" if node.op_type == "Gemm" else "")
        yield "float-output", f"not fused, and its weights are decoded in each run: {cost}", instead
    else:
        instead = "a zero point of 0, and a range within the limits" if blocker in ("Relu", "Clip") else "quantize both"
        why = f"{blocker} before QuantizeLinear keeps it from being fused: {cost}"
        yield "blocked-fusion", why, instead + (f": before and after {blocker}" if instead == "quantize both" else "")


def _integer_bias(graph: LintGraph, gemm: Any) -> bool:
    if len(gemm.input) < 3 or not gemm.input[2]:
        return True
    dequantize = graph.dequantizer(gemm.input[2])
    return dequantize is not None and graph.kind(dequantize.input[0]) == "INT32"


def _matmul_bias(graph: LintGraph, node: Any) -> Iterator[Texts]:
    """MatMul + Add(constant) becomes Gemm before quantization is looked for, and a float bias then blocks it."""
    if node.op_type != "Add" or graph.quantizer_after(node)[0] is not None:
        return
    product = next((made for made in map(graph.producer, node.input) if made and made.op_type == "MatMul"), None)
    if product is None or not any(graph.is_constant(name) for name in node.input):
        return
    weight = graph.dequantizer(product.input[1], through=("Transpose",))
    if graph.dequantizer(product.input[0]) is None or weight is None or len(graph.readers(product.output[0])) > 1:
        return
    why = "MatMul and its bias become a float Gemm that decodes the weights in each run: 2.9× to 16× the time of float"
    yield "matmul-bias", why, "Gemm with an int32 bias (0.65×), or quantize the sum (0.74×)"


def _transposed_blocks(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if node.op_type not in ("MatMul", "Gemm") or graph.dequantizer(node.input[0]) is not None:
        return
    weight = graph.dequantizer(node.input[1], through=("Transpose",))
    if weight is None or graph.dequantizer(node.input[1]) is not None:
        return
    if graph.attribute(weight, "block_size"):
        why = "a Transpose after a blockwise DequantizeLinear keeps both from becoming MatMulNBits: 2.1×"
        yield "transposed-blocks", why, "store the weight as [in, out]"


def _matmul_nbits(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if node.op_type != "MatMulNBits":
        return
    bits, block = graph.attribute(node, "bits", 4), graph.attribute(node, "block_size")
    if not graph.attribute(node, "accuracy_level"):
        times = {2: "60 to 118 ms, not 0.1", 4: "0.9 to 1.3 ms, not 0.2", 8: "103 ms, not 0.2"}
        why = f"at accuracy_level 0, its default, {bits} bits take {times.get(bits, 'far longer')}"
        yield "accuracy-level", why, "accuracy_level 4"
    elif bits == 2 and block in (16, 32, 256):
        times = {16: "60 to 118 ms", 32: "0.4 ms", 256: "60 to 118 ms"}
        yield "two-bit-groups", f"groups of {block} take {times[block]}, not 0.1 to 0.2", "groups of 64 or 128"
    if len(node.input) > 3 and node.input[3] and graph.kind(node.input[3]) in ("FLOAT", "FLOAT16"):
        instead = "integer zero points, and Gemm(block sums, scales) for the rest"
        yield "fractional-zero-points", "they take 60 ms, not 0.2", instead


def _mixed(graph: LintGraph, node: Any) -> Iterator[Texts]:
    """Between a DequantizeLinear and a QuantizeLinear, but with an input that is not quantized."""
    is_whole = node.op_type in _FUSED_WHOLE
    weight_inputs = node.op_type in ("MatMul", "Gemm") and len(node.input) > 1
    if not (is_whole or weight_inputs) or graph.is_constant(node.output[0]):
        return
    names = node.input[1:] if node.op_type == "Where" else node.input[:2] if weight_inputs else node.input
    quantized = [graph.dequantizer(name, through=("Transpose",)) is not None for name in names]
    if not any(quantized) or all(quantized) or graph.quantizer_after(node)[0] is None:
        return
    if weight_inputs and quantized[1] and not quantized[0]:
        return  # weight-only, which is a thing of its own
    float_one = names[quantized.index(False)]
    why = f"input '{float_one}' is float while the others are quantized: it runs in float between two conversions"
    yield "mixed-inputs", why, f"quantize '{float_one}' as well"


def _no_kernel(graph: LintGraph, node: Any) -> Iterator[Texts]:
    if node.op_type not in _NO_KERNEL or graph.is_constant(node.output[0]):
        return
    if graph.dequantizer(node.input[0]) is not None and graph.quantizer_after(node)[0] is not None:
        why = f"{node.op_type} has no quantized kernel: in float between two conversions, up to 1.5× a block's time"
        yield "no-quantized-kernel", why, _NO_KERNEL[node.op_type]


def _grouped_convolution(graph: LintGraph, node: Any) -> Iterator[Texts]:
    groups = graph.attribute(node, "group", 1) if node.op_type in ("Conv", "QLinearConv") else 1
    quantized = node.op_type == "QLinearConv" or (groups > 1 and graph.dequantizer(node.input[0]) is not None)
    shape = graph.shape(node.input[3 if node.op_type == "QLinearConv" else 1]) if groups > 1 else None
    if quantized and shape is not None and shape[1] > 1:  # 1: depthwise, which has a kernel of its own
        why = f"quantized in {groups} groups of {shape[1]} channels it takes 1.7× the time of float"
        yield "grouped-convolution", why, "leave it in float"


_RULES: tuple[Callable[[LintGraph, Any], Iterator[Texts]], ...] = (
    _float64,
    _integer_convolution,
    _signed_activations,
    _wide_activations,
    _weight_codes,
    _unfused_product,
    _matmul_bias,
    _transposed_blocks,
    _matmul_nbits,
    _mixed,
    _no_kernel,
    _grouped_convolution,
)
