"""Layer selectors as text: what can be said of them before there is a model (and without torch)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from compress.errors import unknown

ROLES = ("first", "last", "conv", "depthwise", "pointwise", "linear", "embedding")


def selector_problems(selectors: Iterable[str]) -> list[str]:
    """What is wrong with selectors as text, before there is a model: unknown roles, broken expressions."""
    problems = []
    for selector in selectors:
        if selector.startswith("role:") and selector.removeprefix("role:") not in ROLES:
            problems.append(unknown("role", selector.removeprefix("role:"), ROLES))
        if selector.startswith("re:"):
            try:
                re.compile(selector.removeprefix("re:"))
            except re.error as error:
                problems.append(f"'{selector}' is not a regular expression: {error}")
    return problems
