"""Two classifiers on the same images: how much more often the first is right than the second, with a 95 % interval.

    python tests/bench/paired.py runs/A/artefact runs/B/artefact [...]

Artefacts go by twos; the last line is the average over all pairs, as of several seeds.  The images are those of the
artefacts' own task, from the current directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.jobs.images import task_of_artefact
from compress.runtime.artefact import open_artefact
from compress.runtime.session import open_session
from compress.tasks.statistics import mean_interval, paired_difference


def correct(directory: Path) -> NDArray[np.bool_]:
    """Which of the task's images the artefact knows."""
    artefact = open_artefact(directory)
    session = open_session(artefact)
    task = task_of_artefact(artefact)
    return np.concatenate([session(batch.inputs).argmax(axis=1) == batch.labels for batch in task.evaluation()])


def main(paths: list[str]) -> None:
    found = [correct(Path(path)) for path in paths]
    pairs = list(zip(found[::2], found[1::2], strict=True))
    told = [
        (f"{paths[2 * number]} − {paths[2 * number + 1]}", paired_difference(one, other))
        for number, (one, other) in enumerate(pairs)
    ]
    # an image counts once, however many pairs it was shown to
    together = np.mean([one.astype(float) - other for one, other in pairs], axis=0)
    for name, figure in [*told, ("on average", mean_interval(together))]:
        low, high = 100 * figure.low, 100 * figure.high
        print(f"{name}: {100 * figure.value:+.2f} points [{low:+.2f}, {high:+.2f}] of {len(together)} images")


if __name__ == "__main__":
    main(sys.argv[1:])
