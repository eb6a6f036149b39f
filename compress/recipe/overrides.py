"""--set key.path=value: one value of a recipe, replaced.

The path is that of the YAML, with dots: `calibration.num_samples=64`.  A pass is addressed by its name, and the name's
own dots are part of it: `passes.quantize.weights.num_bits=3`; where several passes bear the name, a number from 0 says
which: `passes.quantize.weights[1].num_bits=3`.  A task's name may be left out: `task.dataset=demo`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from compress.errors import unknown
from compress.recipe.sections import TASKS
from compress.recipe.tree import Node, Place, Problems
from compress.recipe.yaml_source import read_text


class _Wrong(Exception):
    """Why an override cannot be applied."""


def override(root: Node, text: str, rank: int, problems: Problems) -> Node:
    """The recipe with 'key.path=value' applied; unchanged, with the reason among the problems, if it cannot be.

    root is in long form.  A path that leads to a new key is taken: the parser tells whether anyone reads it.
    """
    place = Place(rank, 0, f"--set {text}")
    path, equals, value_text = text.partition("=")
    if not equals or not path.strip():
        problems.add(place, "write --set key.path=value")
        return root
    value = read_text(value_text, place.source, rank, problems, lines=False)
    if value is None:
        return root
    try:
        return _set(root, _steps(root, path.strip()), value)
    except _Wrong as wrong:
        problems.add(place, str(wrong))
        return root


def _steps(root: Node, path: str) -> list[str | int]:
    """A path as keys and list indices."""
    head, *rest = path.split(".")
    if head == "extends":
        raise _Wrong("extends cannot be set: name the other recipe, or set what you want of it")
    if head.startswith("passes["):
        raise _Wrong("a pass is addressed by its name: passes.NAME.parameter=value")
    if head == "passes" and rest:
        return ["passes", *_pass_steps(root, path.removeprefix("passes."))]
    if "" in rest or "[" in path:
        raise _Wrong(f"'{path}' is no path: write names with dots between them; a list is set as a whole")
    if head == "task" and rest and rest[0] not in TASKS and len(root.mapping.get("task", root).mapping) == 1:
        return ["task", *root.mapping["task"].mapping, *rest]
    return [head, *rest]


def _pass_steps(root: Node, path: str) -> list[str | int]:
    """'quantize.weights[1].num_bits' → [index in the list, 'quantize.weights', 'num_bits']."""
    passes = root.mapping.get("passes")
    listed = [(index, name) for index, item in enumerate(passes.items if passes else ()) for name in item.mapping]
    by_length = sorted({name for _, name in listed}, key=len, reverse=True)
    for name in by_length:
        match = re.fullmatch(re.escape(name) + r"(?:\[(\d+)\])?(?:\.(.+))?", path)
        if match is None:
            continue
        indices = [index for index, other in listed if other == name]
        rest = match[2].split(".") if match[2] else []
        if "" in rest or any("[" in step for step in rest):
            raise _Wrong(f"'{match[2]}' is no path: write names with dots between them; a list is set as a whole")
        return [_chosen(name, match[1], indices, passes.items if passes else ()), name, *rest]
    raise _Wrong(_no_pass(path, [name for _, name in listed]))


def _chosen(name: str, number: str | None, indices: Sequence[int], items: Sequence[Node]) -> int:
    """The list index of the pass that is meant, among those of its name."""
    if number is None and len(indices) > 1:
        told = ", ".join(f"passes.{name}[{n}] ({items[index].place})" for n, index in enumerate(indices))
        raise _Wrong(f"{len(indices)} passes are named '{name}': write which: {told}")
    if number is not None and int(number) >= len(indices):
        raise _Wrong(f"there is no {name}[{number}]: the last is {name}[{len(indices) - 1}]")
    return indices[int(number or 0)]


def _no_pass(path: str, names: Sequence[str]) -> str:
    """The message for a path that begins with no pass of the recipe: guesses how much of it was meant as the name."""
    if not names:
        return "the recipe has no passes: write them with --set 'passes=[…]'"
    steps = re.sub(r"\[\d*\]", "", path).split(".")
    prefixes = [".".join(steps[:count]) for count in range(1, len(steps) + 1)]
    nearest = max(prefixes, key=lambda prefix: max(SequenceMatcher(None, prefix, name).ratio() for name in names))
    return unknown("pass of the recipe", nearest, set(names))


def _set(node: Node, steps: Sequence[str | int], value: Node) -> Node:
    """The tree with `value` where `steps` lead."""
    if not steps:
        return value
    step, *rest = steps
    if isinstance(step, int):
        items = list(node.items)
        items[step] = _set(items[step], rest, value)
        return replace(node, value=tuple(items))
    if not isinstance(node.value, dict) and node.value is not None:
        raise _Wrong(f"'{step}' cannot be set in {node.shown()}, which stands at {node.place}")
    new = Node(value.place, {})
    return node.with_entry(step, _set(node.mapping.get(step, new), rest, value))
