"""Jobs of `image_classification`: from a recipe to its classifier, its photographs and its figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.images import ImageDataset, open_images
from compress.data.preprocess import Preprocessor
from compress.errors import ArtefactError, ModelError
from compress.exporter import Card, export
from compress.jobs import recipe_of
from compress.passes.base import Progress
from compress.recipe import ImageClassificationSpec, Recipe
from compress.runtime.artefact import Artefact
from compress.runtime.measure import measure
from compress.runtime.measurement import Measurement, Runs
from compress.runtime.verify import Verification
from compress.runtime.verify import verify as verify_artefact
from compress.tasks.image_classification import ImageClassification

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.layers import Layer
    from compress.models.loaded import LoadedModel
    from compress.models.source import ModelSource
    from compress.tasks.translation import Example
    from compress.training.examples import Examples

_PARITY_INPUTS = 8  # real inputs on which the artefact and the torch model are compared after export


@dataclass(frozen=True)
class ImageJob:
    """A Job: a classifier, and the task that scores it."""

    source: LoadedModel
    task: ImageClassification
    recipe: Recipe

    @property
    def model(self) -> nn.Module:
        return self.source.model

    @property
    def card(self) -> Card:
        return Card(self.source.description, self.source.random_weights, self.source.licence)

    @property
    def translator(self) -> None:
        return None

    @property
    def num_evaluation(self) -> int:
        return len(self.task.evaluation_images)

    @property
    def num_calibration(self) -> int:
        return len(self.task.calibration_images)

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        import torch

        for batch in self.task.calibration():
            yield (torch.from_numpy(batch.inputs),)

    def corpus(self, dataset: str | None) -> Sequence[Example]:
        raise ModelError("images have no texts")

    def another(self, source: ModelSource, allow_code: bool) -> nn.Module:
        from compress.models.load import load_model

        return load_model(source, allow_code=allow_code).model

    def example(self) -> tuple[Tensor, ...]:
        import torch

        return (torch.from_numpy(next(self.task.evaluation()).inputs),)

    def examples(self, dataset: str | Sequence[Any] | None, augment: tuple[str, ...] = ()) -> Examples:
        from compress.jobs.image_examples import ImageExamples

        assert dataset is None or isinstance(dataset, str)  # given texts are a translator's
        text = dataset or self.recipe.calibration.dataset
        images = open_images(text, num_classes=self.task.num_classes, labels=self.source.labels)
        return ImageExamples(images, self.source.preprocessor, augment)

    def data_sha256(self) -> dict[str, str]:
        found = {"evaluation": self.task.evaluation_images.fingerprint()}
        if self.recipe.passes:
            found["calibration"] = self.task.calibration_images.fingerprint()
        return found | _trained_on(self.recipe, self.task.num_classes, self.source.labels)

    def decided_by(self) -> Any:
        return asdict(self.source.preprocessor)

    def export(self, model: nn.Module, directory: Path, lock: Mapping[str, Any]) -> Artefact:
        inputs = next(self.task.evaluation()).inputs[:_PARITY_INPUTS]
        return export(
            model,
            inputs[:1],
            directory,
            target=self.recipe.device(),
            preprocessor=self.source.preprocessor,
            labels=self.source.labels,
            config=self.source.config,
            lock=lock,
            card=self.card,
            verify_inputs=[inputs],
        )

    @property
    def file_bytes(self) -> Callable[[nn.Module], int]:
        from compress.exporter.size import file_bytes

        return lambda model: file_bytes(model, (self.example()[0][:1],), self.recipe.device())

    def measure(self, artefact: Artefact, reference: Artefact | None, keep: Path, progress: Progress) -> Measurement:
        evaluate = self.recipe.evaluate
        runs = Runs(pairs=evaluate.latency_runs, batch_size=evaluate.throughput_batch_size)
        return measure(
            artefact, self.task, float_artefact=reference, threads=evaluate.threads, runs=runs, progress=progress
        )


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """See `Kind`."""
    found = {"evaluation": open_images(_spec(recipe).dataset).fingerprint()}
    if recipe.passes:
        found["calibration"] = _calibration_images(recipe).fingerprint()
    return found | _trained_on(recipe)


def _trained_on(recipe: Recipe, num_classes: int | None = None, labels: Sequence[str] = ()) -> dict[str, str]:
    """sha256 of the images that passes are trained on, by the pass and its number."""
    found = {}
    for number, step in enumerate(recipe.passes, 1):
        for dataset in step.trains_on():
            images = open_images(dataset or recipe.calibration.dataset, num_classes=num_classes, labels=labels)
            found[f"{step.name}.{number}"] = images.fingerprint()
    return found


def check_dataset(recipe: Recipe, section: str) -> None:
    """See `Kind`."""
    check_examples(recipe, _spec(recipe).dataset if section == "task" else recipe.calibration.dataset)


def check_examples(recipe: Recipe, dataset: str) -> None:
    """See `Kind`.  The first image is opened: a set that lists what it does not hold is found out here."""
    next(iter(open_images(dataset)))


def layer_names(recipe: Recipe, allow_code: bool) -> dict[str, Layer]:
    """See `Kind`."""
    from compress.models import load

    return load.layer_names(recipe.model, allow_code=allow_code)


def load(recipe: Recipe, allow_code: bool) -> ImageJob:
    """See `Kind`."""
    from compress.models.load import load_model

    source = load_model(recipe.model, allow_code=allow_code)
    # The model's own preprocessing, with what the recipe overrides.
    source = replace(source, preprocessor=replace(source.preprocessor, **_spec(recipe).preprocess.given()))
    return ImageJob(source, task_of(recipe, source.preprocessor, source.labels), recipe)


def verify(
    artefact: Artefact, recipe: Recipe, dataset: str | None, reference: Path | None, threads: int, progress: Progress
) -> Verification:
    """See `Kind`."""
    task = task_of_artefact(artefact, dataset)
    if not recipe.passes:  # of a float model: its recipe names no calibration, and the default's labels may not fit
        task = replace(task, calibration_dataset=task.dataset)
    return verify_artefact(artefact.directory, task, float_artefact=reference, threads=threads, progress=progress)


def task_of(recipe: Recipe, preprocessor: Preprocessor, labels: tuple[str, ...]) -> ImageClassification:
    """The recipe's task.  preprocessor: the artefact's.  labels: the model's, one a class."""
    spec = _spec(recipe)
    return ImageClassification(
        preprocessor,
        num_classes=len(labels),
        dataset=spec.dataset,
        calibration_dataset=recipe.calibration.dataset,
        calibration_num_samples=recipe.calibration.num_samples,
        calibration_seed=recipe.calibration.seed,
        batch_size=spec.batch_size,
        calibration_batch_size=recipe.calibration.batch_size,
        labels=labels,
    )


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


def _calibration_images(recipe: Recipe) -> ImageDataset:
    images = open_images(recipe.calibration.dataset)
    return images.sample(recipe.calibration.num_samples, recipe.calibration.seed)


def _spec(recipe: Recipe) -> ImageClassificationSpec:
    assert isinstance(recipe.task, ImageClassificationSpec)  # `kind_of` chose this module by it
    return recipe.task
