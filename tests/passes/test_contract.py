"""What every pass promises: the same result for the same seed, a state that can be saved, and no trace beside it.

Most of it is one table: a case or two for each pass, which is what makes it long.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks

from compress.applying import apply_one, keep_promises
from compress.errors import PromiseBroken
from compress.jobs.text_examples import TextExamples
from compress.models.activations import quantized_activations
from compress.models.dynamic import dynamic_layers
from compress.models.generators.noted import set_sampling
from compress.models.generators.sampling import Sampling
from compress.models.learned import LearnedActivation, LearnedWeight
from compress.models.low_rank import LowRank
from compress.models.masks import masked_layers
from compress.models.quantized import stored
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.models.source import ModelSource
from compress.models.structure import NOTED
from compress.models.timesteps import BOUNDARIES, is_scaled_by_timestep
from compress.models.translators import load_translator
from compress.models.vocabulary import KEPT, kept_tokens
from compress.passes import (
    REGISTRY,
    CacheSteps,
    Context,
    CorrectBias,
    Distill,
    DistillGuidance,
    DistillQuantized,
    DistillSequence,
    DistillSteps,
    Equalize,
    Factorize,
    Finetune,
    FoldBatchNorm,
    Pass,
    PruneChannels,
    PruneFeedForward,
    PruneHeads,
    PruneLayers,
    PruneMagnitude,
    PruneSparseGPT,
    PruneWanda,
    QuantizeDynamic,
    QuantizeStatic,
    QuantizeSvd,
    QuantizeTernary,
    QuantizeWeights,
    Reconstruct,
    Rotate,
    Smooth,
    SmoothTimesteps,
    TrainFlow,
    TrainQuantized,
    TrimVocabulary,
    TuneNormsAndScales,
)
from compress.targets import load
from compress.training.settings import LogitsLoss, Lora
from tests import generating
from tests.nets import NETS, context, images, run
from tests.training.teachers import BACKWARDS, Backwards


@dataclass(frozen=True)
class World:
    """A model that passes are tried on, what they may use with it, and its output."""

    make: Callable[[], nn.Module]
    context: Callable[[], Context]
    output: Callable[[nn.Module], Tensor]


def read(shape: str, model: nn.Module) -> Tensor:
    """The logits of a sentence's own tokens, one after the other, whatever their numbers in the model are."""
    known = load_translator(ModelSource(f"random:{shape}")).tokenizer.encode("Good morning.").ids
    kept = kept_tokens(model)
    ids = torch.tensor(known) if kept is None else torch.searchsorted(kept, torch.tensor(known))
    inputs = {"decoder_input_ids": ids[None]} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids[None], use_cache=False, **inputs).logits[0]
    return logits[:, ids]


def pupil(shape: str) -> World:
    """A translator of random weights, and a teacher that answers with the source backwards."""
    loaded = load_translator(ModelSource(f"random:{shape}"))

    def where() -> Context:
        return Context(
            lambda: iter(()),
            load("generic"),
            directory=Path(tempfile.mkdtemp()),
            translator=loaded,
            corpus=lambda dataset: BACKWARDS,
            writer=lambda *settings: Backwards(),
            examples=lambda texts, augment: TextExamples(loaded, texts, 32),
        )

    return World(translator(shape).make, where, translator(shape).output)


def taught(shape: str) -> World:
    """A translator of random weights, whose own float model teaches it."""
    world, loaded = translator(shape), load_translator(ModelSource(f"random:{shape}"))
    examples = TextExamples(loaded, BACKWARDS, 32)
    return World(
        world.make,
        lambda: replace(
            world.context(), examples=lambda dataset, augment: examples, teacher=lambda wanted: world.make()
        ),
        world.output,
    )


def translator(shape: str) -> World:
    """A translator of random weights."""
    source = ModelSource(f"random:{shape}")
    ids = torch.arange(4, 40)[None]
    batch = (ids,) if load_translator(source).family == "decoder" else (ids, torch.ones_like(ids), ids)
    return World(
        lambda: load_translator(source).model,
        lambda: Context(lambda: iter([batch]), load("generic"), translator=load_translator(source)),
        lambda model: read(shape, model),
    )


