"""What of a graph a target does not take: each violation by its node, and what to change.

The graph alone is read.  Where onnxruntime hands a graph on to a device (runtime onnx-…), it folds constants first, and
the operators of decoders do not count; a compiler that reads the file itself must know them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.devices.phases import graphs
from compress.exporter.lint_graph import LintGraph
from compress.runtime.graph import load_graph
from compress.targets import Target

_BITS = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16}
_FLOATS = {"FLOAT16": "float16", "BFLOAT16": "bfloat16", "DOUBLE": "float64"}
# Integer layers in onnxruntime's own form, and the pass that writes the other one.
_DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "ConvInteger"}
_STATIC = {"QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearGlobalAveragePool"}
_PACKED = {"MatMulNBits", "GatherBlockQuantized"}


@dataclass(frozen=True)
class Violation:
    """node: by name.  what: does not run.  instead: what to change.  is_note: it runs, and costs time or space."""

    file: str
    node: str
    rule: str
    what: str
    instead: str
    is_note: bool = False

    def __str__(self) -> str:
        return f"{self.node}: {self.what}: {self.instead}"


def check(path: Path, target: Target) -> list[Violation]:
    """All that the target does not take of an artefact or an ONNX file, notes last.

    Raises ArtefactError for a file that is no ONNX model.
    """
    found = [violation for graph in graphs(path) for violation in _Checked(graph, target).violations()]
    found += _memory(path, target)
    return sorted(found, key=lambda violation: violation.is_note)


def _memory(path: Path, target: Target) -> Iterator[Violation]:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if ".onnx" in each.name]
    size = sum(each.stat().st_size for each in files)
    if target.memory_bytes is not None and size > target.memory_bytes.value:
        what = f"{size / 1e9:.1f} GB of weights and graphs do not fit into {target.memory_bytes.value / 1e9:.1f} GB"
        yield Violation(str(path), "model", "memory", what, "fewer bits a weight, or a smaller model")


class _Checked:
    """One graph against one target."""

    def __init__(self, path: Path, target: Target) -> None:
        self.path, self.target = path, target
        self.model = load_graph(path)
        self.graph = LintGraph(self.model)
        self.again = f"re-export with target: {target.name}"

    def violations(self) -> Iterator[Violation]:
        yield from self._opset()
        yield from self._dynamic_axes()
        for node in self._nodes(self.model.graph):
            yield from self._operator(node)
        for node in self.graph.nodes:
            if self.graph.is_constant(node.output[0]) and node.op_type != "DequantizeLinear":
                continue
            yield from self._types(node)
            yield from self._activations(node)
            yield from self._weights(node)
            yield from self._packed(node)
            yield from self._sizes(node)
            yield from self._channels(node)

    def _told(self, node: Any, rule: str, what: str, instead: str, is_note: bool = False) -> Violation:
        name = node if isinstance(node, str) else self.graph.name(node)
        return Violation(str(self.path), name, rule, what, instead, is_note)

    def _nodes(self, graph: Any) -> Iterator[Any]:
        """All nodes, those of branches too, that the target's compiler meets."""
        for node in graph.node:
            folded = self.target.folds_constants and self.graph.is_constant(node.output[0])
            if not folded or node.op_type == "DequantizeLinear":
                yield node
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from self._nodes(attribute.g)

    def _opset(self) -> Iterator[Violation]:
        target = self.target
        for entry in self.model.opset_import:
            if entry.domain in ("", "ai.onnx") and not target.min_opset <= entry.version <= target.max_opset:
                what = f"opset {entry.version}, and {target.name} reads {target.min_opset} to {target.max_opset}"
                yield self._told("model", "opset", what, f"{self.again}, or export: {{opset: {target.opset}}}")

    def _dynamic_axes(self) -> Iterator[Violation]:
        if not self.target.static_shapes:
            return
        for value in self.model.graph.input:
            axes = value.type.tensor_type.shape.dim
            free = [axis.dim_param or "?" for axis in axes if not axis.HasField("dim_value")]
            if free:
                what = f"its axis {', '.join(free)} is free, and {self.target.name} wants fixed shapes"
                yield self._told(value.name, "dynamic-axis", what, self.again)

    def _operator(self, node: Any) -> Iterator[Violation]:
        domain = "" if node.domain in ("", "ai.onnx") else node.domain
        name = f"{domain}.{node.op_type}" if domain else node.op_type
        known = self.target.operators
        in_kernels = node.op_type in _DYNAMIC | _STATIC | _PACKED
        if (known is None or name in known) and not (in_kernels and self.target.integer_form == "qdq"):
            return
        if node.op_type in _DYNAMIC:
            instead = "quantize.static in place of quantize.dynamic"
        elif node.op_type in _PACKED:
            instead = "quantize.static in place of quantize.weights, or float weights"
        elif domain or node.op_type == "SimplifiedLayerNormalization":
            instead = "an operator of onnxruntime's own: choose a target that runs onnx-cpu"
        elif node.op_type in _STATIC or not self.graph.is_constant(node.output[0]):
            instead = f"{self.again}, or a model without it"
        else:
            instead = f"it decodes stored weights: store them in {_listed(self.target.weight_bits)} bits"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            instead = "float activations: leave out quantize.static"
        yield self._told(node, "operator", f"{self.target.name} does not take {name}", instead)

    def _types(self, node: Any) -> Iterator[Violation]:
        kind = self.graph.kind(node.output[0])
        number = _FLOATS.get(kind)
        if number is not None and number not in self.target.float_types:
            takes = ", ".join(self.target.float_types)
            what = f"{node.op_type} in {number}, and floats run in {takes} on {self.target.name}"
            yield self._told(node, "type", what, "export it in float32, which is compiled to what runs")

    def _activations(self, node: Any) -> Iterator[Violation]:
        if node.op_type != "QuantizeLinear" or self.graph.is_constant(node.input[0]):
            return
        kind, target = self.graph.kind(node.output[0]), self.target
        bits = _BITS.get(kind)
        if bits is not None and bits not in target.activation_bits:
            runs = f"activations of {_listed(target.activation_bits)} bits" if target.activation_bits else "floats only"
            what = f"activations of {bits} bits, and {target.name} runs {runs}"
            yield self._told(node, "activation-bits", what, self._without_static())
        elif bits == 8 and kind.lower() not in target.activation_types:
            what = f"{kind.lower()} activations, and {target.name} runs {_listed(target.activation_types)}"
            yield self._told(node, "activation-type", what, self.again)
        elif kind == "INT8" and "uint8" not in target.activation_types and self._affine(node):
            what = f"a zero point that is not 0, and {target.name} runs symmetric int8 alone"
            yield self._told(node, "zero-point", what, self.again)

    def _affine(self, node: Any) -> bool:
        return len(node.input) > 2 and bool(node.input[2]) and self.graph.any_nonzero(node.input[2])

    def _without_static(self) -> str:
        bits = self.target.activation_bits
        if bits:
            return f"quantize.static with num_bits: {bits[-1]}, and {self.again}"
        return "float activations: leave out quantize.static"

    def _weights(self, node: Any) -> Iterator[Violation]:
        """Weights whose scales lie in a DequantizeLinear."""
        if node.op_type != "DequantizeLinear" or not self.graph.is_constant(node.input[0]):
            return
        target, kind = self.target, self.graph.kind(node.input[0])
        if kind == "INT32" and target.bias_type == "float":
            yield self._told(node, "bias", f"a bias in int32, and {target.name} takes float ones", self.again)
            return
        bits = _BITS.get(kind)
        if bits is not None and bits not in target.weight_bits:
            what = f"weights of {bits} bits, and {target.name} takes {_listed(target.weight_bits)}"
            yield self._told(node, "weight-bits", what, f"num_bits: {target.weight_bits[-1]}, and {self.again}")
        scales = self.graph.shape(node.input[1])
        if self.graph.attribute(node, "block_size"):
            granularity = "group"
        else:
            granularity = "tensor" if scales is not None and int(np.prod(scales)) == 1 else "channel"
        if granularity not in target.granularities and not (granularity == "tensor" and bits != 8):
            what = f"weights with a scale per {granularity}, and {target.name} takes {_listed(target.granularities)}"
            yield self._told(node, "granularity", what, f"strategy: {target.granularities[-1]}, and {self.again}")
        largest = self._largest(node.input[0]) if kind == "INT8" else None
        if largest is not None and largest > target.int8_range + 1 and self._meets_codes(node):
            what = f"int8 weights up to {largest}, and sums of more than {target.int8_range} saturate on {target.name}"
            yield self._told(node, "int8-range", what, self.again)

    def _largest(self, name: str) -> int | None:
        from onnx import numpy_helper

        stored = next((each for each in self.model.graph.initializer if each.name == name), None)
        if stored is None or not stored.raw_data:
            return None
        return int(np.abs(numpy_helper.to_array(stored).astype(np.int16)).max(initial=0))

    def _meets_codes(self, node: Any) -> bool:
        """Whether an operator multiplies the weights with quantized activations."""
        return any(self.graph.dequantizer(reader.input[0]) is not None for reader in self.graph.readers(node.output[0]))

    def _packed(self, node: Any) -> Iterator[Violation]:
        if node.op_type not in _PACKED or self.target.integer_form == "qdq":
            return
        bits = int(self.graph.attribute(node, "bits", 4))
        if bits not in self.target.weight_bits:
            what = f"weights of {bits} bits, and {self.target.name} takes {_listed(self.target.weight_bits)}"
            yield self._told(node, "weight-bits", what, f"num_bits: {self.target.weight_bits[-1]}, and {self.again}")
        if "group" not in self.target.granularities:
            what = f"weights with a scale per group, and {self.target.name} takes {_listed(self.target.granularities)}"
            yield self._told(node, "granularity", what, f"strategy: {self.target.granularities[-1]}, and {self.again}")

    def _sizes(self, node: Any) -> Iterator[Violation]:
        most = self.target.max_size
        for name in node.output:
            shape = self.graph.shape(name)
            if most is not None and shape is not None and max(shape, default=0) > most:
                what = f"its output has an axis of {max(shape)}, and {self.target.name} takes {most}"
                yield self._told(node, "size", what, "a smaller input, or a layer cut into several")
                return

    def _channels(self, node: Any) -> Iterator[Violation]:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            return
        shape, multiple = self.graph.shape(node.input[1]), self.target.channel_multiple
        if shape is None or len(shape) < 2 or not self.graph.is_constant(node.input[1]):
            return
        first = node.op_type == "Conv" or bool(self.graph.attribute(node, "transB"))
        channels = shape[0] if first else shape[-1]
        if channels % multiple:
            what = f"{channels} channels, and {self.target.name} computes multiples of {multiple}"
            instead = f"prune.channels rounds to them, or {-(-channels // multiple) * multiple} channels"
            yield self._told(node, "channels", what, instead, is_note=True)


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))
