"""The reference pages: what recipes may say, each line from the definition that the parser, or the device, reads."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from compress.models.source import (
    DENOISER_SHAPES,
    FLOWS,
    IMAGE_PACKAGES,
    KINDS,
    KINDS_OF,
    PIPELINE_SHAPES,
    SHAPES,
    TEXT_PACKAGES,
    ModelSource,
)
from compress.passes import REGISTRY
from compress.recipe import TASKS, Budget, Calibration, Evaluate, Export, Recipe
from compress.recipe.sizes import UNITS
from compress.reference.fields import key_table, prose
from compress.reference.sources import SOURCES
from compress.report.table import markdown_table
from compress.schemas import descriptions, schema_of, summary
from compress.shipped import headline, shipped_recipes
from compress.targets import ByType, Figure, Target, load, names
from compress.targets.target import FIGURES

DIRECTORY = Path(".github/reference")
_MARK = "<!-- Generated from the definitions: python -m compress.reference -->\n"
_SECTIONS = {"calibration": Calibration, "budget": Budget, "evaluate": Evaluate, "export": Export}
_UNREGISTERED = ("name", "description")  # of a target, which stand above its table


def pages() -> dict[str, str]:
    """The text of each page by the name of its file."""
    made = {
        "passes.md": ("Passes", "what is done to a model, in the order that a recipe gives", _passes()),
        "recipes.md": ("Recipes", "every key, and the recipes that ship", _recipes()),
        "tasks.md": ("Tasks", "what a model is for, and the scores that tell how well it does it", _tasks()),
        "models.md": ("Models", "where they come from", _models()),
        "targets.md": ("Targets", "devices as data: what they take, and figures with their sources", _targets()),
    }
    listed = "".join(f"- [{title}]({name}): {what}.\n" for name, (title, what, _) in made.items())
    index = f"{_MARK}# Reference\n\nThe same, in a terminal: `compress ls`, and `compress show NAME`.\n\n{listed}"
    return {"README.md": index} | {
        name: f"{_MARK}# {title}\n\n{_sentence(what)}\n\n{text}" for name, (title, what, text) in made.items()
    }


def _passes() -> str:
    """A table of all, then each with its source and its parameters."""
    listed = [(f"[`{name}`](#{_anchor(name)})", summary(cls)) for name, cls in sorted(REGISTRY.items())]
    return "\n".join([markdown_table(("pass", "what it does"), listed, (True, True)), *map(_pass, sorted(REGISTRY))])


def _pass(name: str) -> str:
    cls = REGISTRY[name]
    source = (inspect.getdoc(sys.modules[cls.__module__]) or "").removeprefix(f"{name}: ")
    known = schema_of(cls)
    short = f"`- {name}: VALUE` means its `{cls.short}`.\n" if cls.short else ""
    if not known.get("required"):
        short += f"`- {name}` alone takes every default.\n"
    return "\n\n".join([f"## {name}", *prose(cls), _quoted(_sentence(source)), short + "\n" + key_table(cls)])


def _recipes() -> str:
    """The keys of a recipe, of its sections, and a line for each recipe that ships."""
    documented = descriptions(Recipe)
    keys = [
        (f"[`{key}`]({_places(key)})" if _places(key) else f"`{key}`", documented[key])
        for key in (field.name for field in dataclasses.fields(Recipe))
    ]
    extends = ("`extends`", "Another recipe, relative to this one: mappings are merged into its, all else replaces it.")
    parts = [markdown_table(("key", "what"), [*keys, extends], (True, True))]
    for name, cls in _SECTIONS.items():
        parts.append(f"## {name}\n\n{_joined(prose(cls))}\n\n{key_table(cls)}")
    units = ", ".join(f"{unit} ({factor:,})" for unit, factor in UNITS.items())
    parts.append(f"Sizes are numbers of bytes, or have a unit: {units}.\n")
    shipped = [(f"[`{name}`](../../recipes/{name}.yaml)", headline(path)) for name, path in shipped_recipes().items()]
    return "\n".join(
        [*parts, "## Recipes that ship\n", markdown_table(("recipe", "what it gives"), shipped, (True, True))]
    )


def _tasks() -> str:
    parts = []
    for name, cls in sorted(TASKS.items()):
        named = _listed(cls.scores) if cls.scores else "none of its scores"
        scores = f"`budget.max_drop` may name {named}."
        parts.append("\n\n".join([f"## {name}", *prose(cls), scores, key_table(cls)]))
    return "\n".join(parts)


def _models() -> str:
    """The kinds, what each task takes, and the long form."""
    kinds = [(f"`{kind}:`", _sentence(SOURCES[kind])) for kind in KINDS]
    takes = "".join(f"- {task}: {_listed(f'{kind}:' for kind in kinds)}.\n" for task, kinds in KINDS_OF.items())
    known = "".join(
        f"- `{kind}:` {_listed(found)}.\n"
        for kind, found in (
            ("package", (*IMAGE_PACKAGES, *TEXT_PACKAGES)),
            ("random", (*SHAPES, *DENOISER_SHAPES, *PIPELINE_SHAPES)),
            ("flow", FLOWS),
        )
    )
    text = "`model: KIND:NAME` is short for `model: {source: KIND:NAME}`; the long form has more keys."
    return "\n".join(
        [
            markdown_table(("source", "what it is"), kinds, (True, True)),
            f"## By task\n\n{takes}",
            f"## Names that are known\n\n{known}",
            f"## The long form\n\n{text}\n\n{key_table(ModelSource)}",
        ]
    )


def _targets() -> str:
    """All devices beside each other, what a target's keys mean, then each with its figures and their sources."""
    shipped = [load(name) for name in names()]
    listed = [
        (f"[`{target.name}`](#{_anchor(target.name)})", target.runtime, target.float_types[0], target.description)
        for target in shipped
    ]
    text = "A file of your own that `extends:` one of them states what differs: `target: ./my-board.yaml`."
    meanings = markdown_table(("key", "what"), [(f"`{k}`", v) for k, v in descriptions(Target).items()], (True, True))
    header = ("target", "runtime", "floats in", "device")
    return "\n".join(
        [
            markdown_table(header, listed, (True,) * len(header)),
            f"{text}\n\n## What the keys mean\n\n{meanings}",
            *map(_target, shipped),
        ]
    )


