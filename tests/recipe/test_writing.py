"""What is dumped is parsed again to the same, as data and as YAML."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compress.models.source import ModelSource
from compress.passes import REGISTRY
from compress.recipe import (
    Budget,
    Calibration,
    Evaluate,
    Export,
    ImageClassificationSpec,
    Preprocess,
    Recipe,
    TranslationSpec,
    dump,
    dump_yaml,
    parse,
)
from compress.targets import load, names

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD = st.sampled_from(["no", "1e-3", "0x1F", "1:30", "null", "~", "", "- a", "a: b", "*", "#", "'", "2024-01-01"])
SELECTOR = (TEXT | AWKWARD).filter(lambda text: not text.startswith(("re:", "role:")))
SEED = st.integers(0, 2**32 - 1)
COUNT = st.integers(1, 10**20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
PIXELS = st.tuples(COUNT, COUNT)
DATASETS = st.sampled_from(["demo", "demo[2:5]", "parquet:a b.parquet[0:128]", "folder:x", "hf:org/name@main:train"])

MODELS = st.one_of(
    st.builds(
        ModelSource,
        st.sampled_from(["timm:resnet18.a1_in1k", "torchvision:vit_b_16", "hf:org/name@v1/2"]),
        weights=st.just("random"),
        labels=st.none() | st.lists(TEXT | AWKWARD, max_size=4).map(tuple) | TEXT,
        seed=SEED,
    ),
    st.builds(
        ModelSource,
        st.just("path:a@b.safetensors"),
        architecture=st.sampled_from(["timm:resnet18", "factory:model.py:build"]),
        num_classes=st.none() | COUNT,
    ),
)  # fmt: skip
PREPROCESS = st.builds(
    Preprocess,
    resize=st.none() | COUNT | PIXELS,
    crop=st.none() | PIXELS,
    interpolation=st.sampled_from([None, "nearest", "bilinear", "bicubic", "lanczos"]),
    mean=st.none() | st.tuples(FINITE, FINITE, FINITE),
    std=st.none() | st.tuples(POSITIVE, POSITIVE, POSITIVE),
    rescale=st.none() | POSITIVE,
    crop_rounding=st.sampled_from([None, "even", "down"]),
)
PARAMETERS = st.fixed_dictionaries(
    {
        "num_bits": st.integers(2, 8),
        "share": st.floats(0, 1, exclude_max=True),
        "mode": st.sampled_from(["nearest", "up"]),
        "symmetric": st.booleans(),
        "group_size": st.none() | st.integers(min_value=2),
        "targets": st.lists(SELECTOR | st.sampled_from(["role:first", "re:^a.*$"]), max_size=3).map(tuple),
    }
)


IMAGE_WORK = st.tuples(
    MODELS,
    st.builds(ImageClassificationSpec, DATASETS, PREPROCESS, COUNT),
    st.builds(Calibration, DATASETS, st.none() | COUNT, SEED, COUNT),
)
PARALLEL = st.sampled_from(["demo", "demo[2:5]", "parquet:a b.parquet[0:128]", "tsv:x.tsv", "hf:org/name@main:train"])
TEXT_WORK = st.tuples(
    st.sampled_from(["hf:org/name", "path:folder", "gguf:a b.gguf", "package:gemma-3-270m", "random:opus-mt"]).map(
        ModelSource
    ),
    st.builds(
        TranslationSpec,
        st.lists(st.sampled_from(["en-fr", "zh-Hant-en", "de-zh-Hant"]), min_size=1, max_size=3).map(tuple),
        dataset=PARALLEL,
        shots=PARALLEL,
        num_likelihood=st.none() | COUNT,
        num_translations=st.none() | COUNT,
    ),
    st.builds(Calibration, PARALLEL, st.none() | COUNT, SEED, COUNT, st.none() | st.integers(min_value=8)),
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    target = draw(st.sampled_from(names()))
    fold, toy_round = REGISTRY["toy.fold"], REGISTRY["toy.round"]
    passes = draw(st.lists(PARAMETERS.map(lambda given: toy_round(**given)) | st.builds(fold), max_size=3))
    device = load(target)
    model, task, calibration = draw(IMAGE_WORK | TEXT_WORK)
    return Recipe(
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)),
        model=model,
        task=task,
        calibration=calibration,
        passes=tuple(each for each in passes if not each.problems(device)),
        target=target,
        budget=draw(
            st.builds(
                Budget,
                st.none() | COUNT,
                st.dictionaries(st.sampled_from(task.scores), st.floats(min_value=0, allow_infinity=False)),
                st.none() | POSITIVE,
                st.none() | COUNT,
                st.none() | COUNT,
            )
        ),
        evaluate=draw(st.builds(Evaluate, st.integers(1, 1024), st.integers(5, 10**6), COUNT)),
        export=draw(st.builds(Export, st.none() | st.integers(device.min_opset, device.max_opset))),
        seed=draw(SEED),
    )


@settings(max_examples=50, deadline=None)  # many choices a recipe: each takes 0.1 s
@given(recipes())
def test_parse_undoes_dump(recipe: Recipe) -> None:
    data = dump(recipe)
    assert parse(data, check_files=False) == recipe
    assert parse(json.loads(json.dumps(data, sort_keys=True)), check_files=False) == recipe


@settings(max_examples=50, deadline=None)  # many choices a recipe: each takes 0.1 s
@given(recipes())
def test_parse_undoes_dump_yaml(recipe: Recipe) -> None:
    assert parse(dump_yaml(recipe), check_files=False) == recipe


def test_a_dump_is_plain_and_has_every_default() -> None:
    recipe = parse("name: x\nmodel: timm:resnet18\ntask: image_classification\npasses: [toy.round: {num_bits: 3}]\n")
    expected: dict[str, Any] = {
        "name": "x",
        "model": {
            "source": "timm:resnet18",
            "weights": "pretrained",
            "architecture": None,
            "num_classes": None,
            "corpus": None,
            "languages": [],
            "vocab_size": None,
            "labels": None,
            "seed": 0,
        },
        "task": {
            "image_classification": {
                "dataset": "demo",
                "preprocess": {
                    "resize": None,
                    "crop": None,
                    "interpolation": None,
                    "mean": None,
                    "std": None,
                    "rescale": None,
                    "crop_rounding": None,
                },
                "batch_size": 32,
            }
        },
        "calibration": {"dataset": "demo", "num_samples": 128, "seed": 0, "batch_size": 32, "max_seq_length": None},
        "passes": [
            {
                "toy.round": {
                    "num_bits": 3,
                    "share": 0.5,
                    "mode": "nearest",
                    "symmetric": True,
                    "group_size": None,
                    "targets": ["*"],
                }
            }
        ],
        "target": "generic",
        "budget": {"size": None, "max_drop": {}, "latency_ratio": None, "model_size": None, "peak_memory": None},
        "evaluate": {"threads": 2, "latency_runs": 50, "throughput_batch_size": 8, "float_model": True},
        "export": {"opset": None},
        "seed": 0,
    }
    assert dump(recipe) == expected
    assert list(dump(recipe)) == list(expected)
