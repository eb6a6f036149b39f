"""Sizes in bytes, as people write them: 5MB, 2.5MiB, a plain number."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, TypeAlias

from annotated_types import Ge
from pydantic import BeforeValidator, WithJsonSchema

UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)")


def size_in_bytes(value: object) -> object:
    """'5MB' → 5,000,000; '2.5MiB' → 2,621,440; what is not text goes through.  Raises ValueError for other text."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"'{value}' is not a size: write 5MB (10⁶), 5MiB (2²⁰) or a plain number of bytes")
    number, unit = match.groups()
    if unit not in UNITS:
        by_letters = {known.lower(): known for known in UNITS}
        near = difflib.get_close_matches(unit.lower(), by_letters, n=1, cutoff=0.5)
        hint = f"did you mean '{number}{by_letters[near[0]]}'?" if near else f"known: {', '.join(UNITS)}"
        raise ValueError(f"unknown unit '{unit}': {hint}")
    whole, _, fraction = number.partition(".")
    # In integers, so that 0.1GB is 100,000,000 and nothing beside it.
    return int(whole + fraction) * UNITS[unit] // 10 ** len(fraction)


Size: TypeAlias = Annotated[
    Annotated[int, Ge(1)] | None,
    BeforeValidator(size_in_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)?\s*({'|'.join(UNITS)})$", "examples": ["5MB"]},
                {"type": "null"},
            ]
        }
    ),
]
