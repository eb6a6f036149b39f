"""Classifiers on the images of their recipe's task: nothing of them is kept by a run, so they are run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.comparing.compared import Compared, Pair, most_changed
from compress.jobs.images import task_of_artefact
from compress.passes.base import Progress
from compress.runtime.artefact import Artefact
from compress.runtime.session import open_session
from compress.tasks.base import Float
from compress.tasks.image_classification import kl_nats
from compress.tasks.statistics import paired_difference

UNIT = "nats that the second's probabilities part from the first's"


def compared(artefacts: Sequence[Artefact], pairs: Sequence[Pair], threads: int, progress: Progress) -> Compared:
    """Differences: agreement, kl_nats, top1_difference and, of more than five classes, top5_difference.

    Raises DataError for a set that cannot be read, ArtefactError for one that cannot be run.
    """
    task = task_of_artefact(artefacts[0])
    sessions = [open_session(artefact, threads) for artefact in artefacts]
    given: list[list[Float]] = [[] for _ in sessions]
    known = []
    for batch in progress(task.evaluation(), "scores", len(task)):
        for session, own in zip(sessions, given, strict=True):
            own.append(session(batch.inputs))
        known.append(batch.labels)
    outputs, labels = [np.concatenate(own) for own in given], np.concatenate(known)
    scores = tuple(task.score(own, labels) for own in outputs)
    differences = []
    for ours, theirs in pairs:
        found = task.compare(outputs[ours], outputs[theirs], labels)
        if "top5" in scores[0]:
            first_five = [task.ranks(outputs[place], labels) < 5 for place in (ours, theirs)]
            found["top5_difference"] = paired_difference(*first_five)
        differences.append(found)

    def told(place: int) -> tuple[str, str, str, str]:
        one, other = (_told(own[place], task.labels) for own in outputs[:2])
        return f"image {place}", task.labels[labels[place]], one, other

    return Compared(scores, tuple(differences), most_changed(kl_nats(outputs[0], outputs[1]), told), UNIT)


def _told(logits: Float, labels: Sequence[str]) -> str:
    """The first class with its probability: 'tabby 0.71'."""
    shares = np.exp(logits.astype(np.float64) - logits.max())
    first = int(logits.argmax())
    return f"{labels[first]} {shares[first] / shares.sum():.2f}"
