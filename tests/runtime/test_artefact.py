"""An artefact is what its manifest says, to the byte, or it is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from compress.errors import ArtefactError
from compress.runtime.artefact import MANIFEST, Artefact, open_artefact, with_scores, write_manifest
from compress.tasks.base import Figure
from tests.graphs import classifier, write_artefact


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    return write_artefact(tmp_path / "artefact", classifier())


def content(artefact: Artefact) -> dict:
    return {key: artefact.manifest[key] for key in ("lock", "model", "target", "quantization", "scores")}


def refusal(directory: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        open_artefact(directory)
    return str(caught.value)


def test_what_was_written_opens(artefact: Artefact) -> None:
    opened = open_artefact(artefact.directory)
    assert opened == artefact
    assert (opened.description, opened.random_weights, opened.target) == ("a tiny classifier", False, "generic")
    assert set(opened.file_bytes) == {"compress.json", "config.json", "model.onnx"}
    assert opened.size_bytes == sum(path.stat().st_size for path in opened.directory.iterdir())
    assert opened.model_bytes == opened.model_path.stat().st_size


def test_a_flipped_bit_in_any_byte_of_the_manifest_is_refused(artefact: Artefact) -> None:
    path = artefact.directory / MANIFEST
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 7)]) + whole[place + 1 :])
        assert str(path) in refusal(artefact.directory), f"byte {place}"


@pytest.mark.parametrize("name", ["model.onnx", "config.json"])
def test_a_flipped_byte_in_any_file_is_refused_with_both_hashes(artefact: Artefact, name: str) -> None:
    path = artefact.directory / name
    whole = path.read_bytes()
    expected = artefact.manifest["files"][name]["sha256"][:12]
    for place in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        message = refusal(artefact.directory)
        assert message.startswith(f"{path}: damaged: expected sha256 {expected}, found ")
        assert expected not in message.split("found ")[1]


def test_missing_and_extra_files_are_all_named(artefact: Artefact) -> None:
    (artefact.directory / "config.json").unlink()
    (artefact.directory / "sub").mkdir()
    (artefact.directory / "sub" / "extra.bin").write_bytes(b"x")
    missing, extra = refusal(artefact.directory).splitlines()
    assert missing.startswith(f"{artefact.directory / 'config.json'}: missing: expected sha256 ")
    assert extra.startswith(f"{artefact.directory / 'sub' / 'extra.bin'}: not listed in compress.json")


def test_a_truncated_file_is_refused_with_its_size(artefact: Artefact) -> None:
    size = artefact.model_bytes
    artefact.model_path.write_bytes(artefact.model_path.read_bytes()[:-10])
    assert f"({size:,} bytes, found {size - 10:,})" in refusal(artefact.directory)


@pytest.mark.parametrize("name", ["model.onnx", "compress.json"])
def test_a_link_that_leads_outside_is_refused(artefact: Artefact, name: str) -> None:
    path, outside = artefact.directory / name, artefact.directory.parent / f"outside-{name}"
    shutil.move(path, outside)
    path.symlink_to(outside)
    assert f"{path}: a link to {outside}, outside the artefact" in refusal(artefact.directory)


def test_a_directory_link_that_leads_outside_is_refused(artefact: Artefact, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (artefact.directory / "other").symlink_to(tmp_path / "other")
    assert "outside the artefact" in refusal(artefact.directory)


@pytest.mark.parametrize("target", ["nowhere", "loop"])
def test_a_link_that_leads_nowhere_is_refused(artefact: Artefact, target: str) -> None:
    (artefact.directory / "loop").symlink_to(target)
    assert refusal(artefact.directory) == f"{artefact.directory / 'loop'}: a link that leads nowhere"


def test_a_link_inside_the_artefact_is_a_file_like_others(artefact: Artefact) -> None:
    shutil.move(artefact.model_path, artefact.directory / "weights")
    artefact.model_path.symlink_to("weights")
    again = write_manifest(artefact.directory, content(artefact))
    assert open_artefact(artefact.directory) == again


def test_a_pipe_is_not_read(artefact: Artefact) -> None:
    os.mkfifo(artefact.directory / "pipe")
    assert refusal(artefact.directory) == f"{artefact.directory / 'pipe'}: not a regular file"


def test_an_artefact_reached_through_a_link_opens(artefact: Artefact, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(artefact.directory)
    assert open_artefact(tmp_path / "link").manifest == artefact.manifest


def test_a_newer_format_says_to_upgrade(artefact: Artefact) -> None:
    path = artefact.directory / MANIFEST
    path.write_text(json.dumps({"format": 2, "whatever": "comes"}))
    assert refusal(artefact.directory) == (
        f"{path}: written by a newer version: format 2, and this version reads up to 1: "
        "pip install --upgrade compress-toolkit"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": NaN}', '{"format": "1"}', "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(artefact: Artefact, text: str) -> None:
    (artefact.directory / MANIFEST).write_text(text)
    assert str(artefact.directory / MANIFEST) in refusal(artefact.directory)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a\\..\\b", "compress.json"])
def test_a_file_name_that_leads_outside_is_refused(artefact: Artefact, name: str) -> None:
    path = artefact.directory / MANIFEST
    text = path.read_text().replace('"config.json"', json.dumps(name))
    text = text.replace(artefact.manifest["manifest_sha256"], "0" * 64)
    path.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))
    assert refusal(artefact.directory) == f"{path}: lists '{name}', which is no file inside the artefact"


def test_no_artefact_is_told_from_a_run_that_holds_one(artefact: Artefact, tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: no such directory: name one that holds a compress.json"
    assert refusal(tmp_path) == f"{tmp_path}: the directory of a run: did you mean {artefact.directory}?"
    artefact.model_path.parent.joinpath(MANIFEST).unlink()
    assert refusal(artefact.directory) == f"{artefact.directory}: not an artefact: it holds no compress.json"


def test_the_same_content_gives_the_same_bytes(artefact: Artefact, tmp_path: Path) -> None:
    other = write_artefact(tmp_path / "elsewhere" / "other", classifier())
    first, second = ((one.directory / MANIFEST).read_bytes() for one in (artefact, other))
    assert first == second
    assert str(tmp_path).encode() not in first


def test_a_killed_write_leaves_the_old_manifest(artefact: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(source: object, destination: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            with_scores(artefact, {"top1": Figure(0.5)})
    assert open_artefact(artefact.directory) == artefact
    assert with_scores(artefact, {"top1": Figure(0.5)}).scores == {"top1": Figure(0.5)}
    assert open_artefact(artefact.directory).scores == {"top1": Figure(0.5)}


def test_scores_and_the_float_model_are_recorded(artefact: Artefact) -> None:
    scored = with_scores(artefact, {"top1": Figure(np.float32(0.5), 0.25, 0.75, np.int64(20))}, "f" * 64)
    assert open_artefact(artefact.directory).scores == {"top1": Figure(0.5, 0.25, 0.75, 20)}
    assert scored.float_sha256 == "f" * 64
    assert with_scores(scored, {}).float_sha256 == "f" * 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": None}, "'target' is null, not str"),
        ({"date": "today"}, "'date' has no place in a manifest"),
        ({"model": {"description": "", "random_weights": False}}, "'model.parameters' is missing"),
        (
            {"model": {"description": "", "random_weights": 0, "parameters": 1}},
            "'model.random_weights' is int, not bool",
        ),
        ({"scores": {"top1": {"value": 1}}}, "'scores.top1' must have value, low, high and num_samples, no more"),
        ({"scores": {"top1": Figure(float("nan"))}}, "a number in it is not finite"),
    ],
)
def test_wrong_content_is_not_written(artefact: Artefact, change: dict, message: str) -> None:
    before = (artefact.directory / MANIFEST).read_bytes()
    with pytest.raises(ArtefactError, match=re.escape(message)):
        write_manifest(artefact.directory, {**content(artefact), **change})
    assert (artefact.directory / MANIFEST).read_bytes() == before


def test_gzip_bytes_are_those_of_gzip(artefact: Artefact) -> None:
    expected = sum(len(gzip.compress(path.read_bytes(), 1)) for path in artefact.directory.iterdir())
    assert artefact.gzip_bytes() == expected
