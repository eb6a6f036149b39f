"""run(recipe): a model becomes an artefact that is measured, stage by stage, each resumable.

runs/<name>/artefact/    what ships                     runs/<name>/row.json   its measured row
runs/<name>/log.txt      what was said, and more        runs/<name>/run.json   what decided the result
runs/<name>/stages/      finished stages of a run that is not finished
runs/<name>/losses.json  of a budget that was shared out: what each choice of each layer was predicted to lose
runs/<model>-float-<hash>/   the same for the float model that others are compared with; recipes share it
runs/.shared/            what passes found out of a model that other recipes begin with too
runs/.shared/stages/     models after their passes, where a run was asked to keep them for recipes that begin alike
"""

from __future__ import annotations

import itertools
import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compress.applying import apply_resumably, deterministic
from compress.budget import misses
from compress.errors import ArtefactError, CompressError, require
from compress.exporter.card import write_card
from compress.files import write_text
from compress.fingerprint import fingerprint, versions
from compress.jobs import Job, kind_of
from compress.launching import IN_PROCESS, Trainings
from compress.models.state import weights_sha256
from compress.place import RUNS, SHARED, Place, RunOptions, as_json, model_slug, place_of
from compress.progress import Reporter
from compress.recipe import Recipe, dump
from compress.report.row import Row, row_of, write_row
from compress.results import RECORD, ROW
from compress.runtime.artefact import Artefact, open_artefact, with_scores
from compress.sizing import room_of
from compress.stages import Stage, locked, replace_directory
from compress.teachers import context_of
from compress.training.settings import Track

if TYPE_CHECKING:
    from torch import nn


def run(
    recipe: Recipe,
    *,
    output: Path = RUNS,
    force: bool = False,
    allow_code: bool = False,
    keep_stages: bool = False,
    reporter: Reporter | None = None,
    command: str = "compress.run, from Python",
) -> Row:
    """Compress, export and measure; the result lies in `output`/<recipe's name>, the row is returned.

    A run that was killed goes on after its last finished stage and gives the same bytes; one that is finished is not
    done again.  The row says in `misses` what of its budget the result misses; it is kept all the same.

    output      takes a directory for each recipe, and one for each float model that they are compared with.
    force       replace a finished result that another recipe, code or data made.
    allow_code  let the recipe run its own Python file (`factory:`).
    keep_stages leave the model after each pass in `output`/.shared/stages, where runs of recipes that begin with the
                same passes on the same model and data find it.  These look there in any case.
    command     what the row says makes it again.

    Raises CompressError for whatever is wrong with the recipe, the model or the data.
    """
    if recipe.targets:
        raise CompressError(f"{recipe.name} names several targets: run each of recipe.each()")
    place = place_of(recipe, output, command)
    options = RunOptions(output, force, allow_code, keep_stages)
    return run_at(place, options, reporter or Reporter())


def run_at(place: Place, options: RunOptions, reporter: Reporter, trainings: Trainings = IN_PROCESS) -> Row:
    """As `run`, at a place that is known."""
    recipe = place.recipe
    compared = recipe.evaluate.float_model
    count = len(recipe.passes) + 3 + compared
    with at_work(place, reporter):
        kept = place.finished(force=options.force)
        if kept is not None:
            reporter.say(f"{recipe.name}: finished before with the same recipe, code and data: not done again")
            return kept
        require("torch", "compressing a model", "torch")
        with reporter.stage("load", 1, count):
            loaded = load(recipe, options.allow_code)
        baseline = None
        if compared:
            with reporter.stage("float", 2, count):
                baseline = float_baseline(place, loaded, reporter)
        with deterministic():
            first = 2 + compared
            last = compress_model(place, loaded, baseline, reporter, first=first, count=count, trainings=trainings)
            with reporter.stage("export", count - 1, count):
                staged = export_model(place, loaded, last)
        with reporter.stage("measure", count, count):
            row = finish(place, staged, loaded, baseline, reporter)
        if options.keep_stages:
            place.stages.keep(last.stages)
        place.stages.clear()
        return row


@dataclass(frozen=True)
class Loaded:
    """A job, and what its result depends on.

    weights_sha256  over the names, types and values of all the model's parameters and buffers.
    data_sha256     of the evaluation and, where there are passes, of the calibration data and of what passes read.
    allow_code      whether a model's own Python file may run, a teacher's too.
    """

    job: Job
    weights_sha256: str
    data_sha256: dict[str, str]
    allow_code: bool = False


