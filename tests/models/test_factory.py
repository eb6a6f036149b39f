"""The user's own code: run only when allowed, its errors told where they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from compress.data.preprocess import Preprocessor
from compress.errors import ModelError
from compress.models.load import layer_names, load_model
from compress.models.source import ModelSource
from compress.models.sources.factory import DEFAULT_PREPROCESSOR

GOOD = """
from torch import nn
from compress.data.preprocess import Preprocessor
from neighbour import CLASSES

def plain():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))

def with_preprocessor():
    return plain(), Preprocessor(resize=16, crop=(16, 16))

def of_timm():
    import timm
    return timm.create_model("resnet10t", num_classes=5)
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    (tmp_path / "neighbour.py").write_text("CLASSES = 5\n")

    def make(text: str, function: str = "build") -> ModelSource:
        (tmp_path / "model.py").write_text(text)
        return ModelSource(f"factory:{tmp_path}/model.py:{function}")

    yield make
    sys.modules.pop("neighbour", None)


@pytest.mark.parametrize(
    ("function", "preprocessor"),
    [
        ("plain", DEFAULT_PREPROCESSOR),
        ("with_preprocessor", Preprocessor(resize=16, crop=(16, 16))),
        ("of_timm", Preprocessor(resize=201, crop=(176, 176))),
    ],
)
def test_a_factory_returns_a_model_with_or_without_its_preprocessing(
    write: Any, function: str, preprocessor: Preprocessor
) -> None:
    source = write(GOOD, function)
    before = list(sys.path)
    loaded = load_model(source, allow_code=True)
    assert sys.path == before
    assert loaded.preprocessor == preprocessor
    assert len(loaded.labels) == 5
    assert loaded.description.endswith(f" of model.py:{function}")
    assert list(layer_names(source, allow_code=True))[-1] in ("2", "fc")


def test_the_same_seed_makes_the_same_model(write: Any) -> None:
    one, two = (load_model(write(GOOD, "plain"), allow_code=True).model[2].weight for _ in range(2))
    assert one.tolist() == two.tolist()


def test_nothing_runs_without_allow_code(write: Any, tmp_path: Path) -> None:
    source = write(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for call in (load_model, layer_names):
        with pytest.raises(
            ModelError, match=r"model.py:build runs the code in .*model\.py: add --allow-code if you trust"
        ):
            call(source)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\ndef build(:\n    pass\n", "model.py:2: SyntaxError: invalid syntax"),
        ("import os\nimport no_such_thing\n", "model.py:2: ModuleNotFoundError: No module named 'no_such_thing'"),
        (
            "def build():\n    return helper()\n\ndef helper():\n    return 1 / 0\n",
            "model.py:5: ZeroDivisionError: div",
        ),
        ("def build():\n    import json\n    json.loads('[')\n", "model.py:3: JSONDecodeError: Expecting value"),
        ("import sys\ndef build():\n    sys.exit(0)\n", "model.py:3: SystemExit: 0"),
        ("def build(width):\n    pass\n", "TypeError: build() missing 1 required positional argument: 'width'"),
        ("def biuld():\n    pass\n", "unknown function 'build': did you mean 'biuld'?"),
        ("def build():\n    return 3\n", "returned a int: return a torch.nn.Module, or (Module, Preprocessor)"),
        ("def build():\n    return None, None\n", "returned a tuple: return a torch.nn.Module"),
        ("def build():\n    raise ValueError\n", "model.py:2: ValueError: ValueError"),
    ],
)
def test_errors_in_the_users_code_are_told_where_they_are(write: Any, text: str, message: str) -> None:
    with pytest.raises(ModelError) as error:
        load_model(write(text), allow_code=True)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no file"):
        load_model(ModelSource(f"factory:{tmp_path}/no.py:build"), allow_code=True)
