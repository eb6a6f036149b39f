"""What the sections of a recipe ask of each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compress.passes import Pass
from compress.recipe.reading import unknown_key
from compress.recipe.sections import TASKS, Budget, Export
from compress.recipe.tree import Node, Problems, at
from compress.targets import Target


def check_scores(budget: Node | None, task: Node | None, problems: Problems) -> None:
    drops = budget.mapping.get("max_drop") if budget else None
    scores = [TASKS[name].scores for name in (task.mapping if task else ()) if name in TASKS]
    for score, node in (drops.mapping if drops else {}).items():
        if scores and score not in scores[0]:
            problems.add(node.place, unknown_key("budget.max_drop", score, scores[0]))


def check_room(passes: Sequence[Pass], budget: Budget, node: Node | None, problems: Problems) -> None:
    """Passes that share out the budget of bytes need one."""
    if node is None or budget.size_bytes is not None or budget.model_size_bytes is not None:
        return
    for step, item in zip(passes, node.items, strict=True):
        if step.shares_budget():
            told = "auto shares out the budget of bytes: give budget.size or budget.model_size"
            problems.add(item.place, f"{step.name}: {told}")


def check_alone(passes: Sequence[Pass], budget: Budget, sections: Mapping[str, Node], problems: Problems) -> None:
    """What compares with the float model needs it."""
    told = "evaluate.float_model is false, and there is nothing to compare with: take one of both out"
    for key, given in (("max_drop", bool(budget.max_drop)), ("latency_ratio", budget.latency_ratio is not None)):
        if given:
            problems.add(at(sections["budget"], key).place, f"budget.{key}: {told}")
    for step, item in zip(passes, sections["passes"].items if "passes" in sections else (), strict=True):
        if step.shares_budget():
            problems.add(item.place, f"{step.name}: auto reads sizes off the float artefact: {told}")


def check_opset(export: Export, target: Target, node: Node | None, problems: Problems) -> None:
    if export.opset is None or node is None or target.min_opset <= export.opset <= target.max_opset:
        return
    problems.add(
        node.mapping["opset"].place,
        f"export.opset is {export.opset}: target {target.name} takes {target.min_opset} to {target.max_opset}",
    )
