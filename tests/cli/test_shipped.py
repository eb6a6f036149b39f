"""Every recipe that comes with the program can be read."""

from __future__ import annotations

import pytest

from compress.recipe import dump, parse
from compress.shipped import shipped_recipes

RECIPES = shipped_recipes()


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_read_and_named_as_its_file(name: str) -> None:
    recipe = parse(RECIPES[name], check_files=False)
    assert recipe.name == name
    assert parse(dump(recipe), check_files=False) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_its_first_comment_says_what_it_gives(name: str) -> None:
    first, second, *_ = RECIPES[name].read_text(encoding="utf-8").splitlines()
    assert first.startswith("# yaml-language-server: $schema=")
    assert second.startswith("# ")
