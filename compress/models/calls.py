"""Every call that a model's forward makes, by name, in its own class and without tracing it.

A `Calls` scope sees each torch function of a forward, also those that no module owns (a residual `x + y`), and gives
it a stable key: the path of the module that is running, the function's name and its number there, as in
`blocks.1.0:add:0`.  A subclass may change the result: this is how activations are observed and fake-quantized, in
eager mode, in training loops and under `torch.export` alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

INPUT = "input"  # the key of the model's own input tensor


def input_of(module: str) -> str:
    """The key of what a module alone reads: others that read the same tensor have it as it is."""
    return f"{module}:{INPUT}"


# In-place and operator spellings of one function are one function.
SAME = {"__add__": "add", "__iadd__": "add", "__radd__": "add", "add_": "add", "relu_": "relu", "hardtanh_": "hardtanh"}
SAME |= {"relu6": "hardtanh", "__mul__": "mul", "__imul__": "mul", "__rmul__": "mul", "mul_": "mul", "concat": "cat"}
SAME |= {"concatenate": "cat", "__matmul__": "matmul", "bmm": "matmul", "silu_": "silu", "hardswish_": "hardswish"}


class Calls(TorchFunctionMode):
    """Scope: the calls of `model`'s forwards reach `on_call`.  Leaves no hook behind.

    `start` is the submodule that is called, where it is not the model itself: a block that is trained alone.

    A scope that is entered for every step of a training may `stand`: hooks that stay on the modules, in place of those
    that come and go with the scope, cost less and are what torch.compile can trace.
    """

    def __init__(self, model: nn.Module, start: nn.Module | None = None) -> None:
        super().__init__()
        self.names = {module: name for name, module in model.named_modules()}
        self.model = model
        self.start = start or model
        self.stack: list[str | None] = []  # None: what runs now is this scope's, not the model's
        self.numbers: dict[tuple[str, str], int] = {}
        self.standing = self.entered = False

    def on_call(self, key: str, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """Called with each result; what it returns takes the result's place."""
        return result

    def on_start(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Called with the model's own inputs at the start of each forward; may replace them."""
        return inputs

    def on_enter(self, module: str, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Called with the positional inputs of every other module of the model, by name; may replace them."""
        return None

    def stand(self) -> list[RemovableHandle]:
        """Put hooks on all modules below the model itself, whose own `_push` and `_pop` are then the caller's to call.

        The caller removes the hooks.
        """
        self.standing = True
        below = [module for module in self.names if module is not self.model]
        pushing = [module.register_forward_pre_hook(self._push, prepend=True) for module in below]
        return pushing + [module.register_forward_hook(self._pop, prepend=True) for module in below]

    def __enter__(self) -> Calls:
        if not self.standing:
            self.handles = [
                register_module_forward_pre_hook(self._push),  # type: ignore[arg-type]  # may return inputs, says torch
                register_module_forward_hook(self._pop, always_call=True),
            ]
        self.entered = True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        if not self.standing:
            for handle in self.handles:
                handle.remove()
        # as it was at first: torch.compile makes another graph for each state that it meets
        self.entered = False
        self.stack.clear()
        self.numbers.clear()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def _push(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.entered:
            return None
        name = self.names.get(module)
        place = self.stack[-1] if name is None and self.stack else name or ""
        if module is self.start:
            self.numbers.clear()
        self.stack.append(None)
        if module is self.model:
            changed: tuple[Any, ...] | None = self.on_start(inputs)
        else:
            changed = None if name is None else self.on_enter(name, inputs)
        self.stack[-1] = place
        return changed

    def _pop(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self.entered:
            self.stack.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        module = self.stack[-1] if self.stack else None
        if module is None or name in ("__get__", "__set__", ""):
            return result
        function = SAME.get(name, name)
        number = self.numbers.get((module, function), 0)
        key = f"{module}:{function}:{number}"
        self.numbers[module, function] = number + 1
        return self.on_call(key, function, args, kwargs, result)


@dataclass(frozen=True)
class Call:
    """One call: its key, the module and function, and the keys of the calls that made its tensor inputs."""

    key: str
    module: str
    function: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    constants: tuple[Any, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class CallGraph:
    """The calls of one forward in order, and who consumes whose result."""

    calls: dict[str, Call]
    outputs: tuple[str, ...]

    def consumers(self, key: str) -> list[Call]:
        return [call for call in self.calls.values() if key in call.inputs]

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls.values())


class _Recorder(Calls):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.calls: dict[str, Call] = {}
        self.made_by: dict[int, str] = {}
        self.alive: list[Any] = []  # an id is only unique while its tensor lives

    def on_start(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        for tensor in tensors(inputs):
            self.made_by[id(tensor)] = INPUT
            self.alive.append(tensor)
        return inputs

    def on_call(self, key: str, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        results = tensors(result)
        if not results or "parametrizations" in key.split(":")[0].split("."):
            return result
        if function.startswith("fake_quantize"):  # the same tensor, on its grid
            self.made_by[id(result)] = self.made_by.get(id(args[0]), key)
            self.alive.append(result)
            return result
        given = tensors((args, tuple(kwargs.values())))
        inputs = tuple(self.made_by[id(tensor)] for tensor in given if id(tensor) in self.made_by)
        constants = tuple(a for a in (*args, *kwargs.values()) if isinstance(a, int | float | bool | tuple))
        self.calls[key] = Call(key, key.split(":")[0], function, inputs, tuple(results[0].shape), constants)
        for tensor in results:
            self.made_by[id(tensor)] = key  # an in-place call takes over its tensor from here on
            self.alive.append(tensor)
        return result


def tensors(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dictionaries, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in tensors(item)]
    return []


def forward(model: nn.Module, *inputs: Tensor) -> Any:
    """The model's output for its positional arguments; a language model is told to keep no cache."""
    if "use_cache" in inspect.signature(model.forward).parameters:
        return model(*inputs, use_cache=False)
    return model(*inputs)


def logits_of(output: Any) -> Tensor:
    """The logits in what a model returned: itself, its `.logits`, or its first tensor."""
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else tensors(output)[0]


@torch.no_grad()
def record(model: nn.Module, *inputs: Tensor) -> CallGraph:
    """Run `model` once and return its calls."""
    recorder = _Recorder(model)
    with recorder:
        output = forward(model, *inputs)
    outputs = tuple(recorder.made_by[id(tensor)] for tensor in tensors(output) if id(tensor) in recorder.made_by)
    return CallGraph(recorder.calls, outputs)
