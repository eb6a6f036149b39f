"""Activation functions by the names that transformers gives them."""

from __future__ import annotations

import onnx_ir as ir

from compress.errors import ModelError, unknown
from compress.exporter.text.builder import MICROSOFT, Builder


def activation(builder: Builder, name: str, x: ir.Value) -> ir.Value:
    """The activation that transformers calls `name`.  Raises ModelError for one that is unknown."""
    known = {
        "gelu": lambda: builder.op("Gelu", x),
        "gelu_new": lambda: builder.op("Gelu", x, approximate="tanh"),
        "gelu_pytorch_tanh": lambda: builder.op("Gelu", x, approximate="tanh"),
        "relu": lambda: builder.op("Relu", x),
        "silu": lambda: builder.op("QuickGelu", x, domain=MICROSOFT, alpha=1.0),
        "swish": lambda: builder.op("QuickGelu", x, domain=MICROSOFT, alpha=1.0),
        "tanh": lambda: builder.op("Tanh", x),
    }
    if name not in known:
        raise ModelError(unknown("activation", name, known))
    return known[name]()
