"""Scores of an artefact in its own runtime, on the task's whole evaluation set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sized

import numpy as np
from numpy.typing import NDArray

from compress.passes.base import Progress, silent
from compress.runtime.artefact import Artefact
from compress.runtime.session import open_session
from compress.tasks.base import Float, Scores, Task

# Outputs of float models: several artefacts in turn are compared with the same one.  By model file, data and threads.
_Key = tuple[str, str, int]
_REFERENCES: OrderedDict[_Key, Float] = OrderedDict()
_KEPT = 2


def score(
    artefact: Artefact,
    task: Task,
    *,
    float_artefact: Artefact | None = None,
    threads: int = 2,
    progress: Progress = silent,
) -> Scores:
    """task.score of the artefact's outputs and, with a float artefact, task.compare with its outputs.

    Without one the artefact is a reference itself, and its outputs are kept for those that come after it.
    Both run in one pass over the data.  A task that has a length says with it how many evaluation batches there are.
    """
    reference = _key(float_artefact or artefact, task, threads)
    open_artefacts = [artefact]
    if float_artefact is not None and reference not in _REFERENCES:
        open_artefacts.append(float_artefact)
    outputs, labels = _run(open_artefacts, task, threads, progress)
    if float_artefact is None or len(outputs) == 2:
        _keep(reference, outputs[-1])
    scores = task.score(outputs[0], labels)
    if float_artefact is None:
        return scores
    _REFERENCES.move_to_end(reference)
    return {**scores, **task.compare(outputs[0], _REFERENCES[reference], labels)}


def _run(
    artefacts: list[Artefact], task: Task, threads: int, progress: Progress
) -> tuple[list[Float], NDArray[np.int64]]:
    sessions = [open_session(artefact, threads) for artefact in artefacts]
    outputs: list[list[Float]] = [[] for _ in sessions]
    labels = []
    total = len(task) if isinstance(task, Sized) else 0
    for batch in progress(task.evaluation(), "scores", total):
        for session, own in zip(sessions, outputs, strict=True):
            own.append(session(batch.inputs))
        labels.append(batch.labels)
    return [np.concatenate(own) for own in outputs], np.concatenate(labels)


def _key(artefact: Artefact, task: Task, threads: int) -> _Key:
    return artefact.model_sha256, task.fingerprints()["evaluation"], threads


def _keep(key: _Key, outputs: Float) -> None:
    _REFERENCES[key] = outputs
    while len(_REFERENCES) > _KEPT:
        _REFERENCES.popitem(last=False)
