"""What the tests of the export share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def parsed_once() -> Iterator[None]:
    """torch parses the sources of all its ONNX functions anew in every export, two seconds each: here once."""
    from torch.onnx._internal.exporter import _registration

    apis = _registration.onnxscript_apis
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apis, "get_torchlib_ops", functools.cache(apis.get_torchlib_ops))
        yield
