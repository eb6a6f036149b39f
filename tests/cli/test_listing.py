"""`ls` and `show`: everything there is, said by its own definition."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from compress import shipped
from compress.cli.listing import everything, shown
from compress.errors import CompressError, RecipeError
from compress.models.source import KINDS
from compress.passes import REGISTRY
from compress.recipe import parse
from compress.shipped import find_recipe, headline
from compress.targets import names

RECIPE = """\
# yaml-language-server: $schema=../compress/recipe.schema.json
# A tiny one.
name: tiny
model: torchvision:resnet18
task: image_classification
"""


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that ships one recipe, and an empty working directory."""
    directory = tmp_path / "package" / "recipes"
    directory.mkdir(parents=True)
    (directory / "tiny.yaml").write_text(RECIPE)
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    return directory


def test_everything_has_a_line(recipes: Path) -> None:
    lines = [line.split() for line in everything().splitlines() if line.startswith("  ")]
    assert ["tiny", "A", "tiny", "one."] in lines
    assert {line[0] for line in lines} >= {*REGISTRY, *names(), *(f"{kind}:" for kind in KINDS), "image_classification"}
    assert all(len(line) > 2 for line in lines)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_pass_is_shown_with_all_its_parameters(name: str) -> None:
    text = shown(name, resolved=False)
    for field in dataclasses.fields(REGISTRY[name]):  # type: ignore[arg-type]
        assert f"\n  {field.name}: " in text
    assert text.startswith(f"{name}\n\n{(REGISTRY[name].__doc__ or '').splitlines()[0]}")


def test_parameters_tell_type_range_and_default() -> None:
    lines = shown("quantize.weights", resolved=False).splitlines()
    assert "  num_bits: an integer from 2 to 8 or auto (required)" in lines
    assert "  targets: a list of texts (default [*])" in lines
    assert "  symmetric: true or false (default true)" in lines


def test_a_target_is_shown_with_its_limits() -> None:
    text = shown("rk3588", resolved=False)
    assert "\n  weight_bits            8\n" in text
    assert "\n  static_shapes          True\n" in text
    assert "\n  peak_ops_per_s.int8    6e+12 (vendor: Rockchip's 6 TOPS, all three cores)" in text


def test_a_shipped_recipe_is_found_by_name_and_by_path(recipes: Path, tmp_path: Path) -> None:
    assert shown("tiny", resolved=False) == RECIPE.rstrip()
    assert shown(str(recipes / "tiny.yaml"), resolved=False) == RECIPE.rstrip()
    (tmp_path / "own.yaml").write_text(RECIPE.replace("tiny", "own"))
    assert find_recipe("own.yaml") == Path("own.yaml")


def test_a_resolved_recipe_has_every_default_and_is_the_same(recipes: Path) -> None:
    text = shown("tiny", resolved=True)
    assert "num_samples: 128" in text
    assert parse(text + "\n") == parse(recipes / "tiny.yaml")


def test_a_name_that_nothing_has_is_told_with_the_nearest(recipes: Path) -> None:
    with pytest.raises(CompressError, match=r"unknown name 'quantize.wieghts': did you mean 'quantize.weights'"):
        shown("quantize.wieghts", resolved=False)
    with pytest.raises(RecipeError, match=r"^unknown recipe 'tinny': did you mean 'tiny'\?$"):
        find_recipe("tinny")
    with pytest.raises(RecipeError, match=r"^recipes/none.yaml: no such file$"):
        find_recipe("recipes/none.yaml")
    with pytest.raises(RecipeError, match="a directory, not a recipe"):
        find_recipe(str(recipes))


def test_a_headline_is_the_first_comment_that_is_for_people(tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text("name: bare\n# too late\n")
    assert headline(tmp_path / "bare.yaml") == ""
    (tmp_path / "long.yaml").write_text(
        "# yaml-language-server: x\n# In 1.8 bits, over\n# two lines.  More. \nname: long\n"
    )
    assert headline(tmp_path / "long.yaml") == "In 1.8 bits, over two lines."


def test_what_is_long_is_cut_between_words(recipes: Path) -> None:
    (recipes / "long.yaml").write_text(f"# {'word ' * 40}\nname: long\n")
    [line] = [line for line in everything().splitlines() if line.startswith("  long ")]
    assert line.endswith(" word …")
    assert len(line) < 150
