"""What a run says: lines and bars on stderr, all of it in the log."""

from __future__ import annotations

import io
import logging
import re
import warnings
from pathlib import Path

import pytest

from compress import progress
from compress.progress import BarReporter, LineReporter, Reporter, reporter_for


def test_lines_tell_stages_and_long_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock = io.StringIO(), iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    reporter = LineReporter(stream)
    with reporter.stage("equalize", 2, 5):
        # the clock stands at 6 when the loop starts, and goes on by 6 s with each item
        assert list(reporter("abcd", "layers", 4)) == ["a", "b", "c", "d"]
    assert stream.getvalue().splitlines() == [
        "      layers: 1 of 4, 36.0 s left",
        "      layers: 3 of 4, 8.0 s left",
        "[2/5] equalize: 36.0 s",
    ]


def test_bars_yield_every_item_also_in_nested_loops_and_outside_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = BarReporter()
    assert list(reporter(range(3), "outside", 3)) == [0, 1, 2]
    with reporter.stage("reconstruct", 1, 1):
        pairs = [(i, j) for i in reporter(range(2), "blocks", 2) for j in reporter(range(2), "steps", 2)]
    assert pairs == [(0, 0), (0, 1), (1, 0), (1, 1)]
    out, err = capsys.readouterr()
    assert out == ""
    assert "[1/1] reconstruct: " in err


def test_the_log_holds_what_was_said_the_notes_and_the_warnings_of_libraries(tmp_path: Path) -> None:
    reporter = Reporter()
    reporter.say("before the log")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with reporter.logging_to(tmp_path / "run" / "log.txt"), reporter.stage("export", 1, 1):
            reporter.say("said")
            reporter.note("noted\ntwice")
            warnings.warn("old name", FutureWarning, stacklevel=1)
            logging.getLogger("library").error("loud")
    reporter.say("after the log")
    text = re.sub(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", (tmp_path / "run" / "log.txt").read_text())
    lines = text.splitlines()
    assert lines[:4] == ["[1/1] export", "said", "noted", "twice"]
    assert "FutureWarning: old name" in lines[4]
    assert lines[-2] == "error: library: loud"
    assert re.fullmatch(r"\[1/1\] export: \d\.\d s", lines[-1])


def test_quiet_is_silent_and_no_terminal_gets_lines() -> None:
    assert type(reporter_for(quiet=True)) is Reporter
    assert type(reporter_for(quiet=False)) is LineReporter
