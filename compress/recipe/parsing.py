"""parse: YAML → Recipe, with every problem told at once, each at its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compress.data.captions import captions_problems, parse_captions
from compress.data.drawn import drawn_problems, parse_drawn
from compress.data.pairs import parse_pair
from compress.data.parallel import parallel_problems, parse_parallel
from compress.data.spec import dataset_problems, parse_spec
from compress.errors import DataError, unknown
from compress.models.selectors import selector_problems
from compress.models.source import KINDS, ModelSource
from compress.passes import REGISTRY, Pass
from compress.recipe.between import check_alone, check_opset, check_room, check_scores
from compress.recipe.devices import devices_of
from compress.recipe.image_sections import DenoisingSpec, ImageGenerationSpec, Seed, TextToImageSpec
from compress.recipe.reading import read
from compress.recipe.sections import (
    TASKS,
    Budget,
    Calibration,
    Evaluate,
    Export,
    ImageClassificationSpec,
    Name,
    Recipe,
    TaskSpec,
    TranslationSpec,
)
from compress.recipe.sources import gather
from compress.recipe.tree import Node, Problems, at, nearest
from compress.targets import Target, plain

T = TypeVar("T")

SECTIONS = (
    "name",
    "model",
    "task",
    "calibration",
    "passes",
    "target",
    "targets",
    "budget",
    "evaluate",
    "export",
    "seed",
)
_REQUIRED = {
    "name": "write name: my-recipe",
    "model": "write model: package:efficientnet-lite0, or another source",
    "task": f"write task: {next(iter(TASKS))}",
}


def parse(
    source: Path | str | Mapping[str, object], overrides: Sequence[str] = (), *, check_files: bool = True
) -> Recipe:
    """The recipe in a file, or in YAML text (a str with a line break), or in plain data as `dump` gives it.

    overrides    'key.path=value' each, as after --set.
    check_files  whether the files that the recipe names must be there; relative paths start at the current directory.

    Raises RecipeError with every problem: 'recipes/x.yaml:14: what is wrong: what to write instead'.
    """
    problems = Problems()
    root = gather(source, overrides, problems)
    recipe = _recipe(root, problems, check_files)
    problems.raise_if_any()
    if recipe is None:
        raise AssertionError("a recipe that cannot be read must have a problem")
    return recipe


def _recipe(root: Node, problems: Problems, check_files: bool) -> Recipe | None:
    sections = root.mapping
    for key, node in sections.items():
        if key not in SECTIONS:
            problems.add(node.place, unknown("section", key, (*SECTIONS, "extends")))
    for key, hint in _REQUIRED.items():
        if key not in sections and key not in {nearest(other, SECTIONS) for other in sections}:
            problems.add(root.place, f"{key} is missing: {hint}")

    def section(key: str, cls: type[T], default: T | None) -> T | None:
        return read(cls, sections[key], key, problems) if key in sections else default

    devices = devices_of(sections, problems)
    name = section("name", Name, None)
    task = _task(sections.get("task"), problems, check_files)
    model = _model(sections.get("model"), _task_name(sections.get("task")), problems, check_files)
    calibration = section("calibration", Calibration, Calibration())
    passes = _passes(sections.get("passes"), devices, task, problems, check_files)
    budget = section("budget", Budget, Budget())
    evaluate = section("evaluate", Evaluate, Evaluate())
    export = section("export", Export, Export())
    seed = section("seed", Seed, 0)
    _check_calibration(sections.get("calibration"), _task_name(sections.get("task")), problems, check_files)
    check_scores(sections.get("budget"), sections.get("task"), problems)
    if passes is not None and budget is not None:
        check_room(passes, budget, sections.get("passes"), problems)
    if passes is not None and budget is not None and evaluate is not None and not evaluate.float_model:
        check_alone(passes, budget, sections, problems)
    if export is not None:
        for device in devices.values():
            check_opset(export, device, sections.get("export"), problems)
    if name is None or model is None or task is None or calibration is None or passes is None or not devices:
        return None
    if budget is None or evaluate is None or export is None or seed is None:
        return None
    first, *others = [target.name if isinstance(plain(target), str) else target for target in devices.values()]
    several = (first, *others) if others else ()
    return Recipe(name, model, task, calibration, passes, first, budget, evaluate, export, seed, several)


def _model(node: Node | None, task: str | None, problems: Problems, check_files: bool) -> ModelSource | None:
    if node is None:
        return None
    if not isinstance(node.value, dict):
        problems.add(node.place, f"model is {node.shown()}: write a source such as package:efficientnet-lite0")
        return None
    kinds = [key for key in node.mapping if key in KINDS]
    if kinds and "source" not in node.mapping:
        kind = kinds[0]
        named = node.mapping[kind].value
        problems.add(node.mapping[kind].place, f"model: unknown key '{kind}': write source: {kind}:{named}")
        return None
    model = read(ModelSource, node, "model", problems)
    if model is None:
        return None
    found = model.problems(task)
    _tell("model", found, node, problems)
    if check_files and not found:
        for key, file in model.files().items():
            if not Path(file).expanduser().exists():
                problems.add(
                    node.mapping[key].place,
                    f"model.{key}: there is no file {file}: relative paths start at the current directory",
                )
    return model


def _task_name(node: Node | None) -> str | None:
    """The task that is meant, though its parameters may be wrong; None if there is none that is known."""
    return next((name for name in (node.mapping if node else ()) if name in TASKS), None)


def _task(node: Node | None, problems: Problems, check_files: bool) -> TaskSpec | None:
    if node is None:
        return None
    named = _one_key(node, "task", TASKS, problems)
    if named is None:
        return None
    name, parameters = named
    for key in _SETS[name].keys:
        _check_dataset(parameters, key, name, _SETS[name], problems, check_files)
    return read(TASKS[name], parameters, name, problems)


def _passes(
    node: Node | None,
    devices: Mapping[str, Target],
    task: TaskSpec | None,
    problems: Problems,
    check_files: bool,
) -> tuple[Pass, ...] | None:
    if node is None:
        return ()
    if not isinstance(node.value, tuple):
        problems.add(node.place, f"passes is {node.shown()}: write a list, a '- ' before each pass")
        return None
    passes = [_pass(item, devices, task, problems, check_files) for item in node.items]
    return None if None in passes else tuple(each for each in passes if each is not None)


def _pass(
    node: Node, devices: Mapping[str, Target], task: TaskSpec | None, problems: Problems, check_files: bool
) -> Pass | None:
    named = _one_key(node, "pass", REGISTRY, problems)
    if named is None:
        return None
    name, parameters = named
    built = read(REGISTRY[name], parameters, name, problems)
    if built is None:
        return None
    wrong = dict.fromkeys(problem for device in devices.values() for problem in built.problems(device))
    _tell(name, wrong, parameters, problems)
    if task is not None:
        _tell(name, built.task_problems(task.name, _languages(task)), parameters, problems)
        for key, file in built.files().items() if check_files else ():
            if not Path(file).expanduser().exists():
                told = f"{name}: {key}: there is no file {file}: relative paths start at the current directory"
                problems.add(at(parameters, key).place, told)
        if any(built.trains_on()):
            _check_dataset(parameters, "dataset", name, _SETS[task.name], problems, check_files)
    for selector in built.selectors():
        for message in selector_problems([selector]):
            problems.add(_holder_of(selector, parameters).place, f"{name}: {message}")
    return built


def _languages(task: TaskSpec) -> tuple[str, ...]:
    """All that a task translates between."""
    pairs = task.pairs if isinstance(task, TranslationSpec) else ()
    return tuple(dict.fromkeys(code for pair in pairs for code in parse_pair(pair)))


def _one_key(node: Node, what: str, known: Mapping[str, Any], problems: Problems) -> tuple[str, Node] | None:
    """The name and the parameters of a task or pass in long form: a mapping with one key."""
    if not isinstance(node.value, dict) or not node.value:
        told = ", ".join(sorted(known))
        problems.add(node.place, f"a {what} is {node.shown()}: write one of {told}")
        return None
    (name, parameters), *others = node.value.items()
    wrong = name not in known
    if wrong:
        problems.add(node.place if len(node.value) == 1 else parameters.place, unknown(what, name, known))
    if others and not wrong and not any(key in known for key, _ in others):
        problems.add(others[0][1].place, f"'{others[0][0]}' stands beside '{name}': indent it, to be below it")
        return None
    if others:
        problems.add(others[0][1].place, f"a {what} has one name, not '{name}' and '{others[0][0]}': keep one")
        return None
    return None if wrong else (name, parameters)


def _tell(label: str, messages: Iterable[str], node: Node, problems: Problems) -> None:
    """Messages that begin with a key are told at that key's line; others at the node's."""
    for message in messages:
        key = re.match(r"\w*", message)
        place = node.mapping[key[0]].place if key and key[0] in node.mapping else node.place
        problems.add(place, f"{label}: {message}")


def _holder_of(selector: str, node: Node) -> Node:
    """The innermost node that holds the selector as written; the node itself if it comes from a default."""
    for child in (*node.mapping.values(), *node.items):
        found = _holder_of(selector, child)
        if found.value == selector:
            return found
    return node


@dataclass(frozen=True)
class _Sets:
    """How a task writes its datasets: the keys that name one, and what finds problems with and without files."""

    keys: tuple[str, ...]
    with_files: Callable[[str], list[str]]
    parse: Callable[[str], Any]

    def problems(self, dataset: str, check_files: bool) -> list[str]:
        if check_files:
            return self.with_files(dataset)
        try:
            self.parse(dataset)
        except DataError as error:
            return [str(error)]
        return []


_SETS = {
    ImageClassificationSpec.name: _Sets(("dataset",), dataset_problems, parse_spec),
    TranslationSpec.name: _Sets(("dataset", "shots"), parallel_problems, parse_parallel),
    ImageGenerationSpec.name: _Sets(("dataset",), dataset_problems, parse_spec),
    DenoisingSpec.name: _Sets(("dataset",), drawn_problems, parse_drawn),
    TextToImageSpec.name: _Sets(("dataset",), captions_problems, parse_captions),
}


def _check_dataset(section: Node, key: str, label: str, sets: _Sets, problems: Problems, check_files: bool) -> None:
    node = section.mapping.get(key)
    if node is None or not isinstance(node.value, str):
        return
    for message in sets.problems(node.value, check_files):
        problems.add(node.place, f"{label}: {message}")


def _check_calibration(section: Node | None, task: str | None, problems: Problems, check_files: bool) -> None:
    if section is None or task is None:
        return
    node = section.mapping.get("dataset")
    written = node is not None and node.value != Calibration.dataset  # resolved recipes spell the default out
    drawn = task == DenoisingSpec.name
    if node is not None and isinstance(node.value, str) and (written or not drawn):
        for message in _SETS[task].problems(node.value, check_files):
            problems.add(node.place, f"calibration: {message}")
    length = section.mapping.get("max_seq_length")
    if length is not None and length.value is not None and task != TranslationSpec.name:
        problems.add(length.place, "calibration.max_seq_length has no effect on images: take it out")
