"""reconstruct: no block's error rises, and on a toy network it falls by a lot."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.activations import quantized_activations
from compress.models.learned import LearnedBlock
from compress.models.quantized import as_float, quantized_weights, set_weight
from compress.numerics.distillation import forward_kl
from compress.numerics.grid import nearest
from compress.passes import (
    Context,
    CorrectBias,
    FoldBatchNorm,
    QuantizeStatic,
    QuantizeTernary,
    QuantizeWeights,
    Reconstruct,
)
from compress.passes.reconstruct import Patience
from tests import language
from tests.nets import NETS, context, images, run

# smooth, as photographs are: the rounding errors of one filter can make up for each other
X = nn.functional.interpolate(images(24, 3), 8, mode="bilinear")


def quantized(net: str, static: bool = False, num_bits: int = 3, **options: object) -> nn.Module:
    model = FoldBatchNorm().apply(NETS[net](), context(X))
    model = QuantizeWeights(num_bits=num_bits, **options).apply(model, context(X))  # type: ignore[arg-type]
    return QuantizeStatic().apply(model, context(X)) if static else model


def error(model: nn.Module) -> float:
    with as_float(model):
        expected = run(model, X)
    return float((run(model, X) - expected).square().mean())


def notes(where: Context) -> dict[str, tuple[float, float | None]]:
    """By block, the error before and (where it was lowered) after."""
    found = {}
    for note in where.notes:
        block, text = note.split(": ")
        before, _, after = re.sub(r",.*", "", text).partition(" → ")
        found[block] = (float(before), float(after) if after else None)
    return found


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_no_block_s_error_rises_and_the_whole_network_s_falls_by_a_third(net: str, static: bool) -> None:
    model = quantized(net, static)
    before, where = error(model), context(X)
    Reconstruct(iterations=30, learning_rate=1e-2).apply(model, where)
    blocks = notes(where)
    assert (
        list(blocks)
        == {
            "convolutions": ["conv_stem", "blocks.0", "blocks.1", "head"],
            "transformer": ["embed", "blocks.0", "blocks.1", "head"],
        }[net]
    )
    assert all(after is None or after <= start for start, after in blocks.values())
    assert sum(after is not None for _, after in blocks.values()) >= 3
    assert error(model) < before * 2 / 3


@pytest.mark.parametrize("ternary", [None, 1.6, 1.25])
def test_weights_trained_whole_take_the_error_of_few_bits_further_down_than_roundings(ternary: float | None) -> None:
    errors = []
    for learns in ("rounding", "weights"):
        if ternary is None:
            model = quantized("transformer", num_bits=2)
        else:
            where = context(X)
            model = QuantizeTernary(num_bits=ternary, ignore=("embed",)).apply(NETS["transformer"](), where)  # type: ignore[arg-type]
        before = {name: value.clone() for name, value in model.named_parameters()}
        Reconstruct(learns=learns, iterations=60, weight_rate=0.1, learning_rate=1e-2).apply(model, context(X))  # type: ignore[arg-type]
        errors.append(error(model))
        for name, value in model.named_parameters():
            if "bias" not in name:
                assert torch.equal(value, before[name]), name
        for weight in quantized_weights(model).values():
            assert weight.is_ternary == (ternary is not None)
            if weight.keeps_three_of_four:
                assert bool(((weight.codes == 0).reshape(-1, 4).sum(1) == 1).all())
    assert errors[1] < 0.9 * errors[0]


def test_a_block_whose_loss_falls_no_more_is_done_early() -> None:
    steps = {}
    for patience in (None, 5):
        where = context(X)
        Reconstruct(iterations=60, patience=patience, rounding_rate=0.01, learning_rate=0.0).apply(
            quantized("convolutions"), where
        )
        steps[patience] = [int(found[1]) for note in where.notes if (found := re.search(r"after (\d+) steps", note))]
    assert not steps[None]
    assert steps[5]
    assert all(5 < count < 60 for count in steps[5])


def test_patience_by_hand() -> None:
    """Smoothed over two: 4, 3, 2.5, 2.75, 2.875: two steps without a lower one."""
    patience = Patience(2)
    assert [patience.ends(loss) for loss in (4.0, 2.0, 2.0, 3.0, 3.0)] == [False, False, False, False, True]
    assert not any(Patience(None).ends(loss) for loss in (1.0, 2.0, 3.0))


def test_a_block_that_learning_does_not_help_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the wrong sign: every block would be worse."""
    step = LearnedBlock.step_offsets
    monkeypatch.setattr(LearnedBlock, "step_offsets", lambda self, rate: step(self, -rate))
    model = quantized("convolutions", static=True)
    before, table = {name: value.clone() for name, value in model.state_dict().items()}, quantized_activations(model)
    where = context(X)
    Reconstruct(iterations=10, rounding_rate=0.2, learning_rate=0.0).apply(model, where)
    assert {note.split(", ")[1] for note in where.notes} == {"learning did not lower it"}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert quantized_activations(model) == table


