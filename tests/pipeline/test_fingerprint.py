"""Fingerprints: equal for equal data, and different when anything that decides the result is."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress import fingerprint as module
from compress.fingerprint import code_version, file_sha256, fingerprint, versions


def test_the_order_of_keys_does_not_matter_and_everything_else_does() -> None:
    assert fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    different = {fingerprint(1, 2), fingerprint([1, 2]), fingerprint(12), fingerprint("1", "2"), fingerprint({"1": 2})}
    assert len(different) == 5


def test_what_has_no_exact_text_has_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(float("nan"))
    with pytest.raises(TypeError):
        fingerprint({1, 2})


def test_a_file_is_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the first example of FIPS 180-2
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_code_that_decides_results_counts_and_what_only_shows_them_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "pipeline.py",
        "cli/show.py",
        "progress.py",
        "report/table.py",
        "targets/generic.yaml",
        "recipes/a.yaml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "fingerprint.py"))

    def version() -> str:
        code_version.cache_clear()
        return code_version()

    before = version()
    for shown in ("cli/show.py", "progress.py", "report/table.py", "recipes/a.yaml"):
        (tmp_path / shown).write_text("2")
    assert version() == before
    for deciding in ("pipeline.py", "targets/generic.yaml"):
        (tmp_path / deciding).write_text("2")
        assert version() != before
        before = version()
    code_version.cache_clear()


def test_versions_name_what_runs_here() -> None:
    import numpy

    assert versions()["numpy"] == numpy.__version__
    assert set(versions()) >= {"compress", "python", "onnx", "onnxruntime"}
