"""Zero points are stored once a group, however many blocks of the kernel a group is."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from compress.applying import apply
from compress.exporter.codecs import pack
from compress.exporter.text import export_translator
from compress.exporter.text.packed import repeating_table
from compress.models.source import ModelSource
from compress.models.translators import load_translator
from compress.passes.quantize_weights import QuantizeWeights


@pytest.mark.parametrize(("bits", "repeats"), [*product((2, 4, 8), (1, 2, 3, 5))])
def test_a_table_repeats_the_codes_of_each_byte(bits: int, repeats: int) -> None:
    codes = default_rng(0).integers(0, 2**bits, (5, 3 * 8 // bits), dtype=np.uint8)
    [stored] = pack(codes, bits)
    [expected] = pack(np.repeat(codes, repeats, axis=1), bits)
    assert np.array_equal(repeating_table(bits, repeats)[stored].reshape(-1), expected)


@pytest.mark.parametrize("num_bits", [3, 4, 8])
@pytest.mark.parametrize("group_size", [None, 32, 48, 64, 96])
def test_groups_of_several_blocks_compute_what_torch_does(
    num_bits: int, group_size: int | None, tmp_path: Path
) -> None:
    loaded = load_translator(ModelSource("random:tiny-llama"))
    strategy = "channel" if group_size is None else "group"
    grid = {"num_bits": num_bits, "strategy": strategy, "group_size": group_size, "symmetric": False}
    apply(
        loaded.model, [QuantizeWeights(**grid), QuantizeWeights(targets=("role:embedding",), **grid)], lambda: iter([])
    )
    export_translator(loaded, tmp_path / "artefact", target="generic")  # which compares the two
