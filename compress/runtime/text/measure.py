"""How fast a translator reads and writes, what memory it takes, and where its bytes are.

Every figure is that of the directory which ships, in processes of their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

from compress.errors import DataError
from compress.passes.base import Progress, silent
from compress.runtime.artefact import MANIFEST, open_artefact
from compress.runtime.machine import Machine, this_machine
from compress.runtime.process import run_worker
from compress.runtime.statistics import Ratio, percentile, ratio_of
from compress.runtime.text.parts import Parts, parts_of

_WORKER = "compress.runtime.text.worker"


@dataclass(frozen=True)
class TextRuns:
    """How often things are run.

    tokens   written after each prompt, end tokens or not.
    rounds   of one prompt a model, in turn; the prompts go round.
    warmups  rounds before, which do not count.
    loads    fresh processes that load the translator; medians are told.
    seconds  after which the rounds end early, but not before the third.
    """

    tokens: int = 24
    rounds: int = 10
    warmups: int = 1
    loads: int = 2
    seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class TextSpeed:
    """One translator, one text at a time; rates are those of the median round.

    prefill_tokens_per_second  tokens of a prompt that are read in a second, with the logits of the last one; of an
                               encoder–decoder those of the encoder, with the decoder's first step.
    decode_tokens_per_second   tokens that are written in a second, after the first.
    decode_ms_p95              time of a token that one in twenty exceeds.
    prefill_ratio              time to read a prompt as a share of the float model's; None without one.
    decode_ratio               time to write a token as a share of the float model's; None without one.
    time_to_first_token_ms     from a prompt as text, none of it read before, to its first token.
    load_ms                    from the directory to a translator that can run; median over fresh processes.
    rss_after_load_bytes       resident memory then.
    peak_rss_loading_bytes     its highest while loading, the Python interpreter included.
    peak_rss_running_bytes     its highest after that, while reading and writing the prompts one after another.
    parts                      bytes of the directory by part.
    effective_bits             bits that a parameter takes in the model's files; None without a manifest, which knows
                               how many there are.
    """

    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    decode_ms_p95: float
    prefill_ratio: Ratio | None
    decode_ratio: Ratio | None
    time_to_first_token_ms: float
    load_ms: float
    rss_after_load_bytes: int
    peak_rss_loading_bytes: int
    peak_rss_running_bytes: int
    parts: Parts
    effective_bits: float | None
    machine: Machine


def measure_text(
    directory: Path,
    float_directory: Path | None,
    prompts: Sequence[str],
    threads: int = 2,
    runs: TextRuns | None = None,
    progress: Progress = silent,
) -> TextSpeed:
    """Measure the translator in `directory`, beside the float one if there is one.

    prompts  texts as the model reads them (`Prompt.render`), one or more.

    Raises ArtefactError for a translator that is damaged or does not run, DataError for no prompts.
    """
    runs = runs or TextRuns()
    if not prompts:
        raise DataError("no prompts to measure with: give one at least")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        common = {"prompts": list(prompts), "threads": threads, "tokens": runs.tokens}
        job = {"job": "load", "directory": str(directory), **common, "prompts": prompts[:1]}
        loads = [
            run_worker(job, str(directory), place, _WORKER) for _ in progress(range(runs.loads), "load", runs.loads)
        ]
        directories = [str(each) for each in (float_directory, directory) if each is not None]
        rounds = {"warmups": runs.warmups, "rounds": runs.rounds, "seconds": runs.seconds}
        job = {"job": "interleave", "directories": directories, **common, **rounds}
        [result] = [run_worker(job, str(directory), place, _WORKER) for _ in progress(range(1), "speed", 1)]
    own, reference = result["models"][-1], result["models"][0] if float_directory is not None else None
    parts = parts_of(directory)
    return TextSpeed(
        prefill_tokens_per_second=1e3 / percentile(_per_token(own), 50),
        decode_tokens_per_second=1e3 / percentile(own["token_ms"], 50),
        decode_ms_p95=percentile(own["token_ms"], 95),
        prefill_ratio=None if reference is None else ratio_of(own["prefill_ms"], reference["prefill_ms"]),
        decode_ratio=None if reference is None else ratio_of(own["token_ms"], reference["token_ms"]),
        time_to_first_token_ms=percentile(own["first_ms"], 50),
        **{key: median_low([load[key] for load in loads]) for key in loads[0]},
        parts=parts,
        effective_bits=_effective_bits(directory, parts),
        machine=this_machine(threads),
    )


def to_plain(speed: TextSpeed) -> dict[str, Any]:
    """The figures as JSON takes them."""
    return asdict(speed)


def _per_token(rounds: dict[str, list[float]]) -> list[float]:
    return [time / length for time, length in zip(rounds["prefill_ms"], rounds["lengths"], strict=True)]


def _effective_bits(directory: Path, parts: Parts) -> float | None:
    if not (directory / MANIFEST).is_file():
        return None
    parameters = open_artefact(directory).manifest["model"]["parameters"]
    return 8 * parts.model / parameters if parameters else None
