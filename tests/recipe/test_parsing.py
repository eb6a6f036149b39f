"""A good recipe becomes a Recipe: every section, every short form, every default."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

from compress.data.preprocess import Preprocessor
from compress.errors import RecipeError
from compress.models.source import ModelSource
from compress.passes import REGISTRY
from compress.recipe import (
    Budget,
    Calibration,
    Evaluate,
    Export,
    ImageClassificationSpec,
    Preprocess,
    Recipe,
    TranslationSpec,
    parse,
)
from compress.recipe.sizes import size_in_bytes

SMALL = "name: x\nmodel: timm:resnet18\ntask: image_classification\n"
FULL = """
name: full
model: {source: torchvision:resnet18, weights: random, num_classes: 2, labels: [cat, dog], seed: 7}
task:
  image_classification:
    dataset: "parquet:images.parquet[128:600]"
    batch_size: 16
    preprocess: {resize: [256, 240], crop: [224, 200], interpolation: lanczos, mean: [0, 0.5, 1], std: [1, 1, 2.5],
                 rescale: 1.0, crop_rounding: down}
calibration: {dataset: "hf:org/name:train[:64]", num_samples: null, seed: 3, batch_size: 8}
passes:
  - toy.fold
  - toy.round: {num_bits: 4, share: 0, mode: up, symmetric: false, group_size: 32,
                targets: [role:first, "re:conv$", a.*]}
  - toy.fold:
  - toy.fold: {}
