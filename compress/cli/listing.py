"""What `compress ls` and `compress show` say, as text: taken from the definitions themselves."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any

from compress.errors import CompressError, unknown
from compress.models.source import KINDS as MODEL_KINDS
from compress.passes import REGISTRY
from compress.recipe import TASKS, describe, dump_yaml, parse, schema_of
from compress.reference.fields import prose
from compress.reference.sources import SOURCES
from compress.schemas import descriptions, summary
from compress.shipped import find_recipe, headline, looks_like_a_path, shipped_recipes
from compress.targets import ByType, Figure, Target, load
from compress.targets import names as target_names
from compress.targets.target import FIGURES

_LINE = 110  # letters of what is told of a name in the list


def everything() -> str:
    """Recipes, passes, targets, models and tasks: a line each."""
    sections = {
        "recipes": {name: headline(path) for name, path in shipped_recipes().items()},
        "passes": {name: summary(cls) for name, cls in sorted(REGISTRY.items())},
        "targets": {name: load(name).description for name in target_names()},
        "models": {f"{kind}:": SOURCES[kind] for kind in MODEL_KINDS},
        "tasks": {name: summary(cls) for name, cls in sorted(TASKS.items())},
    }
    width = max(len(name) for lines in sections.values() for name in lines)
    shown = [_section(title, lines, width) for title, lines in sections.items()]
    return "\n\n".join([*shown, "compress show NAME tells all of one; compress run RECIPE makes it."])


def shown(name: str, resolved: bool) -> str:
    """A pass, a target, a task or a recipe, by name; a recipe also by path, and with `resolved` in full.

    Raises CompressError, naming the nearest, if nothing is called that.
    """
    if name in REGISTRY:
        return _dataclass(name, REGISTRY[name])
    if name in TASKS:
        return _dataclass(name, TASKS[name])
    if name in target_names():
        return _target(load(name))
    if name not in shipped_recipes() and not looks_like_a_path(name) and not Path(name).exists():
        known = [*REGISTRY, *TASKS, *target_names(), *shipped_recipes()]
        raise CompressError(unknown("name", name, known))
    path = find_recipe(name)
    return dump_yaml(parse(path)) if resolved else path.read_text(encoding="utf-8").rstrip()


def _section(title: str, lines: dict[str, str], width: int) -> str:
    return "\n".join([title, *(f"  {name:<{width}}  {_short(text)}".rstrip() for name, text in lines.items())])


def _short(text: str) -> str:
    return textwrap.shorten(text, _LINE, placeholder=" …")


def _dataclass(name: str, cls: Any) -> str:
    """What the class says of itself, and each field with what it takes, its default and its meaning."""
    properties = schema_of(cls)["properties"]
    documented = descriptions(cls)
    lines = []
    for field in dataclasses.fields(cls):
        lines.append(f"  {field.name}: {describe(properties[field.name])} ({_default(field)})")
        if field.name in documented:
            lines += textwrap.wrap(documented[field.name], 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n\n".join([name, *prose(cls), "\n".join(["parameters", *lines]) if lines else "no parameters"])


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is None or dataclasses.is_dataclass(value):
        return "optional"
    if isinstance(value, tuple):
        return f"default [{', '.join(map(str, value))}]"
    return f"default {str(value).lower() if isinstance(value, bool) else value}"


def _target(target: Target) -> str:
    """Its constraints, then its figures with their sources."""
    rows: dict[str, str] = {}
    for field in dataclasses.fields(target):
        value = getattr(target, field.name)
        if isinstance(value, ByType):
            rows |= {f"{field.name}.{number}": _figure(figure) for number, figure in value.items()}
        elif isinstance(value, Figure):
            rows[field.name] = _figure(value)
        elif field.name not in ("name", "description", *FIGURES):
            rows[field.name] = ", ".join(map(str, value)) if isinstance(value, tuple) else _plain(value)
    width = max(map(len, rows))
    lines = [
        textwrap.fill(text, 118, initial_indent=f"  {key:<{width}}  ", subsequent_indent=" " * (width + 4))
        for key, text in rows.items()
    ]
    return f"{target.name}\n\n{target.description}\n\n" + "\n".join(lines)


def _figure(figure: Figure) -> str:
    return f"{figure.value:g} ({figure.source}{f': {figure.note}' if figure.note else ''})"


def _plain(value: object) -> str:
    return "any" if value is None else str(value)
