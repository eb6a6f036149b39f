"""The dozen public names, and that they cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import compress


def test_every_public_name_is_there() -> None:
    for name in compress.__all__:
        assert getattr(compress, name) is not None


def test_what_is_called_is_callable_whatever_was_imported_before() -> None:
    code = "import compress.exporter, compress; print(callable(compress.export), callable(compress.measure))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'compress' has no attribute 'exprot'"):
        compress.exprot  # noqa: B018


def test_importing_compress_imports_nothing_heavy() -> None:
    code = "import sys, compress; print([m for m in ('torch', 'onnx', 'onnxruntime', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
