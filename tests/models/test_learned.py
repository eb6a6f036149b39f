"""A block that is being learned starts as it was, moves within its bounds, and leaves codes behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.models.activations import QuantizedActivation, quantized_activations, set_activations
from compress.models.blocks import Arguments
from compress.models.learned import LearnedActivation, LearnedBlock, LearnedCodes, LearnedRounding, LearnedWeight
from compress.models.quantized import quantized_weights, set_weight
from compress.numerics.grid import nearest
from compress.numerics.ternary import ternary
from compress.numerics.weight import with_given_codes
from tests.nets import conv_net, images, run

KINDS: dict[str, dict[str, object]] = {
    "channel": {},
    "group": {"group_size": 4},
    "affine": {"symmetric": False, "group_size": 5},
    "integer": {"group_size": 4, "integer_scales": True},
}


@pytest.mark.parametrize("learn", [LearnedRounding, LearnedCodes])
@pytest.mark.parametrize("kind", KINDS)
def test_a_learned_weight_starts_as_the_stored_one_and_settles_to_it(kind: str, learn: type[LearnedWeight]) -> None:
    original = torch.randn(3, 11, generator=torch.Generator().manual_seed(0))
    before = nearest(original, 3, **KINDS[kind])
    learned = learn(before, original)  # type: ignore[call-arg]
    torch.testing.assert_close(learned(original), before.dequantize())
    settled = learned.settled()
    assert torch.equal(settled.codes, before.codes)
    assert torch.equal(settled.scales, before.scales)
    assert (settled.num_bits, settled.group_size) == (before.num_bits, before.group_size)


@pytest.mark.parametrize("kind", KINDS)
def test_what_settles_is_what_was_learned_from_storable_scales(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    original = torch.randn(3, 11, generator=generator)
    learned = LearnedRounding(nearest(original, 3, **KINDS[kind]), original)
    with torch.no_grad():
        learned.offsets.uniform_(-0.5, 0.5, generator=generator)
        learned.factors.uniform_(-0.1, 0.1, generator=generator)
        current = learned(original)
    settled = learned.settled()
    assert torch.equal(settled.scales.half().float(), settled.scales)
    torch.testing.assert_close(settled.dequantize(), current, rtol=2.0**-10, atol=1e-6)


def test_codes_that_are_far_from_the_weight_stay_where_they_are() -> None:
    original = torch.tensor([[0.2, 0.9]])
    far = with_given_codes(nearest(original, 4), torch.tensor([[5, -3]], dtype=torch.int8))
    assert LearnedRounding(far, original).settled().codes.tolist() == [[5, -3]]


def test_weights_that_are_trained_whole_go_further_than_a_code_and_leave_the_float_weight() -> None:
    original = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    learned = LearnedCodes(nearest(original, 4), original.clone())
    found = learned.weights()
    assert found is not None
    latent, step = found
    assert latent is learned.latent
    assert step == pytest.approx(float(learned.before.scales.mean()))
    with torch.no_grad():
        latent.add_(3 * step)
        expected = learned(original)
    settled = learned.settled()
    torch.testing.assert_close(settled.dequantize(), expected)
    assert int((settled.codes.int() - learned.before.codes.int()).max()) >= 2


def test_three_of_four_stay_so_and_another_may_be_the_fourth() -> None:
    original = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    learned = LearnedCodes(ternary(original, "3:4"), original)
    with torch.no_grad():
        learned.latent.copy_(learned.latent.flip(1))
    settled = learned.settled()
    assert torch.equal((settled.codes == 0).reshape(-1, 4).sum(1), torch.ones(16, dtype=torch.int64))
    assert not torch.equal(settled.codes == 0, learned.before.codes == 0)


def test_what_is_pruned_stays_zero_when_weights_are_trained_whole() -> None:
    original = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(3, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    masked = torch.where(mask, original, 0.0)
    learned = LearnedCodes(nearest(masked, 4), masked, mask)
    nn.init.ones_(learned.latent)
    learned(masked).sum().backward()
    assert learned.latent.grad is not None
    assert not bool(learned.latent.grad[~mask].any())
    assert bool((learned.settled().codes[~mask] == 0).all())


def test_an_offset_of_half_a_step_moves_a_code_by_one_at_most() -> None:
    original = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    before = nearest(original, 4)
    learned = LearnedRounding(before, original)
    for offset in (-0.5, 0.5):
        nn.init.constant_(learned.offsets, offset)
        moved = learned.settled().codes.int() - before.codes.int()
        assert int(moved.abs().max()) == 1
        assert not (moved * offset < 0).any()


def test_a_learned_range_shrinks_and_does_not_grow() -> None:
    before = QuantizedActivation(0.5, 3)
    grid = LearnedActivation(before, 0.0, torch.Generator())
    x = torch.linspace(-3, 200, 50)
    assert torch.equal(grid.fake_quantize(x).detach(), before.fake_quantize(x))
    assert grid.settled() == before
    nn.init.constant_(grid.factor, 1.0)
    assert grid.settled() == before
    nn.init.constant_(grid.factor, -0.5)
    assert grid.settled().scale == pytest.approx(0.5 * 2.718281828**-0.5)
    torch.testing.assert_close(grid.fake_quantize(x).detach(), grid.settled().fake_quantize(x))


def test_a_range_that_is_too_wide_learns_to_shrink_and_one_that_clips_does_not() -> None:
    """One step down the gradient of the squared error of a grid of 16 values."""
    x = torch.linspace(0, 1, 1000)
    for scale, shrinks in [(2 / 15, True), (0.5 / 15, False)]:
        grid = LearnedActivation(QuantizedActivation(scale, 0, 4), 0.0, torch.Generator())
        (grid.fake_quantize(x) - x).square().sum().backward()
        assert grid.factor.grad is not None
        assert (float(grid.factor.grad) > 0) == shrinks
        assert float(grid.factor.grad) != 0


def test_codes_at_both_ends_of_their_range_can_be_learned() -> None:
    original = torch.tensor([[-8.0, 0.0, 7.0]])
    learned = LearnedRounding(nearest(original, 4), original)
    learned(original).sum().backward()
    assert learned.offsets.grad is not None
    assert learned.offsets.grad.tolist() == [[1.0, 1.0, 1.0]]


def test_dropped_activations_stay_float() -> None:
    grid = LearnedActivation(QuantizedActivation(1.0, 0), 0.25, torch.Generator().manual_seed(0))
    x = torch.rand(10_000) + 0.1
    kept_float = grid.fake_quantize(x).detach() == x
    assert float(kept_float.float().mean()) == pytest.approx(0.25, abs=0.02)


def quantized_net() -> nn.Module:
    model = conv_net()
    for module in (model.blocks[0].conv1, model.blocks[0].conv2, model.head):
        if module.bias is None:
            module.bias = nn.Parameter(torch.randn(module.out_channels))
        set_weight(module, nearest(module.weight, 4))
    grid = QuantizedActivation(0.05, 0)
    set_activations(model, {"act:hardtanh:0": grid, "blocks.0.act:relu:0": grid})
    return model


def test_a_block_starts_as_it_was_and_without_learning_settles_to_that() -> None:
    model = quantized_net()
    x = torch.rand(2, 6, 8, 8)
    before, whole = quantized_weights(model), run(model, images())
    with LearnedBlock(model, "blocks.0", 0.0, torch.Generator()) as learned:
        assert len(learned.magnitudes) == 2 + 2 + 1  # scales, biases, the range inside the block
        first = learned(Arguments((x,), {}))
        learned.settle()
        torch.testing.assert_close(learned(Arguments((x,), {})), first)
    for name, weight in quantized_weights(model).items():
        assert torch.equal(weight.codes, before[name].codes)
    assert torch.equal(run(model, images()), whole)


def fail(model: nn.Module) -> None:
    with LearnedBlock(model, "blocks.0", 0.0, torch.Generator()) as learned:
        assert not any(parameter.requires_grad for parameter in model.parameters() if parameter.dim() == 1)
        learned(Arguments((torch.rand(2, 5, 8, 8),), {}))  # it takes six channels


def test_leaving_the_scope_leaves_nothing_learned_in_the_model_also_after_an_error() -> None:
    model = quantized_net()
    model.head.bias.requires_grad_(False)
    before = {name: (id(value), value.requires_grad) for name, value in model.named_parameters()}
    with pytest.raises(RuntimeError):
        fail(model)
    assert not any(isinstance(module, LearnedWeight | LearnedActivation) for module in model.modules())
    assert {name: (id(value), value.requires_grad) for name, value in model.named_parameters()} == before


def test_undoing_gives_back_weights_biases_and_ranges() -> None:
    model = quantized_net()
    before, table = run(model, images()), quantized_activations(model)
    with LearnedBlock(model, "blocks.0", 0.0, torch.Generator()) as learned:
        for parameter in learned.magnitudes:
            nn.init.constant_(parameter, -0.3)
        learned.settle()
        assert not torch.equal(run(model, images()), before)
        learned.undo()
    assert torch.equal(run(model, images()), before)
    assert quantized_activations(model) == table


def test_a_step_goes_against_the_sign_of_the_gradient_and_ends_at_half() -> None:
    model = quantized_net()
    with LearnedBlock(model, "blocks.0", 0.0, torch.Generator()) as learned:
        learned.zero_grad()
        learned(Arguments((torch.rand(2, 6, 8, 8),), {})).square().sum().backward()
        learned.step_offsets(0.1)
        for weight in learned.weights.values():
            gradient = weight.offsets.grad
            assert gradient is not None
            torch.testing.assert_close(weight.offsets.detach(), -0.1 * gradient.sign())
        learned.step_offsets(9.0)
        assert all(float(weight.offsets.detach().abs().max()) == 0.5 for weight in learned.weights.values())
