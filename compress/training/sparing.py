"""Which steps of a sampling are best spared: of a generator by the adjoint of its sampling, of a pipeline that makes
images of texts, whose gradients would take too long, by what its UNet gives at all steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress.models.pipelines.sampling import Sampling, noted_in, sampling_of
from compress.models.pipelines.walk import Walk
from compress.numerics.reuse import best_steps, error_by_moves, error_by_outputs, even_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from compress.models.pipelines.schedulers import Scheduler
    from compress.tasks.base import Float

Steps = tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """steps: to evaluate.  error, even: mean squares by which images end elsewhere, with these and with as many even
    ones, found as `by` tells."""

    steps: Steps
    error: float
    even: float
    by: str


def of_generator(model: nn.Module, steps: int, num_samples: int, seed: int, progress: Callable[..., Any]) -> Choice:
    """Of a generator, as far as a gradient through its sampling tells."""
    from compress.models.generators import noted
    from compress.training.adjoint import moves_of_steps
    from compress.training.flow_targets import guided_by

    config, plan = noted.config_of(model), noted.sampling_of(model)
    velocity = model if plan.guidance_scale is None else guided_by(model, plan.guidance_scale)
    draw = torch.Generator().manual_seed(seed)
    size = config.sample_size
    noise = torch.randn((num_samples, config.in_channels, size, size), generator=draw)
    classes = torch.arange(num_samples) % config.num_classes
    moves = moves_of_steps(velocity, noise, classes, torch.from_numpy(plan.sigmas()), draw, progress)
    sigmas = plan.sigmas().astype(np.float64)

    def error_of(each: Steps) -> float:
        return error_by_moves(moves, sigmas, each)

    found, even = best_steps(plan.num_steps, steps, error_of), even_steps(plan.num_steps, steps)
    return Choice(found, error_of(found), error_of(even), "by the gradient")


def of_pipeline(
    model: Any,
    scheduler: Scheduler,
    steps: int,
    samples: list[tuple[Tensor, Tensor]],
    progress: Callable[..., Any],
) -> Choice:
    """Of a pipeline: chosen as if no output of the UNet depended on forecasts; tried, and even steps kept where these
    end nearer.

    samples  (input_ids [1, L], noise [1, C, h, w]) of each image.
    """
    plan = sampling_of(model)
    count, walks = plan.num_steps, _walks(model, scheduler, plan, samples)
    outputs = np.stack([_outputs(walk, progress) for walk in walks]).reshape(len(samples), count, -1)
    last = [walk.sample for walk in walks]
    products = np.einsum("nid,njd->ij", outputs, outputs) / (len(samples) * outputs.shape[2])
    shares, places = scheduler.shares(count), scheduler.begin(count).timesteps.astype(np.float64)
    even = even_steps(count, steps)
    chosen = best_steps(count, steps, lambda each: error_by_outputs(products, shares, places, each))

    def tried(evaluated: Steps) -> float:
        walks = _walks(model, scheduler, replace(plan, evaluated=evaluated), samples)
        for walk in walks:
            _outputs(walk, progress)
        return float(np.mean([np.square(walk.sample - end) for walk, end in zip(walks, last, strict=True)]))

    errors = {each: tried(each) for each in dict.fromkeys((chosen, even))}
    best = min(errors, key=lambda each: errors[each])
    return Choice(best, errors[best], errors[even], "as tried")


def _walks(model: Any, scheduler: Scheduler, plan: Sampling, samples: list[tuple[Tensor, Tensor]]) -> list[Walk]:
    """One of each sample, at its beginning."""
    negative = torch.tensor([noted_in(model).negative_ids])

    def walk(ids: Tensor, noise: Tensor) -> Walk:
        with torch.no_grad():
            states = model.text_encoder(torch.cat([negative, ids]) if plan.is_guided else ids)

        def unet(latents: Float, timesteps: Float) -> Float:
            with torch.no_grad():
                found: Float = model.unet(torch.from_numpy(latents), torch.from_numpy(timesteps), states).numpy()
            return found

        return Walk(scheduler, plan, noise.numpy(), unet)

    return [walk(*sample) for sample in samples]


def _outputs(walk: Walk, progress: Callable[..., Any]) -> NDArray[np.float64]:
    """[steps, …]: what each step is made with, once the walk has come to its end."""
    found = []
    for number in progress(range(len(walk)), "steps", len(walk)):
        walk.step(number)
        found.append(walk.output.astype(np.float64))
    return np.stack(found)


def samples_of(batches: Callable[[], Any], num_samples: int) -> list[tuple[Tensor, Tensor]]:
    """(input_ids [1, L], noise [1, C, h, w]) of the first calibration samples."""
    rows = ((ids[row : row + 1], sample[row : row + 1]) for ids, sample, _ in batches() for row in range(len(sample)))
    return list(islice(rows, num_samples))
