"""Registering passes, and the context that they work in."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields

import pytest
import torch
from torch import nn

from compress.passes import REGISTRY, Context, Pass, register
from compress.passes.base import silent
from compress.recipe.schema import descriptions
from compress.targets import load
from tests.nets import images


def test_the_passes_there_are() -> None:
    assert sorted(REGISTRY) == [
        "cache.steps",
        "correct.bias",
        "distill",
        "distill.guidance",
        "distill.quantized",
        "distill.sequence",
        "distill.steps",
        "equalize",
        "factorize",
        "finetune",
        "fold.batchnorm",
        "prune.channels",
        "prune.ffn",
        "prune.heads",
        "prune.layers",
        "prune.magnitude",
        "prune.sparsegpt",
        "prune.wanda",
        "quantize.dynamic",
        "quantize.static",
        "quantize.svd",
        "quantize.ternary",
        "quantize.weights",
        "reconstruct",
        "rotate",
        "smooth",
        "smooth.timesteps",
        "train.flow",
        "train.quantized",
        "trim.vocabulary",
        "tune.norms_and_scales",
    ]


# What passes cannot do without.
GIVEN: dict[str, dict[str, object]] = {
    "quantize.weights": {"num_bits": 4},
    "trim.vocabulary": {"languages": ("en",)},
}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_pass_knows_its_name_says_what_it_does_and_cannot_be_changed(name: str) -> None:
    cls = REGISTRY[name]
    step = cls(**GIVEN.get(name, {}))
    assert step.name == name
    assert cls.__doc__ is not None
    assert cls.__doc__.split("\n")[0].endswith(".")
    assert step == cls(**GIVEN.get(name, {}))
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        step.iterations = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_field_is_explained(name: str) -> None:
    cls = REGISTRY[name]
    explained = descriptions(cls)
    for field in fields(cls):
        assert field.name in explained, field.name


def test_two_passes_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match=r"^two passes are named 'equalize'$"):
        register("equalize")(REGISTRY["equalize"])


@dataclass(frozen=True)
class Nothing(Pass):
    """Change nothing."""

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        return model


def test_a_pass_may_want_and_promise_nothing() -> None:
    step, model, context = Nothing(), nn.Linear(1, 1), Context(list, load("generic"))
    assert step.problems(context.target) == []
    assert step.selectors() == ()
    step.requires(model, context)
    step.ensures(model, context)
    assert step.restructure(model, context) is model


def test_an_example_is_one_sample_of_the_first_batch() -> None:
    x = images(4)
    context = Context(lambda: iter([(x, x + 1), (x * 2, x)]), load("generic"))
    for _ in range(2):  # the batches start anew each time
        first, second = context.example()
        assert torch.equal(first, x[:1])
        assert torch.equal(second, x[:1] + 1)


def test_silent_progress_passes_the_items_on() -> None:
    assert list(silent([1, 2], "numbers", 2)) == [1, 2]
