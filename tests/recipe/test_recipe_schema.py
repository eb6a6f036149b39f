"""The JSON Schema: valid, current, and of one mind with the parser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

import compress
from compress.passes import REGISTRY
from compress.recipe import json_schema
from compress.schemas import descriptions, schema_of, summary

PACKAGE = Path(compress.__file__).parent
GOOD = [
    "{name: x, model: timm:resnet18, task: image_classification}",
    "{extends: base.yaml}",
    "{extends: base.yaml, passes: [toy.fold, toy.fold: {}, toy.fold: null, toy.round: {num_bits: 4}], budget: null}",
    "{extends: base.yaml, task: {image_classification: {dataset: demo, preprocess: {crop: [1, 2], resize: 3}}}}",
    "{extends: base.yaml, budget: {size: 5MB, max_drop: {top1: 0.5}}, target: rk3588, export: {opset: 19}}",
    "{extends: base.yaml, budget: {size: 5}, model: {source: 'path:a.safetensors', architecture: 'timm:a'}}",
]
BAD = [
    "{name: x}",
    "{extends: base.yaml, sed: 3}",
    "{extends: base.yaml, passes: [toy.round]}",
    "{extends: base.yaml, passes: [toy.round: {num_bits: 9}]}",
    "{extends: base.yaml, passes: [toy.round: {num_bits: 4, bits: 3}]}",
    "{extends: base.yaml, passes: [toy.round: {num_bits: 4}, toy.ronud]}",
    "{extends: base.yaml, passes: [{toy.round: {num_bits: 4}, toy.fold: {}}]}",
    "{extends: base.yaml, task: {image_classification: {preprocess: {crops: [1, 2]}}}}",
    "{extends: base.yaml, task: image_clasification}",
    "{extends: base.yaml, model: resnet18}",
    "{extends: base.yaml, target: x87}",
    "{extends: base.yaml, budget: {size: 5MBs}}",
    "{extends: base.yaml, budget: {max_drop: {top2: 0.5}}}",
    "{extends: base.yaml, name: a/b}",
]


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", GOOD)
def test_it_takes_what_the_parser_takes(text: str) -> None:
    assert [error.message for error in Draft7Validator(json_schema()).iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize("text", BAD)
def test_it_refuses_what_the_parser_refuses(text: str) -> None:
    assert list(Draft7Validator(json_schema()).iter_errors(yaml.safe_load(text)))


def test_docstrings_become_descriptions() -> None:
    assert summary(REGISTRY["toy.round"]) == "Round every weight."
    assert descriptions(REGISTRY["toy.round"]) == {"num_bits": "Of a weight, after rounding."}
    assert schema_of(REGISTRY["toy.round"])["properties"]["num_bits"] == {
        "type": "integer",
        "minimum": 2,
        "maximum": 8,
        "description": "Of a weight, after rounding.",
    }
    passes = json_schema()["properties"]["passes"]["items"]["anyOf"]
    assert passes[0] == {"const": "toy.fold", "description": "Fold nothing."}
    assert schema_of(REGISTRY["toy.fold"])["description"] == "Fold nothing."


def test_every_field_of_every_section_is_described() -> None:
    sections = json_schema()["properties"]
    spec = sections["task"]["anyOf"][-1]["properties"]["image_classification"]["properties"]
    all_fields = {
        "recipe": sections,
        "model": sections["model"]["anyOf"][1]["properties"],
        "task": spec,
        "preprocess": spec["preprocess"]["properties"],
        **{key: sections[key]["properties"] for key in ("calibration", "budget", "evaluate", "export")},
    }
    bare = [f"{where}.{key}" for where, found in all_fields.items() for key in found if "description" not in found[key]]
    assert bare == []


def test_the_file_is_current() -> None:
    # In a process of its own, where the passes are the real ones.
    made = subprocess.run(
        [sys.executable, "-m", "compress.recipe"], capture_output=True, check=True, cwd=PACKAGE.parent
    )
    expected = json.loads(made.stdout)
    held = json.loads((PACKAGE / "recipe.schema.json").read_text(encoding="utf-8"))
    assert held == expected, "write it anew: python -m compress.recipe > compress/recipe.schema.json"
