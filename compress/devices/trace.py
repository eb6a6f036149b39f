"""A run of an ONNX graph without its numbers: every node that is executed, with the types and shapes of its tensors.

Sizes are given for the symbolic axes.  What depends on shapes alone (Shape → Gather → Concat → Reshape) is computed, so
that nothing stays open; of an If the branch that is taken is walked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.devices.shapes import CONTRIB, Shape
from compress.errors import ArtefactError

_KNOWN_ELEMENTS = 1024  # a tensor of more is no shape, axis or range: its numbers are not followed
_BITS = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "BOOL": 8}


@dataclass(frozen=True, eq=False)
class Tensor:
    """kind: ONNX's name of the element type.  constant: no input of the graph reaches it.  data: its numbers, if they
    are few and known."""

    name: str
    kind: str
    shape: Shape
    constant: bool
    data: NDArray[Any] | None = None

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bits(self) -> int:
        """Of an element."""
        if self.kind in _BITS:
            return _BITS[self.kind]
        import onnx

        return int(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(self.kind)).itemsize * 8)


@dataclass(frozen=True, eq=False)
class Step:
    """One node that is executed.  inputs: None where one is left out."""

    name: str
    op: str
    domain: str
    attributes: dict[str, Any]
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @property
    def constant(self) -> bool:
        """Whether it reads constants alone."""
        return all(given is None or given.constant for given in self.inputs)

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The inputs that are there."""
        return tuple(given for given in self.inputs if given is not None)


