"""The measuring process of translators: `python -m compress.runtime.text.worker JOB RESULT`, both JSON files.

Jobs, with `prompts` texts as the model reads them and `tokens` how many are written after each:

    {"job": "load", "directory", "prompts", "threads", "tokens"}
        → {"load_ms", "rss_after_load_bytes", "peak_rss_loading_bytes", "peak_rss_running_bytes"}
    {"job": "interleave", "directories", "prompts", "threads", "tokens", "warmups", "rounds", "seconds"}
        → {"models": [{"lengths", "prefill_ms", "first_ms", "token_ms"} a model]}, each a list with one number a round
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.runtime.text import Translator, open_translator
from compress.runtime.worker import Job, main, rss_bytes


def load(directory: str, prompts: Sequence[str], threads: int, tokens: int) -> dict[str, Any]:
    """Load one translator, alone in the process, and let it write: what a program needs that uses it."""
    start = time.perf_counter()
    translator = open_translator(directory, threads)
    load_ms = (time.perf_counter() - start) * 1e3
    after_load, peak = rss_bytes("VmRSS"), rss_bytes("VmHWM")
    _forget_peak()
    for prompt in prompts:
        _written(translator, prompt, tokens)
    return {
        "load_ms": load_ms,
        "rss_after_load_bytes": after_load,
        "peak_rss_loading_bytes": peak,
        "peak_rss_running_bytes": rss_bytes("VmHWM"),
    }


def interleave(
    directories: Sequence[str],
    prompts: Sequence[str],
    threads: int,
    tokens: int,
    warmups: int,
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Let all translators write in turn, A B A B …, after the same prompts, one at a time."""
    translators = [open_translator(directory, threads) for directory in directories]
    for number in range(warmups):
        for translator in translators:
            _written(translator, prompts[number % len(prompts)], tokens)
    models: list[list[dict[str, float]]] = [[] for _ in translators]
    gc.disable()
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= 3 and time.perf_counter() > end:
            break
        for translator, own in zip(translators, models, strict=True):
            own.append(_written(translator, prompts[number % len(prompts)], tokens))
    gc.enable()
    return {"models": [{key: [one[key] for one in own] for key in own[0]} for own in models]}


JOBS: dict[str, Job] = {"load": load, "interleave": interleave}


def _written(translator: Translator, prompt: str, tokens: int) -> dict[str, float]:
    """Write so many tokens after a prompt, whatever they are, and say how long it took."""
    start = time.perf_counter_ns()
    given = translator.prompt_tokens(prompt)
    encoded = time.perf_counter_ns()
    run = translator.begin(given)
    read = time.perf_counter_ns()
    token = run.logits.argmax(axis=1)
    first = time.perf_counter_ns()
    for _ in range(tokens):
        run.advance(token.astype(np.int64))
        token = run.logits.argmax(axis=1)
    end = time.perf_counter_ns()
    return {
        "lengths": len(given),
        "prefill_ms": (read - encoded) / 1e6,
        "first_ms": (first - start) / 1e6,
        "token_ms": (end - first) / 1e6 / tokens,
    }


def _forget_peak() -> None:
    """Let the highest resident memory be counted from here on, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], JOBS))
