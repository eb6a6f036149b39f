"""The stage store: finished or absent, never half; and one process at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compress.errors import ArtefactError
from compress.files import write_text
from compress.pipeline import stages_of
from compress.recipe import parse
from compress.stages import Stage, StageStore, locked, replace_directory

STAGE = Stage("quantize.static", "ab" * 32)


def test_a_stage_is_finished_only_when_its_block_has_ended(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    with store.writing(STAGE) as directory:
        (directory / "codes").write_text("1")
        assert store.finished(STAGE) is None
    finished = store.finished(STAGE)
    assert finished is not None
    assert (finished / "codes").read_text() == "1"


def test_a_stage_that_fails_leaves_nothing_but_its_scratch(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    (store.scratch(STAGE) / "block3").write_text("done")

    def fail() -> None:
        with store.writing(STAGE) as directory:
            (directory / "codes").write_text("1")
            raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        fail()
    assert store.finished(STAGE) is None
    assert [path.name for path in tmp_path.iterdir()] == [f"{STAGE.directory_name}.scratch"]
    assert (store.scratch(STAGE) / "block3").read_text() == "done"


def test_a_finished_stage_keeps_no_scratch_and_forgets_an_earlier_try(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    store.scratch(STAGE)
    killed = tmp_path / f"{STAGE.directory_name}.partial"
    killed.mkdir()
    (killed / "half").write_text("0")
    with store.writing(STAGE) as directory:
        (directory / "codes").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == [STAGE.directory_name]
    assert [path.name for path in (tmp_path / STAGE.directory_name).iterdir()] == ["codes"]


def test_what_is_kept_is_found_by_others_and_outlives_the_run(tmp_path: Path) -> None:
    ours, others = (StageStore(tmp_path / name, tmp_path / "kept") for name in ("ours", "others"))
    export = Stage("export", STAGE.fingerprint)
    for stage in (STAGE, export):
        with ours.writing(stage):
            pass
    assert others.finished(STAGE) is None
    for _ in range(2):  # keeping what is kept changes nothing
        ours.keep([STAGE])
    ours.clear()
    assert others.finished(STAGE) == ours.finished(STAGE) == tmp_path / "kept" / STAGE.directory_name
    assert others.finished(export) is None


def test_another_fingerprint_is_another_stage(tmp_path: Path) -> None:
    store = StageStore(tmp_path)
    with store.writing(STAGE):
        pass
    assert store.finished(Stage(STAGE.name, "cd" * 32)) is None


def test_a_replaced_directory_holds_only_the_new_files_and_their_changes(tmp_path: Path) -> None:
    source, destination = tmp_path / "new", tmp_path / "artefact"
    source.mkdir()
    (source / "b").write_text("b")
    destination.mkdir()
    (destination / "a").write_text("a")
    (tmp_path / ".artefact.new").mkdir()  # as left by a process that was killed
    replace_directory(source, destination, lambda new: write_text(new / "c", "c"))
    assert sorted(path.name for path in destination.iterdir()) == ["b", "c"]
    assert [path.name for path in source.iterdir()] == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artefact", "new"]


def test_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "row.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \udcff")
    assert path.read_text() == "old"


HOLD = "import sys, time; from pathlib import Path; from compress.stages import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"


def test_a_directory_in_use_is_refused_and_a_killed_process_frees_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ArtefactError, match="another process is working here"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ArtefactError, match=r"file.run: cannot write here: Not a directory"),
        locked(tmp_path / "file" / "run"),
    ):
        pass


def test_what_a_later_pass_learns_from_leaves_the_stages_before_it_alone() -> None:
    recipe = parse(
        "name: x\nmodel: timm:resnet18\ntask: image_classification\n"
        "passes:\n  - fold.batchnorm\n  - quantize.weights: 8\n"
    )
    begun = Stage("load", "a")
    first = stages_of(recipe, begun, [{}, {"quantize.weights.2": "b"}])
    other = stages_of(recipe, begun, [{}, {"quantize.weights.2": "c"}])
    assert first[0] == other[0]
    assert first[1] != other[1]
