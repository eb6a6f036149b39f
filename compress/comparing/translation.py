"""Translators by what their runs left beside their rows; one that left nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compress.comparing.compared import NUM_CHANGED, Changed, Compared, Pair
from compress.jobs import recipe_of
from compress.jobs.translation import outputs_of, task_of
from compress.passes.base import Progress
from compress.runtime.artefact import Artefact
from compress.tasks.translation import Translation
from compress.tasks.translation_outputs import Outputs

UNIT = "nats a token that the second loses of the reference"


def compared(artefacts: Sequence[Artefact], pairs: Sequence[Pair], threads: int, progress: Progress) -> Compared:
    """Differences: those of `Translation.compare`.

    Raises DataError for a set that cannot be read, ArtefactError for a translator that cannot be run.
    """
    recipe = recipe_of(artefacts[0])
    task = task_of(recipe)
    outputs = [outputs_of(task, recipe, artefact, threads, progress) for artefact in artefacts]
    changed = sorted(_changed(task, outputs[0], outputs[1]), key=lambda each: -abs(each.change))
    return Compared(
        scores=tuple(map(task.score, outputs)),
        differences=tuple(task.compare(outputs[ours], outputs[theirs]) for ours, theirs in pairs),
        changed=tuple(changed[:NUM_CHANGED]),
        unit=UNIT,
    )


def _changed(task: Translation, one: Outputs, other: Outputs) -> Iterator[Changed]:
    """Every row that was scored by its likelihood, with its translations where it has them."""
    for pair, before in one.pairs.items():
        after = other.pairs[pair]
        examples = {example.row: example for example in task.examples(pair)}
        said = [dict(zip(found.translated, found.hypotheses, strict=True)) for found in (before, after)]
        for place, row in enumerate(before.rows):
            lost = (after.nats[place] - before.nats[place]) / before.num_tokens[place]
            example = examples[row]
            yield Changed(
                f"{pair} {row}: {example.source}",
                lost,
                example.reference,
                *(texts.get(row, "not translated") for texts in said),
            )