def load(recipe: Recipe, allow_code: bool) -> Loaded:
    """The model and the task of a recipe.  Raises ModelError, DataError."""
    job = kind_of(recipe).load(recipe, allow_code)
    return Loaded(job, weights_sha256(job.model), job.data_sha256(), allow_code)


def float_baseline(place: Place, loaded: Loaded, reporter: Reporter) -> Row:
    """The row of the float model, exported and measured once for all recipes of the same model, task and data."""
    recipe = float_recipe(place.recipe)
    data = {"evaluation": place.decided_by["data"]["evaluation"]}
    files = {key: place.decided_by["files"][key] for key in recipe.model.files()}
    decided = {**place.decided_by, "recipe": dump(recipe), "data": data, "files": files}
    name = f"{recipe.name}-{fingerprint(decided, loaded.weights_sha256)[:8]}"
    recipe = replace(recipe, name=name)
    place = Place(place.directory.parent / name, {**decided, "recipe": dump(recipe)}, recipe, place.command)
    lonely = replace(loaded, data_sha256={"evaluation": loaded.data_sha256["evaluation"]})

    def waiting() -> None:
        reporter.say(f"waiting for another process that makes {place.directory}")

    with locked(place.directory, waiting=waiting):
        try:
            kept = place.finished()
        except ArtefactError as error:
            raise ArtefactError(f"{error}: remove {place.directory}, it will be made again") from error
        if kept is not None:
            return kept
        with deterministic():
            last = Applied(loaded.job.model, fingerprint(name, loaded.weights_sha256))
            staged = export_model(place, lonely, last)
        row = finish(place, staged, lonely, None, reporter, is_float=True)
        place.stages.clear()
        return row


def float_recipe(recipe: Recipe) -> Recipe:
    """The recipe that only exports and measures the model, for any device: one for all that share it."""
    return Recipe(name=f"{model_slug(recipe)}-float", model=recipe.model, task=recipe.task, evaluate=recipe.evaluate)


@dataclass(frozen=True)
class Applied:
    """A model, and the hash of everything that made it what it is.

    stages  of its passes that a recipe may share with others: until one shares out a budget, which is a recipe's own.
    """

    model: nn.Module
    fingerprint: str
    stages: tuple[Stage, ...] = ()


def compress_model(
    place: Place,
    loaded: Loaded,
    baseline: Row | None,
    reporter: Reporter,
    first: int,
    count: int,
    trainings: Trainings = IN_PROCESS,
) -> Applied:
    """The model after the recipe's passes, their stages numbered from `first` of `count`.

    baseline  the row of the float model, for passes that share out the recipe's budget of bytes.
    """
    import torch

    recipe, device = place.recipe, place.recipe.device()
    decided = place.decided_by
    inputs = (asdict(device), recipe.seed, loaded.job.decided_by(), dump(recipe)["calibration"])
    # Sums over threads depend on their number in the last bit.
    machine = (decided["code"], decided["versions"], torch.get_num_threads())
    learned_from = {name: sha256 for name, sha256 in loaded.data_sha256.items() if name != "evaluation"}
    learned_from |= {name: sha256 for name, sha256 in decided["files"].items() if name not in recipe.model.files()}
    of_passes = [_of_pass(learned_from, step.name, number) for number, step in enumerate(recipe.passes, 1)]
    of_all = {name: sha256 for name, sha256 in learned_from.items() if not any(name in own for own in of_passes)}
    begun = Stage("load", fingerprint(loaded.weights_sha256, of_all, inputs, machine))
    stages = stages_of(recipe, begun, of_passes)
    context = context_of(recipe, loaded.job, loaded.allow_code, reporter)
    launcher = trainings.launcher
    launch = None if launcher is None else launcher.launching(recipe, loaded.allow_code)
    track = None if trainings.track is None else Track(trainings.track, place.directory / "tracked")
    model, room = loaded.job.model, None
    if baseline is not None:
        sizes = baseline.model_bytes, baseline.size_bytes
        room = room_of(recipe.budget, recipe.passes, model, *sizes, context, loaded.job.file_bytes)
    shared = place.directory.parent / SHARED / begun.directory_name
    context = replace(context, track=track, launch=launch, room=room, shared=shared, beside=place.directory)
    model = apply_resumably(model, recipe.passes, context, stages, place.stages, reporter, first, count)
    common = itertools.takewhile(lambda each: not each[0].shares_budget(), zip(recipe.passes, stages, strict=True))
    return Applied(model, (stages or [begun])[-1].fingerprint, tuple(stage for _, stage in common))


