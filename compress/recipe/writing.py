"""dump: Recipe → plain data with every default written out; and the same as YAML."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import yaml

from compress.recipe.reading import adapter
from compress.recipe.sections import Recipe
from compress.recipe.yaml_source import add_resolvers
from compress.targets import Target, plain


def dump(recipe: Recipe) -> dict[str, Any]:
    """The recipe as dict, list and scalar, in long form with every default: `parse(dump(recipe)) == recipe`."""
    unused = "target" if recipe.targets else "targets"
    data: dict[str, Any] = {each.name: getattr(recipe, each.name) for each in fields(recipe) if each.name != unused}
    for section in ("model", "calibration", "budget", "evaluate", "export"):
        data[section] = _plain(data[section])
    if recipe.targets:
        data["targets"] = [_target(each) for each in recipe.targets]
    else:
        data["target"] = _target(recipe.target)
    data["task"] = {recipe.task.name: _plain(recipe.task)}
    data["passes"] = [{each.name: _plain(each)} for each in recipe.passes]
    return data


def dump_yaml(recipe: Recipe) -> str:
    """`dump` as YAML text that `parse` reads."""
    return yaml.dump(dump(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _plain(section: Any) -> Any:
    cls: Any = type(section)
    return adapter(cls).dump_python(section, mode="json", by_alias=True)


def _target(target: str | Target) -> Any:
    """A name, or, of one that does not ship, all that it says."""
    return target if isinstance(target, str) else plain(target)


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or 1.2 would take for something else than text."""

    def ignore_aliases(self, data: object) -> bool:
        return True


add_resolvers(_Dumper)
