"""What an ONNX graph holds and does: parameters, multiply-accumulates, operators, bits a parameter takes in the file.

Weights count by what meets the activations, not by how they are packed: a constant that is decoded from a packed one
by operators has the shape that comes out.  Multiply-accumulates are those of convolutions and matrix products, for
one input sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ArtefactError
from compress.runtime.session import inference_session, session_options

Shape = tuple[int, ...]

# Position of the weight of operators whose other inputs are scales and zero points, which are no parameters;
# and of the bias.
_WEIGHT_INPUTS = {
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3, 6),
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1, 6),
    "DynamicQuantizeMatMul": (0, 1, 4),
    "BatchNormalization": (1, 2),
}
_NO_PARAMETERS = {"QuantizeLinear", "DequantizeLinear", "Resize", "Clip", "Pad"}
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}  # position of the weight
_PRODUCTS = {
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "QLinearMatMul": (0, 3),
}
_LARGE_BYTES = 1 << 16  # more than any shape, scale or zero point takes
_BITS = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4}


@dataclass(frozen=True)
class GraphCounts:
    """Counts of one model file.

    parameters         numbers in weights, biases and other learned constants, as decoded.
    macs               multiply-accumulates for one input sample.
    operators          nodes by type, as shipped.
    initializer_bytes  bytes of all stored constants, scales and tables among them.
    """

    parameters: int
    macs: int
    operators: dict[str, int]
    initializer_bytes: int

    @property
    def effective_bits(self) -> float | None:
        """Bits that a parameter takes in the file; None for a graph without parameters."""
        return 8 * self.initializer_bytes / self.parameters if self.parameters else None


def count(model_path: str | Path, input_shape: Shape) -> GraphCounts:
    """Count the model at `model_path` on inputs of `input_shape` [N, …].

    Raises ArtefactError for a file that is no ONNX model, and for an input of another rank or size.
    """
    path = Path(model_path)
    model = load_graph(path)
    drop_large_tensors(model)
    _fix_input(path, model, input_shape)
    graph = model.graph
    tensors = _tensors(path, model)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    constants = _constants(graph)
    batch = shapes[_input(graph).name][0]
    return GraphCounts(
        parameters=_parameters(graph, tensors, constants),
        macs=sum(_macs(node, shapes) for node in graph.node if node.output[0] not in constants) // batch,
        operators=_operators(graph),
        initializer_bytes=sum(_tensor_bytes(tensor) for tensor in _stored(graph).values()),
    )


def operators_of(paths: Iterable[Path]) -> dict[str, int]:
    """How many operators of each kind the graphs have.  Raises ArtefactError for a file that is no ONNX model."""
    found: Counter[str] = Counter()
    for path in paths:
        found.update(_operators(load_graph(path).graph))
    return dict(sorted(found.items()))


def _operators(graph: Any) -> dict[str, int]:
    return dict(sorted(Counter(node.op_type for node in graph.node).items()))


def drop_large_tensors(model: Any) -> None:
    """Empty the stored tensors that say nothing of shapes, in place: inference copies a model several times."""
    for tensor in model.graph.initializer:
        if tensor.ByteSize() > _LARGE_BYTES:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)


def stored_bytes_by_name(path: Path) -> dict[str, int]:
    """Bytes of what the file stores: of weights by their names, of a nameless constant by that of an operator that
    reads it, where that has the name of a module.

    Raises ArtefactError for a file that is no ONNX model.
    """
    graph = load_graph(path).graph
    readers = {name: node.name for node in graph.node if "." in node.name for name in node.input}
    found: Counter[str] = Counter()
    for name, tensor in _stored(graph).items():
        found[name if "." in name else readers.get(name, name)] += _tensor_bytes(tensor)
    return dict(found)


@dataclass(frozen=True)
class _Tensor:
    shape: Shape
    is_float: bool


def load_graph(path: Path) -> Any:
    """The onnx.ModelProto in a file, its local functions written out; weights beside it stay there.

    Raises ArtefactError for a file that is no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ArtefactError(f"{path}: not an ONNX model: {error}") from error
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    return model


def _input(graph: Any) -> Any:
    stored = {tensor.name for tensor in graph.initializer}
    return next(given for given in graph.input if given.name not in stored)


def _fix_input(path: Path, model: Any, shape: Shape) -> None:
    """Write the true sizes into the graph's input; a batch size that the model fixes itself stays."""
    sizes = _input(model.graph).type.tensor_type.shape.dim
    fits = len(sizes) == len(shape) and all(
        not size.HasField("dim_value") or size.dim_value == given
        for size, given in zip(sizes[1:], shape[1:], strict=False)
    )
    if not fits:
        raise ArtefactError(f"{path}: takes inputs of rank {len(sizes)} and other sizes than {list(shape)}")
    for size, given in zip(sizes, (1, *shape[1:]), strict=True):
        if not size.HasField("dim_value"):
            size.dim_value = given
    for value in (*model.graph.value_info, *model.graph.output):  # stale names of free sizes hide what inference finds
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def _tensors(path: Path, model: Any) -> dict[str, _Tensor]:
    """Shape and kind of every tensor: by inference, and where that leaves one open, off one run of the model."""
    import onnx

    stored = _stored(model.graph)
    tensors = {name: _Tensor(tuple(tensor.dims), _is_float(tensor.data_type)) for name, tensor in stored.items()}
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(size.HasField("dim_value") for size in kind.shape.dim):
            tensors[value.name] = _Tensor(tuple(size.dim_value for size in kind.shape.dim), _is_float(kind.elem_type))
    needed = [name for node in model.graph.node if _needs_shapes(node) for name in (*node.input, *node.output) if name]
    missing = sorted(set(needed) - set(tensors))
    if not missing:
        return tensors
    whole = load_graph(path)
    _fix_input(path, whole, tensors[_input(model.graph).name].shape)
    return tensors | _tensors_of_a_run(path, whole, missing)


