"""Small tools over an onnx_ir graph: read what is known of values and nodes, add constants and nodes, replace nodes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

CONSTANT = "constant:"  # names of initializers that are no parameters begin with it; a parameter's cannot


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The array that a value always has, or None for one that is computed."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is an initializer, or computed from initializers alone."""
    if value is None or value.is_initializer() or constant(value) is not None:
        return True
    node = value.producer()
    return node is not None and all(map(is_constant, node.inputs))


def sizes(value: ir.Value | None) -> tuple[int, ...]:
    """A value's shape, −1 for a size that is not known; () if nothing is."""
    if value is None or value.shape is None:
        return ()
    return tuple(size if isinstance(size, int) else -1 for size in value.shape)


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """An attribute's plain value."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes `value`, if it is one of `op_types`."""
    node = None if value is None else value.producer()
    return node if node is not None and node.domain == "" and node.op_type in op_types else None


def users(value: ir.Value) -> list[ir.Node]:
    """The nodes that read `value`, in the order in which they came to be, each once."""
    return list(dict.fromkeys(node for node, _ in value.uses()))


def transposes_matrix(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and tuple(attribute(node, "perm", ())) == (1, 0)


def operators(graph: ir.Graph, *op_types: str) -> list[ir.Node]:
    """The graph's nodes of these types, in order, as they are now."""
    return [node for node in graph if node.domain == "" and node.op_type in op_types]


def replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """`value` takes the place of the node's only output, also as the graph's; the node goes."""
    if value.shape is None or node.outputs[0].is_graph_output():
        value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
    node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


class Constants(Protocol):
    """What writes constants, and the nodes that decode them, into a graph, such as the `Builder` of text graphs."""

    def initializer(self, array: NDArray[Any], name: str) -> ir.Value: ...

    def once(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value: ...

    def looked_up(self, stored: ir.Value, table: NDArray[Any]) -> ir.Value: ...

    def shared_constant(self, array: NDArray[Any]) -> ir.Value: ...

    def integers(self, *values: int) -> ir.Value: ...


class Writer:
    """Adds initializers and nodes to a graph.  Equal constants without a name of their own are one initializer."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.shared: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def initializer(self, array: NDArray[Any], name: str) -> ir.Value:
        """A new initializer; `name` gets a number if it is taken."""
        unique, number = name, 0
        while unique in self.graph.initializers:
            number += 1
            unique = f"{name}_{number}"
        tensor = ir.tensor(np.asarray(array, order="C"), name=unique)
        value = ir.Value(name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def shared_constant(self, array: NDArray[Any]) -> ir.Value:
        """An initializer with this content, made once."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.shared:
            self.shared[key] = self.initializer(array, f"{CONSTANT}{len(self.shared)}")
        return self.shared[key]

    def integers(self, *values: int) -> ir.Value:
        """A shared int64 vector: a shape, padding, axes."""
        return self.shared_constant(np.array(values, np.int64))

    def node(self, before: ir.Node, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Insert a node with one output in front of another; returns the output."""
        new = ir.node(op_type, list(inputs), attributes)
        self.graph.insert_before(before, new)
        return new.outputs[0]

    def node_like(self, node: ir.Node, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Insert a node in front of one that it is to replace, with its metadata and those attributes not given."""
        new = ir.node(
            op_type, list(inputs), {**node.attributes, **attributes}, metadata_props=dict(node.metadata_props)
        )
        self.graph.insert_before(node, new)
        return new.outputs[0]
