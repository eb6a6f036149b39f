"""Jobs of `text_to_image`: from a recipe to its pipeline, the images that it makes, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.captions import open_captions
from compress.data.parallel import digest_of
from compress.errors import DataError, ModelError
from compress.exporter import Card
from compress.exporter.pipelines import export_pipeline, pipeline_bytes
from compress.models.denoisers.schedule import own_settings
from compress.models.denoisers.unet import shaped_inputs, stride
from compress.models.pipelines import loading
from compress.models.pipelines.sampling import PipelineConfig, sampling_of
from compress.models.pipelines.schedulers import open_scheduler
from compress.passes.base import Progress
from compress.recipe import Recipe, TextToImageSpec
from compress.report.sheet import SAMPLES, SHEET, draw_sheet, read_samples, write_samples
from compress.runtime.artefact import Artefact
from compress.runtime.graph import operators_of
from compress.runtime.machine import this_machine
from compress.runtime.measurement import Measurement, Runs, bytes_of
from compress.runtime.text_to_image import open_pipeline
from compress.runtime.text_to_image.measure import measure_pipeline, parts_of
from compress.runtime.text_to_image.prompts import Prompts
from compress.runtime.verify import Verification, verify_scores
from compress.tasks.base import Float, Scores
from compress.tasks.denoising import Denoising
from compress.tasks.text_to_image import ImagesOfTexts

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.source import ModelSource
    from compress.tasks.translation import Example
    from compress.training.examples import Examples

_PARITY_SAMPLES = 2
_LOADS = 1  # of a model of gigabytes
_NO_LABELS = "prompts have no images beside them: a pipeline is not trained here"


@dataclass(frozen=True)
class TextToImageJob:
    """A Job: a pipeline, and the task that scores it.

    latent_shape  (C, h, w).
    """

    source: loading.LoadedPipeline
    task: ImagesOfTexts
    recipe: Recipe
    latent_shape: tuple[int, int, int]

    @property
    def model(self) -> nn.Module:
        model: nn.Module = self.source.model
        return model

    @property
    def card(self) -> Card:
        source = self.source
        return Card(source.description, source.random_weights, source.licence, task="text-to-image", whole=True)

    @property
    def translator(self) -> None:
        return None

    @property
    def num_evaluation(self) -> int:
        return self.task.num_images

    @property
    def num_calibration(self) -> int:
        return len(calibration_of(self.recipe))

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        """(input_ids, sample, timestep): prompts, with drawn latents, at timesteps spread over the schedule."""
        texts, calibration = calibration_of(self.recipe), self.recipe.calibration
        return self._drawn(texts, calibration.batch_size, calibration.seed, "calibration")

    def example(self) -> tuple[Tensor, ...]:
        return next(self._drawn(self.task.texts[:_PARITY_SAMPLES], _PARITY_SAMPLES, self.task.seed, "evaluation"))

    def _drawn(self, texts: Sequence[str], batch_size: int, seed: int, kind: str) -> Iterator[tuple[Tensor, ...]]:
        """A sample a text."""
        import torch

        inputs = shaped_inputs(self.latent_shape, (1, 1))
        drawn = Denoising(inputs, self.source.schedule.timesteps(len(texts)), seed, kind)
        numbers = self._numbers(texts)
        for row, (sample, timestep, _) in zip(count(0, batch_size), drawn.batches(batch_size), strict=False):
            yield numbers[row : row + len(sample)], torch.from_numpy(sample), torch.from_numpy(timestep)

    def _numbers(self, texts: Sequence[str]) -> Tensor:
        """int64 [N, L].  Raises DataError for a text that is too long."""
        import torch
        from tokenizers import Tokenizer

        loaded = self.source.tokenizer
        longest = self.source.model.text_encoder.config.max_position_embeddings
        prompts = Prompts(Tokenizer.from_str(loaded.backend_tokenizer.to_str()), loaded.pad_token_id, longest)
        return torch.from_numpy(np.concatenate([prompts(text) for text in texts])).long()

    def examples(self, dataset: str | Sequence[Example] | None, augment: tuple[str, ...] = ()) -> Examples:
        raise ModelError(_NO_LABELS)

    def corpus(self, dataset: str | None) -> Sequence[Example]:
        raise ModelError("prompts have no translations")

    def another(self, source: ModelSource, allow_code: bool) -> nn.Module:
        model: nn.Module = loading.load_pipeline(source).model
        return model

    def data_sha256(self) -> dict[str, str]:
        return {**fingerprints(self.recipe), "evaluation": self.task.fingerprint()}

    def decided_by(self) -> Any:
        model = self.source.model
        unet, vae = (own_settings(part.config) for part in (model.unet, model.vae_decoder))
        return [unet, vae, model.text_encoder.config.to_dict(), model.config.to_dict(), self.latent_shape]

    def export(self, model: nn.Module, directory: Path, lock: Mapping[str, Any]) -> Artefact:
        return export_pipeline(
            model,
            self.source.tokenizer,
            self.source.model.config.scheduler,
            sampling_of(model),
            self.example(),
            directory,
            target=self.recipe.device(),
            lock=lock,
            card=self.card,
        )

    @property
    def file_bytes(self) -> Callable[[nn.Module], int]:
        example, target = self.example(), self.recipe.device()
        return lambda model: pipeline_bytes(model, example, target)

    def measure(self, artefact: Artefact, reference: Artefact | None, keep: Path, progress: Progress) -> Measurement:
        evaluate = self.recipe.evaluate
        runs = Runs(pairs=evaluate.latency_runs, loads=_LOADS)
        speed = measure_pipeline(artefact, reference, evaluate.threads, runs, progress)
        graphs = [artefact.directory / name for name in artefact.model_files if name.endswith(".onnx")]
        parameters = int(artefact.manifest["model"]["parameters"])
        return Measurement(
            **speed,
            **bytes_of(artefact, reference),
            parameters=parameters,
            macs=None,
            operators=operators_of(graphs),
            effective_bits=8 * artefact.model_bytes / parameters,
            parts=parts_of(artefact),
            scores=scores_of(self.task, self.recipe.name, artefact, reference, keep, evaluate.threads, progress),
            machine=this_machine(evaluate.threads),
        )


def scores_of(
    task: ImagesOfTexts,
    name: str,
    artefact: Artefact,
    reference: Artefact | None,
    keep: Path | None,
    threads: int,
    progress: Progress,
) -> Scores:
    """How the artefact's images compare with the reference's; its images, and a sheet of them beside those of the
    reference, are kept in `keep` under `name`."""
    images = made_by(task, artefact, threads, progress)
    if keep is not None:
        write_samples(keep / SAMPLES, images, task.fingerprint())
    if reference is None:
        return task.score(images)
    before = samples_of(task, reference, threads, progress)
    if keep is not None:
        draw_sheet([("float", before), (name, images)], keep / SHEET)
    return {**task.score(images), **task.compare(images, before)}


def samples_of(task: ImagesOfTexts, artefact: Artefact, threads: int, progress: Progress) -> Float:
    """All images of the task: as the pipeline's run left them beside the row, or else made."""
    kept = read_samples(artefact.directory.parent / SAMPLES, task.fingerprint())
    return kept if kept is not None else made_by(task, artefact, threads, progress)


