"""Cache first, then the hub, then one message."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_hub_download

from compress.errors import ModelError
from compress.models import hub
from compress.models.load import load_model
from compress.models.source import ModelSource


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, and a hub at an address where nothing answers."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def cached(tmp_path: Path, repository: str, name: str, text: str) -> None:
    """Put one file into the cache, as a download would."""
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40) / name).write_text(text)


def test_what_is_cached_is_used_without_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_reachable_endpoint", lambda: pytest.fail("the network was tried"))
    cached(tmp_path, "org/name", "a.txt", "hello")
    cache = tmp_path / "hub"
    path = hub.from_hub("hf:org/name", "org/name", lambda: hf_hub_download("org/name", "a.txt", cache_dir=cache))
    assert Path(path).read_text() == "hello"
    assert constants.HF_HUB_OFFLINE is False


def test_what_is_neither_cached_nor_reachable_says_how_to_get_it() -> None:
    begin = time.monotonic()
    for source, repository in (
        ("timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
        ("hf:google/vit-base-patch16-224@abc", "google/vit-base-patch16-224"),
    ):
        with pytest.raises(ModelError) as error:
            load_model(ModelSource(source))
        assert f"{source}: not in the cache, and the Hugging Face hub cannot be reached" in str(error.value)
        assert f"`hf download {repository}`" in str(error.value)
        assert ("weights: random" in str(error.value)) == source.startswith("timm")
    assert time.monotonic() - begin < 20  # no round of retries


def test_a_hub_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_reachable_endpoint", lambda: "https://hub")
    answers: list[Any] = [FileNotFoundError("not cached"), "downloaded"]

    def load() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert hub.from_hub("hf:a", "a", load) == "downloaded"
    answers[:] = [FileNotFoundError("not cached"), OSError("404: a is gone\nmore")]
    with pytest.raises(ModelError, match=r"^hf:a: cannot be had from https://hub: 404: a is gone$"):
        hub.from_hub("hf:a", "a", load)
    answers[:] = [RuntimeError("No pretrained weights exist for a.")]
    with pytest.raises(ModelError, match=r"^hf:a: No pretrained weights exist for a\.$"):
        hub.from_hub("hf:a", "a", load)


def test_offline_mode_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub._reachable_endpoint() is None


def test_torchvision_weights_that_cannot_be_downloaded_say_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **options: Any) -> Any:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(ModelError) as error:
        load_model(ModelSource("torchvision:resnet18"))
    assert "resnet18-f37072fd.pth is not in the cache and cannot be downloaded (Name or service" in str(error.value)
    assert "put the file into $TORCH_HOME/hub/checkpoints, or write weights: random" in str(error.value)


def test_torchvision_weights_are_unpickled_as_tensors_only(tmp_path: Path) -> None:
    """The file that the cache holds was put there by someone."""
    import os
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "boom"),)

    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet18-f37072fd.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(ModelError, match="torchvision:resnet18: Weights only load failed"):
        load_model(ModelSource("torchvision:resnet18"))
    assert not (tmp_path / "boom").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
