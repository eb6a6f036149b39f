"""export_gguf(recipe): a model after its recipe's passes, as one file for llama.cpp instead of a measured artefact.

The passes are the stages of the run of the same recipe: those that it has left are not done again, and those that are
done here are left, for the run and for other exports.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compress.applying import deterministic
from compress.errors import ModelError, require
from compress.exporter.gguf import AUTO, WrittenGguf, check_gguf, write_gguf
from compress.jobs.translation import TranslationJob
from compress.pipeline import at_work, compress_model, float_baseline, load
from compress.place import Place
from compress.progress import Reporter
from compress.recipe import Recipe, TranslationSpec


def check_recipe(recipe: Recipe) -> None:
    """Raises ModelError for a recipe of another task than translation."""
    if not isinstance(recipe.task, TranslationSpec):
        raise ModelError(f"{recipe.name}: its task is {recipe.task.name}: GGUF holds models that generate text")


def default_file(recipe: Recipe, runs: Path, type: str) -> Path:
    """Beside the run's artefact: runs/NAME/NAME.gguf, or NAME-Q4_0.gguf where a type was asked for."""
    asked = "" if type == AUTO else f"-{type}"
    return runs / recipe.name / f"{recipe.name}{asked}.gguf"


def export_gguf(
    place: Place, path: Path, *, type: str, force: bool, allow_code: bool, reporter: Reporter
) -> WrittenGguf:
    """Load the model, apply the passes, and write `path`; see `compress.exporter.gguf.write_gguf`.

    Raises CompressError for whatever is wrong with the recipe, the model or the data, or a file that exists; what can
    be told of the model before its passes is told then.
    """
    check_recipe(place.recipe)
    count = len(place.recipe.passes) + 2
    with at_work(place, reporter):
        require("torch", "compressing a model", "torch")
        with reporter.stage("load", 1, count):
            loaded = load(place.recipe, allow_code)
            assert isinstance(loaded.job, TranslationJob)  # it is of a TranslationSpec
            source = loaded.job.source
            check_gguf(source, path, type=type, force=force)
        shares = any(step.shares_budget() for step in place.recipe.passes)
        baseline = float_baseline(place, loaded, reporter) if shares else None
        with deterministic():
            last = compress_model(place, loaded, baseline, reporter, first=2, count=count)
        with reporter.stage("write", count, count):
            ready = replace(source, model=last.model)
            return write_gguf(ready, path, type=type, name=place.recipe.name, force=force, progress=reporter)
