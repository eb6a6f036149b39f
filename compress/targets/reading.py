"""YAML → Target: one that ships, by name, or a file of the user's own, by path."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError, unknown
from compress.targets.target import Target

if TYPE_CHECKING:
    from pydantic import ValidationError

FOLDER = Path(__file__).parent
_SUFFIXES = (".yaml", ".yml")
# 408e9 is a number in YAML 1.2, as editors and JSON read it; PyYAML alone takes it for text.
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")


def names() -> tuple[str, ...]:
    """The targets that ship, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


def load(name: str) -> Target:
    """The target of that name, or in the file at that path (it ends with .yaml).

    Raises RecipeError for a name that is unknown, with the nearest, and for a file with every problem of it.
    """
    if name in names():
        return _shipped(name)
    if Path(name).suffix not in _SUFFIXES:
        raise RecipeError([unknown("target", name, names())])
    return _read(Path(name))


@cache
def _shipped(name: str) -> Target:
    return _read(FOLDER / f"{name}.yaml")


def _read(path: Path) -> Target:
    from pydantic import TypeAdapter, ValidationError

    data = {**_plain(path, ()), "name": path.stem}
    # Through JSON, because strict mode takes a list for a tuple there and nowhere else.
    try:
        return TypeAdapter(Target).validate_json(json.dumps(data), strict=True, extra="forbid")
    except ValidationError as error:
        raise RecipeError(_problems(path, error)) from None


def _plain(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """What a file says, over what the target says that it extends.  Raises RecipeError."""
    data = _mapping(path)
    base = data.pop("extends", None)
    if base is None:
        return data
    if path in above:
        raise RecipeError([f"{path}: extends itself, by way of {above[-1]}"])
    if not isinstance(base, str):
        raise RecipeError([f"{path}: extends is no text: write the name of a target, or the path of a file"])
    if base in names():
        found = FOLDER / f"{base}.yaml"
    elif Path(base).suffix in _SUFFIXES:
        found = path.parent / base
    else:
        raise RecipeError([f"{path}: extends: {unknown('target', base, names())}"])
    return {**_plain(found, (*above, path)), **data}


def _mapping(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes numbers as YAML 1.2 does."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise RecipeError([f"{path}: cannot be read: {reason}: name one of {', '.join(names())}, or a file"]) from error
    except yaml.YAMLError as error:
        raise RecipeError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(data, dict):
        raise RecipeError([f"{path}: not a target: write 'extends: x86-vnni', and below it what differs"])
    return data


def _problems(path: Path, error: ValidationError) -> list[str]:
    """One line a problem: where it stands, and what to write instead."""
    from dataclasses import fields

    known = [field.name for field in fields(Target)]
    found = []
    for each in error.errors(include_url=False):
        where = ".".join(map(str, each["loc"]))
        if each["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            near = unknown("key", str(each["loc"][-1]), known) if len(each["loc"]) == 1 else f"unknown key '{where}'"
            found.append(f"{path}: {near}")
        elif each["type"] in ("missing", "missing_argument"):
            found.append(f"{path}: '{where}' is missing: write it, or extend a target that has it")
        else:
            message = each["msg"][:1].lower() + each["msg"][1:]
            found.append(f"{path}: {where} is {json.dumps(each['input'])}: {message}")
    return found
