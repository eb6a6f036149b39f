"""Devices as data."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from compress.errors import RecipeError
from compress.targets import FOLDER, Target, load, names


def test_these_devices_are_known() -> None:
    assert names() == ("generic", "rk3588", "x86-avx2", "x86-vnni")


@pytest.mark.parametrize("name", names())
def test_a_target_says_everything_and_means_something(name: str) -> None:
    target = load(name)
    written = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert target.name == name
    assert set(written) == {field.name for field in fields(Target)} - {"name"}
    assert target.min_opset <= target.opset <= target.max_opset
    assert set(target.weight_bits) <= set(range(2, 9))
    assert 0 < target.int8_range <= 127
    assert target.channel_multiple in (1, 2, 4, 8, 16, 32)
    assert {target} == {load(name)}


@pytest.mark.parametrize("name", names())
def test_every_figure_has_a_source(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith(comment[0])
    assert any(word in line for line in comment for word in ("measured", "vendor", "unverified"))


def test_avx2_keeps_the_sum_of_two_products_in_int16() -> None:
    assert 2 * 255 * load("x86-avx2").int8_range <= 2**15 - 1 < 2 * 255 * load("x86-vnni").int8_range


def test_rk3588_takes_w8a8_per_channel_in_fixed_shapes_up_to_opset_19() -> None:
    target = load("rk3588")
    assert (target.weight_bits, target.activation_bits, target.granularities) == ((8,), (8,), ("channel",))
    assert (target.dynamic_batch, target.opset, target.max_opset) == (False, 19, 19)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x86-vni", "unknown target 'x86-vni': did you mean 'x86-vnni'?"),
        ("../targets/generic", "unknown target '../targets/generic': known: generic, rk3588, x86-avx2, x86-vnni"),
        ("", "unknown target '': known: generic, rk3588, x86-avx2, x86-vnni"),
    ],
)
def test_an_unknown_target_is_told(name: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(name)
    assert str(caught.value) == told
