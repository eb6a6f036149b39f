"""What `compress table` writes is written once: another needs --force, and is the same for the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli import app
from compress.files import write_text
from compress.report.row import write_row
from tests.rows import INT8


@pytest.mark.parametrize(("option", "name"), [("--plot", "picture.png"), ("--html", "page.html")])
def test_the_command_writes_and_does_not_overwrite(option: str, name: str, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "w8a8"
    write_row(INT8, run / "row.json")
    write_text(run / "run.json", json.dumps({"float": None}))
    written = tmp_path / name
    arguments = ["table", str(tmp_path / "runs"), option, str(written)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    first = written.read_bytes()
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "is there already: name another file, or give --force" in refused.output
    assert written.read_bytes() == first
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert written.read_bytes() == first