PICTURES: dict[str, World] = {name: World(make, context, lambda net: run(net, images())) for name, make in NETS.items()}
LANGUAGES: dict[str, World] = {shape: translator(shape) for shape in ("tiny-gemma3", "tiny-m2m100", "tiny-marian")}


def velocities(model: nn.Module) -> Tensor:
    with torch.no_grad():
        given: Tensor = model(*generating.inputs())
    return given.flatten(1)


GENERATORS = {"generator": World(generating.tiny, lambda: generating.context(Path(tempfile.mkdtemp())), velocities)}
SLOW: Any = {**generating.FEW, "learning_rate": 1e-5}


def unfold(model: nn.Module) -> None:
    """A normalisation stands behind the first convolution again."""
    name = "conv_stem" if hasattr(model, "conv_stem") else "embed"
    layer = model.get_submodule(name)
    setattr(model, name, nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels)).eval())


def make_float(model: nn.Module) -> None:
    """Every quantized weight is float again, as it is after a careless edit."""
    for module in list(model.modules()):
        if stored(module) is not None:
            nn.utils.parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def regrow(model: nn.Module) -> None:
    """Every pruned weight is there again, as it is after training without its mask."""
    for layer in masked_layers(model).values():
        nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        layer.weight.data.fill_(0.1)


