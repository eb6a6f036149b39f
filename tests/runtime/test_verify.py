"""verify says of every figure whether it still holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compress.errors import ArtefactError
from compress.runtime import scoring
from compress.runtime.artefact import Artefact, with_scores
from compress.runtime.scoring import score
from compress.runtime.verify import Verdict, verify
from compress.tasks.base import Figure
from tests.graphs import FakeTask, classifier, quantized_classifier, write_artefact


@pytest.fixture
def float_artefact(tmp_path: Path) -> Artefact:
    return write_artefact(tmp_path / "float", classifier())


@pytest.fixture
def artefact(tmp_path: Path, float_artefact: Artefact) -> Artefact:
    scoring._REFERENCES.clear()
    written = write_artefact(tmp_path / "int8", quantized_classifier())
    scores = score(written, FakeTask(), float_artefact=float_artefact, threads=1)
    return with_scores(written, scores, float_artefact.model_sha256)


def verdicts(artefact: Artefact, *given: object, **more: object) -> dict[str, Verdict]:
    return {check.what: check.verdict for check in verify(artefact.directory, *given, threads=1, **more).checks}


def claiming(artefact: Artefact, by: float) -> Artefact:
    """The manifest claims a top-1 that is `by` higher than it was, give or take 0.1."""
    found = artefact.scores["top1"].value
    claim = replace(artefact.scores["top1"], value=found + by, low=found + by - 0.1, high=found + by + 0.1)
    return with_scores(artefact, {**artefact.scores, "top1": claim})


def test_what_was_measured_holds_exactly(artefact: Artefact, float_artefact: Artefact) -> None:
    result = verify(artefact.directory, FakeTask(), float_artefact=float_artefact, threads=1)
    assert result.ok
    assert [(check.what, check.verdict) for check in result.checks] == [
        ("files", Verdict.EXACT),
        ("evaluation data", Verdict.EXACT),
        ("agreement", Verdict.EXACT),
        ("top1", Verdict.EXACT),
    ]
    assert str(result).splitlines()[0] == "files: holds exactly: recorded 2 files, found 2 files of the same sha256"


@pytest.mark.parametrize(
    ("by", "verdict", "ok"),
    [
        (0.0, Verdict.EXACT, True),
        (0.05, Verdict.WITHIN, True),
        (-0.05, Verdict.WITHIN, True),
        (0.2, Verdict.FAILED, False),
    ],
)
def test_a_figure_holds_exactly_or_within_its_interval_or_not(
    artefact: Artefact, by: float, verdict: Verdict, ok: bool
) -> None:
    result = verify(claiming(artefact, by).directory, FakeTask(), threads=1)
    assert [check.verdict for check in result.checks if check.what == "top1"] == [verdict]
    assert result.ok is ok


def test_a_figure_without_an_interval_holds_exactly_or_not(artefact: Artefact) -> None:
    bare = with_scores(artefact, {"top1": Figure(artefact.scores["top1"].value + 1e-9)})
    assert verdicts(bare, FakeTask())["top1"] is Verdict.FAILED


def test_what_needs_the_float_model_is_not_checked_without_it(artefact: Artefact) -> None:
    found = verdicts(artefact, FakeTask())
    assert (found["agreement"], found["top1"]) == (Verdict.UNCHECKED, Verdict.EXACT)


def test_without_a_task_the_files_alone_are_checked(artefact: Artefact) -> None:
    assert verdicts(artefact) == {"files": Verdict.EXACT, "agreement": Verdict.UNCHECKED, "top1": Verdict.UNCHECKED}
    assert verify(artefact.directory).ok


def test_a_damaged_artefact_is_not_run(artefact: Artefact) -> None:
    artefact.model_path.write_bytes(b"")
    (artefact.directory / "extra").write_bytes(b"")
    result = verify(artefact.directory, FakeTask(), threads=1)
    assert not result.ok
    assert [check.verdict for check in result.checks] == [Verdict.FAILED, Verdict.FAILED]
    assert f"{artefact.model_path}: damaged: expected sha256" in str(result)


def test_other_data_are_told(artefact: Artefact) -> None:
    result = verify(artefact.directory, FakeTask(fingerprint="f" * 64), threads=1)
    assert (
        "evaluation data (other figures are expected): not checked: recorded eeeeeeeeeeee, found ffffffffffff"
        in str(result)
    )


def test_another_float_model_is_refused(artefact: Artefact, tmp_path: Path) -> None:
    other = write_artefact(tmp_path / "other", classifier(noise=1.0))
    with pytest.raises(ArtefactError, match=r"not the float model that .* was compared with"):
        verify(artefact.directory, FakeTask(), float_artefact=other, threads=1)
