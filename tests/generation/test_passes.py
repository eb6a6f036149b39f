"""Passes that train generators: they learn what teachers do, resume to the same weights, and note the sampling."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.applying import apply_one, keep_promises
from compress.errors import ModelError, PromiseBroken
from compress.models.generators.noted import sampling_of, set_sampling
from compress.models.generators.sampling import Sampling
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.numerics.flow import euler_step, guided
from compress.passes import DistillGuidance, DistillSteps, TrainFlow
from compress.training.flow_targets import guided_by, of_steps
from compress.training.flowing import Average, FlowExamples, sigmas_among
from tests.generating import FEW, context, digits, inputs, tiny

pytest.importorskip("sklearn")
pytest.importorskip("accelerate")
MORE: Any = {**FEW, "max_steps": 60, "batch_size": 16, "ema": 0.0, "learning_rate": 3e-3}


def apart(one: nn.Module, other: nn.Module) -> float:
    with torch.no_grad():
        return float((one(*inputs()) - other(*inputs())).abs().max())


def test_training_lowers_the_error_of_velocities() -> None:
    model, where = tiny(), context()
    step = TrainFlow(**{**MORE, "max_steps": 60})
    apply_one(step, model, where)
    losses = [float(each) for each in where.notes[0].rpartition(": ")[2].split(", ")]
    assert losses[-1] < 0.8 * losses[0]


def test_a_student_of_guidance_gives_in_one_evaluation_what_took_two() -> None:
    model = tiny(guidance_scale=3.0)
    teacher = copy.deepcopy(model)
    wanted = guided_by(teacher, 3.0)
    x, timestep, classes = inputs(16)
    classes = classes.clamp(max=9)

    def missed() -> float:
        with torch.no_grad():
            return float((model(x, timestep, classes) - wanted(x, timestep, classes)).square().mean())

    before = missed()
    apply_one(DistillGuidance(**{**MORE, "max_steps": 200}), model, context())
    after = missed()
    assert after < 0.7 * before
    assert sampling_of(model) == Sampling(8, None)


def test_a_target_of_steps_goes_where_the_teachers_steps_go() -> None:
    teacher, sigmas = tiny(None), Sampling(4).sigmas()
    x, _, classes = inputs(2)
    places = torch.tensor([0.5, 0.5])
    with torch.no_grad():
        target = of_steps(teacher, sigmas, 2)(x, 1000 * places, classes)
        middle = euler_step(x, teacher(x, 1000 * places, classes), places, places / 2)
        end = euler_step(middle, teacher(middle, 500 * places, classes), places / 2, 0 * places)
    torch.testing.assert_close(euler_step(x, target, places, 0 * places), end)


def test_guidance_goes_from_no_class_through_the_class_and_on() -> None:
    none, own = torch.tensor([1.0]), torch.tensor([2.0])
    assert [float(guided(none, own, scale)) for scale in (0, 1, 2.5)] == [1.0, 2.0, 3.5]


def test_fewer_steps_are_reached_by_rounds_of_halves() -> None:
    step, model = DistillSteps(**FEW, steps=2, rounds=2), tiny(None, num_steps=8)
    assert [(each.steps, each.teacher_steps) for each in step.trainings(model)] == [(4, 8), (2, 4)]
    apply_one(step, model, context())
    assert sampling_of(model).num_steps == 2


def test_a_round_that_was_finished_is_not_done_again(tmp_path: Path) -> None:
    step, model = DistillSteps(**FEW, steps=4, rounds=2), tiny(None, num_steps=16)
    other = copy.deepcopy(model)
    apply_one(step, model, context(tmp_path))
    spoiled = context(tmp_path)
    (tmp_path / "round-2" / "finished").rename(tmp_path / "gone")
    apply_one(step, other, spoiled)
    assert len(spoiled.notes) == 1  # a line for each training: of the second round alone
    assert apart(model, other) == 0


def test_the_average_is_the_same_after_a_training_that_goes_on() -> None:
    layer = nn.Linear(1, 1)
    average = Average(layer, 0.5)
    average.step(0.25)
    before = average.get_buffer("average_0").clone()
    with torch.no_grad():
        layer.weight.add_(1)
    average.step(0.25)  # told again where it was
    assert torch.equal(before, average.get_buffer("average_0"))
    average.step(0.5)
    assert not torch.equal(before, average.get_buffer("average_0"))
    wanted = average.get_buffer("average_0").clone()
    average.finish()
    assert torch.equal(layer.weight, wanted)


def test_how_it_is_sampled_is_kept_in_snapshots(tmp_path: Path) -> None:
    model, fresh = tiny(), tiny()
    set_sampling(model, Sampling(3, None, 2.0))
    save_snapshot(model, tmp_path)
    load_snapshot(fresh, tmp_path)
    assert sampling_of(fresh) == Sampling(3, None, 2.0)


def test_promises_are_about_the_sampling() -> None:
    model = tiny(None, num_steps=4)
    keep_promises([DistillGuidance(**FEW), DistillSteps(**FEW, steps=8)], model, context())
    with pytest.raises(PromiseBroken, match="sampled in 4 steps, 2 were asked for"):
        keep_promises([DistillSteps(**FEW, steps=2)], model, context())
    with pytest.raises(PromiseBroken, match="sampled with guidance of 2"):
        keep_promises([DistillGuidance(**FEW)], tiny(), context())


def test_a_pass_without_effect_is_refused() -> None:
    with pytest.raises(ModelError, match="sampled without guidance already: take it out"):
        apply_one(DistillGuidance(**FEW), tiny(None), context())
    with pytest.raises(ModelError, match=r"put distill\.guidance before"):
        apply_one(DistillSteps(**FEW), tiny(), context())
    with pytest.raises(ModelError, match="sampled in 8 steps, 8 are asked for"):
        apply_one(DistillSteps(**FEW, steps=8), tiny(None), context())
    with pytest.raises(ModelError, match="it makes no images"):
        apply_one(TrainFlow(**FEW), nn.Linear(2, 2), context())
    assert "the task is translation: take it out" in TrainFlow(**FEW).task_problems("translation", ())[0]


def test_examples_are_a_function_of_what_is_drawn() -> None:
    import numpy as np

    examples = FlowExamples(digits(), sigmas_among(np.array([0.5], np.float32)), 10, 1.0)
    one, other = (examples.batch([0, 1], np.random.default_rng(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.inputs, other.inputs, strict=True))
    assert one.inputs[1].tolist() == [500.0, 500.0]
    assert one.inputs[2].tolist() == [10, 10]
    clean = digits().batch([0, 1], None).inputs[0]
    torch.testing.assert_close(one.inputs[0] - 0.5 * one.labels, clean)
