"""From a recipe and its model, or from an artefact that holds a recipe, to the task that scores it.  No torch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from compress.data.preprocess import Preprocessor
from compress.errors import ArtefactError, CompressError
from compress.recipe import Recipe, parse
from compress.runtime.artefact import Artefact
from compress.tasks.image_classification import ImageClassification

if TYPE_CHECKING:
    from compress.models.loaded import LoadedModel


def task_of(recipe: Recipe, preprocessor: Preprocessor, labels: tuple[str, ...]) -> ImageClassification:
    """The recipe's task.  preprocessor: the artefact's.  labels: the model's, one a class."""
    return ImageClassification(
        preprocessor,
        num_classes=len(labels),
        dataset=recipe.task.dataset,
        calibration_dataset=recipe.calibration.dataset,
        calibration_num_samples=recipe.calibration.num_samples,
        calibration_seed=recipe.calibration.seed,
        batch_size=recipe.task.batch_size,
        calibration_batch_size=recipe.calibration.batch_size,
        labels=labels,
    )


def preprocessor_of(recipe: Recipe, loaded: LoadedModel) -> Preprocessor:
    """The model's own preprocessing, with what the recipe overrides."""
    return replace(loaded.preprocessor, **recipe.task.preprocess.given())


def task_of_artefact(artefact: Artefact, dataset: str | None = None) -> ImageClassification:
    """The task that an artefact's recipe scored it with, as its own files say; `dataset` in place of the recipe's.

    Raises ArtefactError if its files do not say it.
    """
    recipe = recipe_of(artefact)
    try:
        settings = json.loads((artefact.directory / "preprocessor_config.json").read_text(encoding="utf-8"))
        names = json.loads((artefact.directory / "config.json").read_text(encoding="utf-8"))["id2label"]
        labels = tuple(names[str(number)] for number in range(len(names)))
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{artefact.directory}: its preprocessing or labels cannot be read: {error}") from error
    task = task_of(recipe, Preprocessor.from_hugging_face(settings), labels)
    return task if dataset is None else replace(task, dataset=dataset)


def recipe_of(artefact: Artefact) -> Recipe:
    """The recipe that made the artefact.  Raises ArtefactError if its manifest holds none that this version reads."""
    plain = artefact.manifest["lock"].get("recipe")
    if not isinstance(plain, dict):
        raise ArtefactError(f"{artefact.directory}: its compress.json holds no recipe")
    try:
        return parse(plain, check_files=False)
    except CompressError as error:
        raise ArtefactError(f"{artefact.directory}: the recipe in its compress.json: {error}") from error
