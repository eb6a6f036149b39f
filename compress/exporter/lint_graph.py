"""A graph as the lint reads it: who makes a tensor, who reads it, what lies between an operator and its quantizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.runtime.graph import drop_large_tensors

# Operators that onnxruntime moves quantization across.
MOVING = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "MaxPool")

_BIAS_SCALE_TOLERANCE = 0.02  # onnxruntime's own, measured


class LintGraph:
    """Look-ups over an onnx.ModelProto."""

    def __init__(self, whole: Any) -> None:
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(whole)
        drop_large_tensors(model)
        graph = model.graph
        self.nodes: list[Any] = list(graph.node)
        self.initializers: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.made = {name: node for node in graph.node for name in node.output if name}
        self.read: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.read[name].append(node)
        self.constants = set(self.initializers) | {""}
        for node in graph.node:
            if all(name in self.constants for name in node.input):
                self.constants.update(node.output)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {name: tensor.data_type for name, tensor in self.initializers.items()}
        self.kinds: dict[str, str] = {name: onnx.TensorProto.DataType.Name(kind) for name, kind in types.items()}
        self.shapes = {value.name: _shape(value.type.tensor_type) for value in values}
        self.shapes |= {name: tuple(tensor.dims) for name, tensor in self.initializers.items()}

    def name(self, node: Any) -> str:
        """The node's name, or its output's if it has none."""
        return str(node.name or node.output[0])

    def kind(self, tensor: str) -> str:
        """Its element type, as in 'UINT8'; 'UNDEFINED' where inference does not tell."""
        return self.kinds.get(tensor, "UNDEFINED")

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """Its shape, or None where inference leaves it open."""
        return self.shapes.get(tensor)

    def is_constant(self, tensor: str) -> bool:
        """Whether no input of the model reaches it."""
        return tensor in self.constants

    def producer(self, tensor: str) -> Any | None:
        return self.made.get(tensor)

    def readers(self, tensor: str) -> list[Any]:
        return self.read[tensor]

    def attribute(self, node: Any, name: str, default: Any = 0) -> Any:
        import onnx

        found = next((attribute for attribute in node.attribute if attribute.name == name), None)
        return default if found is None else onnx.helper.get_attribute_value(found)

    def dequantizer(self, tensor: str, through: Sequence[str] = ()) -> Any | None:
        """The DequantizeLinear that made `tensor`, directly or through operators of the types in `through`."""
        node = self.producer(tensor)
        while node is not None and node.op_type in through:
            node = self.producer(node.input[0])
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def quantizer_after(self, node: Any) -> tuple[Any | None, str | None]:
        """The QuantizeLinear that `node` can be fused with, or None and the type of operator that is in the way.

        Operators that only move data do not stand in the way, nor do Relu and Clip whose limits the grid keeps by
        itself; all others do, if a QuantizeLinear follows them.  (None, None): the output is used in float.
        """
        tensor: str = node.output[0]
        limits: list[Any] = []
        while True:
            readers = self.readers(tensor)
            if len(readers) != 1 or tensor in self.outputs:
                return None, None
            reader = readers[0]
            if reader.op_type == "QuantizeLinear":
                blocker = next((limit.op_type for limit in limits if not self._kept_by_grid(limit, reader)), None)
                return (None, blocker) if blocker else (reader, None)
            if reader.op_type in ("Relu", "Clip"):
                limits.append(reader)
            elif reader.op_type not in MOVING:
                ahead = self.readers(reader.output[0])
                blocked = any(then.op_type == "QuantizeLinear" for then in ahead)
                return None, reader.op_type if blocked else None
            tensor = reader.output[0]

    def values(self, tensor: str) -> NDArray[Any] | None:
        """The numbers of a stored constant, also through Cast and Identity; None for large and external ones."""
        import onnx

        node = self.producer(tensor)
        if tensor in self.initializers:
            stored = self.initializers[tensor]
            return onnx.numpy_helper.to_array(stored) if _is_here(stored) else None
        if node is None:
            return None
        if node.op_type in ("Cast", "Identity"):
            return self.values(node.input[0])
        if node.op_type != "Constant":
            return None
        value = onnx.helper.get_attribute_value(node.attribute[0])
        return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)

    def any_nonzero(self, tensor: str) -> bool:
        """Whether a stored constant is known to hold another number than 0."""
        values = self.values(tensor)
        return values is not None and bool(np.any(np.asarray(values, np.float64) != 0))

    def bias_scale_differs(self, node: Any) -> bool:
        """Whether the dequantized bias of a Conv is known to have another scale than its input's times its weight's."""
        parts = [self.dequantizer(name) for name in node.input[:3]]
        if len(parts) < 3 or any(part is None for part in parts):
            return False
        of_input, of_weight, of_bias = (self.values(part.input[1]) for part in parts if part is not None)
        if of_input is None or of_weight is None or of_bias is None:
            return False
        return not np.allclose(of_bias, of_input * of_weight, rtol=_BIAS_SCALE_TOLERANCE, atol=0)

    def _kept_by_grid(self, limit: Any, quantizer: Any) -> bool:
        """Whether every number of the quantizer's grid lies within what Relu or Clip lets through."""
        zero_point = self.values(quantizer.input[2]) if len(quantizer.input) > 2 else np.zeros(1)
        scale = self.values(quantizer.input[1])
        if zero_point is None or scale is None or np.size(scale) != 1:
            return False
        lowest, highest = {"INT8": (-128, 127), "UINT16": (0, 65535)}.get(self.kind(quantizer.output[0]), (0, 255))
        step, zero = float(np.ravel(scale)[0]), float(np.ravel(zero_point)[0])
        low, high = (lowest - zero) * step, (highest - zero) * step
        if limit.op_type == "Relu":
            return low >= 0
        ends = [self.values(name) if name else None for name in (*limit.input[1:], "", "")][:2]
        above = ends[0] is None or low >= float(np.ravel(ends[0])[0]) - 1e-6 * step
        return above and (ends[1] is None or high <= float(np.ravel(ends[1])[0]) + 1e-3 * step)


def _is_here(tensor: Any) -> bool:
    """Whether the numbers lie in the graph: not in another file, and not dropped."""
    import onnx

    held = (tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
    return tensor.data_location != onnx.TensorProto.EXTERNAL and (0 in tensor.dims or any(map(len, held)))


def _shape(kind: Any) -> tuple[int, ...] | None:
    sizes = kind.shape.dim
    if not kind.HasField("shape") or not all(size.HasField("dim_value") for size in sizes):
        return None
    return tuple(size.dim_value for size in sizes)
