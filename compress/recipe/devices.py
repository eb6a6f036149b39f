"""The target of a recipe, or its targets: names of those that ship, files of the user's own, or what a file said."""

from __future__ import annotations

from collections.abc import Mapping

from compress.errors import RecipeError, unknown
from compress.recipe.tree import Node, Problems
from compress.targets import Target, WrongTarget, from_plain, load, names


def devices_of(sections: Mapping[str, Node], problems: Problems) -> dict[str, Target]:
    """By its name, the target or the targets; none if one of them is wrong."""
    one, several = sections.get("target"), sections.get("targets")
    if several is None or several.value is None:
        target = load("generic") if one is None else _target(one, problems)
        return {} if target is None else {target.name: target}
    if one is not None:
        problems.add(one.place, "target stands beside targets: keep one")
        return {}
    if not several.items:
        problems.add(several.place, f"targets is {several.shown()}: write a list, such as [x86-vnni, rk3588]")
    found = [_target(node, problems) for node in several.items]
    known = {target.name: target for target in found if target is not None}
    if len(known) < len([target for target in found if target is not None]):
        problems.add(several.place, "targets names one twice: keep one")
    return known if len(known) == len(several.items) else {}


def _target(node: Node, problems: Problems) -> Target | None:
    if isinstance(node.value, dict):
        try:
            return from_plain(node.plain())  # type: ignore[arg-type]  # of a dict it is one
        except WrongTarget as error:
            for at, message in error.problems:
                inner = node
                for step in at:
                    inner = inner.mapping.get(str(step), inner)
                problems.add(inner.place, f"target: {message}")
        return None
    if not isinstance(node.value, str):
        problems.add(node.place, f"target is {node.shown()}: write one of {', '.join(names())}, or a file")
        return None
    try:
        return load(node.value)
    except RecipeError as error:
        for message in error.problems:
            told = message if message == unknown("target", node.value, names()) else f"target: {message}"
            problems.add(node.place, told)
    return None
