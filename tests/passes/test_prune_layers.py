"""prune.layers: which blocks can go, which do, and that they are really gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.applying import apply_one, apply_resumably
from compress.errors import ModelError, PromiseBroken
from compress.exporter.gguf import write_gguf
from compress.exporter.text import write_graphs
from compress.exporter.text.parity import check_ids_parity
from compress.models.depth import removable_blocks, remove_blocks, runs_of, without
from compress.models.resnet_cifar import CifarResNet
from compress.models.source import ModelSource
from compress.models.structure import num_removed, structure_of
from compress.models.translators import load_translator
from compress.models.translators.saved import save_translator
from compress.passes import PruneLayers, QuantizeWeights
from compress.passes.base import Context
from compress.progress import Reporter
from compress.stages import Stage, StageStore
from compress.targets import load
from tests.exporter.text.tiny import VOCABULARY, decoder
from tests.language import MODELS, logits
from tests.language import context as language_context
from tests.nets import context, conv_net, images, lively, run, transformer

ROWS = [list(np.random.default_rng(length).integers(3, VOCABULARY, length)) for length in (23, 15, 9)]


def resnet(blocks: int = 3) -> nn.Module:
    return lively(CifarResNet(blocks))


def quiet(block: nn.Module) -> None:
    """A residual block that gives what it is given: its input is not negative, and its sum adds nothing."""
    nn.init.zeros_(block.bn2.weight)
    nn.init.zeros_(block.bn2.bias)


def pictures() -> Context:
    return context(images(8, 32))


def test_blocks_that_change_the_shape_cannot_go() -> None:
    found = removable_blocks(resnet(), [images(1, 32)])
    assert found == ["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"]
    assert removable_blocks(conv_net(), [images(1)]) == ["blocks.0"]
    assert removable_blocks(transformer(), [images(1)]) == ["blocks.0", "blocks.1"]


def test_the_first_block_of_a_t5_stays_for_it_bears_the_bias_of_all() -> None:
    model = MODELS["t5"]()
    assert removable_blocks(model, language_context(model).example()) == ["encoder.block.1", "decoder.block.1"]


@pytest.mark.parametrize("criterion", ["block_influence", "loss"])
def test_an_identity_goes_first_and_nothing_changes(criterion: Any) -> None:
    model = resnet()
    quiet(model.layer1[1])
    quiet(model.layer3[2])
    expected = run(model, images(8, 32))
    where = pictures()
    model = apply_one(PruneLayers(2, criterion=criterion), model, where)
    assert where.notes == ["2 of 7 blocks that could go are gone: layer1.1, layer3.2"]
    assert torch.equal(run(model, images(8, 32)), expected)
    assert [len(stage) for stage in (model.layer1, model.layer2, model.layer3)] == [2, 3, 2]
    assert [name for name, _ in model.layer1.named_children()] == ["0", "1"]


def test_a_ratio_is_of_the_blocks_that_can_go_and_ignored_ones_stay() -> None:
    model, where = resnet(), pictures()
    step = PruneLayers(ratio=0.5, ignore=("layer1", "layer2.1.conv1"))
    assert step.problems(load("generic")) == []
    assert step.wanted(len(step.candidates(model, where))) == 1  # half of layer2.2, layer3.1, layer3.2
    for name in ("layer1.0", "layer2.1"):
        quiet(model.get_submodule(name))
    quiet(model.layer3[1])
    apply_one(step, model, where)
    assert structure_of(model)["layer3"] == {"items": [0, 2], "num_items": 3}


def test_neighbours_go_together() -> None:
    names = ["a.0", "a.1", "a.3", "b.0", "b.1"]
    assert runs_of(names, 2) == [["a.0", "a.1"], ["b.0", "b.1"]]
    model, where = resnet(4), pictures()
    for name in ("layer2.2", "layer2.3", "layer1.0"):
        quiet(model.get_submodule(name))
    for criterion in ("block_influence", "loss"):
        step = PruneLayers(2, criterion=criterion, contiguous=True)  # type: ignore[arg-type]
        apply_one(step, model, where)
        assert where.notes.pop().endswith("blocks that could go are gone: layer2.2, layer2.3")
        model, where = resnet(4), pictures()
        for name in ("layer2.2", "layer2.3", "layer1.0"):
            quiet(model.get_submodule(name))


def test_the_loss_is_greedy_and_the_model_is_left_as_it_was_while_it_is_taken() -> None:
    model = decoder("gemma3")
    before = model.config.to_dict()
    first = model.model.layers[2]
    with without(model, ["model.layers.0", "model.layers.1"]):
        assert len(model.model.layers) == 1
        assert (model.model.layers[0], first.self_attn.layer_idx) == (first, 0)
        assert model.config.layer_types == ["sliding_attention"]
    assert (len(model.model.layers), first.self_attn.layer_idx) == (3, 2)
    assert model.config.to_dict() == before
    assert structure_of(model) == {}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("criterion", ["block_influence", "loss"])
def test_every_translator_loses_a_block_and_still_speaks(kind: str, criterion: Any) -> None:
    model = MODELS[kind]()
    apply_one(PruneLayers(1, criterion=criterion), model, language_context(model))
    assert num_removed(model) == 1
    assert all(bool(torch.isfinite(each).all()) for each in logits(model))


@pytest.mark.parametrize("gone", [0, 1, 2])
@pytest.mark.parametrize("name", ["gemma3", "llama", "qwen3", "qwen2-sliding", "hunyuan"])
def test_the_exported_graph_is_the_shorter_model(name: str, gone: int, tmp_path: Path) -> None:
    model = decoder(name)
    if name == "gemma3":
        kinds = [kind for place, kind in enumerate(model.config.layer_types) if place != gone]
    remove_blocks(model, [f"model.layers.{gone}"])
    write_graphs(model, tmp_path, "0")
    parity = check_ids_parity(model, tmp_path, ROWS)
    assert parity.max_difference < 1e-5
    assert model.config.num_hidden_layers == 2
    if name == "gemma3":
        assert model.config.layer_types == kinds
    with torch.no_grad():  # a cache: layers are numbered anew
        ids = torch.tensor([ROWS[0]])
        whole = model(ids, use_cache=False).logits
        first = model(ids[:, :9], use_cache=True)
        rest = model(ids[:, 9:], past_key_values=first.past_key_values, use_cache=True).logits
    torch.testing.assert_close(torch.cat([first.logits, rest], 1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", ["tiny-gemma3", "tiny-llama", "tiny-qwen3", "tiny-m2m100", "tiny-t5"])
def test_a_shorter_translator_is_a_directory_that_a_recipe_opens(shape: str, tmp_path: Path) -> None:
    loaded = load_translator(ModelSource(f"random:{shape}"))
    ids = torch.arange(4, 40)[None]
    batch = (ids,) if loaded.family == "decoder" else (ids, torch.ones_like(ids), ids)
    where = Context(lambda: iter([batch]), load("generic"), translator=loaded)
    model = apply_one(PruneLayers(1), loaded.model, where)
    save_translator(replace(loaded, model=model), tmp_path / "m")
    again = load_translator(ModelSource(f"path:{tmp_path / 'm'}"))
    with torch.no_grad():
        assert torch.equal(again.model(*batch, use_cache=False).logits, model(*batch, use_cache=False).logits)
    assert again.tokenizer.encode("Good morning.").ids == loaded.tokenizer.encode("Good morning.").ids


def test_what_a_config_cannot_say_is_not_saved(tmp_path: Path) -> None:
    marian = load_translator(ModelSource("random:tiny-marian"))
    with pytest.raises(ModelError, match="a Marian model is not saved so: export it"):
        save_translator(marian, tmp_path)
    loaded = load_translator(ModelSource("random:tiny-llama"))
    loaded.model.model.layers[0].mlp.up_proj = nn.Linear(64, 3)
    with pytest.raises(ModelError, match=r"config does not say the shape of model\.layers\.0\.mlp\.up_proj"):
        save_translator(loaded, tmp_path)


@pytest.mark.parametrize("shape", ["tiny-llama", "tiny-qwen3"])
def test_a_gguf_file_holds_the_shorter_model(shape: str, tmp_path: Path) -> None:
    loaded = load_translator(ModelSource(f"random:{shape}"))
    whole = write_gguf(loaded, tmp_path / "whole.gguf", type="F32")
    remove_blocks(loaded.model, ["model.layers.0"])
    written = write_gguf(loaded, tmp_path / "m.gguf", type="F32")
    assert written.num_bytes < whole.num_bytes
    again = load_translator(ModelSource(f"gguf:{written.path}"))
    ids = torch.arange(4, 60)[None]
    with torch.no_grad():
        assert torch.equal(again.model(ids).logits, loaded.model(ids).logits)


def test_a_pattern_of_layers_that_gguf_has_no_words_for_is_refused(tmp_path: Path) -> None:
    loaded = load_translator(ModelSource("random:tiny-gemma3"))
    remove_blocks(loaded.model, ["model.layers.0"])
    loaded.model.config.layer_types.append("sliding_attention")  # as a longer model would have it
    with pytest.raises(ModelError, match="sees the whole text in each n-th layer, and this model in others"):
        write_gguf(loaded, tmp_path / "m.gguf", type="F32")


def test_a_killed_run_goes_on_with_the_shorter_model(tmp_path: Path) -> None:
    passes = [PruneLayers(2), QuantizeWeights(8)]
    stages = [Stage(step.name, str(number) * 64) for number, step in enumerate(passes)]

    def sequence(count: int) -> nn.Module:
        store = StageStore(tmp_path)
        return apply_resumably(resnet(), passes[:count], pictures(), stages[:count], store, Reporter(), 1, 2)

    sequence(1)
    resumed = sequence(2)
    expected = resnet()
    for step in passes:
        expected = apply_one(step, expected, pictures())
    assert torch.equal(run(resumed, images(4, 32)), run(expected, images(4, 32)))
    assert structure_of(resumed) == structure_of(expected)


def test_what_is_asked_wrongly_is_told() -> None:
    both = "give either count (of blocks) or ratio (of the blocks that can go)"
    assert PruneLayers().problems(load("generic")) == [both]
    assert PruneLayers(1, 0.5).problems(load("generic")) == [both]
    where = pictures()
    for step, told in (
        (PruneLayers(8), "8 blocks are to go, and 7 blocks give the shape that they are given and are not ignored"),
        (PruneLayers(ratio=0.1), "0 blocks are to go, and 7 blocks"),
        (PruneLayers(4, contiguous=True), "no 4 of the blocks that can go follow one another"),
    ):
        with pytest.raises(ModelError) as caught:
            apply_one(step, resnet(), where)
        assert str(caught.value).startswith(f"prune.layers: {told}")
    quantized = apply_one(QuantizeWeights(8), resnet(), where)
    with pytest.raises(ModelError, match=r"^prune.layers: the weight of conv1 is quantized already: put it before"):
        apply_one(PruneLayers(1), quantized, where)


def test_blocks_that_come_back_break_the_promise() -> None:
    model = apply_one(PruneLayers(2), resnet(), pictures())
    for stage in (model.layer1, model.layer2, model.layer3):
        vars(stage).pop("structure_changes", None)
    with pytest.raises(PromiseBroken, match=r"^prune.layers: 0 blocks are gone, 2 were to go$"):
        PruneLayers(2).ensures(model, pictures())
