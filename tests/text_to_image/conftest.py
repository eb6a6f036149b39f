"""A pipeline small enough for a test, its artefacts in float and in 4 and 8 bits, and its directory as diffusers'."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compress.models.pipelines.loading import LoadedPipeline
from compress.runtime.artefact import Artefact
from tests.text_to_image.tiny import diffusers_pipeline, exported, load_tiny, quantized


@pytest.fixture(scope="session")
def loaded() -> LoadedPipeline:
    return load_tiny()


@pytest.fixture(scope="session")
def float_artefact(loaded: LoadedPipeline, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return exported(loaded, tmp_path_factory.mktemp("float") / "artefact")


@pytest.fixture(scope="session")
def small_artefact(loaded: LoadedPipeline, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    model = quantized(load_tiny().model, loaded.tokenizer)
    return exported(replace(loaded, model=model), tmp_path_factory.mktemp("small") / "artefact")


@pytest.fixture(scope="session")
def saved(loaded: LoadedPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that diffusers wrote."""
    directory = tmp_path_factory.mktemp("saved") / "tiny"
    diffusers_pipeline(loaded).save_pretrained(directory)
    return directory
