"""extends: one recipe over another."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.models.source import ModelSource
from compress.passes import REGISTRY
from compress.recipe import Recipe, parse

BASE = """
name: base
model: {source: torchvision:resnet18, weights: random}
task: {image_classification: {batch_size: 8, preprocess: {crop: [96, 96]}}}
calibration: {num_samples: 16, seed: 3}
passes: [toy.fold, toy.round: {num_bits: 4}]
budget: {max_drop: {top1: 1}}
"""


def extend(folder: Path, child: str, base: str = BASE) -> Recipe:
    (folder / "base.yaml").write_text(base)
    (folder / "child.yaml").write_text("extends: base.yaml\n" + child)
    return parse(folder / "child.yaml")


def test_all_is_inherited(tmp_path: Path) -> None:
    assert extend(tmp_path, "") == parse(BASE)


def test_mappings_are_merged_to_any_depth(tmp_path: Path) -> None:
    recipe = extend(
        tmp_path,
        "calibration: {seed: 4}\ntask: {image_classification: {preprocess: {resize: 128}}}\n"
        "budget: {size: 1MB, max_drop: {agreement: 2}}\nmodel: {seed: 5}\n",
    )
    assert (recipe.calibration.num_samples, recipe.calibration.seed) == (16, 4)
    assert (recipe.task.batch_size, recipe.task.preprocess.resize, recipe.task.preprocess.crop) == (8, 128, (96, 96))
    assert recipe.budget.max_drop == {"top1": 1.0, "agreement": 2.0}
    assert recipe.model == ModelSource("torchvision:resnet18", "random", seed=5)


def test_lists_and_short_forms_replace(tmp_path: Path) -> None:
    recipe = extend(tmp_path, "passes: [toy.round: {num_bits: 2}]\nmodel: timm:resnet18\ntask: image_classification\n")
    assert recipe.passes == (REGISTRY["toy.round"](2),)
    assert recipe.model == ModelSource("timm:resnet18")
    assert recipe.task.batch_size == 32


def test_an_empty_section_takes_back_what_was_inherited(tmp_path: Path) -> None:
    recipe = extend(tmp_path, "budget:\npasses:\n")
    assert recipe.budget.max_drop == {}
    assert recipe.passes == ()


def test_a_chain_is_relative_to_each_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "first.yaml").write_text(BASE)
    (tmp_path / "b" / "second.yaml").write_text("extends: ../a/first.yaml\nseed: 1\npasses: [toy.fold]\n")
    (tmp_path / "third.yaml").write_text("extends: b/second.yaml\nname: third\n")
    monkeypatch.chdir(tmp_path / "a")
    recipe = parse("../third.yaml", ["calibration.seed=9"])
    assert (recipe.name, recipe.seed, recipe.passes, recipe.calibration.seed) == (
        "third",
        1,
        (REGISTRY["toy.fold"](),),
        9,
    )


def test_text_extends_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    monkeypatch.chdir(tmp_path)
    assert parse("extends: base.yaml\nname: x\n").name == "x"


def test_a_problem_names_the_file_it_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        extend(Path(), "seed: -1\ncalibration: {num_samples: 0}\n", BASE.replace("seed: 3", "seed: x"))
    assert caught.value.problems == (
        "child.yaml:2: seed is -1: write an integer from 0 to 4294967295",
        "child.yaml:3: calibration.num_samples is 0: write an integer of at least 1 or null",
        "base.yaml:5: calibration.seed is 'x': write an integer from 0 to 4294967295",
    )


CIRCLE = "base.yaml:1: extends makes a circle: child.yaml → base.yaml → child.yaml: take one of them out"


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("[1]", "base.yaml:1: the recipe is a list of 1: write a mapping of name, model, task and passes"),
        ("", "base.yaml:1: the recipe is empty: write a mapping of name, model, task and passes"),
        ("a: [", "base.yaml:1: not YAML: it ends too early: a ']' or '}' is missing"),
        ("extends: 3", "base.yaml:1: extends is 3: write the file name of one recipe"),
        ("extends: base.yaml", "base.yaml:1: extends makes a circle: base.yaml → base.yaml: take one of them out"),
        ("extends: child.yaml", CIRCLE),
    ],
)  # fmt: skip
def test_a_wrong_base_is_told(base: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        extend(Path(), "name: x\n", base)
    assert str(caught.value) == told
