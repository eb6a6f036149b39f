"""JSON Schema of target files, from the dataclass that reads them, so that editors complete and check as it does.

`python -m compress.targets` prints it; compress/target.schema.json holds it.
"""

from __future__ import annotations

import dataclasses
import json

from compress.schemas import Schema, descriptions, schema_of
from compress.targets.reading import names
from compress.targets.target import FIGURES, Target


def json_schema() -> Schema:
    """The schema of a target's file: JSON Schema draft 7.  Deterministic."""
    schema = schema_of(Target)
    texts = descriptions(Target)
    properties = {
        key: {**value, "description": texts[key]} for key, value in schema["properties"].items() if key != "name"
    }
    properties["extends"] = {
        "type": "string",
        "description": f"Another target, a file beside this one or one of {', '.join(names())}: what stands here "
        "replaces what it says.",
    }
    required = [field.name for field in dataclasses.fields(Target) if field.name not in ("name", *FIGURES)]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A target of compress",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "anyOf": [{"required": ["extends"]}, {"required": required}],
    }


def as_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