def made_by(task: ImagesOfTexts, artefact: Artefact, threads: int, progress: Progress) -> Float:
    """All images of the task."""
    pipeline = open_pipeline(artefact, threads)
    plan = pipeline.sampling.asked(task.num_steps, task.guidance_scale)
    return pipeline(task.texts, task.seeds, plan, task.negative_prompt, progress)


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """See `Kind`: of the prompts."""
    found = {"evaluation": open_captions(_spec(recipe).dataset).fingerprint()}
    if recipe.passes:
        found["calibration"] = digest_of(calibration_of(recipe))
    return found


def check_dataset(recipe: Recipe, section: str) -> None:
    """See `Kind`."""
    open_captions(_spec(recipe).dataset if section == "task" else recipe.calibration.dataset)


def check_examples(recipe: Recipe, dataset: str) -> None:
    """See `Kind`."""
    raise DataError(_NO_LABELS)


def layer_names(recipe: Recipe, allow_code: bool) -> Mapping[str, nn.Module]:
    """See `Kind`."""
    return loading.layer_names(recipe.model)


def load(recipe: Recipe, allow_code: bool) -> TextToImageJob:
    """See `Kind`."""
    from compress.models.pipelines.scheduler import sampling_config

    spec, where = _spec(recipe), recipe.model.source
    source = loading.load_pipeline(recipe.model)
    assert source.schedule.config is not None  # a pipeline without one is not loaded
    scheduler = sampling_config(source.schedule.config, spec.scheduler, where)
    open_scheduler(scheduler, where).begin(spec.num_steps)
    size, latent_shape = _sizes(recipe, source)
    task = task_of(recipe, size, scheduler["_class_name"])
    job = TextToImageJob(source, task, recipe, latent_shape)
    numbers = job._numbers([*task.texts, task.negative_prompt])
    negative = numbers[-1].tolist()
    source.model.config = PipelineConfig(task.num_steps, task.guidance_scale, negative, scheduler)
    return job