def test_codes_move_by_one_at_most_and_scales_stay_storable() -> None:
    model = quantized("convolutions", num_bits=4, strategy="group", group_size=4, group_scales="integer")
    before = quantized_weights(model)
    Reconstruct(iterations=20, rounding_rate=0.2).apply(model, context(X))
    moved = 0
    for name, weight in quantized_weights(model).items():
        difference = weight.codes.int() - before[name].codes.int()
        assert int(difference.abs().max()) <= 1
        moved += int(difference.abs().sum())
        assert torch.equal(weight.scales.half().float(), weight.scales)
        assert torch.equal(weight.multipliers, before[name].multipliers)  # type: ignore[arg-type]
    assert moved > 0


def test_float_weights_stay_and_biases_stay_parameters_that_can_be_trained() -> None:
    model = quantized("transformer")
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trainable = {name: value.requires_grad for name, value in model.named_parameters()}
    Reconstruct(iterations=5).apply(model, context(X))
    assert {name: value.requires_grad for name, value in model.named_parameters()} == trainable
    for name, value in model.named_parameters():
        if not name.endswith("bias") or "norm" in name:
            assert torch.equal(value, before[name]), name
    model(X).square().sum().backward()
    assert model.head.bias.grad is not None


def test_ranges_shrink_or_stay() -> None:
    model = QuantizeStatic(num_bits=4, observer="minmax").apply(quantized("convolutions"), context(X))
    before = quantized_activations(model)
    Reconstruct(iterations=30, learning_rate=1e-2).apply(model, context(X))
    after = quantized_activations(model)
    assert all(after[key].scale <= before[key].scale for key in before)
    assert any(after[key].scale < before[key].scale for key in before)
    assert {key: grid.zero_point for key, grid in after.items()} == {key: g.zero_point for key, g in before.items()}


def test_a_block_without_quantization_is_left_as_it_is() -> None:
    model = quantized("convolutions", ignore=("blocks.1", "head"))
    set_weight(model.head, nearest(model.head.weight, 3))
    where = context(X)
    Reconstruct(iterations=5).apply(model, where)
    assert where.notes[2].startswith("blocks.1: ")
    assert where.notes[2].endswith(", nothing in it is quantized")


def test_the_walk_ends_with_the_last_block_that_is_quantized() -> None:
    model, where = quantized("convolutions", ignore=("blocks.1", "head")), context(X)
    Reconstruct(iterations=5).apply(model, where)
    assert [note.split(":")[0] for note in where.notes] == ["conv_stem", "blocks.0"]


def test_a_block_that_is_near_enough_is_left_as_it_is() -> None:
    model, where = FoldBatchNorm().apply(NETS["convolutions"](), context(X)), context(X)
    nn.init.ones_(model.conv_stem.weight)  # which any grid holds
    before = QuantizeWeights(num_bits=4).apply(model, where).conv_stem.weight.clone()
    Reconstruct(iterations=5, rounding_rate=0.5).apply(model, where)
    assert where.notes[0].endswith("left as it is")
    assert float(where.notes[0].split()[1].rstrip(",")) < 1e-5
    assert torch.equal(model.conv_stem.weight, before)


def test_the_target_is_the_float_model_also_after_biases_were_corrected() -> None:
    model = quantized("transformer")
    with as_float(model):
        expected = run(model, X)
    for step in (CorrectBias(), Reconstruct(iterations=5), Reconstruct(iterations=5)):
        step.apply(model, context(X))
        with as_float(model):
            assert torch.equal(run(model, X), expected)


def test_arguments_that_are_no_tensors_are_passed_on() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor, mask: Tensor | None, factor: float) -> Tensor:
            assert mask is None
            return x + self.b(torch.relu(self.a(x))) * factor

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Masked(), Masked()])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x, None, factor=2.0)
            return x

    torch.manual_seed(0)
    where = context(torch.randn(16, 2).repeat(1, 2))
    model = QuantizeWeights(num_bits=3).apply(Model(), where)
    Reconstruct(iterations=30, batch_size=16).apply(model, where)
    assert [after is not None for _, after in notes(where).values()] == [True, True]


def test_another_seed_takes_other_samples() -> None:
    codes = []
    for seed in (0, 0, 1):
        model = quantized("convolutions")
        Reconstruct(iterations=10, batch_size=2, rounding_rate=0.2).apply(model, context(X, seed=seed))
        codes.append(torch.cat([weight.codes.flatten() for weight in quantized_weights(model).values()]))
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


def test_without_a_quantized_weight_there_is_nothing_to_learn() -> None:
    with pytest.raises(ModelError) as caught:
        Reconstruct().requires(NETS["transformer"](), context())
    assert str(caught.value) == "reconstruct: no weight is quantized: put quantize.weights or quantize.static before"


def test_fisher_s_loss_is_not_drowned_by_one_token_and_one_channel_that_are_far_larger_than_all_others() -> None:
    divergences = {}
    for loss in ("squared", "fisher"):
        model = language.decoder("llama")
        with torch.no_grad():
            table = model.get_input_embeddings().weight
            table[:, 3] += 30.0
            table[: language.VOCABULARY // 4] *= 100.0
        where = language.context(model)
        wanted = language.logits(model)
        QuantizeWeights(num_bits=2).apply(model, where)
        Reconstruct(learns="weights", loss=loss, iterations=60, batch_size=2).apply(model, where)  # type: ignore[arg-type]
        given = language.logits(model)
        divergences[loss] = sum(
            float(forward_kl(own, theirs).mean()) for own, theirs in zip(given, wanted, strict=True)
        )
    assert divergences["fisher"] < 0.8 * divergences["squared"], divergences
