"""Float weights whose numbers float16 holds lie in the file as float16; a Cast that folds makes them what they were."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compress.exporter.nodes import Writer, constant

if TYPE_CHECKING:
    from torch import Tensor


def store_halves(graph: ir.Graph, weights: Iterable[Tensor]) -> None:
    """Halve the constants that hold these weights, as they are or transposed: the exporter to ONNX transposes the
    weights of linear layers, and forgets their names."""
    arrays = [weight.detach().cpu().numpy() for weight in weights]
    known = {_content(array) for each in arrays for array in (each, each.T)}
    sizes = {array.size for array in arrays}
    writer = Writer(graph)
    for name, value in list(graph.initializers.items()):
        if value.const_value is None or value.const_value.size not in sizes:
            continue
        array = constant(value)
        if array is None or array.dtype != np.float32 or _content(array) not in known:
            continue
        graph.initializers.pop(name)
        half = writer.initializer(array.astype(np.float16), name)
        single = writer.node(graph[0], "Cast", half, to=ir.DataType.FLOAT)
        for node, index in list(value.uses()):
            node.replace_input_with(index, single)


def _content(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, blake2b(np.ascontiguousarray(array).data, digest_size=20).digest()