@dataclass(frozen=True)
class Trace:
    """inputs, outputs: of the graph, those with a size of 0 among them."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    steps: tuple[Step, ...]


def trace(path: Path, sizes: Mapping[str, int], values: Mapping[str, NDArray[Any]] | None = None) -> Trace:
    """Walk the graph at `path`.

    sizes   of symbolic axes by name; those of an axis 'past+sequence' are added up.
    values  of inputs that decide what is done: the condition of an If, what stands in place of a default.

    Raises ArtefactError for a file that is no ONNX model, an axis of unknown size (all of them at once), and an
    operator whose shapes are not known here.
    """
    return _Walk(path, sizes, values or {}).run()


class _Walk:
    def __init__(self, path: Path, sizes: Mapping[str, int], values: Mapping[str, NDArray[Any]]) -> None:
        from compress.runtime.graph import load_graph

        self.path, self.sizes, self.values = path, sizes, values
        self.model = load_graph(path)
        self.opsets = {entry.domain or "": entry.version for entry in self.model.opset_import}
        self.steps: list[Step] = []

    def run(self) -> Trace:
        graph = self.model.graph
        scope = self._stored(graph)
        given = [value for value in graph.input if value.name not in scope]
        missing = sorted({axis for value in given for axis in _open_axes(value, self.sizes)})
        if missing:
            asked = " ".join(f"--size {axis or 'AXIS'}=NUMBER" for axis in missing)
            raise ArtefactError(f"{self.path}: the size of {_listed(missing)} is open: give {asked}")
        inputs = [self._input(value) for value in given]
        scope |= {tensor.name: tensor for tensor in inputs}
        self._walk(graph, scope)
        outputs = tuple(scope[value.name] for value in graph.output)
        return Trace(tuple(inputs), outputs, tuple(self.steps))

    def _input(self, value: Any) -> Tensor:
        kind = value.type.tensor_type
        shape = tuple(_size(axis, self.sizes) for axis in kind.shape.dim)
        return Tensor(value.name, _kind(kind.elem_type), shape, False, self.values.get(value.name))

    def _stored(self, graph: Any) -> dict[str, Tensor]:
        found = {tensor.name: self._constant(tensor.name, tensor) for tensor in graph.initializer}
        given = {name: value for name, value in self.values.items() if name in found}  # in place of a default
        return found | {name: replace(found[name], data=value) for name, value in given.items()}

    def _constant(self, name: str, tensor: Any) -> Tensor:
        import onnx

        shape = tuple(tensor.dims)
        known = prod(shape) <= _KNOWN_ELEMENTS and tensor.data_location != onnx.TensorProto.EXTERNAL
        data = onnx.numpy_helper.to_array(tensor) if known else None
        return Tensor(name, _kind(tensor.data_type), shape, True, data)

    def _walk(self, graph: Any, scope: dict[str, Tensor]) -> None:
        for node in graph.node:
            if node.op_type == "If" and not node.domain:
                scope |= self._branch(node, scope)
            elif node.op_type in ("Loop", "Scan"):
                raise ArtefactError(f"{self.path}: {_name(node)}: {node.op_type} runs a number of times that is open")
            else:
                scope |= {tensor.name: tensor for tensor in self._step(node, scope)}

    def _branch(self, node: Any, scope: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of an If: those of the branch that is taken."""
        condition = scope[node.input[0]].data
        if condition is None:
            raise ArtefactError(f"{self.path}: {_name(node)}: which branch is taken depends on the input's numbers")
        taken = "then_branch" if bool(np.all(condition)) else "else_branch"
        branch = next(attribute.g for attribute in node.attribute if attribute.name == taken)
        inner = {**scope, **self._stored(branch)}
        self._walk(branch, inner)
        return {name: inner[value.name] for name, value in zip(node.output, branch.output, strict=True)}

    def _step(self, node: Any, scope: dict[str, Tensor]) -> list[Tensor]:
        inputs = tuple(scope[name] if name else None for name in node.input)
        attributes = _attributes(node)
        constant = node.op_type == "Constant" or (
            bool(inputs) and all(given is None or given.constant for given in inputs)
        )
        types = self._types(node, inputs, attributes)
        data = self._data(node, inputs)
        outputs = []
        for position, name in enumerate(node.output):
            if name:
                kind, shape = types[position]
                outputs.append(Tensor(name, kind, shape, constant, data[position] if data else None))
        if node.op_type != "Constant":
            self.steps.append(Step(_name(node), node.op_type, node.domain, attributes, inputs, tuple(outputs)))
        return outputs

    def _types(
        self, node: Any, inputs: tuple[Tensor | None, ...], attributes: dict[str, Any]
    ) -> dict[int, tuple[str, Shape]]:
        """Kind and shape of each output, by position."""
        import onnx

        key = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        if key in CONTRIB:
            return dict(enumerate(CONTRIB[key](inputs, attributes)))
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opsets.get(node.domain, 1), node.domain)
        except onnx.defs.SchemaError:
            raise ArtefactError(f"{self.path}: {_name(node)}: the shapes that {key} makes are not known here") from None
        helper = onnx.helper
        types = {
            name: helper.make_tensor_type_proto(onnx.TensorProto.DataType.Value(tensor.kind), tensor.shape)
            for name, tensor in zip(node.input, inputs, strict=True)
            if tensor is not None
        }
        data = {
            name: onnx.numpy_helper.from_array(np.asarray(tensor.data), name)
            for name, tensor in zip(node.input, inputs, strict=True)
            if tensor is not None and tensor.data is not None and tensor.kind in ("INT64", "INT32", "FLOAT", "BOOL")
        }
        try:
            found = onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                types,
                data,
                opset_imports=list(self.model.opset_import),
                ir_version=self.model.ir_version,
            )
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            shapes = ", ".join(f"{tensor.kind} {list(tensor.shape)}" for tensor in inputs if tensor)
            raise ArtefactError(f"{self.path}: {_name(node)}: {key} does not take {shapes}: {error}") from error
        made: dict[int, tuple[str, Shape]] = {}
        for position, name in enumerate(node.output):
            if not name:
                continue
            kind = found[name].tensor_type if name in found else None
            if kind is None or not kind.HasField("shape") or not all(a.HasField("dim_value") for a in kind.shape.dim):
                raise ArtefactError(f"{self.path}: {_name(node)}: the shape that {key} makes depends on numbers")
            made[position] = (_kind(kind.elem_type), tuple(axis.dim_value for axis in kind.shape.dim))
        return made

    def _data(self, node: Any, inputs: tuple[Tensor | None, ...]) -> list[NDArray[Any]] | None:
        """The numbers of the outputs, where they are few and follow from shapes and constants."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        if node.op_type in ("Shape", "Size") and inputs[0] is not None:
            attributes = _attributes(node)
            shape = np.array(inputs[0].shape, np.int64)
            if node.op_type == "Size":
                return [np.array(shape.prod(), np.int64)]
            return [shape[slice(attributes.get("start", 0), attributes.get("end"))]]
        known = all(given is None or given.data is not None for given in inputs)
        if node.domain not in ("", "ai.onnx") or not known or node.op_type in _NEVER_COMPUTED:
            return None
        helper = onnx.helper
        given = [value for value in dict(zip(node.input, inputs, strict=True)).items() if value[1] is not None]
        values = [helper.make_value_info(name, onnx.TypeProto()) for name, _ in given]
        outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name]
        graph = helper.make_graph([node], "one", values, outputs)
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import), ir_version=10)
        found = ReferenceEvaluator(model).run(None, {name: tensor.data for name, tensor in given if tensor is not None})
        arrays = [np.asarray(each) for each in found]
        return arrays if all(array.size <= _KNOWN_ELEMENTS for array in arrays) else None


# Whose numbers say nothing of shapes, and those that draw them.
_NEVER_COMPUTED = {"DequantizeLinear", "QuantizeLinear", "SimplifiedLayerNormalization", "ConstantOfShape"} | {
    f"Random{kind}" for kind in ("Normal", "NormalLike", "Uniform", "UniformLike")
}


def _size(axis: Any, sizes: Mapping[str, int]) -> int:
    if axis.HasField("dim_value"):
        return int(axis.dim_value)
    return sum(sizes[part] for part in _parts(axis.dim_param))


def _parts(name: str) -> list[str]:
    return [part.strip() for part in re.split(r"\+", name)]


def _open_axes(value: Any, sizes: Mapping[str, int]) -> list[str]:
    axes = [axis for axis in value.type.tensor_type.shape.dim if not axis.HasField("dim_value")]
    return [part for axis in axes for part in _parts(axis.dim_param) if part not in sizes]


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" if name else "an axis without a name" for name in names)


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _kind(number: int) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(number))


def _name(node: Any) -> str:
    return str(node.name or node.output[0])
