"""Tensors that stay in onnxruntime from one step to the next: numpy sees them without a copy."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ArtefactError
from compress.runtime.session import inference_session, running, session_options

Ints = NDArray[np.int64]
Logits = NDArray[np.float32]

_WIDEST = 1 << 18  # a vocabulary, where the graph does not say
_LOGITS_BYTES = 1 << 26  # of one run
_TYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def open_text_session(path: Path, threads: int) -> Any:
    """The onnxruntime session of one graph of a translator; weights beside it are found by themselves.

    Raises ArtefactError for a file that is missing or damaged, or that this onnxruntime does not take.
    """
    options = session_options(threads)
    # Blockwise DequantizeLinear and MatMul become the fast MatMulNBits; the default level is hundreds of times slower.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    return inference_session(path, options)


def type_of(given: Any) -> type[np.floating[Any]]:
    """The numpy type of a session's floating-point input or output.  Raises ArtefactError for any other."""
    if given.type not in _TYPES:
        raise ArtefactError(f"'{given.name}' is {given.type}: only float32 and float16 run here")
    return _TYPES[given.type]


def held(array: NDArray[Any]) -> Any:
    """An OrtValue over the array's own memory, which it keeps alive."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array) if array.ndim else array)


def view(value: Any) -> NDArray[Any]:
    """The memory of an OrtValue on the CPU, as an array.  Valid as long as the OrtValue lives."""
    shape, kind = value.shape(), np.dtype(_TYPES[value.data_type()])
    size = prod(shape) * kind.itemsize
    if size == 0:
        return np.empty(shape, kind)
    memory = (ctypes.c_char * size).from_address(value.data_ptr())
    return np.frombuffer(memory, kind).reshape(shape)


def gathered(value: Any, rows: Ints) -> Any:
    """The rows of a tensor [rows, …] in another order, some dropped, some more than once."""
    return held(np.take(view(value), rows, axis=0))


def run(session: Any, path: Path, outputs: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
    """OrtValues in, OrtValues out.  Raises ArtefactError if onnxruntime cannot run the graph on them."""
    with running(path):
        return list(session.run_with_ort_values(list(outputs), dict(inputs)))


class Head:
    """What a graph says of its logits, and how to ask for those of the last positions alone.

    vocabulary  their last size.
    selective   whether the graph takes the wish (`logits_to_keep`); others give the logits of all positions.
    """

    def __init__(self, session: Any, path: Path) -> None:
        outputs = {given.name: given for given in session.get_outputs()}
        if "logits" not in outputs:
            raise ArtefactError(f"{path}: has no output 'logits': {', '.join(outputs)}: this is no translator")
        self.kind = type_of(outputs["logits"])
        size = outputs["logits"].shape[-1]
        self.vocabulary = size if isinstance(size, int) else _WIDEST
        self.selective = any(given.name == "logits_to_keep" for given in session.get_overridable_initializers())

    def inputs(self, number: int) -> dict[str, Any]:
        """What to feed for the logits of the last `number` ≥ 1 positions."""
        return {"logits_to_keep": held(np.array(number, np.int64))} if self.selective else {}

    def blocks(self, rows: int, columns: int, wanted: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, kept) of the runs that read `columns` tokens a row, and give logits of the last `wanted`.

        No run's logits take more than _LOGITS_BYTES, if one position's do not; kept is 0 where none are wanted yet.
        """
        affordable = max(1, _LOGITS_BYTES // (rows * self.vocabulary * 4))
        first, start = columns - wanted, 0
        while start < columns:
            end = min(columns, (max(start, first) if self.selective else start) + affordable)
            yield start, end, max(0, end - max(start, first))
            start = end


def logits_of(value: Any, kept: int) -> Logits:
    """The logits of the last `kept` positions: float32 [rows, kept, vocabulary], valid as long as the OrtValue."""
    found = view(value)
    return found[:, found.shape[1] - kept :].astype(np.float32, copy=False)
