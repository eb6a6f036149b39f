"""The target of a recipe, or its targets."""

from __future__ import annotations

from collections.abc import Mapping

from compress.errors import unknown
from compress.recipe.tree import Node, Problems
from compress.targets import Target, load, names


def devices_of(sections: Mapping[str, Node], problems: Problems) -> dict[str, Target]:
    """By name as written, the target or the targets; none if one of them is wrong."""
    one, several = sections.get("target"), sections.get("targets")
    if several is None or several.value is None:
        target = _target(one, problems)
        return {} if target is None else {_written(one): target}
    if one is not None:
        problems.add(one.place, "target stands beside targets: keep one")
        return {}
    if not several.items:
        problems.add(several.place, f"targets is {several.shown()}: write a list, such as [x86-vnni, rk3588]")
    found = {_written(node): _target(node, problems) for node in several.items}
    if len(found) < len(several.items):
        problems.add(several.place, "targets names one twice: keep one")
    known = {name: target for name, target in found.items() if target is not None}
    return known if len(known) == len(several.items) else {}


def _written(node: Node | None) -> str:
    return str(node.value) if node is not None else "generic"


def _target(node: Node | None, problems: Problems) -> Target | None:
    if node is None:
        return load("generic")
    if isinstance(node.value, str) and node.value in names():
        return load(node.value)
    if isinstance(node.value, str):
        problems.add(node.place, unknown("target", node.value, names()))
    else:
        problems.add(node.place, f"target is {node.shown()}: write one of {', '.join(names())}")
    return None
