"""Gradients of a model's own answer: what Fisher's information of its weights and outputs is taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.models.blocks import mapped
from compress.models.calls import forward, logits_of, tensors


def answer_itself(model: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> int:
    """The backward of −log p(y), summed over all rows of logits, for y drawn from the model's own answer (Martens 2014,
    arXiv:1412.1193); returns how many rows there are."""
    with torch.enable_grad():
        output = logits_of(forward(model, *batch)).flatten(0, -2).float()
        drawn = torch.multinomial(output.detach().softmax(-1), 1, generator=generator).flatten()
        loss: Any = functional.cross_entropy(output, drawn, reduction="sum")  # torch has no types for backward
        loss.backward()
    return len(output)


def of_inputs(inputs: tuple[Any, ...], output: Any) -> Tensor:
    """A module's first input."""
    first: Tensor = inputs[0]
    return first


def of_outputs(inputs: tuple[Any, ...], output: Any) -> Tensor:
    """A module's first output."""
    return tensors(output)[0]


@contextmanager
def output_gradients(
    model: nn.Module, modules: Iterable[str], beside: Callable[[tuple[Any, ...], Any], Tensor]
) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Scope: by module, a pair each time that it runs: `beside` of its inputs and outputs, and, once a backward has
    passed, the gradient of its first output.

    No parameter takes a gradient meanwhile: the graph begins at the first module's output.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in modules}

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            kept = beside(inputs, output).detach()
            if not tensors(output)[0].requires_grad:
                output = mapped(_begin, output)
            watched: Any = tensors(output)[0]  # torch has no types for register_hook
            watched.register_hook(lambda gradient: seen[name].append((kept, gradient.detach())))
            return output

        return hook

    handles = [model.get_submodule(name).register_forward_hook(watch(name)) for name in seen]
    required = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in required:
        parameter.requires_grad_(False)
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for parameter in required:
            parameter.requires_grad_(True)


def _begin(output: Tensor) -> Tensor:
    # no leaf: what follows may write into it
    return output.requires_grad_().clone() if output.is_floating_point() else output
