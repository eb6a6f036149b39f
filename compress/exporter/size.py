"""The bytes of a model file before it is written: of the whole graph, built, and of one weight with what decodes it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from compress import __version__
from compress.exporter.build import build
from compress.exporter.codecs import stored_bytes
from compress.exporter.decoder import Decoder
from compress.exporter.graph import CLASSIFIER, Signature
from compress.exporter.nodes import Writer
from compress.exporter.tidy import finished, shorten_names
from compress.numerics.weight import PARTS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.numerics.weight import QuantizedWeight
    from compress.targets import Target

_ROWS = 8  # that show how a weight is decoded: codes of eight rows fill whole bytes


def file_bytes(
    model: nn.Module,
    example: tuple[Tensor, ...],
    target: Target,
    signature: Signature = CLASSIFIER,
    *,
    keep_codes: bool = False,
) -> int:
    """Of the model file that `export` would write of `model`.  Raises what `build` raises."""
    built = build(model, example, target, signature, keep_codes=keep_codes)
    size: int = finished(built, target, __version__, signature=signature).ByteSize()
    return size


def weight_bytes(name: str, weight: QuantizedWeight) -> int:
    """Of a layer's weight in the model file: codes and scales, and the nodes and names that decode it to float32.

    Tables and shapes that decoders share are not counted.
    """
    rows = len(weight.codes)
    few = min(rows, _ROWS + rows % _ROWS)
    parts = {part: getattr(weight, part) for part in PARTS}
    like = replace(weight, **{key: part[:few] for key, part in parts.items() if part is not None})
    another = _decoded((name, f"{name[:-1]}_"), like) - _decoded((name,), like)
    return stored_bytes(weight) - stored_bytes(like) + another


def _decoded(names: tuple[str, ...], weight: QuantizedWeight) -> int:
    """Bytes of a graph that decodes the weight, once for each name."""
    end = ir.node("Identity", [None])
    graph = ir.Graph([], end.outputs, nodes=[end], opset_imports={"": 18})
    writer = Writer(graph)
    for name in names:
        end.replace_input_with(0, Decoder(writer, end, f"{name}.weight", weight).float32())
    shorten_names(graph, {})
    for value in [value for node in graph for value in node.outputs]:
        value.name = f"{value.name}00"  # among hundreds of others their numbers have three digits
    proto = ir.to_proto(ir.Model(graph, ir_version=10))
    del proto.graph.value_info[:]  # as `finished` does
    size: int = proto.ByteSize()
    return size
