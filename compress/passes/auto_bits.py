"""How `num_bits: auto` becomes bits: the recipe's budget is shared out among the layers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from compress.allocation.told import LOSSES, LayerLosses, add_losses
from compress.errors import ModelError
from compress.passes.base import Context

if TYPE_CHECKING:
    from torch import nn

    from compress.allocation.solving import Allocation
    from compress.models.layers import Layer, Weighted
    from compress.models.statistics import Gram
    from compress.numerics.weight import QuantizedWeight
    from compress.passes.quantize_weights import QuantizeWeights


def allocated(
    model: nn.Module, layers: Mapping[str, Weighted], steps: Sequence[QuantizeWeights], context: Context
) -> dict[str, QuantizeWeights]:
    """By layer, that of `steps` which it is given: together they fit the budget, and lose the least.

    Raises ModelError where no budget is known, or where it cannot be kept to, with the smallest size that can.
    """
    import numpy as np

    from compress.allocation.knapsack import TooSmall
    from compress.allocation.solving import allocate, items_of

    who = steps[0].name
    if context.room is None:
        raise ModelError(f"{who}: num_bits auto shares out a recipe's budget, and there is none: write the bits")
    room = context.room.left(model, layers)
    items = items_of(layers, _formats(model, layers, steps, context))
    weight_bytes = context.room.weight_bytes
    sizes = np.array([[weight_bytes(item.names[0], each) for each in item.formats] for item in items], np.int64)
    formats = {name: item.formats for item in items for name in item.names}

    def excess(choices: Mapping[str, int]) -> int:
        assert context.room is not None
        return context.room.excess(model, {name: formats[name][choice] for name, choice in choices.items()})

    kept = None
    if context.shared is not None:
        decided = json.dumps([[asdict(step) for step in steps], list(layers)], sort_keys=True)
        kept = context.shared / f"losses-{hashlib.sha256(decided.encode()).hexdigest()[:16]}.json"
    try:
        found = allocate(
            model,
            layers,
            items,
            sizes,
            room,
            context.batches,
            excess=excess,
            seed=context.seed,
            kept=kept,
            progress=context.progress,
        )
    except TooSmall as error:
        whole = context.room.budget - room + error.smallest
        raise ModelError(
            f"{who}: budget {context.room.budget:,} bytes: the smallest artefact that the choices allow takes about "
            f"{whole:,} bytes, and would lose about {error.loss:.3g} nats an answer: give it that, or smaller choices"
        ) from error
    context.notes.extend(f"{name}: {steps[choice].choice}" for name, choice in found.choices.items())
    if context.beside is not None:
        add_losses(context.beside / LOSSES, {name: _told(found, steps, name) for name in layers})
    counts = Counter(found.choices.values())
    told = ", ".join(f"{counts[number]} layers in {step.choice}" for number, step in enumerate(steps) if counts[number])
    losses = zip(steps, found.uniform, strict=True)
    alike = [f", {step.choice} everywhere about {loss:.4g}" for step, loss in losses if loss is not None]
    context.say(f"{told}; predicted to lose {found.predicted:.4g} nats an answer{''.join(alike)}")
    return {name: steps[choice] for name, choice in found.choices.items()}


def _formats(
    model: nn.Module, layers: Mapping[str, Weighted], steps: Sequence[QuantizeWeights], context: Context
) -> dict[str, list[QuantizedWeight]]:
    """Each weight rounded as every choice would round it while the others are float: by GPTQ where that is asked, else
    to nearest.  A byte a weight and choice."""
    from compress.models.layers import raw_weight
    from compress.passes.calibrating import grams_of_float, torch_no_grad

    doing = "rounding each layer each way"
    with torch_no_grad():
        if steps[0].algorithm == "gptq":
            return {
                name: [step.layer_nearest(layers[name]) for step in steps] if read is None else _by_gptq(*read, steps)
                for name, read in grams_of_float(model, layers, context, doing)
            }
        once = {id(raw_weight(layer)): name for name, layer in reversed(list(layers.items()))}.values()
        names = context.progress(list(once), doing, len(once))
        return {name: [step.layer_nearest(layers[name]) for step in steps] for name in names}


def _by_gptq(layer: Layer, gram: Gram, steps: Sequence[QuantizeWeights]) -> list[QuantizedWeight]:
    from compress.models.masks import mask_of
    from compress.numerics.gptq import gptq_each

    grids = [step.weighted(layer, gram) for step in steps]
    return gptq_each(layer.weight, grids, gram.hessian(), steps[0].damping, steps[0].act_order, mask_of(layer))


def _told(found: Allocation, steps: Sequence[QuantizeWeights], layer: str) -> LayerLosses:
    nats = {step.choice: lost for step, lost in zip(steps, found.losses[layer], strict=True)}
    return LayerLosses(steps[found.choices[layer]].choice, nats)
