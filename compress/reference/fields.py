"""A dataclass of recipes as people read it: its prose, and a table of its keys."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from compress.recipe.reading import describe
from compress.report.table import markdown_table
from compress.schemas import Schema, schema_of

_COLUMNS = ("key", "takes", "default", "what")


def prose(cls: Any) -> list[str]:
    """The paragraphs of a docstring, but for those that list the fields."""
    paragraphs = (inspect.getdoc(cls) or "").split("\n\n")
    return [paragraph for paragraph in paragraphs if not re.match(r"\w+ {2,}\S", paragraph)]


def key_table(cls: Any) -> str:
    """Each key of a dataclass with what it takes, its default and its meaning; mappings within it key by key."""
    return table_of(schema_of(cls))


def table_of(schema: Schema) -> str:
    """As `key_table`, of a schema."""
    lines = list(_lines(schema, ""))
    return markdown_table(_COLUMNS, lines, (True,) * len(_COLUMNS)) if lines else "No parameters.\n"


def _lines(schema: Schema, before: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for key, each in schema.get("properties", {}).items():
        within = _mapping(each)
        yield (
            f"`{before}{key}`",
            "a mapping, see below"
            if within is not None and describe(each).startswith("a mapping of")
            else describe(each),
            "required" if key in required else _default(each, within),
            str(each.get("description", "")),
        )
        if within is not None:
            yield from _lines(within, f"{before}{key}.")


def _mapping(schema: Schema) -> Schema | None:
    """The mapping that a value may be, or the members of a list, where it has keys of its own."""
    if schema.get("properties"):
        return schema
    for member in (*schema.get("anyOf", ()), *([schema["items"]] if isinstance(schema.get("items"), dict) else ())):
        found = _mapping(member)
        if found is not None:
            return found
    return None


def _default(schema: Schema, within: Schema | None) -> str:
    default = schema.get("default")
    if default is None or within is not None or default == {}:
        return "–"
    return f"`{json.dumps(default, ensure_ascii=False)}`"
