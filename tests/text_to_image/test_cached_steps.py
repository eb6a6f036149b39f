"""cache.steps of pipelines: few evaluations, latents as torch samples them, images nearer than by fewer steps."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.applying import apply_one, keep_promises
from compress.errors import ArtefactError, ModelError, PromiseBroken
from compress.exporter.pipelines import export_pipeline
from compress.models.pipelines.sampling import PipelineConfig, Sampling, sampling_of
from compress.models.pipelines.scheduler import sampling_config
from compress.models.pipelines.schedulers import open_scheduler
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.passes import CacheSteps, QuantizeWeights
from compress.passes.base import Context
from compress.runtime.text_to_image import open_pipeline
from compress.targets import load
from compress.training.sparing import of_pipeline, samples_of
from tests.counting import counted
from tests.text_to_image.tiny import PROMPTS, example, exported, load_tiny, numbers_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers', of schedulers' settings
SCHEDULERS = ("ddim", "euler", "dpm-solver++")
STEPS = 12


def noted(scheduler: str = "ddim", guidance: float = 3.0) -> Any:
    """A tiny pipeline that knows how it is sampled."""
    loaded = load_tiny()
    assert loaded.schedule.config is not None
    config = sampling_config(loaded.schedule.config, scheduler, "here")
    negative = numbers_of(loaded.tokenizer, "")[0].tolist()
    loaded.model.config = PipelineConfig(STEPS, guidance, negative, config)
    return loaded


def context(loaded: Any) -> Context:
    return Context(batches=lambda: [example(loaded.tokenizer)], target=load("generic"))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_last_sample_is_the_sum_of_its_shares(name: str) -> None:
    scheduler = open_scheduler(noted(name).model.config.scheduler, "here")
    way, shares = scheduler.begin(STEPS), scheduler.shares(STEPS)
    draw = np.random.default_rng(0)
    outputs = draw.standard_normal((STEPS, 1, 5)).astype(np.float32)
    sample = np.zeros((1, 5), np.float32)
    for number, output in enumerate(outputs):
        sample = way.step(output, sample, number)
    np.testing.assert_allclose(sample, np.einsum("n,nij->ij", shares, outputs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_artefact_evaluates_few_steps_and_comes_nearer_than_fewer_steps(name: str, tmp_path: Path) -> None:
    loaded = noted(name)
    used = context(loaded)
    model = apply_one(CacheSteps(6), loaded.model, used)
    plan = sampling_of(model)
    assert plan.evaluated is not None
    assert len(plan.evaluated) == 6
    config, inputs = model.config.scheduler, example(loaded.tokenizer)
    export_pipeline(model, loaded.tokenizer, config, plan, inputs, tmp_path / "cached", target="generic")
    cached = open_pipeline(tmp_path / "cached", 1)
    assert cached.sampling == plan
    whole = cached(PROMPTS, [0, 1], replace(plan, evaluated=None))
    fewer = cached(PROMPTS, [0, 1], plan.asked(6))
    unet = counted(cached, "unet")
    found = cached(PROMPTS, [0, 1])
    assert unet.calls == 2 * 6
    assert np.square(found - whole).mean() < np.square(fewer - whole).mean()


def test_chosen_steps_end_no_farther_than_even_ones() -> None:
    loaded = noted()
    scheduler = open_scheduler(loaded.model.config.scheduler, "here")
    samples = samples_of(lambda: [example(loaded.tokenizer)], 2)
    found = of_pipeline(loaded.model, scheduler, 5, samples, lambda each, *_: each)
    assert found.error <= found.even
    assert len(samples_of(lambda: [example(loaded.tokenizer)] * 3, 5)) == 5
    assert torch.equal(samples[1][0], example(loaded.tokenizer)[0][1:])


def test_the_steps_are_kept_in_snapshots_and_promised(tmp_path: Path) -> None:
    loaded, fresh = noted(), noted()
    model = apply_one(CacheSteps(4), loaded.model, context(loaded))
    save_snapshot(model, tmp_path)
    load_snapshot(fresh.model, tmp_path)
    assert sampling_of(fresh.model) == sampling_of(model)
    keep_promises([CacheSteps(4)], model, context(loaded))
    with pytest.raises(PromiseBroken, match="evaluated at 4 steps, 3 were asked for"):
        keep_promises([CacheSteps(3)], model, context(loaded))
    with pytest.raises(ModelError, match="steps are spared already: name it once"):
        apply_one(CacheSteps(3), model, context(loaded))


def test_weights_may_be_quantized_before() -> None:
    loaded = noted()
    apply_one(QuantizeWeights(num_bits=8), loaded.model, context(loaded))
    assert sampling_of(apply_one(CacheSteps(4), loaded.model, context(loaded))).evaluated is not None


def test_a_scheduler_of_several_evaluations_a_step_is_refused() -> None:
    loaded = noted("pndm")
    with pytest.raises(ModelError, match=r"PNDMScheduler takes several evaluations: .*ddim, euler or dpm-solver"):
        apply_one(CacheSteps(4), loaded.model, context(loaded))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"evaluated_steps": [1, 2]}, "rising ones from 0 are wanted, below 5"),
        ({"evaluated_steps": "0"}, "evaluated_steps is 0: a list of steps is wanted"),
    ],
)
def test_steps_that_cannot_be_are_refused(
    float_artefact: Any, tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    directory = Path(shutil.copytree(float_artefact.directory, tmp_path / "spoilt"))
    index = directory / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **values}))
    with pytest.raises(ArtefactError, match=told):
        open_pipeline(directory, 1)


def test_steps_of_a_scheduler_that_spares_none_are_refused(tmp_path: Path) -> None:
    loaded = load_tiny()
    exported(loaded, tmp_path / "artefact", "pndm")
    index = tmp_path / "artefact" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "evaluated_steps": [0, 2]}))
    with pytest.raises(ArtefactError, match="of the steps of a PNDMScheduler none can be spared"):
        open_pipeline(tmp_path / "artefact", 1)


def test_of_another_number_of_steps_none_are_spared() -> None:
    plan = Sampling(8, 3.0, (0, 4))
    assert plan.asked(guidance_scale=1.0) == Sampling(8, 1.0, (0, 4))
    assert plan.asked(8).evaluated == (0, 4)
    assert plan.asked(6).evaluated is None
