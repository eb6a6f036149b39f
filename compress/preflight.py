"""Everything that can be known to be wrong before any work is done, for all the recipes of a command, told at once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.errors import CompressError, MissingExtra, RecipeError, require
from compress.jobs import kind_of
from compress.recipe import Recipe, parse
from compress.recipe.sources import gather
from compress.recipe.tree import Node, Problems
from compress.shipped import find_recipe


@dataclass(frozen=True)
class Job:
    """A recipe as it was asked for.

    asked      what the user wrote: a file or the name of a shipped recipe.
    overrides  the texts after --set.
    """

    asked: str
    path: Path
    overrides: tuple[str, ...]
    recipe: Recipe

    def command(self, *options: str, verb: str = "run") -> str:
        """The command that gives the same result, to be typed in the same directory."""
        sets = [part for override in self.overrides for part in ("--set", override)]
        return shlex.join(["compress", verb, self.asked, *sets, *options])


def read_jobs(recipes: Sequence[str], overrides: Sequence[str] = (), *, apart: bool = True) -> list[Job]:
    """Parse all; `overrides` apply to each.  Raises RecipeError with the problems of all of them.

    apart  whether a recipe of several targets is as many jobs.
    """
    jobs: list[Job] = []
    problems: list[str] = []
    for asked in recipes:
        try:
            path = find_recipe(asked)
            recipe = parse(path, overrides)
            jobs += [Job(asked, path, tuple(overrides), each) for each in (recipe.each() if apart else [recipe])]
        except RecipeError as error:
            problems += error.problems
    problems += same_named(jobs, "its name")
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return jobs


def same_named(jobs: Sequence[Job], what: str) -> Iterator[str]:
    """A message for each job whose name an earlier one has; their results would lie in one directory."""
    by_name: dict[str, Job] = {}
    for job in jobs:
        other = by_name.setdefault(job.recipe.name, job)
        if other is not job:
            yield f"{job.path}: {what} '{job.recipe.name}' is also that of {other.path}: rename one"


def check_jobs(jobs: Sequence[Job], *, allow_code: bool, lenient: bool = False) -> list[str]:
    """Raise RecipeError with every selector that matches no layer and every dataset that cannot be used.

    lenient  where an extra is not installed (torch, without which there are no layers to match), what it is needed for
             is not checked, and a note returned says so; else MissingExtra is raised.
    """
    problems: list[str] = []
    notes: list[str] = []
    for job in jobs:
        for check in (selector_problems, data_problems):
            try:
                problems += check(job, allow_code)
            except MissingExtra as error:
                if not lenient:
                    raise
                notes.append(f"not checked: {error}")
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return list(dict.fromkeys(notes))


def selector_problems(job: Job, allow_code: bool) -> Iterator[str]:
    """A message, with its place, for each selector of the recipe that matches no layer of its model, or for a model
    that cannot be built."""
    require("torch", "checking selectors", "torch")
    from compress.models.layers import unmatched

    root = gather(job.path, job.overrides, Problems())
    try:
        layers = kind_of(job.recipe).layer_names(job.recipe, allow_code)
    except MissingExtra:  # of the model's library: no fault of the recipe
        raise
    except CompressError as error:
        yield f"{root.mapping['model'].place}: model: {error}"
        return
    nodes = root.mapping["passes"].items if "passes" in root.mapping else ()
    for step, node in zip(job.recipe.passes, nodes, strict=True):
        for selector in step.selectors():
            for message in unmatched(layers, [selector]):
                yield f"{_written(selector, node).place}: {step.name}: {message}"


def data_problems(job: Job, allow_code: bool) -> Iterator[str]:
    """A message, with its place, for each dataset of the recipe that is missing, damaged or empty.

    Raises MissingExtra for one whose package is not installed.
    """
    root = gather(job.path, job.overrides, Problems())
    recipe = job.recipe
    datasets = [("task", recipe.task.dataset)]
    if recipe.passes:
        datasets.append(("calibration", recipe.calibration.dataset))
    for section, dataset in datasets:
        try:
            kind_of(recipe).check_dataset(recipe, section)
        except MissingExtra:
            raise
        except CompressError as error:
            place = _written(dataset, root.mapping.get(section, root)).place
            yield f"{place}: {section}: {error}"
    nodes = root.mapping["passes"].items if "passes" in root.mapping else ()
    for step, node in zip(recipe.passes, nodes, strict=True):
        try:
            step.data_sha256()
            for trained_on in step.trains_on():
                if trained_on is not None:
                    kind_of(recipe).check_examples(recipe, trained_on)
        except MissingExtra:
            raise
        except CompressError as error:
            yield f"{node.place}: {step.name}: {error}"


def _written(value: str, node: Node) -> Node:
    """The innermost node below `node` that holds `value`, or `node` itself where a default says it."""
    for child in (*node.mapping.values(), *node.items):
        found = _written(value, child)
        if found.value == value:
            return found
    return node
