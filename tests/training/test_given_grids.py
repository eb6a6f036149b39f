"""A quantized model is trained on the grids that it has: from what it computes, to what was trained last."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress.applying import apply
from compress.errors import ModelError
from compress.models.layers import raw_weight, weighted_layers
from compress.models.learned_grids import learned_grid
from compress.models.masks import mask_of
from compress.models.quantized import quantized_weights, set_weight, stored
from compress.numerics.ternary import ternary
from compress.passes import (
    DistillQuantized,
    FoldBatchNorm,
    Pass,
    PruneMagnitude,
    QuantizeStatic,
    QuantizeWeights,
    TuneNormsAndScales,
)
from compress.passes.base import silent
from compress.preparing import prepare
from compress.training.given_grids import residual_at
from compress.training.loop import Surroundings, train
from compress.training.phase import Compressor
from compress.training.settings import LogitsLoss
from tests.language import VOCABULARY, decoder
from tests.language import sentences as language_batches
from tests.models.test_learned_grids import three_are_kept, three_of_four
from tests.nets import Labelled, conv_net, images, run, transformer
from tests.training.killing import assert_goes_on

TWO_BITS: dict[str, tuple[Pass, ...]] = {
    "symmetric": (QuantizeWeights(num_bits=2),),
    "affine groups": (QuantizeWeights(num_bits=2, symmetric=False, strategy="group", group_size=8),),
    "integer": (QuantizeWeights(num_bits=3, strategy="group", group_size=4, group_scales="integer"),),
    "gptq": (QuantizeWeights(num_bits=3, algorithm="gptq"),),
    "with activations": (QuantizeWeights(num_bits=4), QuantizeStatic()),
}
TASK: dict[str, Any] = {"logits": None, "task_weight": 1.0}
STEPS = (DistillQuantized(**TASK), TuneNormsAndScales(**TASK))
on_both = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)


def quantized(passes: tuple[Pass, ...] = TWO_BITS["symmetric"], model: nn.Module | None = None) -> nn.Module:
    model = conv_net() if model is None else model
    return apply(model, [FoldBatchNorm(), *passes], lambda: [(images(),)])


def ternary_net(sparse: bool) -> nn.Module:
    """The transformer; the layers with a number of columns that four divides are ternary."""
    model = transformer()
    for layer in weighted_layers(model).values():
        first = three_of_four(layer.weight.detach())
        set_weight(layer, first if sparse else ternary(layer.weight.detach(), "trits"))
    return model


def steps(
    model: nn.Module, compressor: Compressor, count: int, rate: float = 0.05, kind: Any = torch.optim.SGD
) -> None:
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.01, **options)
    for _ in range(count):
        optimizer.zero_grad()
        x, labels = images(8), torch.arange(8) % 5
        compressor.loss(nn.functional.cross_entropy(model(x), labels), (x, labels)).backward()
        optimizer.step()
        compressor.step()


@on_both
@pytest.mark.parametrize("kind", TWO_BITS)
def test_a_training_begins_as_the_model_is_and_without_a_step_leaves_it_so(kind: str, step: Pass) -> None:
    model = quantized(TWO_BITS[kind])
    before, weights = run(model, images(seed=5)), quantized_weights(model)
    compressor = prepare(model, [step])
    assert not quantized_weights(model)
    assert torch.equal(run(model, images(seed=5)), before)
    finished = compressor.finalize()
    assert torch.equal(run(finished, images(seed=5)), before)
    for name, weight in quantized_weights(finished).items():
        assert torch.equal(weight.codes, weights[name].codes)
        assert torch.equal(weight.scales, weights[name].scales)
    assert all(parameter.requires_grad for parameter in finished.parameters() if parameter.dim() > 1)


@on_both
@pytest.mark.parametrize("kind", TWO_BITS)
def test_what_was_trained_last_is_what_is_stored(kind: str, step: Pass) -> None:
    model = quantized(TWO_BITS[kind])
    before, weights = run(model, images(seed=5)), quantized_weights(model)
    compressor = prepare(model, [step])
    steps(model, compressor, 5)
    trained = run(model, images(seed=5))
    finished = compressor.finalize()
    assert torch.equal(run(finished, images(seed=5)), trained)
    assert not torch.equal(trained, before)
    after = quantized_weights(finished)
    assert after.keys() == weights.keys()
    assert all(torch.equal(weight.scales.half().float(), weight.scales) for weight in after.values())
    same = [torch.equal(weight.codes, weights[name].codes) for name, weight in after.items()]
    assert all(same) == isinstance(step, TuneNormsAndScales)
    assert not any(torch.equal(weight.scales, weights[name].scales) for name, weight in after.items())


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_ternary_stays_ternary_and_three_of_four_stay_so_with_a_residual(sparse: bool, optimizer: Any) -> None:
    model = ternary_net(sparse)
    weights = quantized_weights(model)
    compressor = prepare(model, [DistillQuantized(**TASK, residual=0.5)], total_steps=20)
    steps(model, compressor, 10, kind=optimizer)
    grids = [learned_grid(layer) for layer in weighted_layers(model).values()]
    assert {grid.residual for grid in grids if grid is not None} == {0.5 * residual_at(0.5)}
    steps(model, compressor, 10, kind=optimizer)
    trained = run(model, images())
    finished = compressor.finalize()
    assert torch.equal(run(finished, images()), trained)
    after = quantized_weights(finished)
    assert {weight.packing for weight in after.values()} == {"3:4" if sparse else "trits"}
    assert all(weight.codes.abs().max() == 1 for weight in after.values())
    assert all(three_are_kept(weight) for weight in after.values()) == sparse
    assert not all(torch.equal(weight.codes, weights[name].codes) for name, weight in after.items())


def test_the_residual_rises_in_a_line_and_falls_by_cosine() -> None:
    assert [residual_at(done) for done in (0.0, 0.05, 0.1, 0.55, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    assert residual_at(1.0) == 0.0


@on_both
def test_masks_stay(step: Pass) -> None:
    model = quantized((PruneMagnitude(sparsity=0.5, targets=("blocks.*",)), *TWO_BITS["affine groups"]))
    before = {name: mask_of(layer) for name, layer in weighted_layers(model).items()}
    compressor = prepare(model, [step])
    steps(model, compressor, 5)
    compressor.finalize()
    masked = [name for name, mask in before.items() if mask is not None]
    assert masked
    for name in masked:
        layer = model.get_submodule(name)
        assert torch.equal(mask_of(layer), before[name])  # type: ignore[arg-type]
        assert bool((layer.weight[~before[name]] == 0).all())  # type: ignore[operator]
        original = raw_weight(layer)
        assert original is not None
        assert bool((original[~before[name]] == 0).all())


def language_net() -> nn.Module:
    """A decoder whose head is its embedding, in 4 bits, its layers in 2."""
    model = decoder("llama")
    passes = [QuantizeWeights(num_bits=2), QuantizeWeights(num_bits=4, targets=("role:embedding",))]
    return apply(model, passes, lambda: language_batches(model))


def learned(model: nn.Module) -> set[str]:
    """What an optimizer is given, by the names that parameters have without parametrizations."""
    names = (
        name.replace("parametrizations.", "").replace("original", "")
        for name, p in model.named_parameters()
        if p.requires_grad
    )
    return {name.strip(".") for name in names}


def test_embeddings_are_trained_only_where_they_are_named_and_share_their_grid_with_the_head() -> None:
    model = language_net()
    prepare(model, [DistillQuantized(**TASK)])
    assert stored(model.lm_head) is stored(model.model.embed_tokens) is not None
    assert not any("embed_tokens" in name or "lm_head" in name for name in learned(model))
    assert {"model.norm.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight.0.scales"} <= (
        learned(model)
    )
    model = language_net()
    compressor = prepare(model, [DistillQuantized(**TASK, targets=("*", "role:embedding"))])
    assert learned_grid(model.lm_head) is learned_grid(model.model.embed_tokens) is not None
    assert "model.embed_tokens.weight" in learned(model)
    compressor.finalize()
    assert stored(model.lm_head) is stored(model.model.embed_tokens) is not None


def test_tuning_trains_nothing_but_norms_biases_and_scales() -> None:
    model = language_net()
    compressor = prepare(model, [TuneNormsAndScales(**TASK)])
    names = learned(model)
    assert names == {name for name in names if name.endswith("scales") or "norm" in name}
    assert {"model.norm.weight", "model.embed_tokens.weight.0.scales"} <= names
    compressor.finalize()


class Sentences:
    """Examples of a language model: rows of random tokens, each asked for the next."""

    def __len__(self) -> int:
        return 16

    def batch(self, rows: Any, draw: Any) -> Any:
        from compress.training.examples import Batch

        ids = torch.randint(2, VOCABULARY, (16, 9), generator=torch.Generator().manual_seed(0))[list(rows)]
        return Batch((ids[:, :-1],), ids[:, 1:])


def tied_training(step: Any, directory: Path | None, progress: Any = silent) -> tuple[dict[str, Tensor], Any]:
    """The state after training a tied model, and the losses."""
    from tests.nets import context

    model = language_net()
    phases = step.phases(model, context())
    history = train(model, phases, Sentences(), step, Surroundings(3, progress, directory=directory))
    for phase in reversed(phases):
        phase.finish()
    return model.state_dict(), history.losses


@pytest.mark.parametrize(
    "step",
    [
        DistillQuantized(**TASK, targets=("*", "role:embedding"), epochs=None, max_steps=6, batch_size=4, residual=0.1),
        TuneNormsAndScales(**TASK, epochs=None, max_steps=6, batch_size=4, gradient_checkpointing=True),
    ],
    ids=lambda step: step.name,
)
def test_a_killed_training_goes_on_to_the_same_bits(step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_goes_on(lambda directory, progress: tied_training(step, directory, progress), tmp_path, monkeypatch, 4)


def test_forgetting_layers_changes_nothing_and_a_model_that_cannot_is_told() -> None:
    options: dict[str, Any] = {**TASK, "epochs": None, "max_steps": 3, "batch_size": 4}
    plain, losses = tied_training(DistillQuantized(**options), None)
    forgetful, same = tied_training(DistillQuantized(**options, gradient_checkpointing=True), None)
    assert losses == pytest.approx(same, rel=1e-6)
    assert all(torch.allclose(plain[name].float(), forgetful[name].float(), atol=1e-5) for name in plain)
    with pytest.raises(ModelError, match="gradient_checkpointing: ConvNet has no layers that compute again"):
        train(
            conv_net(),
            [],
            Labelled(),
            DistillQuantized(**options, gradient_checkpointing=True),
            Surroundings(0, silent),
        )


def test_training_under_the_float_model_lowers_the_loss() -> None:
    model = quantized()
    step = DistillQuantized(
        epochs=None, max_steps=60, batch_size=32, learning_rate=3e-3, scale_rate=3e-3, logits=LogitsLoss()
    )
    from dataclasses import replace

    from tests.nets import context

    phases = step.phases(model, replace(context(), teacher=lambda wanted: conv_net()))
    losses = train(model, phases, Labelled(), step, Surroundings(0, silent)).losses
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_copy_of_a_training_is_one_of_its_own() -> None:
    model = quantized()
    training = (model, prepare(model, [DistillQuantized(**TASK)]))
    copied = copy.deepcopy(training)
    steps(*training, 3)
    steps(*copied, 3)
    one, other = training[1].finalize(), copied[1].finalize()
    assert one is not other
    assert torch.equal(run(one, images()), run(other, images()))


@on_both
def test_what_is_wrong_is_told(step: Any) -> None:
    from dataclasses import replace

    from compress.targets import load
    from tests.nets import context

    problems = replace(step, task_weight=0.0).problems(load("generic"))
    assert problems == ["nothing is learned: give logits, features or attention, or task_weight 1 for the labels alone"]
    with pytest.raises(ModelError, match=r"no weight that is selected is quantized: put quantize\.weights before"):
        step.requires(conv_net(), context())
    with pytest.raises(ModelError, match="residual is of ternary weights, and there are none: take it out"):
        DistillQuantized(residual=0.1).requires(quantized((QuantizeWeights(num_bits=4),)), context())
