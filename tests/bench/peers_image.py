"""Our int8 and 4-bit artefacts beside onnxruntime's quantizer and NNCF: same float model, same images, one go.

In an environment of its own (NNCF brings OpenVINO):

    pip install -e . nncf openvino sympy
    python tests/bench/peers_image.py runs/efficientnet-lite0-*/artefact \\
        --calibration 'parquet:PATH[0:128]' --dataset 'parquet:PATH[128:600]'

The first artefact must be the float one.  Prints a Markdown table: bytes, top-1, agreement with the float model, and
the latency at batch 1 as a ratio to the float ONNX model, measured in turn (A B A B …) in one process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.jobs.images import task_of_artefact
from compress.runtime.artefact import open_artefact
from compress.runtime.session import open_session
from compress.tasks.image_classification import ImageClassification

PAIRS = 60
WARM_UPS = 10


@dataclass(frozen=True)
class Contender:
    """A model file and what runs it."""

    name: str
    size_bytes: int
    run: Callable[[np.ndarray], np.ndarray]


def ours(directory: Path, threads: int) -> Contender:
    artefact = open_artefact(directory)
    return Contender(directory.parent.name, artefact.model_path.stat().st_size, open_session(artefact, threads))


def calibration(task: ImageClassification) -> Iterator[np.ndarray]:
    for batch in task.calibration():
        for image in batch.inputs:
            yield image[None]


def onnxruntime_quantizer(model: Path, task: ImageClassification, folder: Path, threads: int) -> Contender:
    """uint8 activations and int8 weights per channel: its best setting on x86 (its defaults are slower and worse)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = calibration(task)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {"pixel_values": image}

    prepared, path = folder / "prepared.onnx", folder / "onnxruntime.onnx"
    quant_pre_process(str(model), str(prepared))
    quantize_static(
        str(prepared),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return Contender("onnxruntime quantizer", path.stat().st_size, open_session(path, threads))


def nncf_quantizer(model: Path, task: ImageClassification, folder: Path, threads: int) -> list[Contender]:
    """NNCF's post-training quantization with its defaults, run in onnxruntime and in OpenVINO."""
    import nncf
    import onnx
    import openvino

    images = [{"pixel_values": image} for image in calibration(task)]
    quantized = nncf.quantize(onnx.load(model), nncf.Dataset(images), subset_size=len(images))
    path = folder / "nncf.onnx"
    onnx.save(quantized, path)
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def run(inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([compiled(image[None])[0] for image in inputs])

    size = path.stat().st_size
    return [
        Contender("NNCF, in onnxruntime", size, open_session(path, threads)),
        Contender("NNCF, in OpenVINO", size, run),
    ]


def latencies(contenders: list[Contender], image: np.ndarray) -> list[list[float]]:
    """Milliseconds of every contender in turn, PAIRS rounds after the warm-up."""
    times: list[list[float]] = [[] for _ in contenders]
    for round_number in range(WARM_UPS + PAIRS):
        for contender, mine in zip(contenders, times, strict=True):
            start = time.perf_counter()
            contender.run(image)
            if round_number >= WARM_UPS:
                mine.append((time.perf_counter() - start) * 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefacts", nargs="+", type=Path, help="the float artefact, then others")
    parser.add_argument("--calibration", default="demo")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--threads", type=int, default=2)
    arguments: Any = parser.parse_args()
    reference = open_artefact(arguments.artefacts[0])
    task = replace(
        task_of_artefact(reference, arguments.dataset),
        calibration_dataset=arguments.calibration,
        calibration_num_samples=None,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = [ours(path, arguments.threads) for path in arguments.artefacts]
        contenders.append(onnxruntime_quantizer(reference.model_path, task, folder, arguments.threads))
        contenders += nncf_quantizer(reference.model_path, task, folder, arguments.threads)
        batches = list(task.evaluation())
        labels = np.concatenate([batch.labels for batch in batches])
        classes = [np.concatenate([c.run(batch.inputs) for batch in batches]).argmax(1) for c in contenders]
        times = latencies(contenders, batches[0].inputs[:1])
    print(f"{len(labels)} images, {arguments.threads} threads\n")
    print("| | model file, bytes | top-1 | agreement | latency ratio (quartiles) |\n|---|---:|---:|---:|---:|")
    for contender, given, mine in zip(contenders, classes, times, strict=True):
        ratios = np.asarray(mine) / np.asarray(times[0])
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        print(
            f"| {contender.name} | {contender.size_bytes:,} | {(given == labels).mean():.2%} "
            f"| {(given == classes[0]).mean():.2%} | {middle:.3f} [{low:.3f}, {high:.3f}] |"
        )


if __name__ == "__main__":
    main()
