"""Decode at load beside weights that were decoded before: a decoder's step in one process, and what its session takes.

python tests/bench/decoded.py runs/hy-mt2-1.8b-0.4gb/artefact --threads 2

The other file is what onnxruntime itself writes when it has folded the artefact's constants: plain codes of the
kernels.  It lies in a temporary directory while this runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from compress.runtime.artefact import MODEL
from compress.runtime.session import session_options
from compress.runtime.text.tensors import open_text_session
from compress.runtime.worker import rss_bytes

WARMUP, RUNS = 3, 30
TYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(float16)": np.float16}
SIZES = {"batch": 1, "sequence": 1, "past": 0, "past+sequence": 1}


def write_decoded(graph: Path, path: Path) -> None:
    options = session_options(1)
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def token(session: Any) -> dict[str, Any]:
    """One token without any before it."""
    feeds = {
        given.name: np.ones([SIZES.get(size, size) for size in given.shape], TYPES[given.type])
        for given in session.get_inputs()
    }
    return feeds | {"position_ids": np.zeros((1, 1), np.int64)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    graph = given.artefact / MODEL
    before = rss_bytes("VmRSS")
    ours = open_text_session(graph, given.threads)
    peak, after = rss_bytes("VmHWM"), rss_bytes("VmRSS")
    print(f"opening: {before / 1e6:.0f} MB before, {peak / 1e6:.0f} at the most, {after / 1e6:.0f} after")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, MODEL)
        write_decoded(graph, path)
        size = sum(file.stat().st_size for file in path.parent.iterdir())
        print(f"decoded before: {size / 1e6:.1f} MB")
        sessions = [ours, open_text_session(path, given.threads)]
        feeds, taken = [token(session) for session in sessions], []
        for _ in range(WARMUP + RUNS):
            for session, fed in zip(sessions, feeds, strict=True):
                start = time.perf_counter()
                session.run(None, fed)
                taken.append(time.perf_counter() - start)
    times = np.array(taken).reshape(-1, 2)[WARMUP:]
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
    mine, plain = np.median(times, axis=0) * 1e3
    print(f"a token: {mine:.1f} ms, decoded before {plain:.1f} ms: {middle:.2f} of it [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
