"""Published rows: what the page says, and whether a row still holds, by rows whose figures are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import ArtefactError
from compress.published.again import compared
from compress.published.checks import chosen, command_of, verification
from compress.published.page import page_of, publish
from compress.published.rows import Published, read_published, rows_of
from compress.recipe import dump, parse
from compress.runtime.statistics import Ratio
from compress.runtime.verify import Verdict
from compress.shipped import shipped_recipes
from compress.tasks.base import Figure
from tests.rows import row

W8A8 = "efficientnet-lite0-w8a8"
VERSIONS = {"compress": "0.1.0", "torch": "2.14.1"}


def published(name: str = W8A8, **changes: Any) -> Published:
    """A row of a shipped recipe, as its command makes it."""
    recipe = json.loads(json.dumps(dump(parse(shipped_recipes()[W8A8], check_files=False))))
    values: dict[str, Any] = {
        "row": row(name, command=f"compress run {name}"),
        "lock": {
            "recipe": {**recipe, "name": name},
            "versions": VERSIONS,
            "threads": 2,
            "weights_sha256": "a" * 64,
            "evaluation_sha256": "b" * 64,
            "calibration_sha256": "c" * 64,
        },
        "quantization": {},
        "files": {"model.onnx": {"sha256": "d" * 64, "bytes": 5_000_000}},
        "model_sha256": "d" * 64,
        "float_sha256": None,
        "compared": None,
        "code": "e" * 64,
        "measured": "2026-11-23",
    }
    return Published(**{**values, **changes})


def verdicts(page: Path) -> dict[str, Verdict]:
    found = verification(page, rows_of(page), lambda row: ())
    return {check.what: check.verdict for check in found.checks}


def test_a_row_comes_back_from_its_file_and_the_page_from_the_files(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    assert publish(page, [published()]) == [f"{W8A8}: added"]
    assert read_published(tmp_path / "results" / f"{W8A8}.json") == published()
    assert page.read_text() == page_of([published()], page)
    assert f"| [{W8A8}](results/{W8A8}.json) | 5.00 | 0.25 × | 89.2 % [86.1, 91.7] |" in page.read_text()
    assert f"| {W8A8} | `compress run {W8A8}` | `dddddddddddd` | `aaaaaaaaaaaa` | 2026-11-23 |" in page.read_text()
    assert verdicts(page) == {"RESULTS.md": Verdict.EXACT, f"{W8A8}: recipe": Verdict.EXACT}


def test_rows_of_other_names_stay_and_those_of_the_same_are_replaced(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    publish(page, [published("a"), published("b")])
    assert publish(page, [published("b"), published("c")]) == ["c: added"]
    assert publish(page, [published("a", measured="2026-11-24")]) == ["a: replaced"]
    assert [each.name for each in rows_of(page)] == ["a", "b", "c"]
    assert "2026-11-24" in page.read_text()


def test_what_one_must_know_of_figures_stands_below_them(tmp_path: Path) -> None:
    one = published(row=row(W8A8, misses=("it is too large",), random_weights=True))
    lock = {**one.lock, "calibration_sha256": one.lock["evaluation_sha256"]}
    text = page_of([replace(one, lock=lock)], tmp_path / "RESULTS.md")
    assert "### Random weights: size, speed and parity only" in text
    assert f"- {W8A8}: misses its budget: it is too large\n" in text
    assert f"- {W8A8}: calibrated on the samples that it is scored on\n" in text


def test_a_float_row_without_scores_stands_beside_what_was_made_of_it() -> None:
    small, whole = published(), published("float", row=replace(row("float", command="compress run x"), scores={}))
    assert whole.num_samples is None
    page = page_of([whole, small], Path("RESULTS.md"))
    assert page.count(f"\nOn {small.num_samples:,} samples of ") == 1
    assert page.count("| name | size, MB |") == 1


def test_a_page_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    page = tmp_path / "NOTES.md"
    page.write_text("# Mine\n")
    with pytest.raises(ArtefactError, match="is there already"):
        publish(page, [published()])
    assert page.read_text() == "# Mine\n"
    assert not (tmp_path / "notes").exists()
    publish(page, [published()], force=True)
    assert (tmp_path / "notes" / f"{W8A8}.json").is_file()


def test_a_page_that_was_edited_does_not_hold(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    publish(page, [published()])
    page.write_text(page.read_text().replace("89.2 %", "99.2 %"))
    assert verdicts(page)["RESULTS.md"] is Verdict.FAILED


def test_a_recipe_that_changed_is_stale(tmp_path: Path) -> None:
    one = published()
    recipe = {**one.lock["recipe"], "seed": 7}
    page = tmp_path / "RESULTS.md"
    publish(page, [replace(one, lock={**one.lock, "recipe": recipe})])
    found = verification(page, rows_of(page), lambda row: ())
    assert not found.ok
    assert f"{W8A8}: recipe: stale: recorded `compress run {W8A8}`, found changed since in seed" in str(found)


def test_what_is_no_recipe_any_more_is_stale(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    publish(page, [published("gone")])
    assert verdicts(page)["gone: recipe"] is Verdict.STALE


def test_a_float_model_that_is_another_by_now_makes_a_row_stale(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    beside = published("float", model_sha256="f" * 64)
    publish(page, [beside, published(compared="float", float_sha256="f" * 64)])
    assert verdicts(page)[f"{W8A8}: float model"] is Verdict.EXACT
    publish(page, [replace(beside, model_sha256="0" * 64)])
    assert verdicts(page)[f"{W8A8}: float model"] is Verdict.STALE


def test_rows_are_chosen_by_name(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    publish(page, [published("a"), published("bee")])
    assert [each.name for each in chosen(page, ["bee"])] == ["bee"]
    with pytest.raises(ArtefactError, match="unknown row 'beee': did you mean 'bee'"):
        chosen(page, ["beee"])
    with pytest.raises(ArtefactError, match=r"no such file: compress table runs --results"):
        chosen(tmp_path / "NOTHING.md", [])


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    publish(page, [published()])
    file = tmp_path / "results" / f"{W8A8}.json"
    for text in ("{", "[]", "{}", file.read_text().replace('"measured"', '"mesured"')):
        file.write_text(text)
        with pytest.raises(ArtefactError, match=f"{W8A8}.json: "):
            rows_of(page)


def test_a_command_is_read_with_its_values_and_its_options() -> None:
    words = "compress run a b.yaml --set seed=1 --output out --allow-code --set 'task.pairs=[en-fr]'"
    command = command_of(published(row=row("a", command=words)))
    assert command is not None
    assert (command.asked, command.overrides) == (("a", "b.yaml"), ("seed=1", "task.pairs=[en-fr]"))
    assert command.allow_code
    assert command_of(published(row=row("a", command="compress.run, from Python"))) is None


def again(**changes: Any) -> dict[str, Verdict]:
    """The verdicts of a row made again that differs in these values of its row."""
    one = published()
    sha256 = changes.pop("model_sha256", one.model_sha256)
    versions = changes.pop("versions", VERSIONS)
    other = replace(one, row=replace(one.row, **changes), model_sha256=sha256, lock={**one.lock, "versions": versions})
    return {check.what.split(",")[0].split(" (")[0]: check.verdict for check in compared(one, other)}


def test_a_row_made_again_the_same_holds() -> None:
    found = again()
    assert found.pop("latency / float") is found.pop("peak memory") is Verdict.WITHIN
    assert set(found.values()) == {Verdict.EXACT}
    assert set(found) >= {"bytes of the model file", "size", "top1", "agreement", "kl_nats"}


def test_other_bytes_fail_unless_other_versions_made_them() -> None:
    assert again(model_sha256="0" * 64)["bytes of the model file"] is Verdict.FAILED
    newer = again(model_sha256="0" * 64, versions={**VERSIONS, "torch": "2.15"})
    assert newer["bytes of the model file"] is Verdict.UNCHECKED


@pytest.mark.parametrize(("size", "verdict"), [(5_049_999, Verdict.WITHIN), (5_060_000, Verdict.FAILED)])
def test_a_size_holds_within_a_hundredth(size: int, verdict: Verdict) -> None:
    assert again(model_bytes=size)["size"] is verdict


@pytest.mark.parametrize(("top1", "verdict"), [(0.87, Verdict.WITHIN), (0.86, Verdict.FAILED)])
def test_a_score_holds_within_its_interval(top1: float, verdict: Verdict) -> None:
    scores = {**published().row.scores, "top1": Figure(top1, 0.8, 0.9, 472)}
    assert again(scores=scores)["top1"] is verdict


def test_a_score_that_is_gone_does_not_hold() -> None:
    assert again(scores={})["top1"] is Verdict.FAILED


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (0.53, 0.54, 0.55, Verdict.WITHIN),  # of 0.44: 23 % more
        (0.45, 0.60, 0.70, Verdict.WITHIN),  # the quartiles overlap
        (0.55, 0.56, 0.57, Verdict.FAILED),  # 27 % more
    ],
)
def test_a_ratio_of_times_holds_within_a_quarter(low: float, value: float, high: float, verdict: Verdict) -> None:
    assert again(latency_ratio=Ratio(value, low, high, low, high, 60))["latency / float"] is verdict


def test_another_processor_says_nothing_of_speed() -> None:
    machine = replace(published().row.machine, cpu="Another")
    assert again(machine=machine)["latency / float"] is Verdict.UNCHECKED
