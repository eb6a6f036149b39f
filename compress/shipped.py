"""The recipes that come with the program: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

from compress.errors import RecipeError, unknown

_PACKAGE = Path(__file__).parent


def recipes_directory() -> Path:
    """Where the shipped recipes lie."""
    inside = _PACKAGE / "recipes"
    return inside if inside.is_dir() else _PACKAGE.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """The shipped recipes by name, sorted."""
    return {path.stem: path for path in sorted(recipes_directory().glob("*.yaml"))}


def find_recipe(text: str) -> Path:
    """The file that `text` means: a path, or the bare name of a shipped recipe.

    Raises RecipeError if there is neither, naming the nearest shipped one where `text` looks like a name.
    """
    path = Path(text)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if text in shipped:
        return shipped[text]
    if path.is_dir():
        raise RecipeError([f"{text}: a directory, not a recipe: name a file in it"])
    if looks_like_a_path(text):
        raise RecipeError([f"{text}: no such file"])
    raise RecipeError([unknown("recipe", text, shipped)])


def looks_like_a_path(text: str) -> bool:
    """Whether `text` is meant as a file rather than as a name."""
    return Path(text).suffix in (".yaml", ".yml") or len(Path(text).parts) > 1


def headline(path: Path) -> str:
    """What a recipe says of itself: the first sentence of its first comment, without the line that names the schema."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    told = " ".join(line.lstrip("# ").strip() for line in lines if "yaml-language-server" not in line)
    return re.split(r"(?<=\.)\s", told.strip(), maxsplit=1)[0]