target: x86-avx2
budget: {size: 2.5MiB, max_drop: {top1: 0.5, agreement: 2}, latency_ratio: 0.45}
evaluate: {threads: 1, latency_runs: 10, throughput_batch_size: 4}
export: {opset: 17}
seed: 9
"""


def toy_round(*args: Any, **parameters: Any) -> Any:
    return REGISTRY["toy.round"](*args, **parameters)


def toy_fold() -> Any:
    return REGISTRY["toy.fold"]()


def problems_of(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, overrides)
    return list(caught.value.problems)


def test_every_section_arrives() -> None:
    assert parse(FULL, check_files=False) == Recipe(
        name="full",
        model=ModelSource("torchvision:resnet18", "random", None, 2, ("cat", "dog"), 7),
        task=ImageClassificationSpec(
            "parquet:images.parquet[128:600]",
            Preprocess((256, 240), (224, 200), "lanczos", (0.0, 0.5, 1.0), (1.0, 1.0, 2.5), 1.0, "down"),
            16,
        ),
        calibration=Calibration("hf:org/name:train[:64]", None, 3, 8),
        passes=(
            toy_fold(),
            toy_round(4, 0.0, "up", False, 32, ("role:first", "re:conv$", "a.*")),
            toy_fold(),
            toy_fold(),
        ),
        target="x86-avx2",
        budget=Budget(2_621_440, {"top1": 0.5, "agreement": 2.0}, 0.45),
        evaluate=Evaluate(1, 10, 4),
        export=Export(17),
        seed=9,
    )


def test_what_is_left_out_has_its_default() -> None:
    expected = Recipe("x", ModelSource("timm:resnet18"), ImageClassificationSpec())
    assert parse(SMALL) == expected
    assert parse(SMALL + "calibration:\npasses:\nbudget:\nevaluate:\nexport:\n") == expected


def test_a_recipe_is_frozen_and_hashable() -> None:
    recipe = parse(FULL, check_files=False)
    assert len({recipe, parse(FULL, check_files=False), replace(recipe, seed=1)}) == 2
    with pytest.raises(FrozenInstanceError):
        recipe.seed = 3  # type: ignore[misc]


def test_a_recipe_comes_from_a_file_from_text_and_from_data(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(SMALL)
    data = {"name": "x", "model": "timm:resnet18", "task": "image_classification"}
    assert parse(file) == parse(str(file)) == parse(SMALL) == parse(data)


def test_problems_of_data_name_no_line() -> None:
    with pytest.raises(RecipeError) as caught:
        parse({"name": "x", "model": "timm:resnet18", "task": "image_classification", "seed": True})
    assert str(caught.value) == "<recipe>: seed is true: write an integer from 0 to 4294967295"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "<recipe>: nan is not a finite number: write one"),
        ({1: 2}, "<recipe>: a key 1 is not text: a recipe's keys are names"),
        ({"x"}, "<recipe>: a set cannot stand in a recipe: write plain data"),
    ],
)
def test_data_that_no_yaml_could_hold_is_refused(value: object, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse({"seed": value})
    assert str(caught.value) == told


def test_a_recipe_opset_replaces_its_target_s() -> None:
    assert parse(FULL, check_files=False).device().opset == 17
    assert parse(SMALL).device().opset == 21
    assert parse(SMALL).device().name == "generic"


def test_files_are_looked_for_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipes" / "x.yaml"
    recipe.parent.mkdir()
    recipe.write_text("name: x\nmodel: factory:model.py:build\ntask: image_classification\n")
    (tmp_path / "model.py").touch()
    monkeypatch.chdir(tmp_path)
    assert parse(recipe).model.factory == ("model.py", "build")
    monkeypatch.chdir(recipe.parent)
    with pytest.raises(RecipeError, match=r"there is no file model\.py: relative paths start at"):
        parse(recipe)
    assert parse(recipe, check_files=False).model.kind == "factory"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5MB", 5_000_000),
        ("5 MB", 5_000_000),
        ("5MiB", 5 * 2**20),
        ("0.1GB", 100_000_000),
        ("2.5kB", 2_500),
        ("1.5KiB", 1_536),
        ("7B", 7),
        (123, 123),
        (None, None),
    ],
)
def test_sizes_are_bytes(text: object, size: object) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5MBs", "budget.size: unknown unit 'MBs': did you mean '5MB'?"),
        ("5mb", "budget.size: unknown unit 'mb': did you mean '5MB'?"),
        ("5mib", "budget.size: unknown unit 'mib': did you mean '5MiB'?"),
        ("5parsec", "budget.size: unknown unit 'parsec': known: B, kB, KB, MB, GB, KiB, MiB, GiB"),
        ("small", "budget.size: 'small' is not a size: write 5MB (10⁶), 5MiB (2²⁰) or a plain number of bytes"),
        ("-5MB", "budget.size: '-5MB' is not a size: write 5MB (10⁶), 5MiB (2²⁰) or a plain number of bytes"),
        ("5.5", "budget.size is 5.5: write an integer of at least 1 or text such as 5MB or null"),
        ("0", "budget.size is 0: write an integer of at least 1 or text such as 5MB or null"),
        ("0MB", "budget.size is '0MB': write an integer of at least 1 or text such as 5MB or null"),
        ("true", "budget.size is true: write an integer of at least 1 or text such as 5MB or null"),
    ],
)
def test_a_size_that_is_none_is_told(text: str, told: str) -> None:
    assert problems_of(SMALL + f"budget: {{size: {text}}}") == [f"<recipe>:4: {told}"]


def test_a_union_is_told_once_and_at_the_wrong_element() -> None:
    assert problems_of(SMALL.replace("timm:resnet18", "{source: timm:resnet18, labels: [cat, 3]}")) == [
        "<recipe>:2: model.labels[1] is 3: write text"
    ]
    assert problems_of(SMALL.replace("timm:resnet18", "{source: timm:resnet18, labels: 3}")) == [
        "<recipe>:2: model.labels is 3: write a list of texts or text or null"
    ]


def test_every_override_of_preprocessing_is_one_of_the_preprocessor() -> None:
    assert [field.name for field in fields(Preprocess)] == [field.name for field in fields(Preprocessor)]
    given = Preprocess(crop=(96, 96), mean=(0.0, 0.0, 0.0)).given()
    assert given == {"crop": (96, 96), "mean": (0.0, 0.0, 0.0)}
    assert replace(Preprocessor(256, (224, 224)), **given).crop == (96, 96)
    assert Preprocess().given() == {}


def test_a_translator_is_asked_for_by_its_pairs() -> None:
    recipe = parse("name: x\nmodel: random:opus-mt\ntask: {translation: {pairs: [en-fr, en-zh-Hant]}}\n")
    assert recipe.task == TranslationSpec(("en-fr", "en-zh-Hant"))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{pairs: [en-fe]}", "'en-fe': unknown language 'fe'"),
        ("{pairs: [french]}", "'french' is not a language pair: write SOURCE-TARGET"),
        ("{pairs: [fr-fr]}", "'fr-fr': source and target are the same"),
        ("{pairs: []}", "pairs"),
        ("{pairs: [en-fr], dataset: 'folder:x'}", "unknown kind of parallel text 'folder'"),
        ("{pairs: [en-fr], shots: 'demo[3:1]'}", "dataset 'demo[3:1]'"),
    ],
)
def test_wrong_tasks_of_translation_are_told(task: str, message: str) -> None:
    with pytest.raises(RecipeError) as told:
        parse(f"name: x\nmodel: random:opus-mt\ntask: {{translation: {task}}}\n")
    assert message in str(told.value)


def test_a_classifier_cannot_translate_nor_a_translator_classify() -> None:
    with pytest.raises(RecipeError, match="timm"):
        parse("name: x\nmodel: timm:resnet18\ntask: {translation: {pairs: [en-fr]}}\n")
    with pytest.raises(RecipeError, match="random"):
        parse("name: x\nmodel: random:opus-mt\ntask: image_classification\n")
    with pytest.raises(RecipeError, match="max_seq_length has no effect on images"):
        parse(SMALL + "calibration: {max_seq_length: 64}\n")
