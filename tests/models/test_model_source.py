"""What a recipe may say about where its model comes from."""

from __future__ import annotations

import pytest

from compress.models.source import PACKAGES, SHAPES, TEXT_PACKAGES, ModelSource

UNSAID = "does not say where the model comes from: write "
NO_FUNCTION = "names no function in a Python file: write factory:model.py:build"


@pytest.mark.parametrize(
    ("source", "kind", "name", "revision"),
    [
        ("package:efficientnet-lite0", "package", "efficientnet-lite0", None),
        ("timm:resnet18.a1_in1k", "timm", "resnet18.a1_in1k", None),
        ("torchvision:vit_b_16", "torchvision", "vit_b_16", None),
        ("hf:org/name", "hf", "org/name", None),
        ("hf:org/name@v1.0", "hf", "org/name", "v1.0"),
        ("hf:org/name@refs/pr/3", "hf", "org/name", "refs/pr/3"),
        ("path:a@b.safetensors", "path", "a@b.safetensors", None),
        ("path:C:\\a.safetensors", "path", "C:\\a.safetensors", None),
        ("factory:lib/model.py:build", "factory", "lib/model.py:build", None),
    ],
)
def test_a_source_has_a_kind_a_name_and_perhaps_a_revision(
    source: str, kind: str, name: str, revision: str | None
) -> None:
    found = ModelSource(source, architecture="timm:resnet18" if kind == "path" else None)
    assert (found.kind, found.name, found.revision) == (kind, name, revision)
    assert found.problems() == []


def test_every_package_is_a_source() -> None:
    assert [ModelSource(f"package:{name}").problems() for name in PACKAGES] == [[]] * len(PACKAGES)


def test_a_factory_is_a_file_and_a_function() -> None:
    assert ModelSource("factory:lib/model.py:build").factory == ("lib/model.py", "build")


def test_files_are_told_by_the_key_that_names_them() -> None:
    source = ModelSource("path:w.safetensors", architecture="factory:m.py:build", labels="names.txt")
    assert source.files() == {"source": "w.safetensors", "architecture": "m.py", "labels": "names.txt"}
    assert ModelSource("timm:resnet18", labels=("cat", "dog")).files() == {}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("resnet18", "source 'resnet18' " + UNSAID + "KIND:NAME, such as torchvision:resnet18"),
        ("efficientnet-lite0", "source 'efficientnet-lite0' " + UNSAID + "package:efficientnet-lite0"),
        ("tim:resnet18", "source: unknown kind of model 'tim': did you mean 'timm'?"),
        ("package:efficientnet", "source: unknown package 'efficientnet': did you mean 'efficientnet-lite2'?"),
        ("timm:", "source 'timm:' has no name right after its colon: write timm:resnet18"),
        ("timm: resnet18", "source 'timm: resnet18' has no name right after its colon: write timm:resnet18"),
        ("timm:res net", "source 'timm:res net' is not a model's name: write timm:resnet18"),
        ("hf:a/b/c", "source 'hf:a/b/c' is not a model of the hub: write hf:ORG/NAME, or hf:ORG/NAME@REVISION"),
        ("hf:a/b@", "source 'hf:a/b@' is not a model of the hub: write hf:ORG/NAME, or hf:ORG/NAME@REVISION"),
        ("factory:model.py", "source 'factory:model.py' " + NO_FUNCTION),
        ("factory:model:build", "source 'factory:model:build' " + NO_FUNCTION),
    ],
)  # fmt: skip
def test_a_source_that_means_nothing_is_told(source: str, told: str) -> None:
    assert ModelSource(source).problems() == [told]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            ModelSource("path:w.pkl", architecture="timm:resnet18"),
            "source 'path:w.pkl' is no file of weights: "
            "write one that ends in .safetensors, .pth, .pt, .bin, or a directory/",
        ),
        (
            ModelSource("path:w.safetensors"),
            "architecture is missing: 'path:' holds weights only: write architecture: timm:resnet18",
        ),
        (
            ModelSource("path:w.safetensors", architecture="path:v.safetensors"),
            "architecture: unknown kind of model 'path': known: cifar, factory, hf, package, timm, torchvision",
        ),
        (
            ModelSource("timm:resnet18", architecture="timm:resnet18"),
            "architecture is used by 'path:' sources only: take it out, 'timm:' names its own",
        ),
        (
            ModelSource("path:w.safetensors", "random", "timm:resnet18"),
            "weights: 'path:' gives the weights: take 'random' out, or write source: timm:resnet18",
        ),
        (
            ModelSource("cifar:resnet20"),
            "weights: 'cifar:resnet20' has none of its own: write weights: random, or source: path:FILE.safetensors "
            "with architecture: cifar:resnet20",
        ),
        (
            ModelSource("timm:resnet18", seed=3),
            "seed has no effect on pretrained weights: take it out, or write weights: random",
        ),
        (
            ModelSource("timm:resnet18", num_classes=3, labels=("cat", "dog")),
            "labels has 2 names, num_classes is 3: write one a class",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_told(source: ModelSource, told: str) -> None:
    assert source.problems() == [told]


@pytest.mark.parametrize(
    "source", [*(f"package:{name}" for name in TEXT_PACKAGES), *(f"random:{name}" for name in SHAPES)]
)
def test_translators_that_ship_are_sources_of_translation(source: str) -> None:
    assert ModelSource(source, seed=3 if source.startswith("random:") else 0).problems("translation") == []


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("gguf:models/m.gguf", {"source": "models/m.gguf"}),
        ("path:models/nllb", {"source": "models/nllb"}),
        ("hf:org/name@main", {}),
    ],
)
def test_sources_of_translators_name_their_files(source: str, files: dict[str, str]) -> None:
    assert ModelSource(source).problems("translation") == []
    assert ModelSource(source).files() == files