def verify(
    artefact: Artefact, recipe: Recipe, dataset: str | None, reference: Path | None, threads: int, progress: Progress
) -> Verification:
    """See `Kind`."""
    task = task_of_artefact(artefact, recipe, dataset)

    def rescore(opened: Artefact, beside: Artefact | None) -> Scores:
        return scores_of(task, recipe.name, opened, beside, None, threads, progress)

    return verify_scores(artefact.directory, rescore, task.fingerprint(), float_artefact=reference)


def task_of(recipe: Recipe, image_size: int, scheduler: str, dataset: str | None = None) -> ImagesOfTexts:
    """The recipe's task, on its own prompts or on those of `dataset`, for images of that size."""
    spec = _spec(recipe)
    return ImagesOfTexts(
        open_captions(dataset or spec.dataset).texts,
        spec.num_images,
        spec.num_steps,
        spec.guidance_scale,
        spec.negative_prompt,
        image_size,
        scheduler,
        spec.seed,
        spec.lpips,
    )


def task_of_artefact(artefact: Artefact, recipe: Recipe, dataset: str | None = None) -> ImagesOfTexts:
    """The recipe's task, for the images that the artefact makes."""
    pipeline = open_pipeline(artefact)
    return task_of(recipe, pipeline.image_size, pipeline.scheduler.class_name, dataset)


def calibration_of(recipe: Recipe) -> list[str]:
    """The prompts of the samples that passes learn from, in turn; none of them the task's.  Raises DataError."""
    wanted, dataset = recipe.calibration.num_samples, recipe.calibration.dataset
    if wanted is None:
        raise DataError("calibration.num_samples is null: latents are drawn, as many as wanted: write a number")
    scored = set(open_captions(_spec(recipe).dataset).texts)
    texts = [text for text in open_captions(dataset).texts if text not in scored]
    if not texts:
        raise DataError(
            f"calibration.dataset '{dataset}' holds no prompt that the scores are not taken on: name others"
        )
    return [texts[number % len(texts)] for number in range(wanted)]


def _sizes(recipe: Recipe, source: loading.LoadedPipeline) -> tuple[int, tuple[int, int, int]]:
    """Height and width of an image, in pixels, and the latents' (C, h, w).  Raises ModelError for a size that the model
    does not take."""
    unet, scale = source.model.unet, source.model.vae_decoder.scale
    own = unet.config.sample_size
    size, step = _spec(recipe).image_size, stride(unet.config) * scale
    size = own * scale if size is None and isinstance(own, int) else size
    if size is None or size % step:
        raise ModelError(
            f"image_size is {size}: images of {recipe.model.source} are square, of a size that {step} divides: "
            f"write task.text_to_image.image_size: {step * 8}"
        )
    return size, (unet.config.in_channels, size // scale, size // scale)


def _spec(recipe: Recipe) -> TextToImageSpec:
    assert isinstance(recipe.task, TextToImageSpec)  # `kind_of` chose this module by it
    return recipe.task
