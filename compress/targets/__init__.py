"""A device is data: one YAML file a device in this folder.

This module holds what a target says; `load` reads one by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What a device and its runtime take.

    weight_bits      numbers of bits in which weights may be stored (any kernel runs them).
    activation_bits  numbers of bits that static activation quantization may take; empty: float activations only.
    granularities    of weight scales: 'tensor', 'channel', 'group'.
    int8_range       largest magnitude of an int8 weight: 127, or 63 where the kernel's sums saturate (AVX2 without VNNI).
    """

    name: str
    description: str
    runtime: str
    opset: int
    ir_version: int
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    granularities: tuple[str, ...]
    int8_range: int = 127
    dynamic_batch: bool = True
