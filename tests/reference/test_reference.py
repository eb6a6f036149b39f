"""The reference is what the definitions say now, and tells all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.passes import REGISTRY
from compress.recipe import TASKS
from compress.reference.pages import DIRECTORY, pages
from compress.schemas import schema_of
from compress.targets import names

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", pages())
def test_a_page_is_as_the_definitions_are(name: str) -> None:
    written = (ROOT / DIRECTORY / name).read_text(encoding="utf-8")
    assert written == pages()[name], "write them anew: python -m compress.reference"


def test_nothing_else_lies_beside_the_pages() -> None:
    assert {path.name for path in (ROOT / DIRECTORY).iterdir()} == set(pages())


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_parameter_of_a_pass_has_a_line_that_says_what_it_is(name: str) -> None:
    section = pages()["passes.md"].split(f"\n## {name}\n")[1].split("\n## ")[0]
    for key in schema_of(REGISTRY[name]).get("properties", {}):
        line = next(line for line in section.splitlines() if line.startswith(f"| `{key}` |"))
        assert line.split(" | ")[-1].strip(" |"), f"{name}.{key}: its docstring says nothing of it"


def test_every_task_and_target_has_a_section() -> None:
    for page, known in (("tasks.md", TASKS), ("targets.md", names())):
        headings = {line[3:] for line in pages()[page].splitlines() if line.startswith("## ")}
        assert headings >= set(known)
