"""One node → one typed value, by pydantic; its complaints in our words, at the lines that caused them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from compress.errors import unknown
from compress.recipe.tree import Node, Problems, nearest
from compress.schemas import Schema, schema_of

T = TypeVar("T")


@cache
def adapter(annotation: Any) -> TypeAdapter[Any]:
    """pydantic's reader and writer of a type, built once."""
    return TypeAdapter(annotation)


def read(annotation: type[T], node: Node, label: str, problems: Problems) -> T | None:
    """The value of a section or of a pass's parameters; None, with every reason among the problems, if it is wrong.

    Strict: '4' is no integer, 4.0 is none, true is none; unknown keys are errors.
    label: how messages name the node, 'quantize.weights' or 'calibration'.
    """
    try:
        # As JSON, because strict mode takes a list for a tuple there and nowhere else.
        known: Any = annotation
        value: T = adapter(known).validate_json(json.dumps(node.plain()), strict=True, extra="forbid")
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        # Every member of a union complains of the same value, or of the whole around it: once, and nearest, is enough.
        by_path = {_inside(node, detail["loc"], detail["type"] == "missing"): detail for detail in reversed(details)}
        for path, detail in reversed(by_path.items()):
            if not any(path == other[: len(path)] for other in by_path if other != path):
                _tell(annotation, node, path, label, detail, problems)
        return None
    return value


def _inside(node: Node, location: tuple[str | int, ...], missing: bool) -> tuple[str | int, ...]:
    """The part of pydantic's location that is a path into our nodes: without the names of a union's members.

    missing: whether the last step names what is not there.
    """
    path: list[str | int] = []
    for step in location:
        if step in (node.mapping if isinstance(step, str) else range(len(node.items))):
            path.append(step)
            node = _child(node, step)
    return (*path, location[-1]) if missing else tuple(path)


def _tell(
    annotation: Any, root: Node, path: tuple[str | int, ...], label: str, detail: Any, problems: Problems
) -> None:
    node, holder, schema = root, root, schema_of(annotation)
    holder_schema = schema
    for step in path:
        holder, holder_schema = node, schema
        node = _child(node, step)
        schema = _child_schema(schema, step)
    last = path[-1] if path else ""
    holder_name = dotted(label, path[:-1])
    kind = detail["type"]
    if kind == "unexpected_keyword_argument":
        problems.add(node.place, unknown_key(holder_name, str(last), known_keys(holder_schema)))
    elif kind == "missing" and isinstance(last, str):
        keys = known_keys(holder_schema)
        if last not in {nearest(key, keys) for key in holder.mapping if key not in keys}:  # told as misspelt
            problems.add(holder.place, f"{holder_name}: {last} is missing: write {last}: {describe(schema)}")
    elif kind == "missing":
        problems.add(holder.place, mismatch(holder_name, holder, holder_schema))
    elif kind in ("value_error", "assertion_error"):
        problems.add(node.place, f"{dotted(label, path)}: {detail['ctx']['error']}")
    else:
        problems.add(node.place, mismatch(dotted(label, path), node, schema))


def dotted(label: str, path: tuple[str | int, ...]) -> str:
    """'quantize.weights' and ('targets', 0) → 'quantize.weights.targets[0]'."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return (label + steps).lstrip(".")


def unknown_key(label: str, key: str, known: tuple[str, ...]) -> str:
    """The message for a key that nobody reads."""
    if not known:
        return f"{label} takes no parameters: take '{key}' out"
    return f"{label}: {unknown('key', key, known)}"


def known_keys(schema: Schema) -> tuple[str, ...]:
    return tuple(schema.get("properties", ()))


def mismatch(label: str, node: Node, schema: Schema) -> str:
    """The message for a value that is of the wrong type or out of its range."""
    for member in schema.get("anyOf", [schema]):
        if "enum" in member and isinstance(node.value, str):
            return f"{label}: {unknown('value', node.value, map(str, member['enum']))}"
    hint = f", as in [{node.shown()}]" if isinstance(node.value, str) and schema.get("type") == "array" else ""
    return f"{label} is {node.shown()}: write {describe(schema)}{hint}"


def describe(schema: Schema) -> str:
    """What a schema allows, in words: 'an integer from 2 to 8', 'true or false', 'a list of 3 numbers'."""
    if "anyOf" in schema:
        return " or ".join(describe(member) for member in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    match schema.get("type"):
        case "integer":
            return "an integer" + _range(schema)
        case "number":
            return "a number" + _range(schema)
        case "string":
            return " such as ".join(["text", *schema.get("examples", ())[:1]])
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "array":
            return _list(schema)
        case _:
            keys = known_keys(schema)
            return f"a mapping of {', '.join(keys)}" if keys else "a mapping"


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if above is not None and high is not None:
        return f" above {above} and at most {high}"
    parts = [
        f"{word} {bound}"
        for word, bound in (("of at least", low), ("above", above), ("of at most", high), ("below", below))
        if bound is not None
    ]
    return " " + " and ".join(parts) if parts else ""


def _list(schema: Schema) -> str:
    count = schema.get("minItems") if schema.get("minItems") == schema.get("maxItems") else None
    item = schema.get("items", {})
    plural = {"string": "texts", "integer": "integers", "number": "numbers"}.get(item.get("type", ""), "values")
    return f"a list of {count} {plural}{_range(item)}" if count else f"a list of {plural}{_range(item)}"


def _child(node: Node, step: str | int) -> Node:
    """The node below, or the node itself where there is none (a missing key)."""
    if isinstance(step, int):
        return node.items[step] if step < len(node.items) else node
    return node.mapping.get(step, node)


def _child_schema(schema: Schema, step: str | int) -> Schema:
    """The schema below, through a union to its first member that has one."""
    for member in schema.get("anyOf", [schema]):
        if isinstance(step, str) and step in member.get("properties", {}):
            return dict(member["properties"][step])
        if isinstance(step, str) and isinstance(member.get("additionalProperties"), dict):
            return dict(member["additionalProperties"])
        if isinstance(step, int) and "items" in member:
            return dict(member["items"])
    return {}
