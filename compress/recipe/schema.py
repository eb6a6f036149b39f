"""JSON Schema of recipes, from the dataclasses that the parser reads, so that editors complete and check as it does.

`python -m compress.recipe` prints it; compress/recipe.schema.json holds it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from compress.models.source import KINDS, ModelSource
from compress.passes import REGISTRY
from compress.recipe.sections import TASKS, Budget, Calibration, Evaluate, Export, Name, Recipe, Seed
from compress.targets import load, names

Schema: TypeAlias = dict[str, Any]
REQUIRED = ("name", "model", "task")


def json_schema() -> Schema:
    """The schema of a recipe file: JSON Schema draft 7, which every editor knows.  Deterministic."""
    properties = {
        "extends": {
            "type": "string",
            "description": "Another recipe, relative to this one: mappings are merged into its, all else replaces it.",
        },
        "name": schema_of(Name),
        "model": {"anyOf": [{"type": "string", "pattern": f"^({'|'.join(KINDS)}):"}, schema_of(ModelSource)]},
        "task": {"anyOf": _choices(TASKS)},
        "calibration": _or_empty(schema_of(Calibration)),
        "passes": {"type": ["array", "null"], "items": {"anyOf": _choices(REGISTRY)}, "default": []},
        "target": {
            "anyOf": [{"const": name, "description": load(name).description} for name in names()],
            "default": "generic",
        },
        "budget": _or_empty(_budget()),
        "evaluate": _or_empty(schema_of(Evaluate)),
        "export": _or_empty(schema_of(Export)),
        "seed": {**schema_of(Seed), "default": 0},
    }
    for key, text in descriptions(Recipe).items():
        properties[key] = {**properties[key], "description": text}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A recipe of compress",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "anyOf": [{"required": ["extends"]}, {"required": list(REQUIRED)}],
    }


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


def _choices(known: dict[str, Any]) -> list[Schema]:
    """A bare name, for what needs no parameter, or one key with its parameters."""
    schemas = {name: schema_of(cls) for name, cls in sorted(known.items())}
    bare = {name: schema for name, schema in schemas.items() if not schema.get("required")}
    keyed = {
        name: {**schema, "type": ["object", "null"] if name in bare else "object"} for name, schema in schemas.items()
    }
    for name, cls in known.items():
        short = getattr(cls, "short", None)
        if short is not None:
            keyed[name] = {"anyOf": [keyed[name], schemas[name]["properties"][short]]}
    return [
        *({"const": name, "description": schema["description"]} for name, schema in bare.items()),
        {
            "type": "object",
            "properties": keyed,
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]


def _or_empty(schema: Schema) -> Schema:
    """A mapping that may be left empty: `budget:` with nothing below it."""
    return {**schema, "type": ["object", "null"]}


def _budget() -> Schema:
    """A budget's schema; its scores are those of the tasks."""
    schema = schema_of(Budget)
    drop = schema["properties"]["max_drop"]
    scores = {score: drop["additionalProperties"] for task in TASKS.values() for score in task.scores}
    drop = {**drop, "properties": scores, "additionalProperties": False}
    return {**schema, "properties": {**schema["properties"], "max_drop": drop}}


def as_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
