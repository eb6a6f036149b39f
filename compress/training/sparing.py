"""Which steps of a sampling are best spared: of a generator by the adjoint of its sampling, of a pipeline that makes
images of texts, whose gradients would take too long, by what its UNet gives at all steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress.numerics.reuse import Evaluated, best_steps, error_by_moves, error_by_outputs, even_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from compress.models.pipelines.schedulers import Scheduler

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
    from compress.models.generators.noted import config_of, sampling_of
    from compress.training.adjoint import moves_of_steps
    from compress.training.flow_targets import guided_by

    config, plan = config_of(model), sampling_of(model)
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
    from compress.models.pipelines.sampling import noted_in

    config = noted_in(model)
    count = config.num_inference_steps
    negative = torch.tensor([config.negative_ids])
    with torch.no_grad():
        guided = config.guidance_scale != 1
        states = [model.text_encoder(torch.cat([negative, ids]) if guided else ids) for ids, _ in samples]

    def made(evaluated: Steps) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The last latents [N, …], and what the UNet gave [N, evaluations, …]."""
        pairs = [
            _sampled(model, scheduler, text, noise.numpy(), evaluated, progress)
            for text, (_, noise) in zip(states, samples, strict=True)
        ]
        latents, outputs = zip(*pairs, strict=True)
        return np.stack(latents).astype(np.float64), np.stack(outputs).astype(np.float64)

    last, outputs = made(tuple(range(count)))
    flat = outputs.reshape(len(samples), count, -1)
    products = np.einsum("nid,njd->ij", flat, flat) / (flat.shape[0] * flat.shape[2])
    shares, places = scheduler.shares(count), scheduler.begin(count).timesteps.astype(np.float64)
    chosen = best_steps(count, steps, lambda each: error_by_outputs(products, shares, places, each))
    even = even_steps(count, steps)
    errors = {each: float(np.square(made(each)[0] - last).mean()) for each in (chosen, even)}
    best = min(errors, key=lambda each: errors[each])
    return Choice(best, errors[best], errors[even], "as tried")


def _sampled(
    model: Any,
    scheduler: Scheduler,
    states: Tensor,
    noise: NDArray[np.float32],
    evaluated: Steps,
    progress: Callable[..., Any],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The last latent of an image, and the guided outputs of its evaluated steps, as the runtime makes them."""
    from compress.models.pipelines.sampling import noted_in

    config = noted_in(model)
    way, known, outputs = scheduler.begin(config.num_inference_steps), Evaluated(), []
    sample = np.float32(way.scale) * noise
    for number in progress(range(len(way.timesteps)), "steps", len(way.timesteps)):
        place = float(way.timesteps[number])
        if number not in evaluated:
            sample = way.step(known.forecast(place), sample, number)
            continue
        given = torch.from_numpy(np.repeat(way.given(sample, number), len(states), axis=0))
        with torch.no_grad():
            found = model.unet(given, torch.full((len(states),), place), states).numpy()
        if len(states) == 2:
            without, output = np.split(found, 2)
            found = without + np.float32(config.guidance_scale) * (output - without)
        known.keep(place, found)
        outputs.append(found)
        sample = way.step(found, sample, number)
    return sample, np.stack(outputs)


def samples_of(batches: Callable[[], Any], num_samples: int) -> list[tuple[Tensor, Tensor]]:
    """(input_ids [1, L], noise [1, C, h, w]) of the first calibration samples."""
    rows = ((ids[row : row + 1], sample[row : row + 1]) for ids, sample, _ in batches() for row in range(len(sample)))
    return list(islice(rows, num_samples))
