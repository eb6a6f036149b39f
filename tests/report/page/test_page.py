"""The page of rows: what it says, that it runs nothing of what it shows, and that it is the same for the same rows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.allocation.told import LayerLosses
from compress.report.page import Entry, Line, Sample, page
from compress.report.page.differences import differences
from compress.report.page.panels import lower_is_better, panels
from compress.report.page.strips import bars, dots, layers
from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure
from tests.rows import FLOAT, INT4, INT8, RANDOM, row

LOCK = {"evaluation_sha256": "ab", "recipe": {"task": {"image_classification": {"dataset": "demo"}}}}
ENTRIES = [Entry(one, LOCK) for one in (INT8, FLOAT, INT4, RANDOM)]
DIGITS = {"evaluation_sha256": "ef", "recipe": {"task": {"image_generation": {"dataset": "digits"}}}}
GENERATOR = row("digits", task="image_generation", scores={"frechet_digits_mlp": Figure(1.7, 1.2, 2.4, 200)})
TRANSLATOR = row("tiny-w4", task="translation", scores={"nll_per_token_lost": Figure(0.15, 0.13, 0.17, 400)})


class Read(HTMLParser):
    """All start tags, each with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))


def embedded(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_the_same_entries_give_the_same_page_in_whatever_order_they_come() -> None:
    assert page(ENTRIES) == page(ENTRIES[::-1])


def test_the_page_names_nothing_to_be_loaded() -> None:
    for tag, attributes in Read(page([*ENTRIES, Entry(GENERATOR, DIGITS, line=Line("digits", 2, b"png"))])).tags:
        assert tag not in ("iframe", "object", "embed", "base")
        assert str(attributes.get("src", "data:image/png;base64,")).startswith("data:image/png;base64,")
        assert attributes.get("href", "#").startswith(("#", "data:"))  # type: ignore[union-attr]


def test_a_name_with_markup_stays_text() -> None:
    evil = "<script>alert(1)</script>\"'&</title>"
    entry = Entry(
        replace(INT8, name=evil, model=evil, command=evil, misses=(evil,), artefact=evil),
        {**LOCK, "name": evil},
        {"weights": {evil: {"num_bits": 4, "group_size": None, "bytes": 1}}},
        (Sample("en-fr", 1, evil, evil, evil, f"{evil} <b>"),),
        1,
    )
    text = page([entry, Entry(FLOAT, LOCK)])
    read = Read(text)
    assert "<script>alert" not in text
    assert sum(tag == "script" for tag, _ in read.tags) == 3  # the data and the two of the page
    assert not any(tag == "b" for tag, _ in read.tags)
    data = embedded(text)
    assert evil in json.dumps(data, ensure_ascii=False).replace('\\"', '"')
    assert any(attributes.get("data-name") == evil for _, attributes in read.tags)


def test_random_weights_have_a_table_of_their_own_and_no_point() -> None:
    text = page(ENTRIES)
    assert "Random weights: size, speed and parity only" in text
    (panel,) = panels(ENTRIES)
    names = {point["name"] for score in panel["scores"] for point in score["points"]}
    assert names == {"w8a8", "w4", "float"}


def test_missed_budgets_are_marked() -> None:
    read = Read(page(ENTRIES))
    missed = {attributes["data-name"] for _, attributes in read.tags if "data-misses" in attributes}
    assert missed == {"w4"}


def test_cells_are_sorted_by_the_number_that_they_show() -> None:
    tags = Read(page([Entry(INT8, LOCK), Entry(FLOAT, LOCK)])).tags
    keys = [attributes["data-key"] for tag, attributes in tags if tag == "td" and "data-key" in attributes]
    #                size  /float  top-1  difference, agreement, latency, p50, RSS, energy
    assert keys[:9] == ["20.00", "1.00", "89.6", "", "", "1", "9.88", "102", ""]
    assert keys[9:] == ["5.00", "0.25", "89.2", "-0.4", "98.3", "0.44", "9.88", "102", ""]


def test_rows_of_other_data_stand_in_a_panel_of_their_own() -> None:
    other = {**LOCK, "evaluation_sha256": "cd"}
    found = panels([Entry(INT8, LOCK), Entry(INT4, other), Entry(FLOAT)])
    assert [[point["name"] for point in panel["scores"][0]["points"]] for panel in found] == [
        ["w8a8"],
        ["w4"],
        ["float"],
    ]


def test_a_panel_begins_with_the_score_of_the_picture_and_shares_are_in_percent() -> None:
    (panel,) = panels([Entry(INT8, LOCK)])
    top1 = panel["scores"][0]
    assert (top1["label"], top1["lower"]) == ("top-1, %", False)
    point = top1["points"][0]
    assert (point["value"], point["low"], point["high"]) == pytest.approx((89.21, 86.11, 91.68))
    assert point["megabytes"] == 5.0
    assert ["top-1", "89.2 % [86.1, 91.7]"] in point["told"]
    assert {score["label"] for score in panel["scores"]} == {"top-1, %", "top-1 difference, points", "agreement, %"}


@pytest.mark.parametrize(
    ("score", "lower"),
    [("top1", False), ("nll_per_token", True), ("nll_per_token_lost", True), ("chrf", False), ("chrf_lost", True)],
)
def test_which_way_is_better(score: str, lower: bool) -> None:
    assert lower_is_better(score) is lower


def test_bars_are_shares_of_the_largest_and_sum_to_the_bytes() -> None:
    parts = row("t", size_bytes=800_000_000, parts={"body": 500_000_000, "tokenizer": 300_000_000, "other": 0})
    files = row("c", size_bytes=200_000_000, files={"model.onnx": 150_000_000, "config.json": 50_000_000})
    wide, narrow = bars([parts, files])
    assert [(piece.kind, piece.width) for piece in wide.pieces] == [("body", 62.5), ("tokenizer", 37.5)]
    assert [(piece.kind, piece.width) for piece in narrow.pieces] == [("model", 18.75), ("other", 6.25)]
    assert wide.budget == 50.0  # 0.4 GB of 0.8
    assert bars([files])[0].budget is None


def test_dots_lie_on_an_axis_from_zero_that_holds_one_and_all_quartiles() -> None:
    (dot,) = dots([row("w4", latency_ratio=Ratio(1.0, 0.5, 2.0, 0.4, 3.0, 60)), FLOAT])
    assert (dot.middle, dot.low, dot.high, dot.one) == pytest.approx((100 / 2.1, 50 / 2.1, 200 / 2.1, 100 / 2.1))


def test_layers_come_in_the_order_of_their_numbers() -> None:
    entry = {"num_bits": 1.58, "group_size": 32, "bytes": 10}
    names = ["layers.10.a.weight", "layers.2.a.weight", "embed.weight"]
    found = layers({"weights": dict.fromkeys(names, entry)}, {})
    assert [layer.name for layer in found] == ["embed", "layers.2.a", "layers.10.a"]
    assert {layer.step for layer in found} == {1}
    assert {layer.heat for layer in found} == {None}
    assert layers({}, {}) == []


def test_heat_is_of_what_a_layer_loses_in_its_worst_choice() -> None:
    weights = {f"{name}.weight": {"num_bits": 4, "group_size": None, "bytes": 10} for name in "abcd"}
    losses = {
        name: LayerLosses("4 bits", {"2 bits": worst, "4 bits": 0.0})
        for name, worst in (("a", 1e-1), ("b", 1e-3), ("c", 0.0), ("gone", 9.0))
    }
    a, b, c, d = layers({"weights": weights}, losses)
    assert (a.heat, b.heat, c.heat, d.heat) == (pytest.approx(100), pytest.approx(100 * 4 / 6), 0.0, None)
    assert a.nats == {"2 bits": 1e-1, "4 bits": 0.0}
    text = page([Entry(INT4, LOCK, {"weights": weights}, losses=losses)])
    assert 'data-tip="a, chosen 4 bits; nats: 0.1 in 2 bits, 0 in 4 bits"' in text
    assert "d: not shared out" in text
    assert "not shared out" not in page([Entry(INT4, LOCK, {"weights": weights})])
    for alike in (0.0, 1.0):
        losses = {name: LayerLosses("4 bits", {"4 bits": alike}) for name in "abcd"}
        assert {layer.heat for layer in layers({"weights": weights}, losses)} == {100 * alike}


def test_images_of_the_same_seeds_stand_below_each_other() -> None:
    names = {"teacher": "a", "student": "a", "other": "b"}
    rows = {name: replace(GENERATOR, name=name, artefact=name) for name in names}
    lines = [Entry(rows[name], DIGITS, line=Line(seeds, 2, name.encode())) for name, seeds in names.items()]
    tags = Read(page([*lines, Entry(GENERATOR, DIGITS)])).tags
    sheets = [attributes["aria-label"] for _, attributes in tags if "Images of" in str(attributes.get("aria-label"))]
    assert len(sheets) == 2
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert [image["alt"] for image in images] == [f"2 images by {name}" for name in ("other", "student", "teacher")]
    assert images[2]["src"] == "data:image/png;base64,dGVhY2hlcg=="


def test_differences_by_hand() -> None:
    before, after = differences("the cat sat.", "the dog sat.")
    assert before == (("the ", False), ("cat", True), (" sat.", False))
    assert after == (("the ", False), ("dog", True), (" sat.", False))


def test_scripts_without_spaces_differ_letter_by_letter() -> None:
    assert differences("他很好", "她很好")[0] == (("他", True), ("很好", False))


@settings(deadline=None)
@given(st.text(), st.text())
def test_pieces_put_together_are_the_texts(before: str, after: str) -> None:
    ours, theirs = differences(before, after)
    assert ("".join(text for text, _ in ours), "".join(text for text, _ in theirs)) == (before, after)
    kept = ["".join(text for text, lacking in pieces if not lacking) for pieces in (ours, theirs)]
    assert kept[0] == kept[1]


def test_a_translation_without_its_data_set_says_so() -> None:
    sample = Sample("en-fr", 7, None, None, "Un chat.", "Un chien.")
    text = page([Entry(TRANSLATOR, None, {}, (sample,), 50)])
    assert "The first 1 of 50" in text
    assert "source and reference are left out" in text
    assert "Un <del>chat</del>." in text
    assert "Un <ins>chien</ins>." in text


def test_a_row_whose_artefact_is_gone_says_so() -> None:
    assert "no longer lies beside the row" in page([Entry(INT8)])
