"""Sections of a recipe that do not fit each other are told, each where it stands."""

from __future__ import annotations

import pytest

from compress.errors import RecipeError
from compress.recipe import parse

ALONE = """\
name: x
model: timm:resnet18
task: image_classification
budget:
  size: 5MB
  max_drop: {top1: 1}
  latency_ratio: 0.5
evaluate: {float_model: false}
"""


def test_without_the_float_model_nothing_may_be_compared_with_it() -> None:
    told = "evaluate.float_model is false, and there is nothing to compare with: take one of both out"
    with pytest.raises(RecipeError) as caught:
        parse(ALONE)
    assert list(caught.value.problems) == [
        f"<recipe>:6: budget.max_drop: {told}",
        f"<recipe>:7: budget.latency_ratio: {told}",
    ]
    kept = ALONE.replace("  max_drop: {top1: 1}\n", "").replace("  latency_ratio: 0.5\n", "")
    assert not parse(kept).evaluate.float_model
