"""Jobs of `denoising`: from a recipe to its denoiser, what it makes of seeded latents, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.drawn import parse_drawn
from compress.errors import DataError, ModelError
from compress.exporter import Card
from compress.exporter.denoisers import denoiser_signature, export_denoiser
from compress.models.denoisers.loading import LoadedDenoiser, load_denoiser
from compress.models.denoisers.loading import layer_names as names_of
from compress.models.denoisers.schedule import Schedule, own_settings, read_schedule
from compress.passes.base import Progress
from compress.recipe import DenoisingSpec, Recipe
from compress.runtime.artefact import Artefact
from compress.runtime.denoising import open_denoiser
from compress.runtime.denoising.measure import measure_steps, parts_of
from compress.runtime.graph import operators_of
from compress.runtime.machine import this_machine
from compress.runtime.measurement import Measurement, Runs, bytes_of
from compress.runtime.verify import Verification, verify_scores
from compress.tasks.base import Float, Scores
from compress.tasks.denoising import Denoising

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.source import ModelSource
    from compress.tasks.translation import Example
    from compress.training.examples import Examples

_PARITY_SAMPLES = 2
_LOADS = 1  # of a model of gigabytes
_NO_LABELS = "latents that are drawn have no labels: a denoiser is not trained here"


@dataclass(frozen=True)
class DenoisingJob:
    """A Job: a denoiser, and the task that scores it."""

    source: LoadedDenoiser
    task: Denoising
    recipe: Recipe

    @property
    def model(self) -> nn.Module:
        model: nn.Module = self.source.model
        return model

    @property
    def card(self) -> Card:
        source = self.source
        part = source.architecture.folder
        return Card(source.description, source.random_weights, source.licence, task="text-to-image", part=part)

    @property
    def translator(self) -> None:
        return None

    @property
    def num_evaluation(self) -> int:
        return self.task.num_samples

    @property
    def num_calibration(self) -> int:
        return self._calibration.num_samples

    @property
    def _calibration(self) -> Denoising:
        return calibration_of(self.task, self.recipe, self.source.schedule)

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        """Drawn latents and text states (or classes), at timesteps spread over the schedule."""
        return _tensors(self._calibration, self.recipe.calibration.batch_size)

    def example(self) -> tuple[Tensor, ...]:
        return next(_tensors(self.task, _PARITY_SAMPLES))

    def examples(self, dataset: str | Sequence[Example] | None, augment: tuple[str, ...] = ()) -> Examples:
        raise ModelError(_NO_LABELS)

    def corpus(self, dataset: str | None) -> Sequence[Example]:
        raise ModelError("latents have no texts")

    def another(self, source: ModelSource, allow_code: bool) -> nn.Module:
        model: nn.Module = load_denoiser(source).model
        return model

    def data_sha256(self) -> dict[str, str]:
        found = {"evaluation": self.task.fingerprint()}
        return {**found, "calibration": self._calibration.fingerprint()} if self.recipe.passes else found

    def decided_by(self) -> Any:
        return own_settings(self.source.model.config)

    def export(self, model: nn.Module, directory: Path, lock: Mapping[str, Any]) -> Artefact:
        target = self.recipe.device()
        return export_denoiser(model, self.source, self.example(), directory, target=target, lock=lock, card=self.card)

    @property
    def file_bytes(self) -> Callable[[nn.Module], int]:
        from compress.exporter.size import file_bytes

        example = tuple(each[:1] for each in self.example())
        target = self.recipe.device()
        signature = denoiser_signature(self.source.architecture)
        return lambda model: file_bytes(model, example, target, signature, keep_codes=True)

    def measure(self, artefact: Artefact, reference: Artefact | None, keep: Path, progress: Progress) -> Measurement:
        evaluate = self.recipe.evaluate
        runs = Runs(pairs=evaluate.latency_runs, loads=_LOADS)
        speed = measure_steps(artefact, reference, evaluate.threads, runs, progress)
        parameters = int(artefact.manifest["model"]["parameters"])
        return Measurement(
            **speed,
            energy_joules=None,
            energy_note="not measured for denoisers",
            **bytes_of(artefact, reference),
            parameters=parameters,
            macs=None,
            operators=operators_of([artefact.model_path]),
            effective_bits=8 * artefact.model_bytes / parameters,
            parts=parts_of(artefact),
            scores=scores_of(self.task, artefact, reference, evaluate.threads, progress),
            machine=this_machine(evaluate.threads),
        )


def scores_of(
    task: Denoising, artefact: Artefact, reference: Artefact | None, threads: int, progress: Progress
) -> Scores:
    """How the artefact's noise compares with the reference's; nothing without one."""
    if reference is None:
        return {}
    return task.compare(*(made_by(task, each, threads, progress) for each in (artefact, reference)))


def made_by(task: Denoising, artefact: Artefact, threads: int, progress: Progress) -> Float:
    """The noise of all samples, one after another."""
    graph, count = open_denoiser(artefact, threads), task.num_samples
    return np.concatenate([graph(*task.sample(number)) for number in progress(range(count), "samples", count)])


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """See `Kind`: what the samples are drawn from, as far as the recipe alone tells."""
    spec, calibration = _spec(recipe), recipe.calibration
    found = {"evaluation": f"{spec.num_samples} drawn from {spec.seed}, {spec.sample_size}, {spec.num_tokens} tokens"}
    if recipe.passes:
        found["calibration"] = f"{calibration.num_samples} drawn from {calibration.seed}"
    return found


def check_dataset(recipe: Recipe, section: str) -> None:
    """See `Kind`: what is drawn can be had."""


def check_examples(recipe: Recipe, dataset: str) -> None:
    """See `Kind`."""
    raise DataError(_NO_LABELS)


def layer_names(recipe: Recipe, allow_code: bool) -> Mapping[str, nn.Module]:
    """See `Kind`."""
    return names_of(recipe.model)


def load(recipe: Recipe, allow_code: bool) -> DenoisingJob:
    """See `Kind`."""
    source = load_denoiser(recipe.model)
    return DenoisingJob(source, task_of(recipe, source), recipe)


def verify(
    artefact: Artefact, recipe: Recipe, dataset: str | None, reference: Path | None, threads: int, progress: Progress
) -> Verification:
    """See `Kind`."""
    if dataset is not None:
        parse_drawn(dataset)
    task = task_of_artefact(artefact, recipe)

    def rescore(opened: Artefact, beside: Artefact | None) -> Scores:
        return scores_of(task, opened, beside, threads, progress)

    return verify_scores(artefact.directory, rescore, task.fingerprint(), float_artefact=reference)


def task_of(recipe: Recipe, source: LoadedDenoiser) -> Denoising:
    """The recipe's task, for latents that the model takes.  Raises ModelError for a size that it does not."""
    spec, config, known = _spec(recipe), source.model.config, source.architecture
    size, stride = spec.sample_size or config.get("sample_size", known.sample_size), known.stride(config)
    if not isinstance(size, int) or size % stride:
        raise ModelError(
            f"sample_size is {size}: latents of {recipe.model.source} are square, of a size that {stride} divides: "
            f"write task.denoising.sample_size: {stride * 8}"
        )
    inputs = known.inputs(config, size, spec.num_tokens, recipe.model.source)
    return Denoising(inputs, source.schedule.timesteps(spec.num_samples), spec.seed)


def task_of_artefact(artefact: Artefact, recipe: Recipe) -> Denoising:
    """The recipe's task, for the latents that the artefact takes."""
    spec = _spec(recipe)
    graph = open_denoiser(artefact)
    timesteps = read_schedule(artefact.directory, flows=graph.architecture.flows).timesteps(spec.num_samples)
    return Denoising(graph.inputs, timesteps, spec.seed)


def calibration_of(task: Denoising, recipe: Recipe, schedule: Schedule) -> Denoising:
    """Samples of the same sizes, none of them the task's."""
    calibration = recipe.calibration
    if calibration.num_samples is None:
        raise DataError("calibration.num_samples is null: samples of denoising are drawn: write a number")
    timesteps = schedule.timesteps(calibration.num_samples)
    return replace(task, timesteps=timesteps, seed=calibration.seed, kind="calibration")


def _tensors(task: Denoising, batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    import torch

    return (tuple(map(torch.from_numpy, batch)) for batch in task.batches(batch_size))


def _spec(recipe: Recipe) -> DenoisingSpec:
    assert isinstance(recipe.task, DenoisingSpec)  # `kind_of` chose this module by it
    return recipe.task
