"""What lies beside a measured row, for the page: its manifest, what a translator said beside its float model, what a
generator drew, and what layers were predicted to lose when a budget was shared out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from compress.allocation.told import LOSSES, LayerLosses, read_losses
from compress.data.parallel import parse_parallel
from compress.errors import CompressError
from compress.jobs.translation import kept_outputs, task_of
from compress.recipe import parse
from compress.report.page import Entry, Sample
from compress.report.row import Row
from compress.report.sheet import SAMPLES, line_of
from compress.results import float_run_of
from compress.runtime.artefact import MANIFEST, read_manifest
from compress.tasks.translation import Example, Translation
from compress.tasks.translation_outputs import Outputs

_SAMPLES = 8  # translations of a language pair: the first, so that nobody chose them


def entry_of(row: Row) -> Entry:
    """A finished run's row, as `compress.results` reads it, with what lies beside it.

    Raises ArtefactError or DataError for files that are damaged.
    """
    artefact = Path(row.artefact)
    manifest = read_manifest(artefact) if (artefact / MANIFEST).is_file() else None
    if manifest is None:
        return Entry(row)
    run, lock = artefact.parent, manifest["lock"]
    samples, count = _samples(run, lock)
    return Entry(row, lock, manifest["quantization"], samples, count, line_of(run / SAMPLES), _losses(run, lock))


def _losses(run: Path, lock: Mapping[str, Any]) -> dict[str, LayerLosses]:
    """Those that this recipe's budget was shared out by; a file that another recipe left is none of them."""
    try:
        recipe = parse(lock["recipe"], check_files=False)
    except CompressError:  # written when recipes were others
        return {}
    return read_losses(run / LOSSES) if any(step.shares_budget() for step in recipe.passes) else {}


def _samples(run: Path, lock: Mapping[str, Any]) -> tuple[tuple[Sample, ...], int]:
    """The first translations of each pair beside the float model's, and how many there are in all."""
    beside = float_run_of(run)
    ours, theirs = kept_outputs(run), None if beside is None else kept_outputs(beside)
    if ours is None or theirs is None or ours.data != theirs.data:
        return (), 0
    examples = _examples(lock, ours)
    samples = tuple(
        _sample(
            examples.get((pair, number)), pair, number, theirs.pairs[pair].hypotheses[place], found.hypotheses[place]
        )
        for pair, found in ours.pairs.items()
        for place, number in enumerate(found.translated[:_SAMPLES])
    )
    return samples, sum(len(found.hypotheses) for found in ours.pairs.values())


def _sample(example: Example | None, pair: str, number: int, before: str, after: str) -> Sample:
    source, reference = (None, None) if example is None else (example.source, example.reference)
    return Sample(pair, number, source, reference, before, after)


def _examples(lock: Mapping[str, Any], outputs: Outputs) -> Mapping[tuple[str, int], Example]:
    """The texts that were translated, by pair and row; none where the set is not on this machine, or is another now."""
    try:
        task = task_of(parse(lock["recipe"], check_files=False))
        if parse_parallel(task.dataset).kind == "hf":  # a table does not download
            return {}
        data, examples = _texts(task)
    except CompressError:
        return {}
    return examples if data == outputs.data else {}


@lru_cache(maxsize=8)
def _texts(task: Translation) -> tuple[str, Mapping[tuple[str, int], Example]]:
    """The fingerprint of a task's data, and its rows: read once for all the runs that share them."""
    examples = {(pair, example.row): example for pair in task.pairs for example in task.examples(pair)}
    return task.evaluation_fingerprint(), examples
