"""What measure says of a tiny artefact, from fresh processes and from all of the data."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compress.errors import ArtefactError, DataError
from compress.runtime import process, scoring, worker
from compress.runtime.artefact import Artefact
from compress.runtime.measure import bench, measure
from compress.runtime.measurement import Runs
from compress.runtime.process import run_worker
from compress.runtime.scoring import score
from tests.graphs import Builder, FakeTask, classifier, quantized_classifier, write_artefact

FEW = Runs(pairs=6, batch_pairs=4, warmups=1, loads=1)


@pytest.fixture(autouse=True)
def _no_references_from_other_tests() -> None:
    scoring._REFERENCES.clear()


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    return write_artefact(tmp_path / "int8", quantized_classifier())


@pytest.fixture
def float_artefact(tmp_path: Path) -> Artefact:
    return write_artefact(tmp_path / "float", classifier())


def test_every_figure_is_there_and_plausible(artefact: Artefact, float_artefact: Artefact) -> None:
    shown: list[str] = []

    def progress(items: Any, what: str, total: int) -> Any:
        shown.append(what)
        return iter(items)

    found = measure(artefact, FakeTask(), float_artefact=float_artefact, threads=1, runs=FEW, progress=progress)
    assert shown == ["load", "latency", "scores"]
    assert found.size_bytes == artefact.size_bytes
    assert found.files["model.onnx"] == found.model_bytes == artefact.model_bytes
    assert found.float_model_bytes == float_artefact.model_bytes
    assert 0 < found.gzip_bytes < found.size_bytes
    assert (found.parameters, found.macs) == (128, 6932)
    assert found.operators["Conv"] == 1
    assert 0 < found.latency_ms_p50 <= found.latency_ms_p95 < 1000
    assert found.items_per_second > 0
    assert found.latency_ratio is not None
    assert found.latency_ratio.num_pairs == 6
    assert found.latency_ratio.quartile_low <= found.latency_ratio.value <= found.latency_ratio.quartile_high
    assert 0 < found.load_ms < 10_000
    # An interpreter with numpy and onnxruntime takes some 50 to 100 MB; torch alone would take 200 more.
    assert 20e6 < found.rss_after_load_bytes <= found.peak_rss_bytes < 150e6
    assert (found.energy_joules is None) == bool(found.energy_note)
    assert set(found.scores) == {"top1", "agreement"}
    assert found.scores["top1"].num_samples == 20
    assert found.machine.threads == 1
    assert found.machine.cpu


def test_the_float_model_has_no_ratio_and_nothing_to_compare_with(float_artefact: Artefact) -> None:
    found = measure(float_artefact.directory, FakeTask(), threads=1, runs=FEW)
    assert found.latency_ratio is None
    assert found.float_model_bytes is None
    assert found.scores["top1"].value == 15 / 20
    assert set(found.scores) == {"top1"}


def test_a_damaged_artefact_is_not_measured(artefact: Artefact) -> None:
    artefact.model_path.write_bytes(b"")
    with pytest.raises(ArtefactError, match="damaged"):
        measure(artefact.directory, FakeTask(), runs=FEW)


def test_scores_are_those_of_the_files_outputs(artefact: Artefact, float_artefact: Artefact) -> None:
    assert score(float_artefact, FakeTask(), float_artefact=float_artefact, threads=1)["agreement"].value == 1.0
    assert score(artefact, FakeTask(), float_artefact=float_artefact, threads=1)["agreement"].value < 1.0


def test_the_float_models_outputs_are_taken_once(
    artefact: Artefact, float_artefact: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Artefact] = []
    real = scoring.open_session
    monkeypatch.setattr(scoring, "open_session", lambda source, threads: opened.append(source) or real(source, threads))
    score(float_artefact, FakeTask(), threads=1)
    first = score(artefact, FakeTask(), float_artefact=float_artefact, threads=1)
    assert opened == [float_artefact, artefact]
    scoring._REFERENCES.clear()
    assert score(artefact, FakeTask(), float_artefact=float_artefact, threads=1) == first
    score(artefact, FakeTask(fingerprint="other data"), float_artefact=float_artefact, threads=1)
    assert opened[2:] == [artefact, float_artefact] * 2


def test_a_task_without_data_is_refused(artefact: Artefact) -> None:
    class Empty(FakeTask):
        def evaluation(self) -> Any:
            return iter(())

    with pytest.raises(DataError, match="task 'fake': no evaluation data"):
        measure(artefact, Empty(), runs=FEW)


def test_bench_runs_artefacts_and_onnx_files_in_turn(artefact: Artefact, float_artefact: Artefact) -> None:
    rows = bench([float_artefact, artefact.directory, artefact.model_path], threads=1, runs=FEW)
    assert [row.path for row in rows] == [
        str(float_artefact.directory),
        str(artefact.directory),
        str(artefact.model_path),
    ]
    assert rows[0].latency_ratio is None
    assert all(row.latency_ratio is not None and row.latency_ratio.num_pairs == 6 for row in rows[1:])
    assert bench([artefact], task=FakeTask(), threads=1, runs=FEW)[0].latency_ms_p50 > 0


def test_bench_of_a_free_size_needs_data(tmp_path: Path) -> None:
    g = Builder()
    onnx.save(g.model(g.op("Relu", "x"), ["N", 3, "height", "width"]), tmp_path / "free.onnx")
    with pytest.raises(ArtefactError, match=r"takes inputs \[N, 3, any, any\]: give the data to measure with"):
        bench([tmp_path / "free.onnx"], runs=FEW)


def test_a_model_that_the_worker_cannot_run_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), np.float32))
    job = {"job": "load", "model": str(path), "inputs": str(tmp_path / "x.npy"), "threads": 1}
    with pytest.raises(ArtefactError, match=r"^\S*broken\.onnx: onnxruntime \S+ cannot load it: [^\n]*$"):
        run_worker(job, str(path), tmp_path)


def test_a_crash_of_the_worker_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtefactError, match=r"^model: the measuring process ended with code 1: KeyError: 'nonsense'$"):
        run_worker({"job": "nonsense"}, "model", tmp_path)
    killed = tmp_path / "killed"
    killed.write_text(f"#!{sys.executable}\nimport os\nos.kill(os.getpid(), 9)\n")
    killed.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(killed))
    with pytest.raises(ArtefactError, match=r"ended with SIGKILL: it said nothing$"):
        run_worker({"job": "load"}, "model", tmp_path)


def test_the_worker_unpickles_nothing(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.array([print], dtype=object), allow_pickle=True)
    job = {"job": "load", "model": str(tmp_path / "model.onnx"), "inputs": str(tmp_path / "x.npy"), "threads": 1}
    with pytest.raises(ArtefactError, match="allow_pickle=False"):
        run_worker(job, "model", tmp_path)


def test_a_series_ends_when_its_time_is_over() -> None:
    calls: list[int] = []
    times = worker.timed([calls.append, calls.append], warmups=2, pairs=1000, seconds=0.0)
    assert [len(own) for own in times] == [3, 3]
    assert calls == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2]  # A B A B, warm-ups first


def test_each_call_takes_the_next_inputs() -> None:
    seen: list[list[float]] = []
    samples = np.arange(3, dtype=np.float32)[:, None]
    call = worker._calls(lambda inputs: seen.append(inputs[:, 0].tolist()), samples, 2)  # type: ignore[arg-type]
    for i in range(4):
        call(i)
    assert seen == [[0, 1], [1, 2], [2, 0], [0, 1]]


def test_jobs_are_json(artefact: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own code, in this process, where its coverage and its errors can be seen."""
    np.save(tmp_path / "x.npy", next(FakeTask().evaluation()).inputs)
    model = {"model": str(artefact.model_path), "inputs": str(tmp_path / "x.npy")}
    jobs = [{"job": "load", **model}, {"job": "interleave", "models": [model, model], "runs": asdict(FEW)}]
    monkeypatch.setattr(worker.energy, "unreadable", lambda: None)
    monkeypatch.setattr(worker.energy, "read", lambda: worker.energy.Reading((5,), (999,)))
    monkeypatch.setattr(worker, "_ENERGY_SECONDS", 0.01)
    results = []
    for job in jobs:
        (tmp_path / "job.json").write_text(json.dumps({**job, "threads": 1}))
        assert worker.main(str(tmp_path / "job.json"), str(tmp_path / "result.json")) == 0
        results.append(json.loads((tmp_path / "result.json").read_text()))
    assert set(results[0]) == {"load_ms", "rss_after_load_bytes", "peak_rss_bytes"}
    assert [len(times) for times in results[1]["single"] + results[1]["batch"]] == [6, 6, 4, 4]
    assert results[1]["energy_joules"] == [0.0, 0.0]


def test_nothing_after_the_export_imports_torch(artefact: Artefact) -> None:
    program = f"""
import sys
sys.modules.update(dict.fromkeys(("torch", "timm", "transformers", "torchvision")))  # None: importing them fails
import compress.exporter.lint, compress.report.table, compress.runtime.verify, compress.runtime.worker
from compress.runtime.artefact import open_artefact
from compress.runtime.measure import bench
from compress.runtime.session import optimized_ops
artefact = open_artefact({str(artefact.directory)!r})
print(len(optimized_ops(artefact.model_path)), len(compress.exporter.lint.lint(artefact.model_path)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
