"""What a recipe consists of before it is parsed: its file, the files it extends, the overrides; as one tree."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compress.passes import REGISTRY
from compress.recipe.overrides import override
from compress.recipe.tree import Node, Place, Problems, from_plain
from compress.recipe.yaml_source import MAX_BYTES, read_bytes, read_text

TEXT = "<recipe>"  # how messages name a recipe that was given as text


def gather(source: Path | str | Mapping[str, object], overrides: Sequence[str], problems: Problems) -> Node:
    """The whole recipe as one mapping in long form.  Raises RecipeError if any of its sources cannot be read.

    source: a file, or YAML text (a str with a line break in it), or plain data.
    """
    chain = _chain(source, problems)
    root = chain[-1]
    for child in reversed(chain[:-1]):
        root = _merge_recipes(root, child)
    root = long_form(root)
    for number, text in enumerate(overrides):
        root = long_form(override(root, text, len(chain) + number, problems))
        root = replace(root, value=_of_one(root.mapping, [text.partition("=")[0].strip()]))
    return root


def _chain(source: Path | str | Mapping[str, object], problems: Problems) -> list[Node]:
    """The recipe and what it extends, nearest first.  Raises RecipeError unless all of it could be read."""
    chain: list[Node] = []
    seen: list[Path] = []
    file: Path | None = None
    if isinstance(source, Mapping):
        node = _plain(source, problems)
    elif isinstance(source, str) and "\n" in source:
        node = read_text(source, TEXT, 0, problems)
    else:
        file = Path(source)
        node = _read(file, 0, Place(0, 0, str(file)), problems)
    while node is not None:
        place = Place(len(chain), 1 if node.place.line else 0, node.place.source)
        if not isinstance(node.value, dict):
            what = "empty" if node.value is None else node.shown()
            problems.add(place, f"the recipe is {what}: write a mapping of name, model, task and passes")
            break
        chain.append(Node(place, {key: value for key, value in node.value.items() if key != "extends"}))
        base = node.value.get("extends")
        if base is None:
            return chain
        if not isinstance(base.value, str):
            problems.add(base.place, f"extends is {base.shown()}: write the file name of one recipe")
            break
        seen.append(file.resolve() if file else Path(TEXT))
        file = Path(os.path.normpath((file.parent if file else Path()) / base.value))
        if file.resolve() in seen:
            circle = " → ".join(path.name for path in [*seen[seen.index(file.resolve()) :], file])
            problems.add(base.place, f"extends makes a circle: {circle}: take one of them out")
            break
        node = _read(file, len(chain), base.place, problems)
    problems.raise_if_any()
    raise AssertionError("a source that cannot be read must have a problem")


def _read(file: Path, rank: int, asked_at: Place, problems: Problems) -> Node | None:
    told = "extends: " if rank else ""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        problems.add(
            asked_at, f"{told}no such file" + (f" '{file}': paths are relative to this recipe" if rank else "")
        )
    except OSError as error:
        problems.add(asked_at, f"{told}cannot be read" + (f" '{file}'" if rank else "") + f": {error.strerror}")
    else:
        return read_bytes(data, str(file), rank, problems)
    return None


def _plain(data: Mapping[str, object], problems: Problems) -> Node | None:
    place = Place(0, 0, TEXT)
    try:
        return from_plain(data, place)
    except ValueError as error:
        problems.add(place, str(error))
        return None


def _merge_recipes(base: Node, child: Node) -> Node:
    """`child` over `base`: mappings are merged, all else is replaced; a short form replaces the whole section."""
    merged = _of_one(long_form(base).mapping, child.mapping)
    for key, node in child.mapping.items():
        other_task = key == "task" and key in merged and node.mapping.keys() != merged[key].mapping.keys()
        merged[key] = node if key not in merged or other_task else _merge(merged[key], node)
    return replace(child, value=merged)


def _of_one(before: Mapping[str, Node], given: Collection[str]) -> dict[str, Node]:
    """The entries without a target where targets are given, and the other way round."""
    other = {"target": "targets", "targets": "target"}
    return {key: node for key, node in before.items() if key not in other or key in given or other[key] not in given}


def _merge(base: Node, child: Node) -> Node:
    if not isinstance(base.value, dict) or not isinstance(child.value, dict):
        return child
    merged = dict(base.value)
    for key, node in child.value.items():
        merged[key] = _merge(merged[key], node) if key in merged else node
    return replace(child, value=merged)


def long_form(root: Node) -> Node:
    """Short forms written out: `task: NAME`, `model: SOURCE`, a bare pass, one with a value, a section left empty."""
    entries = dict(root.mapping)
    for key, node in entries.items():
        if key == "model" and isinstance(node.value, str):
            entries[key] = Node(node.place, {"source": node})
        elif key == "task":
            entries[key] = _keyed(node)
        elif key == "passes" and (node.value is None or isinstance(node.value, tuple)):
            entries[key] = replace(node, value=tuple(_of_parameters(_keyed(item)) for item in node.items))
        elif key in ("calibration", "budget", "evaluate", "export") and node.value is None:
            entries[key] = replace(node, value={})
    return replace(root, value=entries)


def _keyed(node: Node) -> Node:
    """`NAME` → `{NAME: {}}`, `{NAME: null}` → `{NAME: {}}`."""
    if isinstance(node.value, str):
        return Node(node.place, {node.value: Node(node.place, {})})
    if len(node.mapping) != 1:
        return node
    [(name, parameters)] = node.mapping.items()
    return node.with_entry(name, replace(parameters, value={})) if parameters.value is None else node


def _of_parameters(item: Node) -> Node:
    """A pass with one value in place of its parameters, where it says which of them that is: `quantize.weights: 4`."""
    [(name, value)] = item.mapping.items() if len(item.mapping) == 1 else [("", item)]
    short = REGISTRY[name].short if name in REGISTRY else None
    if short is None or value.value is None or isinstance(value.value, dict | tuple):
        return item
    return item.with_entry(name, Node(value.place, {short: value}))
