"""Jobs of `image_generation`: from a recipe to its generator, its images and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.images import open_images
from compress.errors import ModelError
from compress.exporter import Card
from compress.exporter.generators import export_generator
from compress.passes.base import Progress
from compress.recipe import ImageGenerationSpec, Recipe
from compress.report.sheet import SAMPLES, SHEET, draw_sheet, read_samples, write_samples
from compress.runtime.artefact import Artefact
from compress.runtime.graph import operators_of
from compress.runtime.images import open_generator
from compress.runtime.images.denoiser import INPUTS, OUTPUT
from compress.runtime.images.measure import measure_images
from compress.runtime.machine import this_machine
from compress.runtime.measurement import Measurement, Runs, bytes_of
from compress.runtime.verify import Verification, verify_scores
from compress.tasks.base import Float, Scores
from compress.tasks.generation import ImageGeneration
from compress.tasks.image_features import weights_sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.generators.loading import LoadedGenerator
    from compress.models.source import ModelSource
    from compress.tasks.translation import Example
    from compress.training.examples import Examples

_PARITY_IMAGES = 8


@dataclass(frozen=True)
class GenerationJob:
    """A Job: a generator, and the task that scores it."""

    source: LoadedGenerator
    task: ImageGeneration
    recipe: Recipe

    @property
    def model(self) -> nn.Module:
        return self.source.model

    @property
    def card(self) -> Card:
        source = self.source
        trained = any(step.name == "train.flow" for step in self.recipe.passes)
        random = source.random_weights and not trained
        return Card(source.description, random, source.licence, task="unconditional-image-generation")

    @property
    def translator(self) -> None:
        return None

    @property
    def num_evaluation(self) -> int:
        return self.task.num_images

    @property
    def num_calibration(self) -> int:
        calibration = self.recipe.calibration
        return len(open_images(calibration.dataset).sample(calibration.num_samples, calibration.seed))

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        """Real images, noised as the model meets them: (x [N, C, H, W], timestep [N], class [N]), each image at one of
        the sigmas that the model is evaluated at as it is now, guided ones also without their class."""
        from compress.models.generators.noted import sampling_of
        from compress.training.flowing import FlowExamples, sigmas_among

        calibration, plan = self.recipe.calibration, sampling_of(self.model)
        images = self._images(calibration.dataset, (), calibration.num_samples)
        dropout = 0.0 if plan.guidance_scale is None else 0.5
        examples = FlowExamples(images, sigmas_among(plan.sigmas()[list(plan.steps)]), self.task.num_classes, dropout)
        for start in range(0, len(images), calibration.batch_size):
            rows = range(start, min(start + calibration.batch_size, len(images)))
            yield examples.batch(rows, np.random.default_rng((calibration.seed, start))).inputs

    def example(self) -> tuple[Tensor, ...]:
        return next(self.batches())

    def examples(self, dataset: str | Sequence[Example] | None, augment: tuple[str, ...] = ()) -> Examples:
        assert dataset is None or isinstance(dataset, str)  # given texts are a translator's
        return self._images(dataset or self.recipe.calibration.dataset, augment, None)

    def _images(self, dataset: str, augment: tuple[str, ...], num_samples: int | None) -> Examples:
        from compress.jobs.pixel_examples import PixelExamples

        images = open_images(dataset, num_classes=self.task.num_classes)
        images = images.sample(num_samples, self.recipe.calibration.seed)
        return PixelExamples(images, self.task.sample_size, self.task.in_channels, augment)

    def corpus(self, dataset: str | None) -> Sequence[Example]:
        raise ModelError("images have no texts")

    def another(self, source: ModelSource, allow_code: bool) -> nn.Module:
        from compress.models.generators.loading import load_generator

        return load_generator(source).model

    def data_sha256(self) -> dict[str, str]:
        return {**fingerprints(self.recipe), "evaluation": self.task.fingerprint()}

    def decided_by(self) -> Any:
        return self.source.model.config.to_dict()

    def export(self, model: nn.Module, directory: Path, lock: Mapping[str, Any]) -> Artefact:
        return export_generator(
            model,
            tuple(each[:_PARITY_IMAGES] for each in self.example()),
            directory,
            target=self.recipe.device(),
            labels=self.source.labels,
            lock=lock,
            card=self.card,
        )

    @property
    def file_bytes(self) -> Callable[[nn.Module], int]:
        from compress.exporter.graph import Signature
        from compress.exporter.size import file_bytes

        example = tuple(each[:1] for each in self.example())
        return lambda model: file_bytes(model, example, self.recipe.device(), Signature(INPUTS, OUTPUT))

    def measure(self, artefact: Artefact, reference: Artefact | None, keep: Path, progress: Progress) -> Measurement:
        evaluate = self.recipe.evaluate
        runs = Runs(pairs=evaluate.latency_runs, batch_size=evaluate.throughput_batch_size)
        speed = measure_images(artefact, reference, evaluate.threads, runs, progress)
        scores = scores_of(self.task, self.recipe, artefact, reference, keep, evaluate.threads, progress)
        return Measurement(
            latency_ms_p50=speed.image_ms_p50,
            latency_ms_p95=speed.image_ms_p95,
            items_per_second=speed.images_per_second,
            latency_ratio=speed.ratio,
            energy_joules=None,
            energy_note="not measured for generators",
            evaluations=speed.evaluations,
            **bytes_of(artefact, reference),
            parameters=int(artefact.manifest["model"]["parameters"]),
            macs=None,
            operators=operators_of([artefact.model_path]),
            effective_bits=8 * artefact.model_bytes / int(artefact.manifest["model"]["parameters"]),
            load_ms=speed.load_ms,
            rss_after_load_bytes=speed.rss_after_load_bytes,
            peak_rss_bytes=speed.peak_rss_bytes,
            scores=scores,
            machine=this_machine(evaluate.threads),
        )


def scores_of(
    task: ImageGeneration,
    recipe: Recipe,
    artefact: Artefact,
    reference: Artefact | None,
    keep: Path | None,
    threads: int,
    progress: Progress,
) -> Scores:
    """The artefact's scores and, with a reference, how they compare; its images, and a sheet of some beside those of
    the reference, are kept in `keep`."""
    images = made_by(task, recipe, artefact, threads, progress)
    if keep is not None:
        write_samples(keep / SAMPLES, images, task.fingerprint())
    scores = task.score(images)
    if reference is None:
        return scores
    before = samples_of(task, recipe, reference, threads, progress)
    if keep is not None:
        draw_sheet([("float", before), (recipe.name, images)], keep / SHEET)
    return {**scores, **task.compare(images, before)}


def samples_of(task: ImageGeneration, recipe: Recipe, artefact: Artefact, threads: int, progress: Progress) -> Float:
    """All images of the task: as the generator's run left them beside the row, or else made."""
    kept = read_samples(artefact.directory.parent / SAMPLES, task.fingerprint())
    return kept if kept is not None else made_by(task, recipe, artefact, threads, progress)


