"""Variants: each combination of values once, under a name that says what it is."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import CompressError, RecipeError
from compress.sweeping.variants import Variation, labels, parse_variation, read_variants, suffixes, value_labels

PLAIN = st.text("abcXYZ0189._", min_size=1, max_size=6)
VALUES = st.one_of(PLAIN, st.lists(PLAIN).map(lambda items: f"[{','.join(items)}]"), PLAIN.map(lambda t: f'"{t},{t}"'))


@given(st.lists(VALUES, min_size=1, max_size=4, unique=True))
def test_values_are_read_as_they_were_written(values: list[str]) -> None:
    assert parse_variation(f"a.b={','.join(values)}") == Variation("a.b", tuple(values))


@given(st.lists(VALUES, min_size=1, max_size=6, unique=True))
def test_no_two_values_are_called_alike_and_all_can_stand_in_a_directory_s_name(values: list[str]) -> None:
    called = value_labels(values)
    assert len(set(called)) == len(values)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", label) for label in called)


@given(
    st.lists(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join), min_size=1, max_size=5, unique=True
    )
)
def test_no_two_keys_are_called_alike(keys: list[str]) -> None:
    called = labels([Variation(key, ("1",)) for key in keys])
    assert len(set(called.values())) == len(keys)
    assert all(key.endswith(label) for key, label in called.items())


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_every_combination_comes_once(counts: list[int]) -> None:
    varied = [Variation(f"key{n}", tuple(map(str, range(count)))) for n, count in enumerate(counts)]
    found = suffixes(varied)
    assert len(found) == len(set(found.values())) == prod(counts)
    assert all([text.split("=")[0] for text in chosen] == [each.key for each in varied] for chosen in found)


def test_the_first_key_changes_slowest_and_names_say_what_is_varied() -> None:
    varied = [parse_variation("passes.quantize.weights.num_bits=3,4"), parse_variation("seed=0,1")]
    assert list(suffixes(varied).values()) == [
        "-num_bits-3-seed-0",
        "-num_bits-3-seed-1",
        "-num_bits-4-seed-0",
        "-num_bits-4-seed-1",
    ]


def test_keys_of_one_name_are_told_apart_by_what_they_belong_to() -> None:
    keys = ("calibration.dataset", "task.dataset", "passes.quantize.weights[1].num_bits")
    called = labels([Variation(key, ("x",)) for key in keys])
    assert list(called.values()) == ["calibration.dataset", "task.dataset", "num_bits"]


def test_values_that_letters_cannot_tell_apart_are_numbered() -> None:
    assert value_labels(["[conv1]", "conv1"]) == ["1", "2"]
    assert value_labels(["'*'", "head"]) == ["1", "2"]
    assert value_labels(["[a, b]", "c"]) == ["a-b", "c"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed", "--vary seed: write --vary KEY=VALUE,VALUE"),
        ("=1,2", "write --vary KEY="),
        ("seed=1,,2", "a value is empty: write null for none"),
        ("seed=1,2,1", "1 is given twice"),
        ("name=a,b", "each variant's name says what is varied"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(CompressError, match=re.escape(told)):
        parse_variation(text)


@pytest.mark.usefixtures("workplace")
def test_a_variant_is_the_recipe_with_its_values_and_a_command_of_its_own() -> None:
    varied = [parse_variation("calibration.num_samples=4,8")]
    first, second = read_variants(["tiny.yaml"], ["seed=3"], varied)
    assert [job.recipe.name for job in (first, second)] == ["tiny-num_samples-4", "tiny-num_samples-8"]
    assert [job.recipe.calibration.num_samples for job in (first, second)] == [4, 8]
    assert first.recipe.seed == 3
    assert first.command() == (
        "compress run tiny.yaml --set seed=3 --set calibration.num_samples=4 --set name=tiny-num_samples-4"
    )


@pytest.mark.usefixtures("workplace")
def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        read_variants(["tiny.yaml"], [], [parse_variation("seed=a,b,1")])
    assert [problem.split(": ")[0] for problem in caught.value.problems] == ["--set seed=a", "--set seed=b"]
    with pytest.raises(CompressError, match="--vary seed: given twice"):
        read_variants(["tiny.yaml"], [], [parse_variation("seed=1"), parse_variation("seed=2")])


@pytest.mark.usefixtures("workplace")
def test_a_name_that_two_variants_would_have_is_told() -> None:
    for folder in ("q", "q-dataset-folder-q"):
        Path(folder).symlink_to("images")
    Path("other.yaml").write_text(Path("tiny.yaml").read_text().replace("name: tiny", "name: tiny-dataset-folder-q"))
    varied = [parse_variation("task.dataset=folder:q,folder:q-dataset-folder-q")]
    told = "other.yaml: a variant's name 'tiny-dataset-folder-q-dataset-folder-q' is also that of tiny.yaml: rename one"
    with pytest.raises(RecipeError, match=re.escape(told)):
        read_variants(["tiny.yaml", "other.yaml"], [], varied)
