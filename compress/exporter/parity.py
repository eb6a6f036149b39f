"""Whether the exported file and the torch model are the same function, on real inputs.

Float activations: the two differ by the order of sums alone.  Measured 4e-7 … 1e-6 of the largest logit on
EfficientNet-Lite0, ResNet-18, MobileNetV2 and a ViT, with float and with stored weights.

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
    model: nn.Module, predictor: Callable[[Float], Float], inputs: Sequence[Float], where: str = "model.onnx"
) -> Parity:
    """Compare `predictor` (the exported file) with `model` on batches [N, 3, H, W].

    Raises ParityError, with the figures, if they are further apart than the limits of this module, or if the file
    gives something that is not a number.
    """
    rounds = bool(quantized_activations(model))
    batches = [np.ascontiguousarray(batch, np.float32) for batch in inputs]
    with _evaluating(model):
        reference = _predict(model, batches)
        with as_float(model, weights=False):
            unrounded = _predict(model, batches) if rounds else reference
    found = np.concatenate([predictor(batch) for batch in batches])
    if found.shape != reference.shape or not np.isfinite(found).all():
        raise ParityError(f"{where}: gives {_described(found)} where the torch model gives {_described(reference)}")
    difference, spread = found - reference, float(reference.std()) or 1.0
    rms, rounding = _rms(difference) / spread, _rms(reference - unrounded) / spread
    limit = ROUNDING_LIMIT * rounding + ROUNDING_FLOOR if rounds else FLOAT_LIMIT
    parity = Parity(
        num_inputs=len(reference),
        num_outputs=reference.shape[1],
        max_difference=float(np.abs(difference).max() / (np.abs(reference).max() or 1.0)),
        rms_difference=rms,
        limit=limit,
        agreement=float((found.argmax(1) == reference.argmax(1)).mean()),
    )
    apart = parity.rms_difference if rounds else parity.max_difference
    if apart > limit or (rounds and _clear_changes(reference, found, MARGIN * limit * spread)):
        raise ParityError(
            f"{where}: not the same function as the torch model: on {parity.num_inputs} inputs the logits differ by "
            f"{parity.max_difference:.2g} of the largest (root mean square {rms:.2g} of their spread), "
            f"{parity.agreement:.2%} of the choices agree; allowed is {limit:.2g}"
        )
    return parity


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
def _evaluating(model: nn.Module) -> Iterator[None]:
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
