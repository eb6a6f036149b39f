"""cache.steps: few evaluations, images near those of all steps, the artefact makes them as torch does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.applying import apply_one, keep_promises
from compress.errors import ModelError, PromiseBroken
from compress.exporter.generators import export_generator
from compress.models.generators.noted import sampling_of
from compress.models.generators.sampling import Sampling
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.numerics.flow import euler_step
from compress.numerics.reuse import error_by_moves, errors_of_forecasts
from compress.passes import CacheSteps, DistillGuidance, DistillSteps, QuantizeWeights
from compress.passes.base import silent
from compress.runtime.images import open_generator
from compress.training.adjoint import moves_of_steps
from tests.counting import counted
from tests.generating import FEW, LABELS, context, inputs, tiny

pytest.importorskip("sklearn")


def test_the_artefact_evaluates_few_steps_and_comes_near_all_of_them(tmp_path: Path) -> None:
    model = apply_one(CacheSteps(8), tiny(num_steps=20), context())
    export_generator(model, inputs(), tmp_path / "cached", target="x86-vnni", labels=LABELS)
    cached = open_generator(tmp_path / "cached", 1)
    assert cached.sampling.num_steps == 20
    assert cached.sampling.num_evaluations == 16

    classes, seeds = list(range(10)), list(range(10))
    images = cached(classes, seeds, dataclasses.replace(cached.sampling, evaluated=None))
    longer = cached(classes, seeds, Sampling(8, 2.0))
    denoiser = counted(cached, "denoiser")
    found = cached(classes, seeds)
    assert denoiser.calls == 8
    assert np.square(found - images).mean() < 0.5 * np.square(longer - images).mean()


def test_the_gradient_is_exact_where_velocities_do_not_depend_on_images() -> None:
    plan = Sampling(6)
    curve = torch.tensor([0.3, -1.0, 2.0, 0.5, 1.5, -0.7])

    def velocity(x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        step = (6 - timestep[0] / 1000 * 6).round().long()
        return curve[step] * torch.ones_like(x) + 0 * x

    draw, sigmas = torch.Generator().manual_seed(0), torch.from_numpy(plan.sigmas())
    moves = moves_of_steps(velocity, torch.zeros(500, 1, 2, 2), torch.zeros(500).long(), sigmas, draw, silent)
    steps = (0, 2, 3)
    places = sigmas.double().numpy()
    wanted = np.diff(places) @ errors_of_forecasts(steps, places[:-1]) @ curve.double().numpy()
    # of 2,000 random directions in 4 pixels that all go wrong alike: wanted² · E (Σ u)² = 4 · wanted²
    assert error_by_moves(moves, places, steps) == pytest.approx(4 * wanted**2, rel=0.15)


def test_the_gradient_goes_through_later_steps() -> None:
    """v = x: each step multiplies by 1 − 1/4, so that what is added after step j arrives times 0.75^(3 − j)."""

    def velocity(x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        return x

    sigmas = torch.from_numpy(Sampling(4).sigmas())
    x = torch.ones(1, 1, 1, 1)
    moves = moves_of_steps(velocity, x, torch.zeros(1).long(), sigmas, torch.Generator().manual_seed(0), silent)
    shares = moves[:, :, 0] / moves[:, 3:, 0]
    np.testing.assert_allclose(shares, np.broadcast_to(0.75 ** np.array([3, 2, 1, 0]), (4, 4)), rtol=1e-5)
    assert euler_step(x, x, sigmas[:1], sigmas[1:2]).item() == pytest.approx(0.75)


def test_the_steps_are_kept_in_snapshots_and_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one, other, fresh = tiny(), tiny(), tiny()
    for model in (one, other):
        apply_one(CacheSteps(4), model, context())
    assert sampling_of(one) == sampling_of(other)
    save_snapshot(one, tmp_path)
    load_snapshot(fresh, tmp_path)
    assert sampling_of(fresh) == sampling_of(one)
    assert len(sampling_of(fresh).steps) == 4


def test_what_does_not_go_together_is_refused() -> None:
    model = tiny()
    with pytest.raises(ModelError, match="sampled in 8 steps, 8 are asked for"):
        apply_one(CacheSteps(8), model, context())
    apply_one(CacheSteps(4), model, context())
    with pytest.raises(ModelError, match="steps are spared already: name it once"):
        apply_one(CacheSteps(3), model, context())
    for step in (DistillGuidance(**FEW), DistillSteps(**FEW, steps=2)):
        with pytest.raises(ModelError, match=r"some of the model's steps are spared: put cache\.steps after it"):
            apply_one(step, model, context())
    keep_promises([CacheSteps(4)], model, context())
    with pytest.raises(PromiseBroken, match="evaluated at 4 steps, 3 were asked for"):
        keep_promises([CacheSteps(3)], model, context())
    quantized = tiny()
    apply_one(QuantizeWeights(num_bits=8), quantized, context())
    with pytest.raises(ModelError, match="put it before the quantize passes"):
        apply_one(CacheSteps(4), quantized, context())
    assert "the task is translation" in CacheSteps().task_problems("translation", ())[0]


@pytest.mark.parametrize("steps", [(), (1, 2), (0, 3, 2), (0, 0), (0, 8)])
def test_steps_that_cannot_be_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rising ones from 0 are wanted, below 8"):
        Sampling(8, evaluated=steps)


def test_all_steps_are_evaluated_where_none_is_spared() -> None:
    plan = Sampling(4)
    assert plan.steps == (0, 1, 2, 3)
    assert dataclasses.replace(plan, evaluated=(0, 2)).num_evaluations == 2
