"""A device is data: one YAML file a device in this folder.

This module holds what a target says; `load` reads one by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from compress.errors import RecipeError, unknown

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """What a device and its runtime take.

    weight_bits      numbers of bits in which weights may be stored (any kernel runs them).
    activation_bits  numbers of bits that static activation quantization may take; empty: float activations only.
    granularities    of weight scales: 'tensor', 'channel', 'group'.
    int8_range       largest magnitude of an int8 weight: 127, or 63 where the kernel's sums saturate (AVX2).
    channel_multiple numbers of channels that kernels are made for: the multiples of this; 1 where nothing is known.
    dynamic_batch    whether the graph's batch axis may be symbolic; False: every shape is fixed, batch 1.
    opset            what is written unless a recipe says otherwise; min_opset … max_opset is what the runtime reads.
    """

    name: str
    description: str
    runtime: str
    opset: int
    ir_version: int
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    granularities: tuple[Literal["tensor", "channel", "group"], ...]
    int8_range: int = 127
    channel_multiple: int = 1
    dynamic_batch: bool = True
    min_opset: int = 13
    max_opset: int = 26


def names() -> tuple[str, ...]:
    """The targets there are, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


@cache
def load(name: str) -> Target:
    """The target of that name.  Raises RecipeError, naming the nearest, if there is none."""
    if name not in names():
        raise RecipeError([unknown("target", name, names())])
    import json

    import yaml
    from pydantic import TypeAdapter

    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    # Through JSON, because strict mode takes a list for a tuple there and nowhere else.
    return TypeAdapter(Target).validate_json(json.dumps({"name": name, **data}), strict=True, extra="forbid")
