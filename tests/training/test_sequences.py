"""What a teacher writes: kept in shards, made once, and sifted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import ModelError
from compress.passes.base import silent
from compress.tasks.translation import Example
from compress.training.sequences import Filter, Written, choose, sharded, written_by
from tests.training.teachers import BACKWARDS, TEXTS, Backwards


def test_the_teacher_writes_once(tmp_path: Path) -> None:
    first = Backwards()
    written = written_by(first, BACKWARDS, tmp_path, 4, {}, silent)
    assert [each.text for each in written] == [text[::-1] for text in TEXTS]
    again = Backwards()
    assert written_by(again, BACKWARDS, tmp_path, 4, {}, silent) == written
    assert again.translated == []


def test_after_a_kill_only_what_is_missing_is_written(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def dying(items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 1:
                raise Killed
            yield item

    with pytest.raises(Killed):
        written_by(Backwards(), BACKWARDS, tmp_path, 4, {}, dying)
    again = Backwards()
    written_by(again, BACKWARDS, tmp_path, 4, {}, silent)
    assert again.translated == list(TEXTS[4:])


def test_what_something_else_decided_is_refused(tmp_path: Path) -> None:
    written_by(Backwards(), BACKWARDS, tmp_path, 4, {"num_beams": 1}, silent)
    for corpus, settings in ((BACKWARDS, {"num_beams": 2}), (BACKWARDS[:3], {"num_beams": 1})):
        with pytest.raises(ModelError, match="holds what another teacher, text or setting gave"):
            written_by(Backwards(), corpus, tmp_path, 4, settings, silent)
    assert json.loads((tmp_path / "about.json").read_text())["teacher"] == "backwards"


@given(st.lists(st.sampled_from(["en-fr", "en-de", "fr-en"]), max_size=20), st.integers(1, 7))
def test_shards_hold_each_example_once_and_one_pair_each(pairs: list[str], size: int) -> None:
    corpus = [Example(*pair.split("-"), "a", "b", row) for row, pair in enumerate(pairs)]
    shards = list(sharded(corpus, size))
    assert sorted(each.row for shard in shards for each in shard) == list(range(len(pairs)))
    assert all(len({each.pair for each in shard}) == 1 and len(shard) <= size for shard in shards)


def said(row: int, text: str, nats: float = 1.0, finished: bool = True) -> Written:
    return Written(Example("en", "fr", "ten chars.", "true", row), text, nats, finished)


def test_the_empty_the_cut_and_the_too_long_are_dropped() -> None:
    written = [said(0, "ten letter"), said(1, " "), said(2, "cut off he", finished=False), said(3, "x" * 31)]
    written += [said(4, "also ten ."), said(5, "xyz")]  # the pair's median is one character a character
    assert [each.row for each in choose(written, Filter())] == [0, 4]
    assert [each.reference for each in choose(written, Filter())] == ["ten letter", "also ten ."]


def test_the_likeliest_are_kept() -> None:
    written = [said(row, "ten chars.", nats) for row, nats in enumerate((3.0, 1.0, 2.0, 4.0))]
    assert [each.row for each in choose(written, Filter(keep=0.5))] == [1, 2]
