"""Grids that are learned: what is stored is what was trained, normalisations and masks included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.models.activations import quantized_activations
from compress.models.masks import mask_of, set_mask
from compress.models.quantized import quantized_weights, stored
from compress.passes import TrainQuantized
from compress.preparing import prepare
from tests.nets import ConvNet, conv_net, images, lively, run, transformer


def trained(
    model: nn.Module, step: TrainQuantized, steps: int = 3, total_steps: int | None = None
) -> tuple[Tensor, nn.Module]:
    """The output in eval mode after a few steps, its grids still learned; and the finished model."""
    x, labels = images(8), torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    compressor = prepare(model, [step], batches=lambda: [(x,)], total_steps=total_steps)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        compressor.loss(nn.functional.cross_entropy(model(x), labels), (x, labels)).backward()
        optimizer.step()
        compressor.step()
    model.eval()
    return run(model, images(8, seed=5)), compressor.finalize()


@pytest.mark.parametrize("activation_bits", [None, 4, 8])
@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_what_is_stored_computes_what_was_trained(num_bits: int, activation_bits: int | None) -> None:
    for make in (conv_net, transformer):
        before, model = trained(make(), TrainQuantized(num_bits=num_bits, activation_bits=activation_bits))
        after = run(model, images(8, seed=5))
        # an activation at the middle between two steps may fall to either
        near = (after - before).abs() <= 1e-4 * before.abs().max()
        assert float(near.float().mean()) > (0.999 if activation_bits is None else 0.7)
        assert bool(quantized_activations(model)) == (activation_bits is not None)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_signs_of_normalisations_go_into_the_weights() -> None:
    """A network with negative γ computes the same before training, and folds into positive scales."""
    model = lively(ConvNet())
    with torch.no_grad():
        model.bn.weight[::2] *= -1
    expected = run(model, images(8, seed=5))
    before, finished = trained(model, TrainQuantized(num_bits=8, edge_bits=None), steps=0)
    assert torch.allclose(before, expected, atol=0.05 * float(expected.abs().max()))
    assert torch.allclose(run(finished, images(8, seed=5)), before, atol=1e-4)
    assert all(bool((weight.scales > 0).all()) for weight in quantized_weights(finished).values())


def test_the_first_and_the_last_layer_have_their_own_bits() -> None:
    _, model = trained(conv_net(), TrainQuantized(num_bits=3, edge_bits=8))
    bits = {name: weight.num_bits for name, weight in quantized_weights(model).items()}
    assert bits.pop("conv_stem.weight") == bits.pop("head.weight") == 8
    assert set(bits.values()) == {3}


def test_scales_are_learned() -> None:
    model = conv_net()
    compressor = prepare(model, [TrainQuantized(num_bits=4, edge_bits=None)], batches=lambda: [(images(),)])
    scales = model.conv_stem.parametrizations.weight[0].scales
    before = scales.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor.loss(model(images()).square().mean()).backward()
    optimizer.step()
    assert not torch.equal(scales, before)


def test_eight_bits_keep_their_levels_at_any_rate() -> None:
    """A step of the weights is many steps of such a grid: its scales follow them, whatever the optimizer does."""
    model = conv_net()
    compressor = prepare(model, [TrainQuantized(num_bits=2)], batches=lambda: [(images(),)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(10):
        optimizer.zero_grad()
        compressor.loss(model(images()).square().mean()).backward()
        optimizer.step()
        compressor.step()
    codes = quantized_weights(compressor.finalize())["conv_stem.weight"].codes
    assert codes.abs().flatten(1).amax(1).tolist() == [127] * len(codes)


def test_masks_stay_below_the_grids() -> None:
    model = conv_net()
    mask = torch.rand(model.blocks[0].conv1.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    set_mask(model.blocks[0].conv1, mask)
    _, finished = trained(model, TrainQuantized(num_bits=4))
    layer = finished.blocks[0].conv1
    assert stored(layer) is not None
    assert bool((layer.weight[~mask] == 0).all())
    assert torch.equal(mask_of(layer), mask)  # type: ignore[arg-type]


def test_after_the_freeze_statistics_and_ranges_stay() -> None:
    model, x = conv_net(), images(8)
    step = TrainQuantized(num_bits=8, activation_bits=8, ranges="observed", freeze=0.5)
    compressor = prepare(model, [step], batches=lambda: [(x,)], total_steps=4)
    model.train()
    seen = []
    for _ in range(4):
        model(3 * x)
        compressor.step()
        seen.append((model.bn.running_mean.clone(), [grid.ends.clone() for grid in model.learned_activations]))
    assert not torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[1][0], seen[3][0])
    assert all(torch.equal(a, b) for a, b in zip(seen[1][1], seen[3][1], strict=True))
