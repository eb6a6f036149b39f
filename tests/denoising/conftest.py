"""A UNet small enough for a test, its artefacts in float and in 4 bits."""

from __future__ import annotations

import pytest

from compress.runtime.artefact import Artefact
from tests.denoising.tiny import exported, load_tiny, quantized


@pytest.fixture(scope="session")
def float_artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return exported(load_tiny(), tmp_path_factory.mktemp("float") / "artefact")


@pytest.fixture(scope="session")
def small_artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    loaded = load_tiny()
    quantized(loaded.model)
    return exported(loaded, tmp_path_factory.mktemp("small") / "artefact")
