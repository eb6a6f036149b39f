"""COMET is an extra: here a stand-in for its package."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest

from compress.errors import MissingExtra, ModelError
from compress.tasks.comet import _scores, comet_scores


def stand_in(calls: list[Any]) -> types.ModuleType:
    """A model whose score is the length of the hypothesis over that of the reference."""

    class Model:
        def predict(self, texts: list[dict[str, str]], **options: Any) -> Any:
            calls.append(texts)
            return types.SimpleNamespace(scores=[len(text["mt"]) / len(text["ref"]) for text in texts])

    def download(name: str) -> str:
        if name == "no/model":
            raise KeyError("no such model")
        return name

    module: Any = types.ModuleType("comet")
    module.__spec__ = importlib.util.spec_from_loader("comet", loader=None)
    module.download_model, module.load_from_checkpoint = download, lambda path: Model()
    return module


def test_without_comet_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"COMET needs an extra: .*\[comet\]"):
        comet_scores("a/model", ["a"], ["b"], ["c"])


def test_scores_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, "comet", stand_in(calls))
    _scores.cache_clear()
    for _ in range(2):
        assert comet_scores("a/model", ["s"], ["ab"], ["abcd"]) == (0.5,)
    assert calls == [[{"src": "s", "mt": "ab", "ref": "abcd"}]]
    with pytest.raises(ModelError, match="the COMET model 'no/model' cannot be loaded: 'no such model'"):
        comet_scores("no/model", ["s"], ["ab"], ["abcd"])
