"""Observe the results of a model's calls while data streams through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from compress.models.calls import INPUT, Calls, input_of, tensors


class Observer(Calls):
    """Scope: each forward hands the results of the calls in `watch`, by key, to their functions."""

    def __init__(self, model: nn.Module, watch: dict[str, Callable[[Tensor], None]]) -> None:
        super().__init__(model)
        self.watch = watch

    def on_start(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if INPUT in self.watch:
            self.watch[INPUT](tensors(inputs)[0])
        return inputs

    def on_enter(self, module: str, inputs: tuple[Any, ...]) -> None:
        if input_of(module) in self.watch:
            self.watch[input_of(module)](tensors(inputs)[0])

    def on_call(self, key: str, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        if key in self.watch:
            self.watch[key](result)
        return result
