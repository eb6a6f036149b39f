"""Whether the exported file and the torch model are the same function, on real inputs.

Float activations: the two differ by the order of sums alone.  Measured 4e-7 … 1e-6 of the largest logit on
EfficientNet-Lite0, ResNet-18, MobileNetV2 and a ViT, with float and with stored weights.

Float layers in float16: every result is rounded to 11 bits.  Measured 3e-4 … 6e-4 of the largest logit on two networks
of a few layers, 3e-3 on EfficientNet-Lite0.

Quantized activations: a difference in the last place makes some values round to the next step, these make others do
so, and some layers on the two are as far apart as if each had rounded at random: for torch alone it suffices to run
the same images in batches of another size.  So the measure is what rounding itself does to the logits, with the same
weights.  Measured 0.6 … 1.1 times that on the three convolutional networks, 0.1 on the ViT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compress.errors import ParityError
from compress.models.activations import quantized_activations
from compress.models.quantized import as_float

Float = NDArray[np.float32]

FLOAT_LIMIT = 1e-4  # of the largest logit; a hundred times what was measured
HALF_LIMIT = 2e-2  # the same, of float16
ROUNDING_LIMIT = 2.0  # times what rounding the activations does; independent roundings would be 1.4 times apart
ROUNDING_FLOOR = 0.01  # of the logits' spread, for networks so small that rounding does next to nothing
MARGIN = 6.0  # times the limit: a choice this clear cannot change by chance


@dataclass(frozen=True)
class Parity:
    """How far the file and the torch model are apart, on `num_inputs` inputs with `num_outputs` logits each.

    max_difference  largest difference of a logit, as a share of the largest logit.
    rms_difference  root mean square difference of the logits, as a share of their spread (standard deviation).
    limit           what the first (float activations) or the second (quantized ones) may be.
    agreement       share of inputs for which both choose the same class.
    """

    num_inputs: int
    num_outputs: int
    max_difference: float
    rms_difference: float
    limit: float
    agreement: float


def check_parity(
    model: nn.Module,
    predictor: Callable[[Float], Float],
    inputs: Sequence[Float],
    where: str = "model.onnx",
    *,
    half: bool = False,
) -> Parity:
    """Compare `predictor` (the exported file) with `model` on batches [N, 3, H, W].

    half  whether the file computes in float16.

    Raises ParityError, with the figures, if they are further apart than the limits of this module, or if the file
    gives something that is not a number.
    """
    batches = [np.ascontiguousarray(batch, np.float32) for batch in inputs]
    reference, unrounded = outputs_of(model, lambda: _predict(model, batches))
    found = np.concatenate([predictor(batch) for batch in batches])
    apart = distance(found, reference, unrounded, where, half=half)
    parity = Parity(
        num_inputs=len(reference),
        num_outputs=reference.shape[1],
        max_difference=apart.max_difference,
        rms_difference=apart.rms_difference,
        limit=apart.limit,
        agreement=float((found.argmax(1) == reference.argmax(1)).mean()),
    )
    margin = MARGIN * apart.limit * spread_of(reference)
    if apart.is_too_far or (unrounded is not None and _clear_changes(reference, found, margin)):
        raise ParityError(
            f"{where}: not the same function as the torch model: on {parity.num_inputs} inputs the logits differ by "
            f"{parity.max_difference:.2g} of the largest (root mean square {parity.rms_difference:.2g} of their "
            f"spread), {parity.agreement:.2%} of the choices agree; allowed is {parity.limit:.2g}"
        )
    return parity


@dataclass(frozen=True)
class Distance:
    """See `Parity`.  is_too_far: what `limit` is about lies above it."""

    max_difference: float
    rms_difference: float
    limit: float
    is_too_far: bool


def outputs_of(model: nn.Module, predict: Callable[[], Float]) -> tuple[Float, Float | None]:
    """What `predict` gives of the model in eval mode: as it is and, if it quantizes activations, with these float."""
    with evaluating(model):
        reference = predict()
        if not quantized_activations(model):
            return reference, None
        with as_float(model, weights=False):
            return reference, predict()


def distance(found: Float, reference: Float, unrounded: Float | None, where: str, *, half: bool) -> Distance:
    """How far the file's outputs are from the model's, which `outputs_of` gave, and how far they may be.

    Raises ParityError for outputs of another shape, and for some that are no numbers.
    """
    if found.shape != reference.shape or not np.isfinite(found).all():
        raise ParityError(f"{where}: gives {_described(found)} where the torch model gives {_described(reference)}")
    spread = spread_of(reference)
    largest = float(np.abs(found - reference).max() / (np.abs(reference).max() or 1.0))
    rms = _rms(found - reference) / spread
    if unrounded is None:
        limit = HALF_LIMIT if half else FLOAT_LIMIT
        return Distance(largest, rms, limit, largest > limit)
    limit = ROUNDING_LIMIT * _rms(reference - unrounded) / spread + ROUNDING_FLOOR
    return Distance(largest, rms, limit, rms > limit)


def spread_of(outputs: Float) -> float:
    """Their standard deviation; 1 of outputs that are all alike."""
    return float(outputs.std()) or 1.0


def _clear_changes(reference: Float, found: Float, margin: float) -> bool:
    """Whether the file chooses a class that the torch model puts further behind its own choice than `margin`."""
    behind = reference.max(1) - reference[np.arange(len(reference)), found.argmax(1)]
    return bool((behind > margin).any())


def _predict(model: nn.Module, batches: Sequence[Float]) -> Float:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        outputs = [model(torch.from_numpy(batch).to(device)).float().cpu().numpy() for batch in batches]
    return np.concatenate(outputs)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Scope: eval mode, and each module's own again afterwards."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def _rms(values: Float) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


def _described(outputs: Float) -> str:
    wrong = "" if np.isfinite(outputs).all() else ", not all of them finite"
    return f"float32 [{', '.join(map(str, outputs.shape))}]{wrong}"
