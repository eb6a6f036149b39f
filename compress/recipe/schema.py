"""JSON Schema of recipes, from the dataclasses that the parser reads, so that editors complete and check as it does.

`python -m compress.recipe` prints it; compress/recipe.schema.json holds it.
"""

from __future__ import annotations

import json
from typing import Any

from compress.models.source import KINDS, ModelSource
from compress.passes import REGISTRY
from compress.recipe.image_sections import Seed
from compress.recipe.sections import TASKS, Budget, Calibration, Evaluate, Export, Name, Recipe
from compress.schemas import Schema, descriptions, schema_of
from compress.targets import load, names

REQUIRED = ("name", "model", "task")


def json_schema() -> Schema:
    """The schema of a recipe file: JSON Schema draft 7, which every editor knows.  Deterministic."""
    shipped = [{"const": name, "description": load(name).description} for name in names()]
    whole = {"type": "object", "required": ["name"], "description": "All that a target's file said, as runs keep it."}
    target = {"anyOf": [*shipped, {"type": "string", "pattern": r"\.ya?ml$"}, whole]}
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
        "target": {**target, "default": "generic"},
        "targets": {"type": ["array", "null"], "items": target, "minItems": 1},
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
