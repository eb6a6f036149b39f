"""The local engine: one recipe after another, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from compress.place import RunOptions
from compress.preflight import Job
from compress.progress import Reporter
from compress.sweeping.outcome import Outcome, outcome_of


def run_local(jobs: Sequence[Job], options: RunOptions, reporter: Reporter) -> list[Outcome]:
    """What became of each, in their order; one that fails does not stop the others."""
    outcomes = []
    for number, job in enumerate(jobs, 1):
        reporter.say(f"{job.recipe.name} ({number} of {len(jobs)})")
        outcome = outcome_of(job, options, reporter)
        if outcome.row is None:
            reporter.say(outcome.told())
        outcomes.append(outcome)
    return outcomes
