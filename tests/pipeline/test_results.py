"""Rows of finished runs, the float models among them, and what they miss of a budget."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.budget import misses
from compress.cli import app
from compress.errors import ArtefactError
from compress.recipe import Budget
from compress.report.row import Row, write_row
from compress.results import float_artefact_of, rows_below
from compress.runtime.machine import Machine
from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure

ROW = Row(
    latency_ms_p50=5.0,
    latency_ms_p95=6.0,
    items_per_second=200.0,
    latency_ratio=Ratio(0.46, 0.45, 0.47, 0.455, 0.465, 50),
    energy_joules=None,
    energy_note="no counter",
    size_bytes=5_100_000,
    model_bytes=5_000_001,
    gzip_bytes=4_000_000,
    files={"model.onnx": 5_000_001},
    float_model_bytes=18_600_000,
    parameters=4_652_008,
    macs=386_000_000,
    operators={"Conv": 49},
    effective_bits=8.3,
    load_ms=100.0,
    rss_after_load_bytes=80_000_000,
    peak_rss_bytes=90_000_000,
    scores={"top1": Figure(0.888, 0.86, 0.91, 500), "agreement": Figure(0.98, 0.96, 0.99, 500)},
    machine=Machine("a processor", 2, 2, (), "1.31.1"),
    name="net-w8a8",
    task="image_classification",
    model="a network",
    artefact="runs/net-w8a8/artefact",
    command="compress run net-w8a8",
    target="generic",
    is_float=False,
    random_weights=False,
)
FLOAT_SCORES = {"top1": Figure(0.893, 0.86, 0.92, 500)}


def finished(directory: Path, name: str, float_name: str | None) -> None:
    (directory / name / "artefact").mkdir(parents=True)
    write_row(dataclasses.replace(ROW, name=name, is_float=float_name is None), directory / name / "row.json")
    (directory / name / "run.json").write_text(json.dumps({"float": float_name}))


def test_runs_come_with_the_float_models_that_they_were_compared_with_and_no_others(tmp_path: Path) -> None:
    finished(tmp_path, "net-float-11111111", None)
    finished(tmp_path, "net-float-22222222", None)
    finished(tmp_path, "net-w8a8", "net-float-22222222")
    (tmp_path / "net-w4").mkdir()  # not finished
    assert [row.name for row in rows_below([tmp_path])] == ["net-float-22222222", "net-w8a8"]
    assert [row.name for row in rows_below([tmp_path / "net-w8a8"])] == ["net-float-22222222", "net-w8a8"]
    both = rows_below([tmp_path / "net-float-11111111", tmp_path / "net-w8a8", tmp_path])
    assert [row.name for row in both] == ["net-float-11111111", "net-float-22222222", "net-w8a8"]


def test_a_row_s_artefact_is_where_it_lies_now(tmp_path: Path) -> None:
    finished(tmp_path, "net-float-11111111", None)
    [row] = rows_below([tmp_path])
    assert row.artefact == str(tmp_path / "net-float-11111111" / "artefact")


def test_a_directory_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no finished run here: compress run RECIPE makes one"):
        rows_below([tmp_path])
    finished(tmp_path, "net", "net-float-1")
    (tmp_path / "net" / "run.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"run\.json: damaged: .*: run its recipe again with --force"):
        rows_below([tmp_path])


def test_the_float_artefact_of_a_run_lies_beside_it(tmp_path: Path) -> None:
    finished(tmp_path, "net-float-11111111", None)
    finished(tmp_path, "net-w8a8", "net-float-11111111")
    finished(tmp_path, "net-w4", "net-float-22222222")
    assert float_artefact_of(tmp_path / "net-w8a8/artefact") == tmp_path.resolve() / "net-float-11111111/artefact"
    assert float_artefact_of(tmp_path / "net-w4/artefact") is None
    assert float_artefact_of(tmp_path / "net-float-11111111/artefact") is None
    assert float_artefact_of(tmp_path) is None


def test_what_is_within_the_budget_misses_nothing() -> None:
    budget = Budget(model_size_bytes=5_000_001, max_drop={"top1": 0.5, "agreement": 2}, latency_ratio=0.46)
    assert list(misses(budget, ROW, FLOAT_SCORES)) == []
    assert list(misses(Budget(), ROW, FLOAT_SCORES)) == []


def test_every_limit_that_is_missed_is_told() -> None:
    budget = Budget(
        model_size_bytes=5_000_000,
        max_drop={"top1": 0.4, "agreement": 1.5, "top5": 1},
        latency_ratio=0.45,
        peak_memory_bytes=2**20,
    )
    assert list(misses(budget, ROW, FLOAT_SCORES)) == [
        "the model file takes 5,000,001 bytes (5.00 MB, 4.77 MiB), "
        "the budget allows 5,000,000 bytes (5.00 MB, 4.77 MiB)",
        "the process, at its peak, takes 90,000,000 bytes (90.00 MB, 85.83 MiB), "
        "the budget allows 1,048,576 bytes (1.05 MB, 1.00 MiB)",
        "agreement is worse by 2.00 points, the budget allows 1.5",
        "top1 is worse by 0.50 points, the budget allows 0.4",
        "top5 was not measured (top5 needs more than five classes): take it out of budget.max_drop",
        "the latency is 0.460 of the float model's, the budget allows 0.45",
    ]


def test_a_model_better_than_the_float_one_drops_nothing() -> None:
    better = dataclasses.replace(ROW, scores={"top1": Figure(0.9, None, None, 500)})
    assert list(misses(Budget(max_drop={"top1": 0}), better, FLOAT_SCORES)) == []


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_a_run_without_its_float_model_is_a_row_of_its_own() -> None:
    done = CliRunner().invoke(app, ["run", "tiny.yaml", "--set", "evaluate.float_model=false"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "[5/5] measure" in done.stderr
    assert [path.name for path in Path("runs").iterdir() if path.is_dir()] == ["tiny"]
    [row] = rows_below([Path("runs")])
    assert not row.is_float
    assert row.latency_ratio is None
    assert row.size_ratio is None
    assert "agreement" not in row.scores
    assert "top1" in row.scores
    assert float_artefact_of(Path("runs/tiny/artefact")) is None
