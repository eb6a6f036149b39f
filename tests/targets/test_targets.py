"""Devices as data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

import compress
from compress.errors import RecipeError
from compress.targets import FOLDER, ByType, Figure, Target, WrongTarget, from_plain, load, names, plain
from compress.targets.schema import json_schema
from compress.targets.target import FIGURES

SHIPPED = [
    "android-arm64",
    "apple-ane",
    "ascend-310b",
    "ascend-310p",
    "ascend-910b",
    "generic",
    "hexagon",
    "nvidia-a100",
    "nvidia-h100",
    "nvidia-t4",
    "rk3588",
    "rpi5",
    "web",
    "x86-avx2",
    "x86-vnni",
]
PACKAGE = Path(compress.__file__).parent


class Yaml12(yaml.SafeLoader):
    """Takes 408e9 for a number, as editors do."""


Yaml12.yaml_implicit_resolvers = {}
for kind, pattern in (("float", r"[-+]?[0-9.]+(e[-+]?[0-9]+)?$"), ("bool", "true|false"), ("null", "null$")):
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), None)


def written(name: str) -> dict[str, object]:
    """What a file says, over what it extends."""
    data = yaml.load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), yaml.SafeLoader)
    base = data.pop("extends", None)
    return data if base is None else {**written(base), **data}


def figures(target: Target) -> list[Figure]:
    found: list[Figure] = []
    for name in FIGURES:
        value = getattr(target, name)
        found += [figure for _, figure in value.items()] if isinstance(value, ByType) else [value] if value else []
    return found


def test_these_devices_are_known() -> None:
    assert names() == tuple(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_target_says_everything_and_means_something(name: str) -> None:
    target = load(name)
    constraints = {field.name for field in fields(Target)} - {"name", *FIGURES}
    assert target.name == name
    assert constraints <= set(written(name)) <= constraints | set(FIGURES)
    assert target.min_opset <= target.opset <= target.max_opset
    assert set(target.weight_bits) <= set(range(2, 9))
    assert 0 < target.int8_range <= 127
    assert target.channel_multiple in (1, 2, 4, 8, 16, 32)
    assert target.operators is None or len(set(target.operators)) == len(target.operators)
    assert {target} == {load(name)}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_fits_the_schema_that_editors_read(name: str) -> None:
    data = yaml.load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), Yaml12)
    assert [error.message for error in Draft7Validator(json_schema()).iter_errors(data)] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_every_figure_has_a_source(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert lines[0] == "# yaml-language-server: $schema=../target.schema.json"
    assert any(word in line for line in comments for word in ("measured", "vendor", "unverified"))
    assert all(figure.source in ("measured", "vendor", "unverified") and figure.note for figure in figures(load(name)))


@pytest.mark.parametrize("name", ["apple-ane", "ascend-310p", "hexagon", "nvidia-a100", "rk3588"])
def test_listed_operators_are_onnx_s_or_a_domain_s(name: str) -> None:
    import onnx

    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
    listed = load(name).operators
    assert listed is not None
    assert [each for each in listed if not each.startswith("com.microsoft.") and each not in standard] == []


def test_avx2_keeps_the_sum_of_two_products_in_int16() -> None:
    assert 2 * 255 * load("x86-avx2").int8_range <= 2**15 - 1 < 2 * 255 * load("x86-vnni").int8_range


def test_rk3588_takes_w8a8_per_channel_in_fixed_shapes_up_to_opset_19() -> None:
    target = load("rk3588")
    assert (target.weight_bits, target.activation_bits, target.granularities) == ((8,), (8,), ("channel",))
    assert (target.static_shapes, target.opset, target.max_opset) == (True, 19, 19)


def test_a_310p_has_no_bfloat16_and_a_910b_no_stated_bandwidth() -> None:
    assert load("ascend-310p").float_types == ("float16",)
    assert load("ascend-910b").float_types == ("float16", "bfloat16")
    assert load("ascend-910b").bandwidth_bytes_per_s is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x86-vni", "unknown target 'x86-vni': did you mean 'x86-vnni'?"),
        ("../targets/generic", f"unknown target '../targets/generic': known: {', '.join(SHIPPED)}"),
        ("", f"unknown target '': known: {', '.join(SHIPPED)}"),
    ],
)
def test_an_unknown_target_is_told(name: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(name)
    assert str(caught.value) == told


def test_a_file_of_one_s_own_extends_a_target(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: x86-vnni\nmax_opset: 20\nbandwidth_bytes_per_s: {value: 5e9, source: measured}\n")
    mine, base = load(str(file)), load("x86-vnni")
    assert (mine.name, mine.max_opset, mine.weight_bits) == ("mine", 20, base.weight_bits)
    assert mine.bandwidth_bytes_per_s == Figure(5e9, "measured")
    file.write_text("extends: x86-vnni\n")  # not kept in memory: the file may change
    assert load(str(file)).bandwidth_bytes_per_s is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: x86-vnii", ["{}:1: extends: unknown target 'x86-vnii': did you mean 'x86-vnni'?"]),
        ("extends: mine.yaml", ["{}:1: extends itself, by way of {}"]),
        ("extends: [a]", ["{}:1: extends is no text: write the name of a target, or the path of a file"]),
        ("[a]", ["{}: not a target: write 'extends: x86-vnni', and below it what differs"]),
        (
            "{extends: generic, opsett: 3, opset: twenty, power_watts: {value: -3, source: heard}}",
            [
                '{}:1: opset is "twenty": input should be a valid integer',
                "{}:1: power_watts.value is -3: input should be greater than 0",
                "{}:1: power_watts.source is \"heard\": input should be 'measured', 'vendor' or 'unverified'",
                "{}:1: unknown key 'opsett': did you mean 'opset'?",
            ],
        ),
        (
            "{extends: generic, power_watts: {source: vendor}}",
            ["{}:1: 'power_watts.value' is missing: write it, or extend a target that has it"],
        ),
    ],
)
def test_all_that_is_wrong_with_a_file_is_told(text: str, told: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load(str(file))
    assert sorted(caught.value.problems) == sorted(line.replace("{}", str(file)) for line in told)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read: No such file or directory: name one of"):
        load(str(tmp_path / "none.yaml"))


def test_static_quantization_is_refused_where_it_does_not_run() -> None:
    assert load("x86-vnni").refuses_activations(8) is None
    assert load("x86-vnni").refuses_activations(4) == "target x86-vnni runs activations of 8 bits"
    assert load("apple-ane").refuses_activations(8) == "target apple-ane runs float activations only"
    assert load("nvidia-t4").refuses_activations(8) is None


def test_targets_say_in_which_form_their_graphs_are_written() -> None:
    assert {name for name in SHIPPED if load(name).is_symmetric} == {"nvidia-a100", "nvidia-h100", "nvidia-t4"}
    half = {"apple-ane", "ascend-310b", "ascend-310p", "ascend-910b", "hexagon", "rk3588"}
    assert {name for name in SHIPPED if load(name).is_half} == half | {"nvidia-a100", "nvidia-h100", "nvidia-t4"}
    assert {load(name).opset for name in SHIPPED if name.startswith("ascend")} == {15}


def test_each_problem_stands_at_its_line_of_the_file_that_says_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: generic\npower_watts:\n  value: -3\n  source: vendor\n")
    (tmp_path / "mine.yaml").write_text("# mine\nextends: base.yaml\n\nopset: twenty\nweight_bits: [8, a]\n")
    with pytest.raises(RecipeError) as caught:
        load(str(tmp_path / "mine.yaml"))
    assert [problem.removeprefix(f"{tmp_path}/").partition(" is ")[0] for problem in caught.value.problems] == [
        "mine.yaml:4: opset",
        "mine.yaml:5: weight_bits.1",
        "base.yaml:3: power_watts.value",
    ]


def test_a_target_is_told_whole_unless_it_ships(tmp_path: Path) -> None:
    assert plain(load("rk3588")) == "rk3588"
    (tmp_path / "rk3588.yaml").write_text("extends: rk3588\nmax_size: 100\n")
    mine = load(str(tmp_path / "rk3588.yaml"))
    told = plain(mine)
    assert isinstance(told, dict)
    assert json.loads(json.dumps(told)) == told
    assert from_plain(told) == mine
    with pytest.raises(WrongTarget, match='opset is "a": input should be a valid integer'):
        from_plain({**told, "opset": "a"})


def test_the_schema_is_current_and_describes_every_field() -> None:
    Draft7Validator.check_schema(json_schema())
    made = subprocess.run(
        [sys.executable, "-m", "compress.targets"], capture_output=True, check=True, cwd=PACKAGE.parent
    )
    held = json.loads((PACKAGE / "target.schema.json").read_text(encoding="utf-8"))
    assert held == json.loads(made.stdout), "write it anew: python -m compress.targets > compress/target.schema.json"
    assert [key for key, value in held["properties"].items() if not value.get("description")] == []
