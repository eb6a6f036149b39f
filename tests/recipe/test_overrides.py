"""--set key.path=value."""

from __future__ import annotations

from typing import Any

import pytest

from compress.errors import RecipeError
from compress.models.source import ModelSource
from compress.passes import REGISTRY
from compress.recipe import Recipe, parse

TEXT = """
name: x
model: timm:resnet18
task: image_classification
passes:
  - toy.fold
  - toy.round: {num_bits: 4}
"""
NO_PATH = "is no path: write names with dots between them; a list is set as a whole"
TWICE = TEXT + "  - toy.round: {num_bits: 8, targets: [role:last]}\n"


def toy_round(*args: Any, **parameters: Any) -> Any:
    return REGISTRY["toy.round"](*args, **parameters)


def told(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, overrides)
    return list(caught.value.problems)


def rounds(recipe: Recipe) -> list[Any]:
    return [each for each in recipe.passes if each.name == "toy.round"]


def test_a_pass_is_addressed_by_its_dotted_name() -> None:
    assert rounds(parse(TEXT, ["passes.toy.round.num_bits=3"])) == [toy_round(3)]
    assert rounds(parse(TEXT, ["passes.toy.round[0].num_bits=3"])) == [toy_round(3)]


def test_a_pass_is_replaced_as_a_whole() -> None:
    assert rounds(parse(TEXT, ["passes.toy.round={num_bits: 2, share: 0.25}"])) == [toy_round(2, 0.25)]


def test_of_several_passes_a_number_says_which() -> None:
    recipe = parse(TWICE, ["passes.toy.round[1].num_bits=3"])
    assert [each.num_bits for each in rounds(recipe)] == [4, 3]
    assert told(TWICE, "passes.toy.round.num_bits=3") == [
        "--set passes.toy.round.num_bits=3: 2 passes are named 'toy.round': write which: "
        "passes.toy.round[0] (<recipe>:7), passes.toy.round[1] (<recipe>:8)"
    ]
    assert told(TWICE, "passes.toy.round[2].num_bits=3") == [
        "--set passes.toy.round[2].num_bits=3: there is no toy.round[2]: the last is toy.round[1]"
    ]


def test_later_overrides_win_and_see_earlier_ones() -> None:
    recipe = parse(TEXT, ["passes=[toy.round: {num_bits: 2}]", "passes.toy.round.num_bits=5", "seed=1", "seed=2"])
    assert recipe.passes == (toy_round(5),)
    assert recipe.seed == 2


def test_values_are_yaml() -> None:
    recipe = parse(
        TEXT,
        [
            "passes.toy.round.targets=[role:first, a.*]",
            "calibration={num_samples: 8}",
            "budget.max_drop.top1=0.5",
            "budget.size=5MB",
            "export.opset=null",
            "name=y",
            "task.dataset=parquet:images.parquet[0:128]",
        ],
        check_files=False,
    )
    assert rounds(recipe)[0].targets == ("role:first", "a.*")
    assert recipe.calibration.num_samples == 8
    assert (recipe.budget.size_bytes, recipe.budget.max_drop) == (5_000_000, {"top1": 0.5})
    assert recipe.name == "y"
    assert recipe.task.dataset == "parquet:images.parquet[0:128]"


def test_the_name_of_the_task_may_be_left_out() -> None:
    long = parse(TEXT, ["task.image_classification.preprocess.crop=[96, 96]"])
    assert parse(TEXT, ["task.preprocess.crop=[96, 96]"]) == long
    assert long.task.preprocess.crop == (96, 96)


def test_a_short_form_replaces_a_mapping_adds() -> None:
    assert parse(TEXT, ["model.weights=random"]).model == ModelSource("timm:resnet18", "random")
    assert parse(TEXT, ["model.weights=random", "model=timm:resnet34"]).model == ModelSource("timm:resnet34")


def test_an_override_that_changes_nothing_is_fine() -> None:
    assert parse(TEXT, ["seed=0", "passes.toy.round.num_bits=4", "target=generic"]) == parse(TEXT)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write --set key.path=value"),
        ("=3", "write --set key.path=value"),
        ("seed=", "seed is empty: write an integer from 0 to 4294967295"),
        ("seed=[", "not YAML: it ends too early: a ']' or '}' is missing"),
        ("seed=!!python/name:os.system", None),
        ("calibration.num_sampls=3", "calibration: unknown key 'num_sampls': did you mean 'num_samples'?"),
        ("calibraton.seed=3", "unknown section 'calibraton': did you mean 'calibration'?"),
        ("calibration.seed=x", "calibration.seed is 'x': write an integer from 0 to 4294967295"),
        ("name.x=3", "'x' cannot be set in 'x', which stands at <recipe>:2"),
        ("calibration..seed=3", "'calibration..seed' " + NO_PATH),
        ("task.preprocess.mean[0]=3", "'task.preprocess.mean[0]' " + NO_PATH),
        ("extends=y.yaml", "extends cannot be set: name the other recipe, or set what you want of it"),
        ("passes.toy.round.bits=3", "toy.round: unknown key 'bits': did you mean 'num_bits'?"),
        ("passes.toy.round.targets[0]=a", "'targets[0]' " + NO_PATH),
        ("passes.toy.ronud.num_bits=3", "unknown pass of the recipe 'toy.ronud': did you mean 'toy.round'?"),
        ("passes.prune.magnitude.sparsity=0.5", None),
        ("passes[0].num_bits=3", "a pass is addressed by its name: passes.NAME.parameter=value"),
        ("passes.toy.fold.speed=3", "toy.fold takes no parameters: take 'speed' out"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told(override: str, message: str | None) -> None:
    problems = told(TEXT, override)
    assert len(problems) == 1
    assert problems[0].startswith(f"--set {override}: ")
    if message is not None:
        assert problems[0] == f"--set {override}: {message}"


def test_without_passes_none_can_be_set() -> None:
    text = TEXT.partition("passes")[0]
    assert told(text, "passes.toy.round.num_bits=3") == [
        "--set passes.toy.round.num_bits=3: the recipe has no passes: write them with --set 'passes=[…]'"
    ]


def test_problems_of_the_file_come_before_those_of_overrides() -> None:
    assert told(TEXT + "seed: -1\n", "export.opset=3", "budget.size=x") == [
        "<recipe>:8: seed is -1: write an integer from 0 to 4294967295",
        "--set export.opset=3: export.opset is 3: write an integer from 12 to 26 or null",
        "--set budget.size=x: budget.size: 'x' is not a size: write 5MB (10⁶), 5MiB (2²⁰) or a plain number of bytes",
    ]
