"""Shapes of known models, small JSON files in `shapes/` of each family: random weights make models of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from compress.errors import ModelError, unknown


def read_shape(family: str, name: str, known: Sequence[str]) -> dict[str, Any]:
    """What the shape's file says.  family: a folder beside this file.  Raises ModelError for an unknown name."""
    if name not in known:
        raise ModelError(unknown("shape", name, known))
    text = files(f"compress.models.{family}").joinpath("shapes", f"{name}.json").read_text(encoding="utf-8")
    shape: dict[str, Any] = json.loads(text)
    return shape
