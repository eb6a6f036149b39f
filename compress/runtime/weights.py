"""The weights of an ONNX graph as it multiplies with them: whatever codes they are stored in, decoded.

What decodes a weight lies in the graph, as operators on constants; onnxruntime runs them, one layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.runtime.artefact import Artefact
from compress.runtime.graph import load_graph
from compress.runtime.session import inference_session, running, session_options

Weight = NDArray[np.float32]
Array = NDArray[Any]

_STEM = ".weight"  # a stored weight's name goes on after it: .weight_scale, .weight_1 (the upper bits)
_FOLDER = "session.model_external_initializers_file_folder_path"


def weights_of(artefact: Artefact) -> dict[str, Callable[[], Weight]]:
    """By layer, in the order of the graph, what gives its weight: of convolutions [out, in, …], of matrix products
    [out, in], of embeddings [tokens, …].

    A weight that several operators read comes once, as the first reads it.  Weights without a name are left out.
    Raises ArtefactError for a file that is no ONNX model, or that onnxruntime cannot run.
    """
    found: dict[str, Callable[[], Weight]] = {}
    for name in artefact.model_files:
        if name.endswith(".onnx"):
            graph = _Graph(artefact.directory / name)
            for node in graph.nodes:
                layer = graph.layer_of(node)
                if layer is not None and layer not in found:
                    found[layer] = partial(_READERS[node.op_type], graph, node)
    return found


class _Graph:
    """A file's nodes and constants; branches are read as if they were one graph."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = load_graph(path)
        self.nodes: list[Any] = []
        self.stored: dict[str, Any] = {}
        self.makers: dict[str, Any] = {}
        self._take(self.model.graph)
        self.constants = {*self.stored, ""}
        for node in self.nodes:
            if all(name in self.constants for name in node.input) and not _branches(node):
                self.constants.update(node.output)

    def _take(self, graph: Any) -> None:
        self.stored |= {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            self.nodes.append(node)
            self.makers |= dict.fromkeys(node.output, node)
            for branch in _branches(node):
                self._take(branch)

    def layer_of(self, node: Any) -> str | None:
        """The layer whose weight a node reads, or None."""
        position = _POSITIONS.get(node.op_type)
        if position is None or node.output[0] in self.constants or len(node.input) <= position:
            return None
        name = node.input[position]
        if name not in self.constants:
            return None
        stored = [tensor for tensor in self._behind([name])[0] if _STEM in tensor]
        return stored[0].partition(_STEM)[0] if stored else None

    def values(self, *names: str) -> list[Array]:
        """Constants, computed."""
        return self._run([], names, {})

    def run(self, node: Any, inputs: dict[str, Array]) -> Array:
        """A node's first output, its constant inputs as they are, the others given."""
        return self._run([node], [node.output[0]], inputs)[0]

    def _run(self, more: list[Any], names: Any, inputs: dict[str, Array]) -> list[Array]:
        from onnx import helper
        from onnxruntime import GraphOptimizationLevel

        wanted = [name for node in more for name in node.input if name not in inputs] or list(names)
        stored, nodes = self._behind(wanted)
        graph = helper.make_graph(
            [*nodes, *more],
            "weight",
            [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
             for name, value in inputs.items()],
            [helper.make_empty_tensor_value_info(name) for name in names],
            [self.stored[name] for name in stored],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        options = session_options(threads=1)
        options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL  # to fold, and then to run, is twice
        options.add_session_config_entry(_FOLDER, str(self.path.parent))
        session = inference_session(self.path, options, model.SerializeToString())
        with running(self.path):
            found: list[Array] = session.run(list(names), inputs)
        return found

    def _behind(self, names: list[str]) -> tuple[list[str], list[Any]]:
        """What constants are made of: stored tensors by name, and nodes in an order that runs."""
        stored: dict[str, None] = {}
        nodes: dict[int, Any] = {}
        seen: set[str] = set()

        def visit(name: str) -> None:
            if not name or name in seen:
                return
            seen.add(name)
            if name in self.stored:
                stored[name] = None
                return
            node = self.makers[name]
            for given in node.input:
                visit(given)
            nodes[id(node)] = node

        for name in names:
            visit(name)
        return list(stored), list(nodes.values())


def _branches(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _attribute(node: Any, name: str, default: int = 0) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _convolution(graph: _Graph, node: Any) -> Weight:
    return graph.values(node.input[1])[0].astype(np.float32, copy=False)


def _product(graph: _Graph, node: Any) -> Weight:
    weight = graph.values(node.input[1])[0].astype(np.float32, copy=False)
    return weight if _attribute(node, "transB") else np.ascontiguousarray(np.swapaxes(weight, -1, -2))


def _dynamic_product(graph: _Graph, node: Any) -> Weight:
    """int8 codes [in, out] with a scale, or one a column."""
    names = [node.input[1], node.input[2], *(name for name in node.input[3:4] if name)]
    codes, scales, *zeros = graph.values(*names)
    centred = codes.astype(np.float32) - (zeros[0].astype(np.float32) if zeros else 0.0)
    return np.ascontiguousarray((centred * scales).T)


def _block_product(graph: _Graph, node: Any) -> Weight:
    """MatMulNBits: codes [out, blocks, bytes], low bits first, in blocks along the inputs."""
    bits, size = _attribute(node, "bits", 4), _attribute(node, "block_size")
    outputs, inputs = _attribute(node, "N"), _attribute(node, "K")
    names = [node.input[1], node.input[2], *(name for name in node.input[3:4] if name)]
    packed, scales, *zeros = graph.values(*names)
    blocks = -(-inputs // size)
    codes = _unpacked(packed.reshape(outputs, blocks, -1), bits)[..., :size].astype(np.float32)
    if not zeros:
        centre: Any = 2.0 ** (bits - 1)
    elif zeros[0].dtype == np.uint8:
        centre = _unpacked(zeros[0].reshape(outputs, -1), bits)[:, :blocks, None].astype(np.float32)
    else:
        centre = zeros[0].reshape(outputs, blocks, 1)
    codes -= centre
    codes *= scales.reshape(outputs, blocks, 1)
    return codes.reshape(outputs, -1)[:, :inputs]


def _embedding(graph: _Graph, node: Any) -> Weight:
    """All rows of a table, looked up."""
    rows = _stored_rows(graph, node)
    return graph.run(node, {node.input[1]: np.arange(rows, dtype=np.int64)}).astype(np.float32, copy=False)


def _stored_rows(graph: _Graph, node: Any) -> int:
    return len(graph.values(node.input[0])[0])


def _unpacked(packed: Array, bits: int) -> Array:
    """Bytes [..., n] → codes [..., n · 8 / bits], low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((packed[..., None] >> shifts) & np.uint8(2**bits - 1)).reshape(*packed.shape[:-1], -1)


_READERS: dict[str, Callable[[_Graph, Any], Weight]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _product,
    "MatMul": _product,
    "FusedMatMul": _product,
    "DynamicQuantizeMatMul": _dynamic_product,
    "MatMulNBits": _block_product,
    "Gather": _embedding,
    "GatherBlockQuantized": _embedding,
}
_POSITIONS = {kind: 0 if kind.startswith("Gather") else 1 for kind in _READERS}  # of the weight among the inputs
