"""A row is JSON and back, whole, or it is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import ArtefactError
from compress.report.row import Row, read_row, row_from_plain, row_of, write_row
from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure
from tests.graphs import classifier, write_artefact
from tests.rows import INT8, row

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    name=st.text(),
    value=numbers,
    low=st.none() | numbers,
    ratio=st.none() | st.builds(Ratio, *(numbers,) * 5, st.integers()),
    joules=st.none() | numbers,
    misses=st.lists(st.text()).map(tuple),
)
def test_a_row_comes_back_from_json_as_it_was(
    name: str, value: float, low: float | None, ratio: Ratio | None, joules: float | None, misses: tuple[str, ...]
) -> None:
    scores = {name: Figure(value, low, low, 3)}
    written = replace(INT8, name=name, scores=scores, latency_ratio=ratio, energy_joules=joules, misses=misses)
    assert row_from_plain(json.loads(written.to_json())) == written


def test_a_row_is_written_all_at_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    write_row(INT8, path)
    assert read_row(path) == INT8
    assert [file.name for file in tmp_path.iterdir()] == ["row.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged: not JSON: "),
        ("[]", "not a row: list: measure again"),
        ("{}", "a row of format None, not 3: measure again"),
        ('{"format": 1}', "a row of format 1, not 3: measure again"),
        ('{"format": 3}', "not a row: missing or unknown: artefact, command, "),
        (json.dumps({**INT8.to_plain(), "colour": "red"}), "not a row: missing or unknown: colour: measure again"),
        (json.dumps({**INT8.to_plain(), "machine": None}), "not a row: "),
        (json.dumps({**INT8.to_plain(), "scores": {"top1": {"mean": 1}}}), "not a row: "),
    ],
)
def test_a_file_that_holds_no_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "row.json"
    path.write_text(text)
    with pytest.raises(ArtefactError) as caught:
        read_row(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_row_says_to_measure(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"row\.json: cannot be read: No such file or directory: measure first"):
        read_row(tmp_path / "row.json")


def test_the_ratio_of_sizes_is_of_the_model_files() -> None:
    assert INT8.size_ratio == 5_000_000 / 20_000_000
    assert row("float", is_float=True, float_model_bytes=None).size_ratio == 1.0
    assert row("alone", float_model_bytes=None).size_ratio is None


def test_a_row_takes_model_and_target_from_its_artefact(tmp_path: Path) -> None:
    artefact = write_artefact(tmp_path / "artefact", classifier())
    fields = ("name", "task", "model", "artefact", "command", "target", "is_float", "random_weights", "misses")
    plain = asdict(INT8)
    from compress.runtime.measurement import Measurement

    kept = {key: getattr(INT8, key) for key in plain if key not in fields}
    made = row_of(
        Measurement(**kept),
        artefact,
        name="tiny",
        task="image_classification",
        command="compress run tiny.yaml",
        misses=("too large",),
    )
    assert isinstance(made, Row)
    assert (made.model, made.target, made.random_weights) == ("a tiny classifier", "generic", False)
    assert (made.artefact, made.scores, made.misses) == (str(artefact.directory), INT8.scores, ("too large",))
