"""Schedulers in numpy, step by step against diffusers' own; and what is told of those that do not fit."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from compress.errors import ArtefactError, DataError
from compress.models.pipelines.schedulers import Scheduler, open_scheduler

# diffusers gives numpy a tensor in numpy's old way
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

LEVELS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
OWN: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1},
    "EulerDiscreteScheduler": {"steps_offset": 1},
    "DPMSolverMultistepScheduler": {"steps_offset": 1},
    "PNDMScheduler": {"skip_prk_steps": True, "steps_offset": 1},
}
TOLERANCE = 2e-5  # of latents about 1: float32, whose coefficients diffusers rounds one by one


def both(name: str, **config: Any) -> tuple[Any, Scheduler]:
    theirs = getattr(diffusers, name)(**{**LEVELS, **OWN[name], **config})
    return theirs, open_scheduler({"_class_name": name, **theirs.config}, "here")


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("num_steps", [2, 5, 20])
def test_each_step_is_that_of_diffusers(name: str, prediction: str, spacing: str, num_steps: int) -> None:
    theirs, ours = both(name, prediction_type=prediction, timestep_spacing=spacing)
    theirs.set_timesteps(num_steps)
    steps = ours.begin(num_steps)
    np.testing.assert_array_equal(steps.timesteps, theirs.timesteps.numpy().astype(np.float32))
    assert steps.scale == pytest.approx(float(theirs.init_noise_sigma), rel=1e-5)
    random = np.random.default_rng(0)
    sample = np.float32(steps.scale) * random.standard_normal((2, 4, 3, 3)).astype(np.float32)
    expected = torch.from_numpy(sample)
    for number, timestep in enumerate(theirs.timesteps):
        given = theirs.scale_model_input(expected, timestep).numpy()
        np.testing.assert_allclose(steps.given(sample, number), given, rtol=TOLERANCE, atol=TOLERANCE)
        output = np.tanh(given) + 0.1 * random.standard_normal(given.shape).astype(np.float32)
        sample = steps.step(output, sample, number)
        expected = theirs.step(torch.from_numpy(output), timestep, expected, return_dict=False)[0]
        assert sample.dtype == np.float32
        np.testing.assert_allclose(sample, expected.numpy(), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    "config",
    [
        {"beta_schedule": "linear", "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": np.linspace(0.001, 0.01, 1000).tolist()},
        {"num_train_timesteps": 500},
    ],
)
def test_levels_of_noise_are_those_of_diffusers(config: dict[str, Any]) -> None:
    theirs, ours = both("DDIMScheduler", **config)
    np.testing.assert_allclose(ours.levels.shares, theirs.alphas_cumprod.numpy(), rtol=2e-5)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"_class_name": "LMSDiscreteScheduler"}, "the scheduler is LMSDiscreteScheduler: images are made with one of"),
        ({"_class_name": "DDIMScheduler", "clip_sample": True}, "clip_sample is True: only False is known here"),
        ({"_class_name": "DDIMScheduler", "prediction_type": "sample"}, "epsilon or v_prediction is wanted"),
        ({"_class_name": "DDIMScheduler", "beta_schedule": "sigmoid"}, "beta_schedule is sigmoid: one of linear"),
        ({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is true"),
        ({"_class_name": "DDIMScheduler", "beta_end": 2}, "its betas are not 1000 numbers between 0 and 1"),
        ({"_class_name": "DDIMScheduler", "timestep_spacing": "x"}, "one of leading, linspace, trailing is wanted"),
        ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}, "use_karras_sigmas is True"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "solver_order is 3: only 2"),
        ({"_class_name": "PNDMScheduler", "skip_prk_steps": False}, "skip_prk_steps is False: only True"),
    ],
)
def test_a_scheduler_of_other_steps_is_told(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ArtefactError, match=f"here: .*{told}"):
        open_scheduler(config, "here")


@pytest.mark.parametrize("name", OWN)
def test_steps_that_the_timesteps_do_not_allow_are_told(name: str) -> None:
    with pytest.raises(DataError, match="1200 steps are too many or too few for a model of 1000 timesteps"):
        both(name, timestep_spacing="leading")[1].begin(1200)
    if name == "PNDMScheduler":
        with pytest.raises(DataError, match="it takes 2 steps or more"):
            both(name)[1].begin(1)
