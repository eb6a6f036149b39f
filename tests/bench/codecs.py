"""What each storage codec costs while a session loads, and after it: bytes a weight, seconds, and the kernel's speed.

    python tests/bench/codecs.py [--layers 20] [--rows 6144] [--columns 2048] [--threads 2]

A chain of matrix products of random codes, one scale a row, each layer's output narrowed to the next one's input by its
first columns; every codec in a process of its own.  Prints a Markdown table:
bits   a weight takes in the file, scales too.
kernel the bits of the MatMulNBits that runs it.
peak   resident memory at its highest until the session is there, in bytes a weight, less what Python takes before.
after  resident memory then, freed pages given back.
ms     of one token through one layer, the median of 30.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from compress.runtime.session import inference_session, session_options
from compress.runtime.worker import rss_bytes

CODECS = ["8", "6", "5", "4", "3", "2", "trits", "3:4", "3:4-words"]


def build(directory: Path, codec: str, layers: int, rows: int, columns: int) -> tuple[int, int]:
    """Write the graph; the bytes of its files, and the bits of its kernel."""
    import torch

    from compress.exporter.codecs.ternary import codes_of_fours
    from compress.exporter.text.builder import FLOAT, MICROSOFT, Builder, serialized
    from compress.exporter.text.linear import ACCURACY_LEVEL
    from compress.exporter.text.packed import pack_weight
    from compress.exporter.text.weightfile import WeightFile
    from compress.numerics.weight import QuantizedWeight, code_range

    draw = np.random.default_rng(0)
    bits = 0
    with WeightFile(directory) as file:
        builder = Builder(file)
        value = builder.input("x", FLOAT, (1, columns))
        for number in range(layers):
            if codec.isdigit():
                low, high = code_range(int(codec))
                codes = draw.integers(low, high + 1, (rows, columns), dtype=np.int8)
            elif codec == "trits":
                codes = draw.integers(-1, 2, (rows, columns), dtype=np.int8)
            else:
                codes = codes_of_fours()[draw.integers(0, 32, rows * columns // 4)].reshape(rows, columns)
            weight = QuantizedWeight(
                torch.from_numpy(codes),
                torch.full((rows, 1), 2.0**-6),
                None,
                None,
                int(codec) if codec.isdigit() else 2,
                None,
                "planes" if codec.isdigit() else codec,  # type: ignore[arg-type]
            )
            packed = pack_weight(builder, f"layers.{number}.weight", weight)
            assert packed is not None
            bits = packed.bits
            value = builder.op(
                "MatMulNBits",
                value,
                packed.codes,
                packed.scales,
                domain=MICROSOFT,
                K=columns,
                N=rows,
                bits=bits,
                block_size=packed.block,
                accuracy_level=ACCURACY_LEVEL,
            )
            value = builder.slice(value, 1, builder.integers(0), builder.integers(columns))
        builder.output(value, "y", FLOAT, (1, columns))
    (directory / "model.onnx").write_bytes(serialized(builder.model(), "bench"))
    return sum(each.stat().st_size for each in directory.iterdir()), bits


def load(path: Path, layers: int, columns: int, threads: int) -> dict[str, float]:
    """In this process: what loading and running cost."""
    before = rss_bytes("VmRSS")
    start = time.perf_counter()
    session = inference_session(path, session_options(threads))
    seconds = time.perf_counter() - start
    peak = rss_bytes("VmHWM") - before
    after = rss_bytes("VmRSS") - before
    x = np.random.default_rng(0).standard_normal((1, columns)).astype(np.float32)
    times = []
    for _ in range(33):
        start = time.perf_counter()
        session.run(None, {"x": x})
        times.append((time.perf_counter() - start) / layers)
    return {"seconds": seconds, "peak": peak, "after": after, "ms": 1e3 * statistics.median(times[3:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 20), ("rows", 6144), ("columns", 2048), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--codecs", nargs="+", default=CODECS, choices=CODECS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)  # what each process of its own is given
    given = parser.parse_args()
    if given.load is not None:
        print(json.dumps(load(given.load, given.layers, given.columns, given.threads)))
        return
    count = given.layers * given.rows * given.columns
    print(f"{count / 1e6:.0f} million weights, {given.layers} layers of {given.rows} × {given.columns}\n")
    print("| codec | bits | kernel | load s | peak | after | ms |\n|---|---|---|---|---|---|---|")
    for codec in given.codecs:
        with tempfile.TemporaryDirectory() as directory:
            size, bits = build(Path(directory), codec, given.layers, given.rows, given.columns)
            sizes = [f"--{name}={getattr(given, name)}" for name in ("layers", "columns", "threads")]
            command = [sys.executable, __file__, "--load", str(Path(directory, "model.onnx")), *sizes]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"| {codec} | {8 * size / count:.3f} | {bits} | {found['seconds']:.1f} | {found['peak'] / count:.2f} "
            f"| {found['after'] / count:.2f} | {found['ms']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
