"""A part of a pipeline as a graph of its own: written with its weights beside it, and compared with the torch model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ParityError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from compress.exporter.graph import Signature
    from compress.targets import Target

LARGEST_BATCH = 63  # diffusers copies larger ones before upsampling: the same values by another way
# MatMulNBits rounds activations to int8, a scale a block.
ROUNDING_LIMIT = 0.05  # of the outputs' spread, root mean square


def write_part(part: nn.Module, example: tuple[Tensor, ...], path: Path, target: Target, signature: Signature) -> bool:
    """Write the graph, and its weights to `path` + '_data'; whether operators of it round activations that the torch
    model does not.

    example  inputs, whose sizes after N the graph takes.

    Raises ModelError for a part that ONNX cannot express.
    """
    from compress import __version__
    from compress.exporter.build import build
    from compress.exporter.tidy import write

    path.parent.mkdir()
    built = build(part, tuple(each[:1] for each in example), target, signature, keep_codes=True)
    write(built, path, target, __version__, signature, data=f"{path.name}_data")
    return any(node.op_type == "MatMulNBits" for node in built.graph)


def check_part(
    part: nn.Module,
    predictor: Callable[..., NDArray[np.float32]],
    example: tuple[Tensor, ...],
    where: str,
    what: str,
    *,
    rounds: bool,
    half: bool = False,
) -> float:
    """How far the file and the torch model are apart, root mean square, as a share of the outputs' spread.

    what    the outputs are called.
    rounds  whether operators of the file round activations that the torch model does not (MatMulNBits).
    half    whether the file computes in float16.

    Raises ParityError if they are further apart than `ROUNDING_LIMIT`, where the file rounds, or else than
    `compress.exporter.parity` allows.
    """
    import torch

    from compress.exporter.parity import distance, outputs_of

    samples = [tuple(each[i : i + 1] for each in example) for i in range(len(example[0]))]
    with torch.no_grad():
        reference, unrounded = outputs_of(part, lambda: np.concatenate([_numbers(part(*each)) for each in samples]))
    found = np.concatenate([predictor(*map(_numbers, each)) for each in samples])
    apart = distance(found, reference, unrounded, where, half=half)
    rounds = rounds and unrounded is None
    limit = ROUNDING_LIMIT if rounds else apart.limit
    if apart.rms_difference > limit if rounds else apart.is_too_far:
        of_spread = rounds or unrounded is not None
        raise ParityError(
            f"{where}: not the same function as the torch model: on {len(found)} inputs the {what} differs by "
            f"{apart.rms_difference if of_spread else apart.max_difference:.2g} of its "
            f"{'spread' if of_spread else 'largest'}; allowed is {limit:.2g}"
        )
    return apart.rms_difference


def _numbers(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.numpy()
    return array