def _of_pass(learned_from: Mapping[str, str], name: str, number: int) -> dict[str, str]:
    """The hashes of what one pass alone learns from: its data, and files such as its teacher's."""
    own = f"{name}.{number}"
    return {key: sha256 for key, sha256 in learned_from.items() if key == own or key.startswith(f"{own}.")}


def stages_of(recipe: Recipe, begun: Stage, learned_from: Sequence[Mapping[str, str]]) -> list[Stage]:
    """A stage a pass, whose fingerprints cover the model as it began and all passes until then, each with the hashes of
    what it alone learns from: recipes that begin alike share these stages, whatever comes later."""
    plain = dump(recipe)
    stages, last = list[Stage](), begun.fingerprint
    for step, parameters, learned in zip(recipe.passes, plain["passes"], learned_from, strict=True):
        # how a budget is shared out depends on it, and on what all other passes leave of it
        whole = (plain["budget"], plain["passes"]) if step.shares_budget() else ()
        last = fingerprint(last, parameters, learned, *whole)
        stages.append(Stage(step.name, last))
    return stages


def export_model(place: Place, loaded: Loaded, applied: Applied) -> Artefact:
    """The artefact among the run's stages, without its scores."""
    import torch

    recipe, store = place.recipe, place.stages
    lock = {
        "recipe": dump(recipe),
        "seed": recipe.seed,
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "weights_sha256": loaded.weights_sha256,
        **{f"{name}_sha256": sha256 for name, sha256 in loaded.data_sha256.items()},
    }
    stage = Stage("export", fingerprint(applied.fingerprint, as_json(lock), place.decided_by["code"]))
    done = store.finished(stage)
    if done is None:
        with store.writing(stage) as directory:
            loaded.job.export(applied.model, directory / "artefact", lock)
        done = store.finished(stage)
        assert done is not None  # it was just written
    return open_artefact(done / "artefact")


def finish(
    place: Place,
    staged: Artefact,
    loaded: Loaded,
    baseline: Row | None,
    reporter: Reporter,
    *,
    is_float: bool = False,
) -> Row:
    """Measure the artefact, write its scores into it, move it to its place, and return its row, kept beside it.

    baseline  the row of the float model, to compare with.
    is_float  whether this is the float model itself.
    """
    recipe = place.recipe
    reference = None if baseline is None else open_artefact(baseline.artefact)
    measured = loaded.job.measure(staged, reference, place.directory, reporter)

    def tell_scores(directory: Path) -> None:
        copy = Artefact(directory, staged.manifest)
        write_card(directory, loaded.job.card, copy.manifest, measured.scores)
        with_scores(copy, measured.scores, None if reference is None else reference.model_sha256)

    replace_directory(staged.directory, place.artefact, tell_scores)
    artefact = open_artefact(place.artefact)
    measured = replace(
        measured,  # but for the scores, which its manifest holds only since
        size_bytes=artefact.size_bytes,
        gzip_bytes=artefact.gzip_bytes(),
        files=artefact.file_bytes,
    )
    row = row_of(
        measured,
        artefact,
        name=recipe.name,
        task=recipe.task.name,
        command=place.command,
        is_float=is_float,
        misses=tuple(misses(recipe.budget, measured, {} if baseline is None else baseline.scores)),
    )
    write_row(row, place.directory / ROW)
    compared = None if is_float else "" if baseline is None else baseline.name
    record = {**place.decided_by, "float": compared}
    write_text(place.directory / RECORD, json.dumps(record, indent=2, sort_keys=True) + "\n")
    return row


@contextmanager
def at_work(place: Place, reporter: Reporter) -> Iterator[None]:
    """Scope: no other process works there, and the log tells what happens, errors with their traceback too."""
    with locked(place.directory), reporter.logging_to(place.log):
        reporter.note(place.command)
        try:
            yield
        except BaseException:
            reporter.note(traceback.format_exc())
            raise