@pytest.mark.parametrize(
    ("source", "task", "told"),
    [
        (
            ModelSource("timm:resnet18"),
            "translation",
            "source: 'timm:' has no translators: write one of package, hf, path, gguf, random, new, "
            "such as hf:facebook/m2m100_418M",
        ),
        (
            ModelSource("random:opus-mt"),
            "image_classification",
            "source: 'random:' has no image classifiers: write one of package, timm, torchvision, hf, cifar, path, "
            "factory, such as torchvision:resnet18",
        ),
        (
            ModelSource("package:gemma-3-270m"),
            "image_classification",
            "source: unknown package 'gemma-3-270m': known: efficientnet-lite0, efficientnet-lite1, efficientnet-lite2",
        ),
        (
            ModelSource("gemma-3-270m"),
            "translation",
            "source 'gemma-3-270m' " + UNSAID + "package:gemma-3-270m",
        ),
        (
            ModelSource("random:nllb-600M"),
            None,
            "source: unknown shape 'nllb-600M': did you mean 'nllb-600m'?",
        ),
        (ModelSource("gguf:model.bin"), None, "source 'gguf:model.bin' is no GGUF file: write gguf:model.gguf"),
        (
            ModelSource("gguf:m.gguf", weights="random"),
            None,
            "weights: 'gguf:' gives the weights: take 'random' out, or write source: random:nllb-600m",
        ),
        (
            ModelSource("path:w.safetensors"),
            "translation",
            "source 'path:w.safetensors' names a file: a translator is a directory with its config: "
            "write path:DIRECTORY",
        ),
        (
            ModelSource("path:m.gguf"),
            "translation",
            "source 'path:m.gguf' names a file: a translator is a directory with its config: write gguf:m.gguf",
        ),
        (
            ModelSource("path:model", architecture="hf:org/name"),
            "translation",
            "architecture is for image classifiers: take it out, the model's config names its own",
        ),
        (ModelSource("hf:org/name", num_classes=3), "translation", "num_classes is for image classifiers: take it out"),
        (ModelSource("hf:org/name", labels="a.txt"), "translation", "labels is for image classifiers: take it out"),
    ],
)
def test_what_does_not_fit_a_task_is_told(source: ModelSource, task: str | None, told: str) -> None:
    assert source.problems(task) == [told]