def multiply_out(model: nn.Module) -> None:
    """Every pair of factors is one linear layer again."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LowRank):
            parent, _, child = name.rpartition(".")
            down, up = module
            layer = nn.Linear(down.in_features, up.out_features)
            layer.weight = nn.Parameter(up.weight.detach() @ down.weight.detach())
            setattr(model.get_submodule(parent), child, layer)


def forget(model: nn.Module) -> None:
    """Nothing is known of what was made smaller."""
    for module in model.modules():
        vars(module).pop(NOTED, None)


@dataclass(frozen=True)
class Case:
    """A pass behind those that it wants before it.

    tolerance  of the output's error, as a share of its spread between images.
    break_it   breaks the pass's promise, and `broken` is what is said then, network by network.
    later      what a recipe may go on with.
    worlds     what it is tried on.
    """

    before: tuple[Pass, ...]
    step: Pass
    tolerance: float
    break_it: Callable[[nn.Module], None] | None = None
    broken: tuple[str, ...] = ("", "")
    later: tuple[Pass, ...] = (QuantizeWeights(num_bits=8), QuantizeStatic(), CorrectBias())
    worlds: Mapping[str, World] = field(default_factory=lambda: PICTURES, hash=False)


FOLD = FoldBatchNorm()
FEW: Any = {"max_steps": 4, "batch_size": 8, "frozen_norms": True}
WEIGHT_IS_FLOAT = ("the weight of conv_stem is float, {}", "the weight of embed is float, {}")


def weights_case(tolerance: float, **options: object) -> Case:
    step = QuantizeWeights(**options)  # type: ignore[arg-type]
    text = f"{step.num_bits} bits were asked for"
    broken = tuple(f"quantize.weights: {line.format(text)}" for line in WEIGHT_IS_FLOAT)
    # no int8 kernel takes float scales or zero points for groups
    later = (CorrectBias(),) if step.strategy == "group" or not step.symmetric else Case.later
    return Case((FOLD,), step, tolerance, make_float, broken, later)  # type: ignore[arg-type]


def prune_case(step: Pass, tolerance: float, said: str) -> Case:
    """A pass that prunes the second convolution or linear layer, among others."""
    layers = ("blocks.0.conv1", "blocks.0.qkv")
    broken = tuple(f"{step.name}: {said.format(layer)}" for layer in layers)
    return Case((FOLD,), step, tolerance, regrow, broken)  # type: ignore[arg-type]


IN_PAIRS = {"pattern": "1:2", "targets": ("re:blocks.0.(conv1|qkv)$",)}  # the first layers have three channels
OF_LAYERS = {"sparsity": 0.1, "ignore": ("role:first", "role:depthwise")}
LAYER_IS_DENSE = "0.0 % of the weights of {} are zero, 10.0 % were asked for"
ROW_IS_DENSE = "0.0 % of the weights in row 0 of {} are zero, 10.0 % were asked for"
PAIR_IS_DENSE = "of 2 neighbouring weights of {}, 2 are not zero, 1:2 was asked for"


CASES = {
    "fold.batchnorm": Case(
        (),
        FOLD,
        1e-5,
        unfold,
        (
            "fold.batchnorm: conv_stem.1 still follows conv_stem.0 unfolded",
            "fold.batchnorm: embed.1 still follows embed.0 unfolded",
        ),
    ),
    "equalize": Case((FOLD,), Equalize(), 1e-5),
    "quantize.weights": weights_case(0.05, num_bits=8),
    "quantize.weights tensor": weights_case(0.1, num_bits=8, strategy="tensor"),
    "quantize.weights affine": weights_case(0.15, num_bits=6, symmetric=False),
    "quantize.weights group": weights_case(0.15, num_bits=6, strategy="group", group_size=4),
    # at most four bits, and networks as small as these feel each of them
    "quantize.weights integer": weights_case(0.7, num_bits=4, strategy="group", group_size=4, group_scales="integer"),
    "quantize.weights gptq": weights_case(0.15, num_bits=6, algorithm="gptq"),
    "quantize.weights own order": weights_case(0.15, num_bits=6, algorithm="gptq", act_order=False),
    "quantize.weights mid-rise": weights_case(0.15, num_bits=6, midrise=True, algorithm="gptq"),
    "quantize.weights hqq": weights_case(0.15, num_bits=6, algorithm="hqq", symmetric=False),
    "quantize.weights awq": weights_case(0.2, num_bits=6, algorithm="awq"),
    "quantize.weights adaround": weights_case(0.15, num_bits=6, algorithm="adaround", iterations=20),
    "quantize.static": Case(
        (FOLD,),
        QuantizeStatic(),
        0.1,
        make_float,
        tuple(f"quantize.static: {line.format('int8 was asked for')}" for line in WEIGHT_IS_FLOAT),  # type: ignore[arg-type]
    ),
    "quantize.dynamic": Case(
        (FOLD,),
        QuantizeDynamic(),
        0.05,
        make_float,
        (
            "quantize.dynamic: the weight of head is float, int8 was asked for",
            "quantize.dynamic: the weight of blocks.0.qkv is float, int8 was asked for",
        ),
        (CorrectBias(),),
    ),
    "smooth": Case((FOLD,), Smooth(), 1e-4),
    "rotate": Case(
        (),
        Rotate(),
        1e-4,
        later=(QuantizeWeights(num_bits=8, targets=("*", "role:embedding")),),
        worlds={
            name: translator(name) for name in ("tiny-gemma3", "tiny-m2m100", "tiny-marian", "tiny-qwen3", "tiny-t5")
        },
    ),
    "correct.bias": Case((FOLD, QuantizeWeights(num_bits=6)), CorrectBias(), 0.15),
    "quantize.ternary": Case(
        (FOLD,),
        QuantizeTernary(group_size=8),
        2.5,
        make_float,
        tuple(f"quantize.ternary: {line.format('1.6 bits were asked for')}" for line in WEIGHT_IS_FLOAT),  # type: ignore[arg-type]
        (CorrectBias(),),
    ),
    "quantize.ternary three of four": Case(
        (FOLD,),
        QuantizeTernary(1.25, ignore=("role:first",), algorithm="diagonal"),
        2.5,
        worlds={"transformer": PICTURES["transformer"]},
    ),
    "quantize.svd": Case(
        (FOLD,),
        QuantizeSvd(rank=2, group_size=4),
        0.3,
        make_float,
        (
            "quantize.svd: the weight of head is float, 4 bits were asked for",
            "quantize.svd: the weight of blocks.0.qkv is float, 4 bits were asked for",
        ),
        (QuantizeWeights(num_bits=8), CorrectBias()),  # the branches too
    ),
    "quantize.svd unscaled": Case(
        (FOLD,),
        QuantizeSvd(
            rank=2, alpha=None, group_size=4, group_scales="integer", algorithm="rtn", targets=("re:conv_pw|fc",)
        ),
        0.5,
        make_float,
        (
            "quantize.svd: the weight of blocks.1.conv_pw is float, 4 bits were asked for",
            "quantize.svd: the weight of blocks.0.fc1 is float, 4 bits were asked for",
        ),
        (QuantizeWeights(num_bits=8), QuantizeStatic()),
    ),
    "quantize.svd translator": Case(
        (),
        QuantizeSvd(rank=4, num_bits=6, group_size=16, targets=("re:proj$|fc.$",)),
        0.5,
        later=(QuantizeWeights(num_bits=8, targets=("*", "role:embedding")),),
        worlds={name: LANGUAGES[name] for name in ("tiny-gemma3", "tiny-m2m100")},
    ),
    "reconstruct": Case(
        (FOLD, QuantizeWeights(num_bits=4), QuantizeStatic()),
        Reconstruct(iterations=10),
        0.4,
        make_float,
        ("reconstruct: no weight is quantized any more",) * 2,
    ),
    "reconstruct weights": Case(
        (FOLD, QuantizeWeights(num_bits=6)),
        Reconstruct(iterations=10, drop_probability=0.5),
        0.15,
        make_float,
        ("reconstruct: no weight is quantized any more",) * 2,
    ),
    "train.flow": Case((), TrainFlow(**SLOW), 0.1, worlds=GENERATORS, later=(QuantizeStatic(),)),
    "smooth.timesteps": Case(
        (),
        SmoothTimesteps(2),
        1e-5,
        lambda model: delattr(model, BOUNDARIES),
        ("smooth.timesteps: no layer is scaled by timestep",),
        worlds=GENERATORS,
        later=(QuantizeStatic(),),
    ),
    "distill.guidance": Case(
        (),
        DistillGuidance(**SLOW),
        0.1,
        lambda model: set_sampling(model, Sampling(8, 2.0)),
        ("distill.guidance: the model is sampled with guidance of 2, none was asked for",),
        worlds=GENERATORS,
        later=(QuantizeStatic(),),
    ),
    "distill.steps": Case(
        (DistillGuidance(**SLOW),),
        DistillSteps(**SLOW, steps=2, rounds=2),
        0.1,
        lambda model: set_sampling(model, Sampling(8)),
        ("distill.steps: the model is sampled in 8 steps, 2 were asked for",),
        worlds=GENERATORS,
        later=(QuantizeStatic(),),
    ),
    "cache.steps": Case(
        (),
        CacheSteps(4),
        1e-9,
        lambda model: set_sampling(model, Sampling(8, 2.0)),
        ("cache.steps: the model is evaluated at 8 steps, 4 were asked for",),
        worlds=GENERATORS,
        later=(QuantizeStatic(),),
    ),
    "distill.steps by consistency": Case(
        (DistillGuidance(**SLOW),),
        DistillSteps(**SLOW, steps=2, method="consistency", lora=Lora(rank=2)),
        0.1,
        lambda model: set_sampling(model, Sampling(8)),
        ("distill.steps: the model is sampled in 8 steps, 2 were asked for",),
        worlds=GENERATORS,
        later=(QuantizeStatic(),),
    ),
    "distill.steps by dmd": Case(
        (DistillGuidance(**SLOW),),
        DistillSteps(**SLOW, steps=2, method="dmd"),
        0.1,
        lambda model: set_sampling(model, Sampling(8)),
        ("distill.steps: the model is sampled in 8 steps, 2 were asked for",),
        worlds=GENERATORS,
        later=(QuantizeStatic(),),
    ),
    "finetune": Case((FOLD,), Finetune(learning_rate=1e-5, **FEW), 0.3),
    "finetune one layer": Case(
        (FOLD,), Finetune(optimizer="adamw", learning_rate=1e-4, trainable=("head",), **FEW), 0.1
    ),
    "distill": Case((FOLD,), Distill(learning_rate=1e-5, logits=LogitsLoss(temperature=2.0), **FEW), 0.3),
    "distill.quantized": Case(
        (FOLD, QuantizeWeights(num_bits=6)),
        DistillQuantized(learning_rate=1e-5, **FEW),
        0.15,
        make_float,
        ("distill.quantized: no weight is quantized any more",) * 2,
        (QuantizeStatic(), CorrectBias()),
    ),
    "distill.quantized with activations": Case(
        (FOLD, QuantizeWeights(num_bits=4, strategy="group", group_size=4, group_scales="integer"), QuantizeStatic()),
        DistillQuantized(learning_rate=1e-5, ignore=("role:first",), **FEW),
        0.7,
        make_float,
        ("distill.quantized: no weight is quantized any more",) * 2,
        (CorrectBias(),),
    ),
    "distill.quantized translator": Case(
        (QuantizeWeights(num_bits=6, targets=("*", "role:embedding")),),
        DistillQuantized(learning_rate=1e-5, targets=("*", "role:embedding"), gradient_checkpointing=True, **FEW),
        0.5,
        later=(),
        worlds={"tiny-gemma3": taught("tiny-gemma3")},
    ),
    "tune.norms_and_scales": Case(
        (FOLD, QuantizeWeights(num_bits=6, symmetric=False)),
        TuneNormsAndScales(learning_rate=1e-5, **FEW),
        0.15,
        make_float,
        ("tune.norms_and_scales: no weight is quantized any more",) * 2,
        (CorrectBias(),),
    ),
    "train.quantized": Case(
        (),
        TrainQuantized(num_bits=8, learning_rate=1e-5, **FEW),
        0.15,
        make_float,
        tuple(f"train.quantized: {line.format('8 bits were asked for')}" for line in WEIGHT_IS_FLOAT),  # type: ignore[arg-type]
        (QuantizeStatic(), CorrectBias()),
    ),
    "train.quantized with activations": Case(
        (),
        TrainQuantized(num_bits=4, activation_bits=8, learning_rate=1e-5, logits=LogitsLoss(), freeze=0.5, **FEW),
        0.6,
        make_float,
        tuple(f"train.quantized: {line.format('4 bits were asked for')}" for line in WEIGHT_IS_FLOAT),  # type: ignore[arg-type]
        (CorrectBias(),),
    ),
    "train.quantized of few bits": Case(
        (),
        TrainQuantized(num_bits=4, activation_bits=4, ranges="observed", learning_rate=1e-5, **FEW),
        0.9,
        make_float,
        tuple(f"train.quantized: {line.format('4 bits were asked for')}" for line in WEIGHT_IS_FLOAT),  # type: ignore[arg-type]
        (CorrectBias(),),
    ),
    "distill.sequence": Case(
        (),
        DistillSequence(learning_rate=1e-5, max_steps=3, batch_size=4, shard_size=4),
        0.5,
        later=(QuantizeWeights(num_bits=8),),
        worlds={"tiny-marian": pupil("tiny-marian")},
    ),
    "prune.magnitude": prune_case(PruneMagnitude(**OF_LAYERS), 0.4, LAYER_IS_DENSE),  # type: ignore[arg-type]
    "prune.magnitude row": prune_case(PruneMagnitude(**OF_LAYERS, scope="row"), 1.2, ROW_IS_DENSE),  # type: ignore[arg-type]
    "prune.magnitude global": prune_case(
        PruneMagnitude(**OF_LAYERS, scope="global"),  # type: ignore[arg-type]
        0.4,
        "0.0 % of weights are zero, 10.0 % were asked for",
    ),
    "prune.magnitude 1:2": prune_case(PruneMagnitude(**IN_PAIRS), 0.7, PAIR_IS_DENSE),  # type: ignore[arg-type]
    "prune.wanda": prune_case(PruneWanda(**OF_LAYERS), 1.2, ROW_IS_DENSE),  # type: ignore[arg-type]
    "prune.wanda layer": prune_case(PruneWanda(**OF_LAYERS, scope="layer"), 0.4, LAYER_IS_DENSE),  # type: ignore[arg-type]
    "prune.wanda 1:2": prune_case(PruneWanda(**IN_PAIRS), 0.7, PAIR_IS_DENSE),  # type: ignore[arg-type]
    "prune.sparsegpt": prune_case(PruneSparseGPT(**OF_LAYERS), 0.4, LAYER_IS_DENSE),  # type: ignore[arg-type]
    "prune.sparsegpt row": prune_case(PruneSparseGPT(**OF_LAYERS, scope="row"), 0.4, ROW_IS_DENSE),  # type: ignore[arg-type]
    "prune.sparsegpt 1:2": prune_case(PruneSparseGPT(**IN_PAIRS), 0.7, PAIR_IS_DENSE),  # type: ignore[arg-type]
    "factorize": Case(
        (FOLD,),
        Factorize(rank=3),
        0.6,
        multiply_out,
        (
            "factorize: head is whole, rank 3 was asked for",
            "factorize: blocks.0.qkv is whole, rank 3 was asked for",
        ),
    ),
    "prune.channels": Case(
        (FOLD,),
        PruneChannels(ratio=0.34, round_to=1),
        5,
        forget,
        ("prune.channels: no layer has fewer channels than it had",) * 2,
    ),
    "prune.channels taylor": Case(
        (FOLD,), PruneChannels(macs=0.8, criterion="taylor", global_ranking=True, round_to=1), 5
    ),
    "prune.ffn": Case(
        (FOLD,),
        PruneFeedForward(ratio=0.5, round_to=1),
        5,
        forget,
        ("prune.ffn: blocks.0.fc2 reads 8 numbers, at most 4 were to stay",),  # type: ignore[arg-type]
        worlds={"transformer": PICTURES["transformer"]},
    ),
    "prune.ffn translator": Case(
        (),
        PruneFeedForward(keep=48),
        5,
        None,
        later=(QuantizeWeights(num_bits=8, targets=("*", "role:embedding")),),
        worlds={name: LANGUAGES[name] for name in ("tiny-gemma3", "tiny-m2m100")},
    ),
    "prune.heads": Case(
        (),
        PruneHeads(ratio=0.5),
        5,
        forget,
        ("prune.heads: model.layers.0.self_attn has 2 heads, at most 1 were to stay",),  # type: ignore[arg-type]
        (QuantizeWeights(num_bits=8, targets=("*", "role:embedding")),),
        {"tiny-gemma3": LANGUAGES["tiny-gemma3"]},
    ),
    "prune.layers": Case((FOLD,), PruneLayers(1), 5, forget, ("prune.layers: 0 blocks are gone, 1 were to go",) * 2),
    "prune.layers loss": Case((FOLD,), PruneLayers(1, criterion="loss"), 5),
    "prune.layers translator": Case(
        (),
        PruneLayers(1),
        5,  # of two layers with random weights each matters
        forget,
        ("prune.layers: 0 blocks are gone, 1 were to go",) * 2,
        (QuantizeWeights(num_bits=8, targets=("*", "role:embedding")),),
        {name: LANGUAGES[name] for name in ("tiny-gemma3", "tiny-m2m100")},
    ),
    "trim.vocabulary": Case(
        (),
        TrimVocabulary(("en", "fr")),
        1e-6,
        lambda model: setattr(model, KEPT, None),
        (
            "trim.vocabulary: the embedding has 260 rows, and none was dropped",
            "trim.vocabulary: the embedding has 262 rows, and none was dropped",
            "trim.vocabulary: the embedding has 261 rows, and none was dropped",
        ),
        (QuantizeWeights(num_bits=8, targets=("*", "role:embedding")),),
        LANGUAGES,
    ),
}
on_all_passes_and_models = pytest.mark.parametrize(
    ("name", "net"), [(name, net) for name, case in CASES.items() for net in case.worlds]
)


def apply_all(world: World, steps: Sequence[Pass]) -> nn.Module:
    model, where = world.make(), world.context()
    for step in steps:
        model = apply_one(step, model, where)
    return model


@cache
def finished(name: str, net: str) -> nn.Module:
    """The net after the pass; not to be changed."""
    case = CASES[name]
    return apply_all(case.worlds[net], [*case.before, case.step])


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_pass_is_held_to_its_contract() -> None:
    assert {name.split()[0] for name in CASES} == set(REGISTRY)


@on_all_passes_and_models
def test_the_output_stays_near_to_the_float_model_s(name: str, net: str) -> None:
    world = CASES[name].worlds[net]
    expected = world.output(world.make())
    spread = (expected - expected.mean(0)).square().mean().sqrt()
    error = (world.output(finished(name, net)) - expected).square().mean().sqrt()
    assert float(error / spread) < CASES[name].tolerance


@on_all_passes_and_models
def test_a_pass_leaves_no_hook_and_no_scaffolding(name: str, net: str) -> None:
    model = finished(name, net)
    scaled = int(is_scaled_by_timestep(model))  # they tell layers the timestep
    at_root = scaled + (1 if quantized_activations(model) else 0)  # they put activations on their grids
    dynamic = dynamic_layers(model)  # their inputs
    for path, module in model.named_modules():
        expected = at_root if module is model else 0
        assert len(module._forward_pre_hooks) == expected + (path in dynamic)
        assert len(module._forward_hooks) == expected
        assert not isinstance(module, LearnedWeight | LearnedActivation)
        assert isinstance(getattr(module, "bias", None), nn.Parameter | None)
        assert "forward" not in vars(module)
    assert not global_hooks._global_forward_pre_hooks
    assert not global_hooks._global_forward_hooks
    assert torch._C._len_torch_function_stack() == 0
    assert not model.training


@on_all_passes_and_models
def test_the_same_seed_gives_the_same_and_a_state_dict_carries_it(name: str, net: str) -> None:
    case, model = CASES[name], finished(name, net)
    again = apply_all(case.worlds[net], [*case.before, case.step])
    assert same(state(model), state(again))
    assert quantized_activations(model) == quantized_activations(again)
    for value in again.state_dict().values():
        value.zero_()
    again.load_state_dict(model.state_dict())
    output = case.worlds[net].output
    assert torch.equal(output(again), output(model))


@on_all_passes_and_models
def test_a_snapshot_in_the_restructured_model_is_the_model(name: str, net: str, tmp_path: Path) -> None:
    case, model = CASES[name], finished(name, net)
    save_snapshot(model, tmp_path)
    world = case.worlds[net]
    resumed = world.make()
    for step in [*case.before, case.step]:
        resumed = step.restructure(resumed, world.context())
    load_snapshot(resumed, tmp_path)
    assert same(state(resumed), state(model))
    assert torch.equal(world.output(resumed), world.output(model))
    case.step.ensures(resumed, world.context())


@on_all_passes_and_models
def test_a_promise_holds_through_later_passes_until_it_is_broken(name: str, net: str) -> None:
    case, model = CASES[name], copy.deepcopy(finished(name, net))
    where = case.worlds[net].context()
    for step in case.later:
        model = apply_one(step, model, where)
    keep_promises([*case.before, case.step, *case.later], model, where)
    if case.break_it is None:
        return
    case.break_it(model)
    with pytest.raises(PromiseBroken) as caught:
        case.step.ensures(model, where)
    assert str(caught.value) == case.broken[list(case.worlds).index(net)]
