"""JSON Schema of dataclasses, described by their docstrings: what recipes and targets tell editors."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

Schema: TypeAlias = dict[str, Any]


class _Described(GenerateJsonSchema):
    """Dataclasses without titles, closed to unknown keys, described by their docstrings."""

    def dataclass_schema(self, schema: Any) -> Schema:
        built = super().dataclass_schema(schema)
        cls = schema["cls"]
        built.pop("title", None)
        for key, text in descriptions(cls).items():
            if key in built["properties"]:
                built["properties"][key]["description"] = text
        return {**built, "description": summary(cls), "additionalProperties": False}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@cache
def schema_of(annotation: Any) -> Schema:
    """The schema of one type, its references written out.  Shared: not to be changed by who asks."""
    schema = TypeAdapter(annotation).json_schema(schema_generator=_Described)
    return _inlined(schema, schema.pop("$defs", {}))  # type: ignore[no-any-return]


def descriptions(cls: type) -> dict[str, str]:
    """What a docstring says of each field: lines 'field   text' below its first paragraph, and what continues them.

    The fields that a class has from another are described there.
    """
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        found |= _described(each.__dict__.get("__doc__") or "")
    return found


def _described(docstring: str) -> dict[str, str]:
    """The fields of one docstring."""
    found: dict[str, str] = {}
    key = ""
    for line in docstring.splitlines()[1:]:
        start = re.match(r" {4}(\w+) {2,}(\S.*)", line)
        if start:
            key = start[1]
            found[key] = start[2]
        elif key and line.startswith(" " * 6):
            found[key] += " " + line.strip()
        else:
            key = ""
    return {key: text[:1].upper() + text[1:] for key, text in found.items()}


def summary(cls: type) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())


def _inlined(node: Any, definitions: Schema) -> Any:
    if isinstance(node, list):
        return [_inlined(child, definitions) for child in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        beside = {key: child for key, child in node.items() if key != "$ref"}
        return {**_inlined(definitions[node["$ref"].rpartition("/")[2]], definitions), **beside}
    inlined = {key: _inlined(child, definitions) for key, child in node.items()}
    if "prefixItems" in inlined:  # not in draft 7; all our fixed lists are of one kind
        inlined["items"] = inlined.pop("prefixItems")[0]
    return inlined
