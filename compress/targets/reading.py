"""YAML → Target: one that ships, by name, or a file of the user's own, by path; and a Target as plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError, unknown
from compress.targets.target import Target

if TYPE_CHECKING:
    import yaml
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

    Raises RecipeError for a name that is unknown, with the nearest, and for a file with every problem of it, each with
    its line.
    """
    if name in names():
        return _shipped(name)
    if Path(name).suffix not in _SUFFIXES:
        raise RecipeError([unknown("target", name, names())])
    return _read(Path(name))


def plain(target: Target) -> str | dict[str, Any]:
    """The target's name if it is one that ships, as it ships; else all that it says: `from_plain` reads it."""
    if target.name in names() and _shipped(target.name) == target:
        return target.name
    from pydantic import TypeAdapter

    whole: dict[str, Any] = TypeAdapter(Target).dump_python(target, mode="json")
    return whole


def from_plain(data: Mapping[str, Any]) -> Target:
    """The target that `plain` wrote.  Raises WrongTarget."""
    from pydantic import TypeAdapter, ValidationError

    # Through JSON, because strict mode takes a list for a tuple there and nowhere else.
    try:
        return TypeAdapter(Target).validate_json(json.dumps(data), strict=True, extra="forbid")
    except ValidationError as error:
        raise WrongTarget(_problems(error)) from None


class WrongTarget(Exception):
    """What is wrong with a target: the keys and numbers that lead to a value, and what to write instead."""

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = problems


@cache
def _shipped(name: str) -> Target:
    return _read(FOLDER / f"{name}.yaml")


def _read(path: Path) -> Target:
    written = _written(path, ())
    try:
        return from_plain({**{key: each.value for key, each in written.items()}, "name": path.stem})
    except WrongTarget as error:
        raise RecipeError(
            [
                f"{written[str(at[0])].place(at[1:]) if at and at[0] in written else path}: {message}"
                for at, message in error.problems
            ]
        ) from None


@dataclass(frozen=True)
class _Entry:
    """A key of a file, with its value: as data, and as YAML's own nodes, which know their lines."""

    path: Path
    value: Any
    key: yaml.Node
    node: yaml.Node

    def place(self, below: Sequence[str | int] = ()) -> str:
        """'file:line' of what lies there below the value, or of the nearest above it."""
        found, node = self.key, self.node
        for step in below:
            if isinstance(step, int):
                inner = [(each, each) for each in node.value[step : step + 1]]
            else:
                inner = [pair for pair in node.value if isinstance(pair, tuple) and pair[0].value == step]
            if not inner:
                break
            found, node = inner[0]
        return f"{self.path}:{found.start_mark.line + 1}"


def _written(path: Path, above: tuple[Path, ...]) -> dict[str, _Entry]:
    """What a file says, over what the target says that it extends.  Raises RecipeError."""
    entries = _entries(path)
    if "extends" not in entries:
        return entries
    base, where = entries["extends"].value, entries.pop("extends").place()
    if path in above:
        raise RecipeError([f"{where}: extends itself, by way of {above[-1]}"])
    if not isinstance(base, str):
        raise RecipeError([f"{where}: extends is no text: write the name of a target, or the path of a file"])
    if base in names():
        found = FOLDER / f"{base}.yaml"
    elif Path(base).suffix in _SUFFIXES:
        found = path.parent / base
    else:
        raise RecipeError([f"{where}: extends: {unknown('target', base, names())}"])
    return {**_written(found, (*above, path)), **entries}


def _entries(path: Path) -> dict[str, _Entry]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes numbers as YAML 1.2 does."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    try:
        loader = Loader(path.read_text(encoding="utf-8"))
        root: Any = loader.get_single_node()
        if isinstance(root, yaml.MappingNode):
            loader.flatten_mapping(root)
            return {
                str(key.value): _Entry(path, loader.construct_object(node, deep=True), key, node)
                for key, node in root.value
            }
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise RecipeError([f"{path}: cannot be read: {reason}: name one of {', '.join(names())}, or a file"]) from error
    except yaml.YAMLError as error:
        raise RecipeError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from error
    raise RecipeError([f"{path}: not a target: write 'extends: x86-vnni', and below it what differs"])


def _problems(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Where each problem stands, and what to write instead."""
    from dataclasses import fields

    known = [field.name for field in fields(Target)]
    found: list[tuple[tuple[str | int, ...], str]] = []
    for each in error.errors(include_url=False):
        where = ".".join(map(str, each["loc"]))
        if each["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            near = unknown("key", str(each["loc"][-1]), known) if len(each["loc"]) == 1 else f"unknown key '{where}'"
            found.append((each["loc"], near))
        elif each["type"] in ("missing", "missing_argument"):
            found.append((each["loc"], f"'{where}' is missing: write it, or extend a target that has it"))
        else:
            message = each["msg"][:1].lower() + each["msg"][1:]
            found.append((each["loc"], f"{where} is {json.dumps(each['input'])}: {message}"))
    return found
