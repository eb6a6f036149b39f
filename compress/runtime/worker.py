"""The measuring process: `python -m compress.runtime.worker JOB RESULT`, both JSON files.  It imports no torch.

Jobs, with `model` an ONNX file and `inputs` a .npy file of float32 [N, …]:

    {"job": "load", "model", "inputs", "threads"}
        → {"load_ms", "rss_after_load_bytes", "peak_rss_bytes"}
    {"job": "interleave", "models": [{"model", "inputs"}, …], "threads", "runs": {…Runs}}
        → {"single": [[ms, …] a model], "batch": [[ms, …] a model], "energy_joules": [… a model] or null}
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from compress.errors import CompressError
from compress.runtime import energy
from compress.runtime.session import Session, open_session
from compress.tasks.base import Float

_ENERGY_SECONDS = 1.0  # RAPL counts about every millisecond: a second keeps its step below 0.1 %


Job = Callable[..., dict[str, Any]]
Model = TypeVar("Model")


def main(job_path: str, result_path: str, jobs: Mapping[str, Job] | None = None) -> int:
    """Do the job, one of `jobs` or of those here, and write the result.

    A CompressError ends with its message on stderr and code 2.
    """
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    try:
        result = (jobs or JOBS)[job.pop("job")](**job)
    except CompressError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    Path(result_path).write_text(json.dumps(result), encoding="utf-8")
    return 0


def load(model: str, inputs: str, threads: int) -> dict[str, Any]:
    """Load one model, alone in the process, and run it once: what a program needs that uses it."""
    samples = _samples(inputs)
    return used_once(lambda: open_session(model, threads), lambda session: session(samples[:1]))


def used_once(opened: Callable[[], Model], use: Callable[[Model], object]) -> dict[str, Any]:
    """Open a model, use it once, and tell the time of the first and the memory of both."""
    start = time.perf_counter()
    model = opened()
    load_ms = (time.perf_counter() - start) * 1e3
    after_load = rss_bytes("VmRSS")
    use(model)
    return {"load_ms": load_ms, "rss_after_load_bytes": after_load, "peak_rss_bytes": rss_bytes("VmHWM")}


def interleave(models: Sequence[dict[str, str]], threads: int, runs: dict[str, Any]) -> dict[str, Any]:
    """Run all models in turn, A B A B …, so that whatever else the machine does falls on all of them alike."""
    sessions = [open_session(model["model"], threads) for model in models]
    samples = [_samples(model["inputs"]) for model in models]
    single = [_calls(session, given, 1) for session, given in zip(sessions, samples, strict=True)]
    batch = [_calls(session, given, runs["batch_size"]) for session, given in zip(sessions, samples, strict=True)]
    return {
        "single": timed(single, runs["warmups"], runs["pairs"], runs["seconds"]),
        "batch": timed(batch, 1, runs["batch_pairs"], runs["seconds"]),
        "energy_joules": None if energy.unreadable() else [_joules(call) for call in single],
    }


JOBS: dict[str, Job] = {"load": load, "interleave": interleave}


def _calls(session: Session, samples: Float, size: int) -> Callable[[int], object]:
    """call(i) runs the session on the i-th `size` of the samples, going round."""
    batches = [np.take(samples, range(start, start + size), axis=0, mode="wrap") for start in range(len(samples))]
    return lambda i: session(batches[i % len(batches)])


def timed(calls: Sequence[Callable[[int], object]], warmups: int, pairs: int, seconds: float) -> list[list[float]]:
    """Milliseconds of every call, a list a model; fewer than `pairs` rounds, but three, when `seconds` are over."""
    for i in range(warmups):
        for call in calls:
            call(i)
    times: list[list[float]] = [[] for _ in calls]
    gc.disable()
    end = time.perf_counter() + seconds
    for i in range(pairs):
        if i >= 3 and time.perf_counter() > end:
            break
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter_ns()
            call(i)
            own.append((time.perf_counter_ns() - start) / 1e6)
    gc.enable()
    return times


def _joules(call: Callable[[int], object]) -> float:
    """Joules of one call, all of the machine's processors included, over a second of them."""
    before, end, count = energy.read(), time.perf_counter() + _ENERGY_SECONDS, 0
    while time.perf_counter() < end:
        call(count)
        count += 1
    return energy.read().joules_since(before) / count


def _samples(path: str) -> Float:
    return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]


def rss_bytes(field: str) -> int:
    """Resident memory now (VmRSS) or at its highest (VmHWM).

    Where there is no /proc, getrusage knows the highest alone, and both are that; it is not asked on Linux, where a
    process inherits its parent's.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
