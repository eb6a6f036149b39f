"""torch's table of what each of its operators is in ONNX, made once a process.

`torch.onnx.export` makes it anew for every model, all 500 functions of it: 0.7 s, a quarter of a small model's export.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from torch.onnx._internal.exporter._registration import ONNXRegistry


@contextmanager
def kept_registry() -> Iterator[None]:
    """Scope: exports of one opset share the table.  Each gets a copy, into which it may put operators of its own."""
    before = vars(ONNXRegistry)["from_torchlib"]
    ONNXRegistry.from_torchlib = staticmethod(_copied)  # type: ignore[method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = before  # type: ignore[method-assign]


def _copied(*args: int, **options: int) -> ONNXRegistry:
    found = copy.copy(_made(*args, **options))
    found.functions = {operator: list(functions) for operator, functions in found.functions.items()}
    return found


_from_torchlib = ONNXRegistry.from_torchlib


@cache
def _made(*args: int, **options: int) -> ONNXRegistry:
    return _from_torchlib(*args, **options)
