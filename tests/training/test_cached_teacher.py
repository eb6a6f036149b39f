"""Logits on disk: the teacher runs once for what it was shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.training.cached_teacher import TOP, CachedTeacher, CachedTokens, unpadded
from tests.language import VOCABULARY, decoder, encoder_decoder
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
    with pytest.raises(ModelError, match=r"keeps logits \[N, classes\], and these are \[N, 3, 8, 8\]"):
        CachedTeacher(lambda x: x, tmp_path, "a")(images(2))


class CountingText(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.shown = inner, 0

    def forward(self, *inputs: Tensor) -> Tensor:
        self.shown += len(inputs[0])
        return self.inner(*inputs).logits  # type: ignore[no-any-return]


def test_of_tokens_the_likeliest_are_kept_and_the_others_share_the_rest(tmp_path: Path) -> None:
    teacher = CountingText(decoder("llama"))
    ids = torch.randint(2, VOCABULARY, (3, 6), generator=torch.Generator().manual_seed(0))
    cached = CachedTokens(teacher, tmp_path, "a")
    found, true = cached(ids), teacher.inner(ids).logits.detach()
    assert found.shape == true.shape
    kept, whole = found.softmax(-1), true.softmax(-1)
    torch.testing.assert_close(kept.sum(-1), torch.ones(3, 6))
    values, numbers = whole.topk(TOP)
    torch.testing.assert_close(kept.gather(-1, numbers), values, rtol=1e-2, atol=1e-5)
    others = kept.scatter(-1, numbers, 0.0)
    torch.testing.assert_close(others.sum(-1), 1.0 - values.sum(-1), rtol=1e-2, atol=1e-3)
    rest = others[others > 0].reshape(3, 6, -1)
    torch.testing.assert_close(rest.amax(-1), rest.amin(-1))


def test_a_row_is_known_whatever_padding_follows_it(tmp_path: Path) -> None:
    teacher = CountingText(decoder("llama"))
    ids = torch.tensor([[5, 6, 7, 8, 0, 0], [9, 10, 11, 12, 13, 0]])
    first = CachedTokens(teacher, tmp_path, "a")(ids)
    longer = torch.tensor([[9, 10, 11, 12, 13, 0, 0, 0]])
    again = CachedTokens(teacher, tmp_path, "a")(longer)
    assert teacher.shown == 2
    assert torch.equal(again[0, :6], first[1])
    assert not bool(again[0, 6:].any())
    assert unpadded(ids[0].numpy()).tolist() == [5, 6, 7, 8, 0]
    assert unpadded(torch.tensor([4, 4]).numpy()).tolist() == [4]
    assert unpadded(torch.tensor([4, 5]).numpy()).tolist() == [4, 5]


def test_an_encoder_decoder_is_known_by_both_its_sides(tmp_path: Path) -> None:
    teacher = CountingText(encoder_decoder("marian"))
    ids = torch.randint(2, VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(0))
    mask, written = torch.ones_like(ids), ids.flip(1)[:, :4]
    cached = CachedTokens(teacher, tmp_path, "a")
    assert cached(ids, mask, written).shape == (2, 4, VOCABULARY)
    cached(ids, mask, written)
    assert teacher.shown == 2
    cached(ids, mask, written + 1)
    assert teacher.shown == 4


def test_the_logits_of_another_kind_of_teacher_are_refused(tmp_path: Path) -> None:
    CachedTeacher(Counting(), tmp_path, "a")(images(1))
    with pytest.raises(ModelError, match="holds the logits of another teacher"):
        CachedTokens(Counting(), tmp_path, "a")
