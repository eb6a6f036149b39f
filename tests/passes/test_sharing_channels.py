"""prune.channels with ratio auto: each group's own share, so that the file fits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.applying import apply_one
from compress.errors import ModelError, RecipeError
from compress.models.channels import ChannelGroup, channel_groups, remove_channels
from compress.models.layers import weighted_layers
from compress.models.resnet_cifar import CifarResNet
from compress.passes import PruneChannels
from compress.passes.base import Context, Room
from compress.passes.choosing_channels import Plan
from compress.passes.sharing_channels import shared_out, weights_left
from compress.recipe import parse
from tests.nets import context, images, lively


def resnet() -> nn.Module:
    return lively(CifarResNet(1))


def num_weights(model: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in weighted_layers(model).values())


def with_budget(budget: int) -> Context:
    """Four bytes a weight, and a thousand for all else."""
    room = Room(budget, lambda *_: 0, lambda *_: 0, lambda model, _: 4 * num_weights(model) + 1000 - budget)
    return replace(context(images(4, 32)), room=room)


GROUPS, _ = channel_groups(resnet(), [images(1, 32)])


@settings(max_examples=20, deadline=None)
@given(st.tuples(*(st.integers(0, group.size - 1) for group in GROUPS)))
def test_weights_that_are_left_are_counted_without_cutting(counts: tuple[int, ...]) -> None:
    model = resnet()
    left = weights_left(model, GROUPS)(counts)
    remove_channels(model, [(group, torch.arange(count)) for group, count in zip(GROUPS, counts, strict=True)])
    assert num_weights(model) == left


def plan_of(*scores: Sequence[float], multiple: int = 1) -> Plan:
    groups = tuple(ChannelGroup(f"group{number}", len(each), ()) for number, each in enumerate(scores))
    return Plan(groups, tuple(torch.tensor(each, dtype=torch.float64) for each in scores), True, multiple, 0.9)


def lost(plan: Plan, counts: Sequence[int]) -> float:
    return sum(float(each.sort().values[:count].sum()) for each, count in zip(plan.scores, counts, strict=True))


Scores = st.lists(st.floats(0.01, 100), min_size=2, max_size=5)


@settings(max_examples=60, deadline=None)
@given(Scores, Scores, st.integers(0, 60))
def test_no_other_counts_that_fit_lose_less_where_groups_have_weights_of_their_own(
    a: list[float], b: list[float], over: int
) -> None:
    plan = plan_of(a, b)

    def weights(counts: Sequence[int]) -> int:
        return 7 * (len(a) - counts[0]) + 3 * (len(b) - counts[1])

    budget = weights([0, 0]) - over
    found = shared_out(plan, weights, lambda counts: weights(counts) - budget, budget)
    most = [plan.most(len(a)), plan.most(len(b))]
    possible = [
        counts for counts in itertools.product(*(range(count + 1) for count in most)) if weights(counts) <= budget
    ]
    if found is None:
        assert not possible
    else:
        assert weights(found) <= budget
        # the file is asked for the number of weights that fits, and of those the knapsack is exact
        assert (
            lost(plan, found)
            <= min(lost(plan, counts) for counts in possible if weights(counts) <= weights(found)) + 1e-6
        )


def test_a_file_fits_and_groups_that_matter_little_lose_most() -> None:
    model = resnet()
    with torch.no_grad():
        model.get_parameter("layer3.0.conv1.weight")[16:] *= 1e-3
        model.get_parameter("layer3.0.conv2.weight")[:, 16:] *= 1e-3
    before = 4 * num_weights(model) + 1000
    where = with_budget(int(0.7 * before))
    model = apply_one(PruneChannels(ratio="auto", round_to=1), model, where)
    after = 4 * num_weights(model) + 1000
    assert 0 <= int(0.7 * before) - after < 4 * 9 * (32 + 64)  # a channel of layer3 is not less
    stays = {name: model.get_submodule(name).conv1.out_channels for name in ("layer1.0", "layer2.0", "layer3.0")}
    assert stays == {"layer1.0": 16, "layer2.0": 32, "layer3.0": 37}
    assert "(layer3.0.conv1) of a group's channels go" in where.notes[-2]


def test_nothing_goes_where_the_budget_is_kept() -> None:
    before = resnet()
    model = apply_one(PruneChannels(ratio="auto", round_to=1), resnet(), with_budget(10**9))
    assert [tensor.shape for tensor in model.parameters()] == [tensor.shape for tensor in before.parameters()]


def test_a_budget_that_cannot_be_kept_is_told() -> None:
    told = (
        r"^prune.channels: the budget is 9,000 bytes, and the file misses it where as much goes as round_to \(8\), "
        "max_ratio and ignore allow: raise it, or store weights in fewer bits$"
    )
    with pytest.raises(ModelError, match=told):
        apply_one(PruneChannels(ratio="auto", round_to=8), resnet(), with_budget(9000))
    with pytest.raises(ModelError, match="ratio auto shares out a recipe's budget, and there is none: write the ratio"):
        apply_one(PruneChannels(ratio="auto", round_to=8), resnet(), context(images(4, 32)))


RECIPE = "name: x\nmodel: timm:resnet18\ntask: image_classification\npasses:\n  - prune.channels: {ratio: auto}\n"


def test_a_recipe_without_a_budget_of_bytes_is_refused() -> None:
    told = "prune.channels: auto shares out the budget of bytes: give budget.size or budget.model_size"
    with pytest.raises(RecipeError) as caught:
        parse(RECIPE)
    assert caught.value.problems == (f"<recipe>:5: {told}",)
    assert parse(RECIPE + "budget: {model_size: 1MB}\n").passes == (PruneChannels(ratio="auto"),)
