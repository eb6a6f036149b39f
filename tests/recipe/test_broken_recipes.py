"""Every broken recipe gives exactly the message of its snapshot, whole: tests/snapshots/recipe/NAME.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.recipe import parse

HERE = Path(__file__).parent
SNAPSHOTS = HERE.parent / "snapshots" / "recipe"
BROKEN = sorted(path.stem for path in (HERE / "broken").glob("*.yaml"))


def test_every_snapshot_has_its_recipe() -> None:
    assert sorted(path.stem for path in SNAPSHOTS.glob("*.txt")) == BROKEN


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recipe_tells_all_its_problems(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    with pytest.raises(RecipeError) as caught:
        parse(Path("broken", f"{name}.yaml"))
    assert str(caught.value) + "\n" == (SNAPSHOTS / f"{name}.txt").read_text(encoding="utf-8")
    assert caught.value.exit_code == 2


def test_a_recipe_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        parse("absent.yaml")
    assert str(caught.value) == "absent.yaml: no such file"


def test_a_directory_is_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.yaml").mkdir()
    with pytest.raises(RecipeError) as caught:
        parse("folder.yaml")
    assert str(caught.value) == "folder.yaml: cannot be read: Is a directory"
