"""The Ray engine: each recipe is a task, on whatever machine of the cluster has room for it.

All machines must see the same files: the recipes and their data, and the output directory, in which runs are locked,
resumed and shared as between processes of one machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compress.errors import CompressError, require
from compress.place import RunOptions
from compress.preflight import Job
from compress.progress import Reporter
from compress.sweeping.outcome import Outcome, outcome_of


@dataclass(frozen=True)
class Resources:
    """What the engine may use.

    address  of a running cluster ('auto' finds the one of this machine); None: one is started here, for this sweep.
    cpus     that each run takes, and the threads that torch has in it.
    gpus     that each run takes; a share is allowed.
    jobs     runs at one time, at most; None: as many as there is room for.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0.0
    jobs: int | None = None


def run_on_ray(jobs: Sequence[Job], options: RunOptions, resources: Resources, reporter: Reporter) -> list[Outcome]:
    """What became of each, in their order; one that fails does not stop the others.

    When interrupted, all that runs is stopped; the same sweep goes on from there.  Raises CompressError for a cluster
    that cannot be reached, or a machine that is too small.
    """
    require("ray", "compress sweep --engine ray", "ray")
    import ray

    found: dict[int, Outcome] = {}
    with _cluster(resources):
        # a run is resumable: one whose worker died is tried once more
        task = ray.remote(_run).options(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1)
        waiting = list(enumerate(jobs))[::-1]
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (resources.jobs or len(jobs)):
                    number, job = waiting.pop()
                    running[task.remote(job, options, os.getcwd(), resources.cpus)] = number
                [done], _ = ray.wait(list(running))
                number = running.pop(done)
                found[number] = _outcome(done, jobs[number].recipe.name)
                reporter.say(f"{found[number].told()} ({len(found)} of {len(jobs)})")
        finally:
            for each in running:
                ray.cancel(each, force=True)
    return [found[number] for number in range(len(jobs))]


def _run(job: Job, options: RunOptions, directory: str, threads: int) -> Outcome:
    """On a worker: relative paths start where the command was typed."""
    import torch

    os.chdir(directory)
    torch.set_num_threads(threads)
    return outcome_of(job, options, Reporter())


def _outcome(done: Any, name: str) -> Outcome:
    """A task's result, or what became of its worker."""
    import ray

    try:
        outcome: Outcome = ray.get(done)
    except ray.exceptions.RayError as error:
        return Outcome(name, None, f"its worker died: {str(error).strip().splitlines()[-1]}")
    return outcome


@contextmanager
def _cluster(resources: Resources) -> Iterator[None]:
    """Scope: connected to the cluster, or to one that is started for the scope."""
    import ray

    if ray.is_initialized():  # by the caller, whose it stays
        yield
        return
    try:
        ray.init(address=resources.address or "local", log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise CompressError(f"no Ray cluster at '{resources.address or 'local'}': {error}") from error
    try:
        if resources.address is None:
            _check_room(resources, ray.cluster_resources())
        yield
    finally:
        ray.shutdown()


def _check_room(resources: Resources, there: dict[str, float]) -> None:
    """Raise CompressError for a run that would wait for ever."""
    for what, wanted in (("CPU", resources.cpus), ("GPU", resources.gpus)):
        if wanted > there.get(what, 0):
            told = f"--{what.lower()}s-per-run is {wanted:g}: this machine has {there.get(what, 0):g}"
            raise CompressError(f"{told}: ask for fewer, or name a cluster with --address")
