"""Logits on disk: the teacher runs once for what it was shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.training.cached_teacher import CachedTeacher
from tests.nets import images, transformer


class Counting(nn.Module):
    """A teacher that counts the examples that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.shown = transformer(9), 0

    def forward(self, x: Tensor) -> Tensor:
        self.shown += len(x)
        return self.inner(x)


def test_what_was_shown_is_not_asked_again(tmp_path: Path) -> None:
    teacher, x = Counting(), images(6)
    cached = CachedTeacher(teacher, tmp_path, "a")
    first = cached(x[:4])
    again = cached(x[[3, 5, 0]])
    assert teacher.shown == 5
    assert torch.equal(again[[0, 2]], first[[3, 0]])
    assert torch.equal(first, transformer(9)(x[:4]).detach().half().float())


def test_another_process_reads_what_is_kept(tmp_path: Path) -> None:
    x = images(4)
    before = CachedTeacher(Counting(), tmp_path, "a")(x)
    teacher = Counting()
    assert torch.equal(CachedTeacher(teacher, tmp_path, "a")(x), before)
    assert teacher.shown == 0


def test_a_record_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    x = images(4)
    before = CachedTeacher(Counting(), tmp_path, "a")(x)
    file = tmp_path / "logits-0.bin"
    file.write_bytes(file.read_bytes()[:-3])
    teacher = Counting()
    assert torch.equal(CachedTeacher(teacher, tmp_path, "a")(x), before)
    assert teacher.shown == 1
    assert torch.equal(CachedTeacher(Counting(), tmp_path, "a")(x), before)


def test_another_teacher_is_refused(tmp_path: Path) -> None:
    CachedTeacher(Counting(), tmp_path, "a")(images(1))
    with pytest.raises(ModelError, match="holds the logits of another teacher"):
        CachedTeacher(Counting(), tmp_path, "b")


def test_only_rows_of_classes_are_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"keeps logits \[N, classes\]"):
        CachedTeacher(lambda x: x, tmp_path, "a")(images(2))
