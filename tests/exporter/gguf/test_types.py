"""Which type each matrix of a file becomes, by what was asked for, and what is told where it is another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch

from compress.errors import ModelError
from compress.exporter.gguf import TYPES, write_gguf
from compress.models.layers import raw_weight
from compress.models.quantized import quantized_weights, set_weight
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.models.translators.gguf_file import read_gguf
from compress.models.translators.gguf_names import gguf_name
from compress.numerics.grid import nearest
from tests.exporter.gguf.tiny import matrices, read, tiny
from tests.exporter.gguf.wide import make_ternary, ternary_weight, wide_llama


@pytest.mark.parametrize("kind", [kind for kind in TYPES if not kind.endswith("_K") and not kind.startswith("TQ")])
def test_a_type_is_that_of_all_matrices_also_of_quantized_ones(tmp_path: Path, kind: str) -> None:
    loaded = tiny("tiny-llama")
    layer = loaded.model.model.layers[0].self_attn.q_proj
    set_weight(layer, nearest(layer.weight.detach(), 3), loaded.model)
    written = write_gguf(loaded, tmp_path / "m.gguf", type=kind.lower())
    assert written.types == ({"F32": 20} if kind == "F32" else {kind: 15, "F32": 5})
    found = read_gguf(written.path)
    number = gguf.GGMLQuantizationType[kind]
    assert {tensor.kind for tensor in found.tensors.values() if len(tensor.shape) == 2} == {number}
    for name, module in matrices(loaded).items():
        values = module.weight.detach()
        largest = float(values.abs().max())
        width = {"F32": 0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 127, "Q5_0": 1 / 16, "Q5_1": 2 / 31}.get(
            kind, 1 / 7
        )
        assert float((read(written.path, name) - values).abs().max()) <= largest * width


K_QUANTS = {"Q2_K": 0.09, "Q3_K": 0.03, "Q4_K": 0.008, "Q5_K": 0.002, "Q6_K": 0.0006}  # of the squares, what is lost


@pytest.mark.parametrize("kind", K_QUANTS)
def test_a_k_quant_is_that_of_all_matrices_whose_rows_it_divides(tmp_path: Path, kind: str) -> None:
    loaded = wide_llama()
    layer = loaded.model.model.layers[0].mlp.down_proj
    set_weight(layer, nearest(layer.weight.detach(), int(kind[1])), loaded.model)
    written = write_gguf(loaded, tmp_path / "m.gguf", type=kind)
    assert (written.types, written.notes) == ({kind: 8, "F32": 3}, ())
    header = read_gguf(written.path).values
    named = kind if kind in ("Q2_K", "Q6_K") else f"{kind}_S"
    assert header["general.file_type"] == gguf.LlamaFileType[f"MOSTLY_{named}"]
    assert header["general.quantization_version"] == 2
    for name, module in matrices(loaded).items():
        found, values = read(written.path, name), module.weight.detach()
        if module is layer:  # its codes as they are
            assert torch.equal(found, values)
        assert float((found - values).square().sum() / values.square().sum()) < K_QUANTS[kind]


@pytest.mark.parametrize(("kind", "other"), [("Q2_K", "Q4_0"), ("Q4_K", "Q5_0"), ("Q5_K", "Q5_1"), ("Q6_K", "Q8_0")])
def test_rows_that_a_k_quant_does_not_divide_take_shorter_blocks_and_it_is_told(
    tmp_path: Path, kind: str, other: str
) -> None:
    written = write_gguf(tiny("tiny-llama"), tmp_path / "m.gguf", type=kind)
    assert written.types == {other: 15, "F32": 5}
    bits = {"Q4_0": "4.5", "Q5_0": "5.5", "Q5_1": "6", "Q8_0": "8.5"}[other]
    [first, second] = written.notes
    assert first.startswith(
        f"{other} ({bits} bits) instead, since rows of 64 values are no multiple of 256: 13 tensors: "
    )
    assert second.startswith(
        f"{other} ({bits} bits) instead, since rows of 128 values are no multiple of 256: 2 tensors: "
    )


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0"])
def test_ternary_weights_take_the_ternary_type_and_what_others_take_is_told(tmp_path: Path, kind: str) -> None:
    loaded = wide_llama()
    make_ternary(loaded)
    gate, up = loaded.model.model.layers[0].mlp.gate_proj, loaded.model.model.layers[0].mlp.up_proj
    set_weight(gate, ternary_weight(raw_weight(gate), 32), loaded.model)
    set_weight(up, nearest(raw_weight(up), 4, group_size=32), loaded.model)
    written = write_gguf(loaded, tmp_path / "m.gguf", type=kind)
    assert written.types == {"F16": 1, "Q4_0": 2, kind: 5, "F32": 3}
    assert written.notes == (
        "F16 (16 bits) instead, since no pass made them ternary: 1 tensor: token_embd.weight",
        "Q4_0 (4.5 bits) instead, since groups of 32 values are no multiple of 256: 2 tensors: blk.0.ffn_gate.weight, "
        "blk.0.ffn_up.weight",
    )
    for name, quantized in quantized_weights(loaded.model).items():
        assert torch.equal(read(written.path, name), quantized.dequantize()), name
    again = write_gguf(loaded, tmp_path / "auto.gguf")
    assert again.types == {"F16": 1, "Q4_0": 2, "TQ1_0": 5, "F32": 3}


def test_a_ternary_type_for_a_model_without_ternary_weights_is_refused(tmp_path: Path) -> None:
    told = r"TQ2_0 holds ternary weights, .* multiples of 256, and this model has none: put quantize\.ternary into"
    with pytest.raises(ModelError, match=told):
        write_gguf(wide_llama(), tmp_path / "m.gguf", type="TQ2_0")
    narrow = tiny("tiny-llama")
    make_ternary(narrow)
    with pytest.raises(ModelError, match=told):
        write_gguf(narrow, tmp_path / "m.gguf", type="tq2_0")
    assert not (tmp_path / "m.gguf").exists()


def test_auto_keeps_what_passes_decided_and_rows_in_llama_s_order(tmp_path: Path) -> None:
    loaded = tiny("tiny-llama")
    settings = [(4, 32, True), (4, 32, False), (8, 32, True), (5, 64, True), (2, None, True), (6, 64, False)]
    layers = [module for module in loaded.model.modules() if isinstance(module, torch.nn.Linear)]
    layers.remove(loaded.model.lm_head)
    kinds = ["Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q4_0", "Q8_0"]
    for number, layer in enumerate(layers[:-1]):
        bits, group, symmetric = settings[number % len(settings)]
        made = nearest(layer.weight.detach(), bits, group_size=group, symmetric=symmetric)
        set_weight(layer, made, loaded.model)
    written = write_gguf(loaded, tmp_path / "m.gguf")
    assert written.notes == (
        "Q4_0 (4.5 bits) for codes of 2 bits, since rows of 64 values are no multiple of 256: 2 tensors: "
        "blk.0.ffn_gate.weight, blk.1.attn_output.weight",
        "Q8_0 (8.5 bits) for codes of 6 bits, since rows of 64 values are no multiple of 256: 2 tensors: "
        "blk.0.ffn_up.weight, blk.1.ffn_gate.weight",
    )
    tensors = read_gguf(written.path).tensors
    found = quantized_weights(loaded.model)
    assert len(found) == len(layers) - 1
    for number, (name, quantized) in enumerate(found.items()):
        place = gguf_name(name, "llama")
        assert place is not None
        kind = gguf.GGMLQuantizationType(tensors[place].kind).name
        assert kind == kinds[number % len(kinds)], name
        exact = quantized.dequantize()
        if kind == "Q4_1":  # an offset of at most 16 scales is rounded to float16
            bound = float(quantized.scales.max()) * 16 * 2**-11
            assert float((read(written.path, name) - exact).abs().max()) <= bound
        else:
            assert torch.equal(read(written.path, name), exact), name
    assert gguf.GGMLQuantizationType(tensors["blk.1.ffn_down.weight"].kind).name == "F16"


def test_what_does_not_fit_a_type_is_told(tmp_path: Path) -> None:
    loaded = tiny("tiny-llama")
    layers = loaded.model.model.layers
    set_weight(
        layers[0].mlp.up_proj,
        nearest(layers[0].mlp.up_proj.weight.detach(), 4, group_size=16),
        loaded.model,
    )
    made = nearest(layers[1].mlp.up_proj.weight.detach(), 4, group_size=32)
    set_weight(layers[1].mlp.up_proj, replace(made, scales=made.scales * 1.0003), loaded.model)
    with torch.no_grad():
        layers[1].mlp.down_proj.weight[0, 0] = 1e5
    written = write_gguf(loaded, tmp_path / "m.gguf")
    assert written.notes == (
        "F16 (16 bits) instead, since groups of 16 values are no multiple of 32: 1 tensor: blk.0.ffn_up.weight",
        "scales rounded to float16: 1 tensor: blk.1.ffn_up.weight",
        "F32 (32 bits) instead, since values leave the range of float16: 1 tensor: blk.1.ffn_down.weight",
    )
    assert written.lines()[1:] == [f"note: {note}" for note in written.notes]
    assert float(read(written.path, "model.layers.1.mlp.down_proj.weight")[0, 0]) == 1e5

    narrow = load_translator(ModelSource("random:tiny-llama"))
    for layer in narrow.model.model.layers:  # 40 is no multiple of 32
        layer.mlp.down_proj.weight = torch.nn.Parameter(layer.mlp.down_proj.weight[:, :40].detach().clone())
    told = write_gguf(narrow, tmp_path / "narrow.gguf", type="Q4_0")
    assert told.types == {"Q4_0": 13, "F16": 2, "F32": 5}
    assert told.notes == (
        "F16 (16 bits) instead, since rows of 40 values are no multiple of 32: 2 tensors: blk.0.ffn_down.weight, "
        "blk.1.ffn_down.weight",
    )