def made_by(task: ImageGeneration, recipe: Recipe, artefact: Artefact, threads: int, progress: Progress) -> Float:
    """All images of the task."""
    size, generator = _spec(recipe).batch_size, open_generator(artefact, threads)
    starts = range(0, task.num_images, size)
    made = [
        generator(task.classes[start : start + size].tolist(), task.seeds[start : start + size])
        for start in progress(starts, "images", len(starts))
    ]
    return np.concatenate(made)


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """See `Kind`."""
    spec, calibration = _spec(recipe), recipe.calibration
    evaluation = open_images(spec.dataset).fingerprint()
    if spec.feature_weights is not None:
        evaluation = f"{evaluation}-{weights_sha256(spec.feature_weights)}"
    found = {"evaluation": evaluation}
    if recipe.passes:
        images = open_images(calibration.dataset).sample(calibration.num_samples, calibration.seed)
        found["calibration"] = images.fingerprint()
    for number, step in enumerate(recipe.passes, 1):
        for dataset in step.trains_on():
            found[f"{step.name}.{number}"] = open_images(dataset or calibration.dataset).fingerprint()
    return found


def check_dataset(recipe: Recipe, section: str) -> None:
    """See `Kind`."""
    check_examples(recipe, _spec(recipe).dataset if section == "task" else recipe.calibration.dataset)


def check_examples(recipe: Recipe, dataset: str) -> None:
    """See `Kind`."""
    next(iter(open_images(dataset)))


def layer_names(recipe: Recipe, allow_code: bool) -> Mapping[str, nn.Module]:
    """See `Kind`."""
    from compress.models.generators import loading

    return loading.layer_names(recipe.model)


def load(recipe: Recipe, allow_code: bool) -> GenerationJob:
    """See `Kind`."""
    from compress.models.generators.loading import load_generator

    source = load_generator(recipe.model)
    config = source.model.config
    task = task_of(recipe, config.num_classes, config.sample_size, config.in_channels)
    assert task.extractor  # raises DataError for features that are of other images
    return GenerationJob(source, task, recipe)


def verify(
    artefact: Artefact, recipe: Recipe, dataset: str | None, reference: Path | None, threads: int, progress: Progress
) -> Verification:
    """See `Kind`."""
    task = task_of_artefact(artefact, recipe)
    task = task if dataset is None else replace(task, dataset=dataset)

    def rescore(opened: Artefact, beside: Artefact | None) -> Scores:
        return scores_of(task, recipe, opened, beside, None, threads, progress)

    return verify_scores(artefact.directory, rescore, task.fingerprint(), float_artefact=reference)


def task_of_artefact(artefact: Artefact, recipe: Recipe) -> ImageGeneration:
    """The recipe's task, for the images that the artefact makes."""
    generator = open_generator(artefact)
    channels, height, _ = generator.denoiser.image_shape
    return task_of(recipe, len(generator.labels), height, channels)


def task_of(recipe: Recipe, num_classes: int, sample_size: int, in_channels: int) -> ImageGeneration:
    """The recipe's task, for images of that size."""
    spec = _spec(recipe)
    return ImageGeneration(
        num_classes,
        sample_size,
        in_channels,
        spec.dataset,
        spec.num_images,
        spec.features,
        spec.seed,
        spec.feature_weights,
        spec.lpips,
    )


def _spec(recipe: Recipe) -> ImageGenerationSpec:
    assert isinstance(recipe.task, ImageGenerationSpec)  # `kind_of` chose this module by it
    return recipe.task