def _needs_shapes(node: Any) -> bool:
    return node.op_type in {*_CONVOLUTIONS, *_PRODUCTS, "Gemm", "QGemm", "ConvTranspose", "MatMulNBits", "Einsum"}


def _tensors_of_a_run(path: Path, model: Any, names: list[str]) -> dict[str, _Tensor]:
    import onnx

    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = session_options(threads=1)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    session = inference_session(path, options, changed=model.SerializeToString())
    given = session.get_inputs()[0]
    results = session.run(names, {given.name: np.ones(given.shape, np.float32)})
    return {
        name: _Tensor(tuple(result.shape), result.dtype.kind == "f")
        for name, result in zip(names, results, strict=True)
    }


def _constants(graph: Any) -> set[str]:
    """Names of the tensors that no input reaches: initializers, and what operators make of them."""
    names = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        if all(name in names for name in node.input) and not node.op_type.startswith("Random"):
            names.update(node.output)
    return names


def _parameters(graph: Any, tensors: Mapping[str, _Tensor], constants: set[str]) -> int:
    """Elements of the constants that meet activations, each once; single numbers, scales and shapes are none."""
    found: dict[str, int] = {}
    for node in graph.node:
        if node.output[0] in constants or node.op_type in _NO_PARAMETERS:
            continue
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            found |= _packed(node, tensors, constants)
            continue
        integer_kernel = node.op_type in _WEIGHT_INPUTS
        for position in _WEIGHT_INPUTS.get(node.op_type, range(len(node.input))):
            name = node.input[position] if position < len(node.input) else ""
            if name in constants and name in tensors and (integer_kernel or tensors[name].is_float):
                found[name] = prod(tensors[name].shape)
    return sum(size for size in found.values() if size > 1)


def _packed(node: Any, tensors: Mapping[str, _Tensor], constants: set[str]) -> dict[str, int]:
    """Parameters of an operator that unpacks its weight by itself."""
    attributes = _attributes(node)
    if node.op_type == "MatMulNBits":
        bias = node.input[5] if len(node.input) > 5 else ""
        weight = {node.input[1]: attributes["N"] * attributes["K"]} if node.input[1] in constants else {}
        return weight | ({bias: attributes["N"]} if bias else {})
    per_byte = 8 // attributes.get("bits", 4)
    return {node.input[0]: prod(tensors[node.input[0]].shape) * per_byte} if node.input[0] in constants else {}


def _macs(node: Any, shapes: Mapping[str, Shape]) -> int:
    kind, attributes = node.op_type, _attributes(node)
    if kind in _CONVOLUTIONS:
        return prod(shapes[node.output[0]]) * prod(shapes[node.input[_CONVOLUTIONS[kind]]][1:])
    if kind == "ConvTranspose":
        return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if kind in _PRODUCTS:
        return prod(shapes[node.output[0]]) * shapes[node.input[_PRODUCTS[kind][0]]][-1]
    if kind in ("Gemm", "QGemm"):
        inner = shapes[node.input[0]][0 if attributes.get("transA", 0) else 1]
        return prod(shapes[node.output[0]]) * inner
    if kind == "MatMulNBits":
        return prod(shapes[node.input[0]]) * int(attributes["N"])
    if kind == "Einsum":
        return _einsum_macs(attributes["equation"].decode(), [shapes[name] for name in node.input])
    return 0


def _einsum_macs(equation: str, operands: list[Shape]) -> int:
    """Product of the sizes of all letters, times the number of products of two."""
    terms = equation.replace(" ", "").split("->")[0].split(",")
    if "." in equation:
        terms = [term.replace("...", "") for term in terms]
    sizes: dict[str, int] = {}
    free = 1
    for term, shape in zip(terms, operands, strict=True):
        free = max(free, prod(shape[: len(shape) - len(term)]))  # what '...' stands for comes first
        sizes |= dict(zip(term, shape[len(shape) - len(term) :], strict=True))
    return free * prod(sizes.values()) * (len(operands) - 1)


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _stored(graph: Any) -> dict[str, Any]:
    """Every tensor that the file holds, by name: initializers, and the values of Constant nodes."""
    constants = {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    return {tensor.name: tensor for tensor in graph.initializer} | constants


def _is_float(data_type: int) -> bool:
    import onnx

    name = onnx.TensorProto.DataType.Name(data_type)
    return "FLOAT" in name or name == "DOUBLE"


def _tensor_bytes(tensor: Any) -> int:
    import onnx

    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    bits: int = _BITS.get(name) or onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    return (int(prod(tensor.dims)) * bits + 7) // 8
