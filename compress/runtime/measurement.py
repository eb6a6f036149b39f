"""What is measured on an artefact, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compress.runtime.artefact import Artefact
from compress.runtime.machine import Machine
from compress.runtime.statistics import Ratio
from compress.tasks.base import Scores


@dataclass(frozen=True)
class Runs:
    """How often things are run.  The defaults take a few seconds on a model of 20 ms.

    pairs        rounds of one input a model, in turn.
    batch_pairs  rounds of `batch_size` inputs a model, in turn.
    warmups      rounds before, which do not count.
    loads        fresh processes that load the artefact; medians are told.
    seconds      after which each of the two series ends early, but not before its third round.
    """

    pairs: int = 60
    batch_pairs: int = 12
    batch_size: int = 8
    warmups: int = 5
    loads: int = 3
    seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One model's times in an interleaved measurement, in milliseconds of one item: an image, or a decoded token.

    items_per_second  by the median run: of images at the batch size of `Runs`, of tokens one after another.
    latency_ratio     this model's time as a share of the reference's; None for the reference itself.
    energy_joules     of one item, all of the processor included, or None and `energy_note` says why.
    """

    latency_ms_p50: float
    latency_ms_p95: float
    items_per_second: float
    latency_ratio: Ratio | None
    energy_joules: float | None
    energy_note: str


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """How fast a translator reads, before it writes.

    tokens_per_second  of the prompt, by the median run.
    ratio              its time as a share of the float model's; None for that itself.
    first_token_ms     from the text to the first token of the translation.
    """

    tokens_per_second: float
    ratio: Ratio | None
    first_token_ms: float


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """What it takes a generator to make an image.

    per_image   evaluations of the model; guidance takes two a step.
    batch_size  images that an evaluation was timed on.
    ms_p50      of one evaluation, of so many images together.
    ratio       its time as a share of the float model's; None for that itself.
    together    time of so many images, made together, as a share of the float model's; None for that itself.
    """

    per_image: int
    batch_size: int
    ms_p50: float
    ratio: Ratio | None
    together: Ratio | None


@dataclass(frozen=True, kw_only=True)
class Measurement(Latency):
    """All that is measured on an artefact.

    size_bytes            of the whole directory; `files` has every file's.
    model_bytes           of the model file (and its external weights).
    gzip_bytes            of a download: every file deflated.
    float_model_bytes     of the float model that it is compared with, or None.
    parameters            weights and other learned constants, as decoded.
    macs                  multiply-accumulates for one input sample; None for translators, where it grows with the text.
    operators             nodes of the shipped graph by type.
    effective_bits        bits that a parameter takes in the file, with its scales; None where there are none.
    load_ms               from the file to a session that can run; median over fresh processes.
    rss_after_load_bytes  resident memory then.
    peak_rss_bytes        its highest, loading and one run included, the Python interpreter too.
    parts                 bytes by part of the model (body, embedding, tokenizer, …), where it is known.
    prefill               of translators; None for others.
    evaluations           of generators; None for others.
    scores                of the artefact in its runtime, on the task's whole evaluation set.
    """

    size_bytes: int
    model_bytes: int
    gzip_bytes: int
    files: dict[str, int]
    float_model_bytes: int | None
    parameters: int
    macs: int | None
    operators: dict[str, int]
    effective_bits: float | None
    load_ms: float
    rss_after_load_bytes: int
    peak_rss_bytes: int
    scores: Scores
    machine: Machine
    parts: dict[str, int] = field(default_factory=dict)
    prefill: Prefill | None = None
    evaluations: Evaluations | None = None


def bytes_of(artefact: Artefact, reference: Artefact | None) -> dict[str, Any]:
    """What a Measurement says of the artefact's files, and of those of the float one."""
    return {
        "size_bytes": artefact.size_bytes,
        "model_bytes": artefact.model_bytes,
        "gzip_bytes": artefact.gzip_bytes(),
        "files": artefact.file_bytes,
        "float_model_bytes": None if reference is None else reference.model_bytes,
    }
