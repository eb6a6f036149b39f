"""How far the weights of two artefacts of one model part, layer by layer: the guilty one first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compress.errors import ArtefactError
from compress.passes.base import Progress
from compress.runtime.artefact import Artefact
from compress.runtime.weights import Weight, weights_of


@dataclass(frozen=True)
class LayerError:
    """sqnr_db: signal to noise of the weight that is compared, in dB, 10 lg(Σ reference² / Σ (weight − reference)²);
    inf where both are the same."""

    layer: str
    sqnr_db: float


@dataclass(frozen=True)
class LayerErrors:
    """errors: ascending, so that the layer that changed most comes first.  apart: layers that only one of the two has,
    or that have other shapes in it, as pruning leaves them."""

    errors: tuple[LayerError, ...]
    apart: tuple[str, ...]


def layer_errors(compared: Artefact, reference: Artefact, progress: Progress) -> LayerErrors:
    """Of every weight that both have.

    What a pass moves between layers without changing the outputs (a rotation, an equalized scale) is an error here.
    Raises ArtefactError if they share no weight of the same shape, as artefacts of two models.
    """
    ours, theirs = weights_of(compared), weights_of(reference)
    apart = set(ours) ^ set(theirs)
    errors = []
    shared = [layer for layer in theirs if layer in ours]
    for layer in progress(shared, "weights", len(shared)):
        weight, before = ours[layer](), theirs[layer]()
        if weight.size != before.size or weight.shape[0] != before.shape[0]:
            apart.add(layer)
        else:
            errors.append(LayerError(layer, sqnr_db(before, weight.reshape(before.shape))))
    if not errors:
        raise ArtefactError(
            f"{compared.directory} and {reference.directory} share no weight by name and shape: compare artefacts of "
            "one model"
        )
    return LayerErrors(tuple(sorted(errors, key=lambda error: (error.sqnr_db, error.layer))), tuple(sorted(apart)))


def sqnr_db(reference: Weight, weight: Weight) -> float:
    """10 lg(Σ reference² / Σ (weight − reference)²), summed in float64; inf for equal weights, −inf of a zero one."""
    noise = weight - reference
    power, lost = (float(np.einsum("i,i", each.ravel(), each.ravel(), dtype=np.float64)) for each in (reference, noise))
    if lost == 0:
        return math.inf
    return 10 * math.log10(power / lost) if power else -math.inf
