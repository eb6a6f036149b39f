"""distill.steps by consistency and by distribution matching, whole weights or adapters: what is aimed at, what is
trained, and that a training that was killed goes on to the same weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.applying import apply_one
from compress.errors import ModelError
from compress.models.generators.noted import sampling_of
from compress.models.generators.sampling import Sampling
from compress.numerics.flow import euler_step
from compress.passes import DistillSteps, QuantizeWeights
from compress.targets import load
from compress.training.adapters import Adapters
from compress.training.flow_targets import of_consistency
from compress.training.flowing import Average
from compress.training.matching import Match, OwnSamples, matching_direction
from compress.training.settings import Lora
from tests.generating import FEW, context, digits, inputs, tiny

pytest.importorskip("sklearn")
pytest.importorskip("accelerate")
SIGMAS = Sampling(4).sigmas()  # 1, 3/4, 1/2, 1/4, 0


def differs(one: nn.Module, other: nn.Module) -> list[str]:
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    return [name for name in mine if not torch.equal(mine[name], theirs[name])]


def test_consistency_aims_at_the_end_of_the_step_by_the_teacher_and_then_the_average() -> None:
    # from 3/4 the teacher goes to 1/2, where the first of two steps ends: nothing is left for the average;
    # from 1/2 it goes to 1/4, and the average on to 0
    calls: list[float] = []

    def teacher(x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        return torch.full_like(x, 2.0)

    def averaged(x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        calls.extend(timestep.tolist())
        return torch.full_like(x, 5.0)

    x, classes = torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64)
    target = of_consistency(teacher, averaged, SIGMAS, 2)(x, torch.tensor([750.0, 500.0]), classes)
    assert calls == [500.0, 250.0]
    assert target.flatten().tolist() == [2.0, 3.5]  # (2 · ¼ + 5 · ¼) / ½


def test_a_model_that_is_consistent_already_is_its_own_target() -> None:
    # all trajectories of a constant velocity are straight: each place of a step leads to the same end
    class Straight(nn.Module):
        def forward(self, x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
            return torch.full_like(x, 0.25)

    model = Straight()
    x, places = torch.randn(4, 1, 2, 2), torch.from_numpy(SIGMAS[:-1]) * 1000
    target = of_consistency(model, model, SIGMAS, 1)(x, places, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(target, model(x, places, places))


def test_the_average_s_model_follows_the_average() -> None:
    model = tiny(None)
    average = Average(model, 0.5)
    averaged, first = average.model_of(model), copy.deepcopy(model)
    with torch.no_grad():
        assert torch.equal(averaged(*inputs()), first(*inputs()))
        model.proj_out.bias.add_(1)
        assert torch.equal(averaged(*inputs()), first(*inputs()))
        average.step(0.5)
        moved = averaged(*inputs()) - first(*inputs())
    torch.testing.assert_close(moved, torch.full_like(moved, 0.9), rtol=0, atol=1e-5)  # decay (1 + 0) / (10 + 0)


def test_nothing_is_to_be_moved_where_both_scores_agree() -> None:
    model, (x, _, classes) = tiny(None), inputs()
    torch.manual_seed(0)
    with torch.no_grad():
        assert not matching_direction(model, model, x, classes).any()


def test_images_are_moved_from_where_the_critic_sees_them_to_where_the_teacher_does() -> None:
    class Towards(nn.Module):
        """The score of images that are all of one value."""

        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
            return (x - self.value) / (timestep / 1000).reshape(-1, 1, 1, 1)

    images = torch.zeros(3, 1, 2, 2)
    direction = matching_direction(Towards(0.5), Towards(0.1), images, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(direction, torch.full_like(direction, -0.8))  # (0.1 − 0.5) / |0 − 0.5|


def test_the_critic_learns_of_the_student_s_images_alone_and_the_student_not_of_the_critic_s_loss() -> None:
    model = tiny(None)
    phase = Match(model, copy.deepcopy(model))
    loss = phase.loss(model(*inputs()).sum(), None)
    loss.backward()
    assert all(parameter.grad is not None for parameter in phase.fake.parameters())
    # teacher and critic agree as yet: no image is moved, so that all of the loss is the critic's
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_a_student_learns_on_what_it_makes_of_noise_itself() -> None:
    model = tiny(None)
    examples = OwnSamples(digits(), model, SIGMAS)
    batch = examples.batch(range(16), np.random.default_rng(0))
    x, timestep, classes = batch.inputs
    assert set(timestep.tolist()) <= {1000.0, 750.0, 500.0, 250.0}
    draw = np.random.default_rng(0)
    noise = torch.from_numpy(draw.standard_normal((16, 1, 8, 8), dtype=np.float32))
    row = int((timestep == 750).nonzero()[0])
    assert torch.equal(x[timestep == 1000], noise[timestep == 1000])
    with torch.no_grad():
        velocity = model(noise, torch.full((16,), 1000.0), classes)
    torch.testing.assert_close(x[row], euler_step(noise, velocity, torch.ones(16), torch.full((16,), 0.75))[row])


@pytest.mark.parametrize("method", ["progressive", "consistency", "dmd"])
def test_adapters_change_the_weights_of_layers_and_leave_nothing_behind(method: Any) -> None:
    model = tiny(None)
    before = copy.deepcopy(model)
    apply_one(DistillSteps(**FEW, steps=2, method=method, lora=Lora(rank=2)), model, context())
    changed = differs(model, before)
    assert changed
    assert all(name.endswith(".weight") and name != "class_embed.weight" for name in changed)
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    moved = model.get_parameter("blocks.0.linear_1.weight") - before.get_parameter("blocks.0.linear_1.weight")
    rank = 2 * (2 if method == "progressive" else 1)  # of two rounds, or of one
    assert int(torch.linalg.matrix_rank(moved.detach().double(), rtol=1e-2)) <= rank
    assert sampling_of(model) == Sampling(2)


def test_adapters_of_no_change_change_nothing() -> None:
    model = tiny(None)
    before = copy.deepcopy(model)
    adapters = Adapters(model, 4)
    with torch.no_grad():
        assert torch.equal(model(*inputs()), before(*inputs()))
    held = {id(parameter) for parameter in adapters.held()}
    free = [name for name, parameter in model.named_parameters() if id(parameter) not in held]
    assert free
    assert all(name.endswith((".down", ".up")) for name in free)
    adapters.finish()
    assert differs(model, before) == []


@pytest.mark.parametrize("method", ["consistency", "dmd"])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.training.loop.CHECKPOINT_SECONDS", 0.0)
    step = DistillSteps(**{**FEW, "max_steps": 6}, steps=2, method=method)
    whole, broken = tiny(None), tiny(None)
    apply_one(step, whole, context())
    taken = 0

    def killed(items: Any, label: str, total: int) -> Any:
        nonlocal taken
        for item in items:
            if taken == 4:
                raise KeyboardInterrupt
            taken += 1
            yield item

    with pytest.raises(KeyboardInterrupt):
        apply_one(step, copy.deepcopy(broken), replace(context(tmp_path), progress=killed))
    [kept] = tmp_path.glob("round-1/checkpoints/step-*")
    assert kept.name == "step-000000004"
    apply_one(step, broken, context(tmp_path))
    assert differs(whole, broken) == []


def test_what_does_not_go_together_is_told() -> None:
    target = load("generic")
    assert DistillSteps(**FEW, method="dmd", rounds=2).problems(target) == [
        "rounds is of method 'progressive', and it is 'dmd': take it out"
    ]
    assert DistillSteps(**FEW, rounds=2).problems(target) == []
    model = tiny(None)
    apply_one(QuantizeWeights(num_bits=8), model, context())
    with pytest.raises(ModelError, match="lora: 'patch_embed' is quantized or pruned already"):
        apply_one(DistillSteps(**FEW, steps=2, lora=Lora()), model, context())
