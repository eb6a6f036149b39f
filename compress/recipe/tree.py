"""Node: a value of a recipe that knows where it was written; and the list of problems that places fill."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from compress.errors import RecipeError


@dataclass(frozen=True, order=True)
class Place:
    """Where something was written: 'recipes/x.yaml:14', '--set seed=3'.

    rank  orders the sources: the recipe itself, what it extends, then the overrides as given.
    line  counts from 1; 0 where the source has no lines.
    """

    rank: int
    line: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


Scalar: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True)
class Node:
    """A scalar, a tuple of nodes or a mapping of nodes.  Inside a mapping, `place` is that of the key."""

    place: Place
    value: Scalar | tuple[Node, ...] | dict[str, Node]

    @property
    def mapping(self) -> dict[str, Node]:
        """The entries of a mapping; none if the node is something else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The elements of a list; none if the node is something else."""
        return self.value if isinstance(self.value, tuple) else ()

    def with_entry(self, key: str, node: Node) -> Node:
        """The same mapping with one entry set; a node that is no mapping becomes one."""
        return replace(self, value={**self.mapping, key: node})

    def plain(self) -> object:
        """The value without places: dict, list, scalar."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, tuple) else self.value

    def shown(self) -> str:
        """How a message names the value."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, tuple):
            return f"a list of {len(self.value)}"
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if self.value is None:
            return "empty"
        if isinstance(self.value, str):
            return f"'{self.value}'" if len(self.value) <= 60 else f"'{self.value[:57]}…'"
        return repr(self.value)


def from_plain(data: object, place: Place) -> Node:
    """Plain data, as `dump` gives it, as nodes.  Raises ValueError for what no recipe can hold."""
    if isinstance(data, str):
        return Node(place, storable(data))
    if isinstance(data, float) and not math.isfinite(data):
        raise ValueError(f"{data} is not a finite number: write one")
    if data is None or isinstance(data, int | float):
        return Node(place, data)
    if isinstance(data, Mapping):
        wrong = [key for key in data if not isinstance(key, str)]
        if wrong:
            raise ValueError(f"a key {wrong[0]!r} is not text: a recipe's keys are names")
        return Node(place, {storable(key): from_plain(value, place) for key, value in data.items()})
    if isinstance(data, Sequence):
        return Node(place, tuple(from_plain(value, place) for value in data))
    raise ValueError(f"a {type(data).__name__} cannot stand in a recipe: write plain data")


def storable(text: str) -> str:
    """The text itself.  Raises ValueError if UTF-8 cannot write it, or a file name cannot hold it."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{text!r} holds a character that no file can: take it out")
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, if any."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return near[0] if near else None


class Problems:
    """What is wrong with a recipe, collected; told all at once, in the order in which it was written."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, message: str) -> None:
        self._found.append((place, message))

    def raise_if_any(self) -> None:
        """Raise RecipeError with every problem, each once."""
        if self._found:
            ordered = sorted(self._found, key=lambda found: found[0])
            raise RecipeError(list(dict.fromkeys(_on_one_line(f"{place}: {message}") for place, message in ordered)))


def _on_one_line(text: str) -> str:
    """Line breaks and terminal codes from a recipe, as escapes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def at(node: Node, path: str) -> Node:
    """The node below at keys 'a.b', or the nearest above it that there is."""
    for key in path.split("."):
        node = node.mapping.get(key, node)
    return node
