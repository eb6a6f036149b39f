"""An ONNX model opened in onnxruntime, as a Predictor: float32 [N, …] in, float32 [N, …] out."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ArtefactError
from compress.runtime.artefact import Artefact
from compress.runtime.memory import freed_at_once
from compress.tasks.base import Float


class Session:
    """A Predictor.  A model of a fixed batch size gets its inputs in chunks of that size, the last one filled up.

    input_shape  sizes of the model's input; None where any size goes.
    """

    def __init__(self, path: Path, session: Any) -> None:
        self.path, self.session = path, session
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            taken = ", ".join(f"{given.name} {given.type}" for given in inputs) or "none"
            raise ArtefactError(f"{path}: takes {taken}: only models of one float32 input run here")
        if not outputs or outputs[0].type != "tensor(float)":
            raise ArtefactError(f"{path}: its first output is not float32: only such models run here")
        self.input_name, self.output_name = inputs[0].name, outputs[0].name
        self.input_shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)

    @property
    def batch_size(self) -> int | None:
        """The fixed batch size, or None where any goes."""
        return self.input_shape[0] if self.input_shape else None

    def __call__(self, inputs: Float) -> Float:
        """inputs [N, …] → outputs [N, …].  Raises ArtefactError for inputs of another shape or type."""
        self._check(inputs)
        size = self.batch_size
        if size is None:
            return self._run(inputs)
        chunks = [inputs[start : start + size] for start in range(0, len(inputs), size)]
        return np.concatenate([self._run(_filled(chunk, size))[: len(chunk)] for chunk in chunks])

    def _run(self, inputs: Float) -> Float:
        with running(self.path):
            return self.session.run([self.output_name], {self.input_name: inputs})[0]  # type: ignore[no-any-return]

    def _check(self, inputs: Float) -> None:
        sizes = zip(inputs.shape[1:], self.input_shape[1:], strict=False)
        same_rank = inputs.ndim == len(self.input_shape)
        if inputs.dtype != np.float32 or not same_rank or any(want not in (None, size) for size, want in sizes):
            wanted = ["N", *("any" if size is None else size for size in self.input_shape[1:])]
            given = f"{inputs.dtype} [{', '.join(map(str, inputs.shape))}]"
            raise ArtefactError(
                f"{self.path}: input '{self.input_name}' is float32 [{', '.join(map(str, wanted))}]: got {given}"
            )
        if len(inputs) == 0:
            raise ArtefactError(f"{self.path}: input '{self.input_name}' needs at least one sample: got none")


def open_session(source: Artefact | str | Path, threads: int = 2) -> Session:
    """Open an artefact, or an ONNX file, with `threads` threads inside an operator.

    Raises ArtefactError for a file that is missing or damaged, or that this onnxruntime does not take.
    """
    path = source.model_path if isinstance(source, Artefact) else Path(source)
    return Session(path, inference_session(path, session_options(threads)))


def optimized_ops(model_path: str | Path) -> dict[str, int]:
    """How many operators of each type are left when onnxruntime has optimised the model for this machine.

    The truth on whether fusion happened: QuantizeLinear, DequantizeLinear and Conv that are left run as they are
    written, QLinearConv and MatMulNBits are what they became.
    """
    import onnx

    with tempfile.TemporaryDirectory() as directory:
        options = session_options(threads=1)
        options.optimized_model_filepath = str(Path(directory, "optimized.onnx"))
        # Weights beside the graph: a decoded model may be larger than the 2 GB that one file takes.
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        inference_session(Path(model_path), options)
        graph = onnx.load(Path(directory, "optimized.onnx"), load_external_data=False).graph
        return dict(sorted(Counter(node.op_type for node in graph.node).items()))


def session_options(threads: int) -> Any:
    """Options of an onnxruntime session: `threads` threads inside an operator, one operator at a time, quiet."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: what is only worth a warning is the lint's to say
    # Threads that go on spinning after a run take the cores from the other model of an interleaved measurement, and
    # from whatever else runs; threads that never spin wake late: EfficientNet-Lite0 in int8 takes 9 ms this way and
    # 13 ms without spinning, the float model 20 and 27, on two shared cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # x86 without VNNI adds two products of uint8 and int8 in int16, which saturates.  There, and only there, this makes
    # int8 weights uint8, whose sums are exact: a file gives the same answer on every processor.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def inference_session(path: Path, options: Any, changed: bytes | None = None) -> Any:
    """The onnxruntime.InferenceSession of the file at `path`, or of `changed`, a variant of it in memory."""
    import onnxruntime

    if not path.is_file():
        raise ArtefactError(f"{path}: no such file: name an ONNX model or open an artefact")
    try:
        with freed_at_once():
            return onnxruntime.InferenceSession(changed or str(path), options, providers=["CPUExecutionProvider"])
    except _errors() as error:
        message = _first_line(error)
        hint = ": export with a lower opset and IR version" if "opset" in message or "IR version" in message else ""
        version = onnxruntime.__version__
        raise ArtefactError(f"{path}: onnxruntime {version} cannot load it: {message}{hint}") from error


@contextmanager
def running(path: Path) -> Iterator[None]:
    """Scope: what onnxruntime raises while it runs the model at `path` becomes an ArtefactError."""
    try:
        yield
    except _errors() as error:
        raise ArtefactError(f"{path}: onnxruntime cannot run it: {_first_line(error)}") from error


def _errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own types have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, RuntimeError, ValueError)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def _filled(chunk: Float, size: int) -> Float:
    """chunk with its last sample repeated up to `size` samples."""
    if len(chunk) == size:
        return chunk
    return np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)])
