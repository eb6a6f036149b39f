"""Builder: writes a graph from its first node to its last, with its weights in a WeightFile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.exporter.nodes import Writer
from compress.exporter.text.weightfile import SMALLEST, WeightFile, content_hash

MICROSOFT = "com.microsoft"
OPSETS = {"": 21, MICROSOFT: 1}
IR_VERSION = 10
FLOAT, INT64, INT32, BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL
END = np.iinfo(np.int64).max  # of a Slice that goes on to the end

Size = int | str


class Builder(Writer):
    """A Writer whose nodes are appended one after another.  Equal weights are one initializer.

    `node` and `once` take a node to stand in front of, for the decoders that other exports share, and ignore it.
    """

    def __init__(self, weights: WeightFile, name: str = "compress") -> None:
        super().__init__(ir.Graph([], [], nodes=[], opset_imports=dict(OPSETS), name=name))
        self.weights, self.root = weights, self
        self.stored: dict[tuple[bytes, str, tuple[int, ...]], ir.Value] = {}
        self.made: dict[Any, ir.Value] = {}

    def branch(self, name: str) -> Builder:
        """For a graph inside a node of this one: it reads this one's values; its constants and decoders lie here."""
        branch = Builder(self.weights, name)
        branch.root = self.root
        return branch

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[Size]) -> ir.Value:
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        return value

    def optional_input(self, name: str, default: NDArray[Any]) -> ir.Value:
        """An input that may be left out: an initializer that a caller can override."""
        tensor = ir.tensor(default, name=name)
        value = ir.Value(name=name, shape=ir.Shape(default.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.graph.inputs.append(value)
        self.graph.register_initializer(value)
        return value

    def output(self, value: ir.Value, name: str, dtype: ir.DataType, shape: Sequence[Size]) -> None:
        if value.is_graph_input() or value.is_graph_output():
            value = self.op("Identity", value)
        value.name, value.type, value.shape = name, ir.TensorType(dtype), ir.Shape(shape)
        self.graph.outputs.append(value)

    def initializer(self, array: NDArray[Any], name: str) -> ir.Value:
        """An initializer with this content: a new one, unless there is one of the same type and shape."""
        if self.root is not self:
            return self.root.initializer(array, name)
        if array.nbytes < SMALLEST:
            return super().initializer(array, name)
        key = (content_hash(array), array.dtype.str, array.shape)
        if key not in self.stored:
            unique, number = name, 0
            while unique in self.graph.initializers:
                number += 1
                unique = f"{name}_{number}"
            tensor = self.weights.tensor(array, unique)
            value = ir.Value(
                name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.graph.register_initializer(value)
            self.stored[key] = value
        return self.stored[key]

    def node(self, before: ir.Node | None, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Append a node with one output; a node that computes from constants alone is made once."""
        return self.once(op_type, *inputs, **attributes)

    def once(self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        """The output of such a node: of an earlier one, if there is one with the same inputs and attributes."""
        if self.root is not self:
            return self.root.once(op_type, *inputs, domain=domain, **attributes)
        key = (
            domain,
            op_type,
            tuple(map(id, inputs)),
            tuple(sorted((name, _plain(v)) for name, v in attributes.items())),
        )
        if key not in self.made:
            self.made[key] = self.op(op_type, *inputs, domain=domain, **attributes)
        return self.made[key]

    def op(
        self, op_type: str, *inputs: ir.Value | None, domain: str = "", name: str = "", **attributes: Any
    ) -> ir.Value:
        """Append a node; its first output."""
        return self.ops(op_type, *inputs, num_outputs=1, domain=domain, name=name, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        num_outputs: int,
        domain: str = "",
        name: str = "",
        **attributes: Any,
    ) -> tuple[ir.Value, ...]:
        """Append a node; its outputs."""
        node = ir.node(op_type, list(inputs), attributes, domain=domain, num_outputs=num_outputs, name=name or None)
        self.graph.append(node)
        return tuple(node.outputs)

    def shared_constant(self, array: NDArray[Any]) -> ir.Value:
        return super().shared_constant(array) if self.root is self else self.root.shared_constant(array)

    def looked_up(self, stored: ir.Value, table: NDArray[Any]) -> ir.Value:
        """What `table` [values, …] has for each byte or word of a constant."""
        return self.once("Gather", self.shared_constant(table), self.once("Cast", stored, to=INT32), axis=0)

    # --- what every graph needs

    def scalar(self, value: float, dtype: Any = np.float32) -> ir.Value:
        return self.shared_constant(np.array(value, dtype))

    def cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        return self.op("Cast", value, to=to)

    def reshape(self, value: ir.Value, *shape: int) -> ir.Value:
        """0 keeps a size, −1 is what is left."""
        return self.op("Reshape", value, self.integers(*shape))

    def size(self, value: ir.Value, axis: int) -> ir.Value:
        """int64 [1]: a size of a value."""
        return self.once("Shape", value, start=axis, end=axis + 1)

    def split(self, value: ir.Value, sizes: Sequence[int]) -> tuple[ir.Value, ...]:
        """Along the last axis."""
        if len(sizes) == 1:
            return (value,)
        return self.ops("Split", value, self.integers(*sizes), axis=-1, num_outputs=len(sizes))

    def slice(self, value: ir.Value, axis: int, start: ir.Value, end: ir.Value) -> ir.Value:
        return self.op("Slice", value, start, end, self.integers(axis))

    def model(self) -> ir.Model:
        return ir.Model(self.graph, ir_version=IR_VERSION)


def serialized(model: ir.Model, version: str) -> bytes:
    """The file of a finished graph: the same bytes for the same graph and `version` of this program."""
    model.producer_name, model.producer_version = "compress", version
    shorten_names(model.graph)
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    found: bytes = proto.SerializeToString(deterministic=True)
    return found


def shorten_names(graph: ir.Graph) -> None:
    """Computed values become v0, v1, …: their types go; inputs, outputs and weights keep their names."""
    number = 0
    for node in _all_nodes(graph):
        for value in node.outputs:
            if not value.is_graph_output():
                value.name, number = f"v{number}", number + 1
                value.type = value.shape = None


def _all_nodes(graph: ir.Graph) -> Sequence[ir.Node]:
    return list(ir.traversal.RecursiveGraphIterator(graph))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