def _target(target: Target) -> str:
    lines = []
    for field in dataclasses.fields(target):
        value = getattr(target, field.name)
        if isinstance(value, ByType):
            lines += [(f"`{field.name}.{number}`", *_figure(figure)) for number, figure in value.items()]
        elif isinstance(value, Figure):
            lines.append((f"`{field.name}`", *_figure(value)))
        elif field.name not in (*_UNREGISTERED, *FIGURES):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else "any" if value is None else str(value)
            lines.append((f"`{field.name}`", shown or "none", ""))
    return f"## {target.name}\n\n{_sentence(target.description)}\n\n" + markdown_table(
        ("key", "value", "source of a figure"), lines, (True, True, True)
    )


def _figure(figure: Figure) -> tuple[str, str]:
    return f"{figure.value:g}", f"{figure.source}{f': {figure.note}' if figure.note else ''}"


def _places(key: str) -> str:
    """Where a key of a recipe is told in full, as a link; '' where it has nothing below it."""
    pages = {"model": "models.md", "task": "tasks.md", "passes": "passes.md", "target": "targets.md"}
    return f"#{key}" if key in _SECTIONS else pages.get(key, "")


def _anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return heading.replace(".", "")


def _listed(found: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in found)


def _joined(paragraphs: list[str]) -> str:
    return "\n\n".join(paragraphs)


def _quoted(text: str) -> str:
    """As a quotation in Markdown."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "…")) else ".")
