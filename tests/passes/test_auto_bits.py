"""quantize.weights with num_bits auto: the budget is shared out among the layers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.allocation.told import LOSSES, LayerLosses, add_losses, read_losses
from compress.errors import ArtefactError, ModelError, RecipeError
from compress.exporter.codecs import stored_bytes
from compress.models.layers import weighted_layers
from compress.models.quantized import original_weight, quantized_weights
from compress.passes import QuantizeWeights
from compress.passes.base import Context, Room
from compress.passes.quantize_weights import Choice
from compress.pipeline import stages_of
from compress.recipe import Budget, Recipe, parse
from compress.sizing import room_of, stored_layers, weight_bytes
from compress.stages import Stage
from compress.targets import load
from tests.nets import context, conv_net, images

SNAPSHOTS = Path(__file__).parent.parent / "snapshots" / "budget"
BUDGET = "budget: {size: 5MB}\n"
AUTO = QuantizeWeights(num_bits="auto", choices=(2, 4, Choice(8)), algorithm="gptq")


def with_room(room: int, padding: int = 0, **more: object) -> Context:
    given = Room(
        room,
        lambda name, weight: stored_bytes(weight),
        lambda model, names: room,
        lambda model, chosen: sum(stored_bytes(each) + padding for each in chosen.values()) - room,
    )
    return replace(context(images(48)), room=given, **more)  # type: ignore[arg-type]


def assert_told(error: ModelError, name: str) -> None:
    """The whole message, but for the loss, is that of tests/snapshots/budget/NAME.txt."""
    told = re.sub(r"about [0-9.e-]+ nats", "about LOSS nats", str(error))
    assert told + "\n" == (SNAPSHOTS / f"{name}.txt").read_text(encoding="utf-8")


def test_what_lies_between_weights_is_taken_from_their_room() -> None:
    layers = stored_layers(conv_net()).values()
    room = sum(stored_bytes(QuantizeWeights(num_bits=8).nearest(layer.weight)) for layer in layers)
    sizes = []
    for padding in (0, 50):
        model = AUTO.apply(conv_net(), with_room(room, padding))
        sizes.append(sum(map(stored_bytes, quantized_weights(model).values())))
        assert sizes[-1] + padding * len(layers) <= room
    assert sizes[1] < sizes[0]


def test_layers_get_the_bits_that_fit_and_are_rounded_by_the_algorithm() -> None:
    smallest, largest = (
        sum(
            stored_bytes(QuantizeWeights(num_bits=bits).nearest(layer.weight))
            for layer in stored_layers(conv_net()).values()
        )
        for bits in (2, 8)
    )
    room = (smallest + largest) // 2
    where = with_room(room)
    model = AUTO.apply(conv_net(), where)
    weights, differ = quantized_weights(model), False
    assert sum(map(stored_bytes, weights.values())) <= room
    bits = {weight.num_bits for weight in weights.values()}
    assert bits <= {2, 4, 8}
    assert len(bits) > 1
    assert where.notes == [
        f"{name.removesuffix('.weight')}: {weight.num_bits} bits" for name, weight in weights.items()
    ]
    for name, weight in weights.items():  # not what rounding to nearest gives, but on its scales
        layer = model.get_submodule(name.removesuffix(".weight"))
        plain = QuantizeWeights(num_bits=weight.num_bits).nearest(original_weight(layer))
        assert plain.scales.shape == weight.scales.shape
        differ = differ or not torch.equal(plain.codes, weight.codes)
    assert differ


def test_a_choice_may_have_a_group_size_of_its_own() -> None:
    steps = QuantizeWeights(
        num_bits="auto", choices=(2, Choice(4, 8)), strategy="group", group_size=16, symmetric=False
    ).steps()
    assert [(step.num_bits, step.group_size, step.symmetric) for step in steps] == [(2, 16, False), (4, 8, False)]
    assert [step.choice for step in steps] == ["2 bits by 16", "4 bits by 8"]
    assert [step.choices for step in steps] == [(), ()]


def test_losses_are_shared_with_other_budgets_of_the_same_model(tmp_path: Path) -> None:
    AUTO.apply(conv_net(), with_room(3_000, shared=tmp_path))
    [kept] = tmp_path.iterdir()
    before = kept.read_bytes()
    AUTO.apply(conv_net(), with_room(3_000, shared=tmp_path))
    assert kept.read_bytes() == before
    replace(AUTO, choices=(3, 4)).apply(conv_net(), with_room(3_000, shared=tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_predicted_lies_beside_the_run_with_what_was_chosen(tmp_path: Path) -> None:
    where = with_room(3_000, beside=tmp_path)
    weights = quantized_weights(AUTO.apply(conv_net(), where))
    told = read_losses(tmp_path / LOSSES)
    assert [f"{name}.weight" for name in told] == list(weights)
    assert where.notes == [f"{name}: {each.chosen}" for name, each in told.items()]
    for each in told.values():
        assert list(each.nats) == ["2 bits", "4 bits", "8 bits"]
        assert each.nats["2 bits"] >= each.nats["8 bits"] >= 0
    add_losses(tmp_path / LOSSES, {"embedding": LayerLosses("8 bits", {"8 bits": 0.5})})  # of another pass
    assert read_losses(tmp_path / LOSSES) == {**told, "embedding": LayerLosses("8 bits", {"8 bits": 0.5})}
    (tmp_path / LOSSES).write_text("[]")
    with pytest.raises(ArtefactError, match=r"losses\.json: damaged"):
        read_losses(tmp_path / LOSSES)


def test_what_cannot_be_kept_to_is_told_with_what_can() -> None:
    with pytest.raises(ModelError) as caught:
        AUTO.apply(conv_net(), with_room(100))
    assert_told(caught.value, "impossible")
    with pytest.raises(
        ModelError, match="num_bits auto shares out a recipe's budget, and there is none: write the bits"
    ):
        AUTO.apply(conv_net(), context())


def test_what_is_asked_wrongly_is_told() -> None:
    generic = load("generic")
    assert AUTO.problems(generic) == []
    assert replace(AUTO, choices=(4,)).problems(generic) == [
        "choices: there is one: give more, such as [2, 3, 4, 8], or write it as num_bits"
    ]
    assert QuantizeWeights(num_bits=4, choices=(2, 4)).problems(generic) == [
        "choices are of 'num_bits: auto': write that, or take them out"
    ]
    assert replace(AUTO, algorithm="awq").problems(generic) == [
        "algorithm 'awq' tries layers together in one number of bits: of 'auto' take gptq or rtn"
    ]
    assert replace(AUTO, choices=(2, 4)).problems(load("rk3588")) == [
        "choices: num_bits is 2: target rk3588 takes weights of 8 bits",
        "choices: num_bits is 4: target rk3588 takes weights of 8 bits",
    ]


def test_a_recipe_needs_a_budget_of_bytes() -> None:
    text = (
        "name: x\nmodel: timm:resnet18\ntask: image_classification\npasses:\n"
        "  - quantize.weights: {num_bits: auto, choices: [4, {num_bits: 8, group_size: null}]}\n"
    )
    with pytest.raises(RecipeError) as caught:
        parse(text)
    [problem] = caught.value.problems
    told = "auto shares out the budget of bytes: give budget.size or budget.model_size"
    assert problem == f"<recipe>:5: quantize.weights: {told}"
    [step] = parse(
        text.replace("{num_bits: auto, choices: [4, {num_bits: 8, group_size: null}]}", "auto") + BUDGET
    ).passes
    assert step == QuantizeWeights(num_bits="auto")
    assert [each.num_bits for each in step.steps()] == [2, 3, 4, 8]  # type: ignore[attr-defined]
    [step] = parse(text + BUDGET).passes
    assert step == QuantizeWeights(num_bits="auto", choices=(4, Choice(8)))


def test_a_recipe_needs_its_float_model() -> None:
    text = "name: x\nmodel: timm:resnet18\ntask: image_classification\nevaluate: {float_model: false}\npasses:\n"
    with pytest.raises(RecipeError) as caught:
        parse(text + "  - quantize.weights: {num_bits: auto, choices: [4, 8]}\nbudget: {size: 5MB}\n")
    [problem] = caught.value.problems
    assert problem.startswith("<recipe>:6: quantize.weights: auto reads sizes off the float artefact: ")


def test_a_stage_that_shares_out_the_budget_depends_on_it_and_on_the_passes_after_it() -> None:
    recipe = parse(
        "name: x\nmodel: timm:resnet18\ntask: image_classification\npasses:\n  - fold.batchnorm\n"
        "  - quantize.weights: {num_bits: auto, targets: ['role:conv']}\n  - quantize.weights: 8\n" + BUDGET
    )
    first = staged(recipe)
    smaller = staged(replace(recipe, budget=Budget(size_bytes=4_000_000)))
    later = staged(replace(recipe, passes=(*recipe.passes[:2], QuantizeWeights(num_bits=4))))
    plain = replace(recipe, passes=recipe.passes[::2])
    assert first[0] == smaller[0] == later[0]
    assert first[1] != smaller[1]
    assert first[1] != later[1]
    assert staged(plain) == staged(replace(plain, budget=Budget()))


def staged(recipe: Recipe) -> list[Stage]:
    return stages_of(recipe, Stage("load", "a"), [{} for _ in recipe.passes])


def test_room_is_what_the_rest_of_the_recipe_leaves() -> None:
    """100 bytes of graph and, by a later pass in 8 bits, the head; 1,000 of tokenizer."""
    model = conv_net()
    layers = stored_layers(model)
    later = QuantizeWeights(num_bits=8, targets=("head",))
    passes = (replace(AUTO, ignore=("head",)), later)
    head = weight_bytes("head", later.nearest(model.head.weight))
    names = [name for name in layers if name != "head"]

    def file_bytes(planned: nn.Module) -> int:
        weights = quantized_weights(planned)
        assert {name: weight.num_bits for name, weight in weights.items()} == {
            f"{name}.weight": 8 if name == "head" else 2 for name in layers
        }
        return 100 + sum(weight_bytes(name.removesuffix(".weight"), weight) for name, weight in weights.items())

    def room_for(budget: Budget) -> Room | None:
        return room_of(budget, passes, model, 1_000_000, 1_001_000, context(), file_bytes)

    room = room_for(Budget(size_bytes=50_000))
    assert room is not None
    assert room.left(model, names) == 50_000 - 1_000 - 100 - head
    room = room_for(Budget(model_size_bytes=50_000))
    assert room is not None
    assert room.left(model, names) == 50_000 - 100 - head
    assert room_for(Budget()) is None
    small = room_for(Budget(size_bytes=1_200))
    assert small is not None
    with pytest.raises(ModelError) as caught:
        small.left(model, names)
    assert_told(caught.value, "rest")
    with pytest.raises(ModelError) as caught:
        room_for(Budget(size_bytes=900))
    assert_told(caught.value, "tokenizer")


def test_a_graph_that_can_be_built_is_what_takes_the_rest() -> None:
    """10,000 bytes in all, the layers that are shared out in their first choice among them."""
    model, seen = conv_net(), list[nn.Module]()

    def file_bytes(planned: nn.Module) -> int:
        seen.append(planned)
        return 10_000

    room = room_of(Budget(size_bytes=50_000), (AUTO,), model, 0, 1_000, context(), file_bytes)
    assert room is not None
    names = list(stored_layers(model))
    first = sum(weight_bytes(name, AUTO.steps()[0].nearest(model.get_submodule(name).weight)) for name in names)
    assert room.left(model, names) == 50_000 - 1_000 - (10_000 - first)
    [planned] = seen
    assert {weight.num_bits for weight in quantized_weights(planned).values()} == {2}
    assert not quantized_weights(model)


def test_a_weight_s_bytes_are_its_codes_its_scales_and_what_decodes_them() -> None:
    layer = weighted_layers(conv_net())["head"]
    rows, columns = layer.weight.shape
    sizes = {bits: weight_bytes("head", QuantizeWeights(num_bits=bits).nearest(layer.weight)) for bits in (3, 4, 8)}
    around = {bits: size - -(-rows * columns * bits // 8) - 2 * rows for bits, size in sizes.items()}
    assert 60 < around[8] < around[4] < around[3] < 700  # of 3 bits there are two planes to be put together
    longer = weight_bytes("blocks.0.head", QuantizeWeights(num_bits=8).nearest(layer.weight)) - sizes[8]
    assert longer == 4 * len("blocks.0.")  # codes and scales, each where it lies and where it is read
