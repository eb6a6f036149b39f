"""A model as a recipe's passes would leave it, as far as the bytes of its file go: folded, its codes and grids made up.

The exporter builds its graph as it builds that of the result.  No two weights or grids are equal, as in life: of equal
ones a file holds one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.passes import Pass
from compress.passes.base import Context
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.train_quantized import TrainQuantized

if TYPE_CHECKING:
    from torch import nn

    from compress.numerics.weight import QuantizedWeight


def restructured(model: nn.Module, passes: Sequence[Pass], context: Context) -> nn.Module:
    """A copy with the modules that the passes leave.

    If no pass changes any, its values lie where the model's do, so that a large one is not in memory twice: passes that
    change modules, as folding does, write on values too.
    """
    from torch import nn

    same: dict[int, Any] = {}
    if all(type(step).restructure is Pass.restructure for step in passes):
        same = {id(each): nn.Parameter(each.data, requires_grad=each.requires_grad) for each in model.parameters()}
    model = copy.deepcopy(model, same)
    for step in passes:
        model = step.restructure(model, context)
    return model


def planned(
    model: nn.Module, passes: Sequence[Pass], formats: Mapping[str, QuantizedWeight], context: Context
) -> nn.Module:
    """The model, restructured before, with the weights and activations of the result.

    formats  how the weights of layers that are float now will be stored, by layer.
    """
    from compress.models.activations import QuantizedActivation, set_activations
    from compress.models.dynamic import add_dynamic_layers
    from compress.models.layers import select
    from compress.models.quantized import set_weight, stored

    bits = _activation_bits(model, passes, context)
    for name, weight in formats.items():
        layer = model.get_submodule(name)
        if stored(layer) is None:
            set_weight(layer, weight, model)
    for step in passes:
        if isinstance(step, QuantizeDynamic):
            add_dynamic_layers(model, select(model, step.targets, step.ignore))
    table = {}
    for number, (key, num_bits) in enumerate(bits.items(), 1):
        steps = (1 << num_bits) - 1
        zero_point = (steps + 1) // 2 if context.target.is_symmetric else 0
        # from 0 to about 1, so that every activation ends where the grid does
        table[key] = QuantizedActivation((1 - number / 2**20) / steps, zero_point, num_bits)
    set_activations(model, table)
    return model


def _activation_bits(model: nn.Module, passes: Sequence[Pass], context: Context) -> dict[str, int]:
    """By the key of its call, or of a layer's input, the bits of each tensor that a pass puts on a grid."""
    from compress.models.calls import input_of, record
    from compress.models.layers import select
    from compress.models.sites import quantized_calls

    found: dict[str, int] = {}
    for step in passes:
        if isinstance(step, QuantizeStatic):
            num_bits: int | None = step.num_bits
        elif isinstance(step, TrainQuantized):
            num_bits = step.activation_bits
        else:
            continue
        if num_bits is None:
            continue
        layers = select(model, step.targets, step.ignore)
        if isinstance(step, TrainQuantized) and num_bits < 8:
            edges = step.edges(model)
            found |= {input_of(name): edges.get(name, num_bits) for name in layers}
        else:
            keys = quantized_calls(record(model, *context.example()), set(layers))
            found |= dict.fromkeys(keys, num_bits)
    return found
