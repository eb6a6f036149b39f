"""Translator: a directory that ships, opened to translate and to weigh translations.

An input that is empty, or white space alone, has an empty translation, and no model runs.  An input that does not fit
into the model's context is a DataError which names the text; it is told before any text is translated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from compress.data.prompts import Prompt, read_prompt
from compress.errors import ArtefactError, DataError
from compress.runtime.memory import freed_at_once
from compress.runtime.text import beams, generation
from compress.runtime.text.choosing import Rules
from compress.runtime.text.generation import Line, Run
from compress.runtime.text.pieces import Text
from compress.runtime.text.settings import Settings, read_settings
from compress.runtime.text.values import Decoding, Likelihood, Translation

ENDLESS = 1 << 62

Model = TypeVar("Model")
Heard = Callable[[int, Translation], object]
Piece = Callable[[int, str], object]


class Translator(ABC):
    """Translates, and weighs translations.  Made by `open_translator`.

    prompt    how the model is asked; its `languages` are those that may be named.
    settings  what the model's own files say about how it writes.
    """

    def __init__(self, directory: Path, tokenizer: Any, target_tokenizer: Any) -> None:
        self.directory = directory
        self.prompt: Prompt = read_prompt(directory)
        self.settings: Settings = read_settings(directory)
        self.tokenizer, self.target_tokenizer = tokenizer, target_tokenizer
        for each in (tokenizer, target_tokenizer):
            each.no_padding()
            each.no_truncation()
            each.encode_special_tokens = not self.prompt.parse_special

    def translate(
        self,
        texts: Sequence[str],
        source: str,
        target: str,
        decoding: Decoding | None = None,
        batch_size: int = 8,
        on_text: Heard | None = None,
        on_piece: Piece | None = None,
    ) -> list[Translation]:
        """The translations of the texts, from language `source` to `target`, both codes of `prompt.languages`.

        Texts of like length are translated together, `batch_size` at once.  on_text(number, translation) is called as
        each is done, on_piece(number, piece) as its text comes: whole characters, which joined are its text.

        Raises DataError for an unknown language or pair, and for a text that is longer than the model's context.
        """
        decoding = decoding or Decoding()
        done: dict[int, Translation] = {}
        for number, piece, translation in self._events(texts, source, target, decoding, batch_size, bool(on_piece)):
            if on_piece is not None and piece:
                on_piece(number, piece)
            if translation is not None:
                done[number] = translation
                if on_text is not None:
                    on_text(number, translation)
        return [done[number] for number in range(len(texts))]

    def stream(self, text: str, source: str, target: str, decoding: Decoding | None = None) -> Iterator[str]:
        """The translation of one text in pieces, as they come: whole characters; joined they are `translate`'s text."""
        for _, piece, _ in self._events([text], source, target, decoding or Decoding(), 1, True):
            if piece:
                yield piece

    @abstractmethod
    def log_likelihood(
        self, sources: Sequence[str], references: Sequence[str], source: str, target: str
    ) -> list[Likelihood]:
        """How likely the model finds each reference as the translation of its source: teacher-forced.

        Raises DataError as `translate` does, and for a reference with which the input exceeds the context.
        """

    @abstractmethod
    def prompt_tokens(self, prompt: str) -> list[int]:
        """The tokens of an input as the model reads it, `Prompt.render`ed already; without language tokens."""

    @abstractmethod
    def begin(self, tokens: Sequence[int]) -> Run:
        """Let the model read one input, none of which it has read before.  For measuring."""

    def _events(
        self, texts: Sequence[str], source: str, target: str, decoding: Decoding, batch_size: int, aloud: bool
    ) -> Iterator[tuple[int, str, Translation | None]]:
        """(text, new piece, its translation when it is done)."""
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}: write 1 or more")
        self._check_languages(source, target)
        inputs = {number: self._input(text, source, target) for number, text in enumerate(texts) if text.strip()}
        for number in inputs:
            self._check_room(number, len(inputs[number]))
        for number in sorted(set(range(len(texts))) - set(inputs)):
            yield number, "", Translation("", (), True)
        rules = self._rules(source, target)
        order = sorted(inputs, key=lambda number: -len(inputs[number]))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            lines = [
                Line(
                    Text(self.target_tokenizer, self.prompt.separator, self.prompt.stop),
                    min(decoding.max_new_tokens, self._room(len(inputs[number]), target)),
                )
                for number in batch
            ]
            run = self._begin([inputs[number] for number in batch], source, target)
            if decoding.num_beams > 1:
                events = beams.search(run, lines, rules, decoding, self.settings.early_stopping)
            else:
                events = generation.write(run, lines, rules, decoding, aloud)
            for row, piece, is_done in events:
                yield batch[row], piece, lines[row].translation() if is_done else None

    def _check_languages(self, *codes: str) -> None:
        """Raise DataError for an unknown one, also where there is no text to ask for."""
        for code in codes:
            self.prompt.language(code)

    @abstractmethod
    def _input(self, text: str, source: str, target: str) -> list[int]:
        """The tokens that the model is given for a text."""

    @abstractmethod
    def _begin(self, inputs: Sequence[list[int]], source: str, target: str) -> Run:
        """Let the model read the inputs, a row each."""

    @abstractmethod
    def _rules(self, source: str, target: str) -> Rules:
        """What ends a text in the target language, and what may not be in it."""

    @abstractmethod
    def _check_room(self, number: int, length: int) -> None:
        """Raise DataError unless an input of this length can be translated; `number` is the text's."""

    @abstractmethod
    def _room(self, length: int, target: str) -> int:
        """How many tokens may be written after an input of this length: 1 or more."""

    def _ends(self) -> frozenset[int]:
        """The model's end tokens, and stop texts that are special tokens: those are never seen as text."""
        special = {token.content: number for number, token in self._added().items() if token.special}
        return frozenset({*self.settings.ends, *(special[stop] for stop in self.prompt.stop if stop in special)})

    def _added(self) -> dict[int, Any]:
        return dict(self.target_tokenizer.get_added_tokens_decoder())

    def _named(self, tokenizer: Any, tokens: Sequence[str]) -> list[int]:
        """Tokens by their names."""
        numbers = [tokenizer.token_to_id(token) for token in tokens]
        if None in numbers:
            missing = tokens[numbers.index(None)]
            raise ArtefactError(f"{self.directory}: its prompt names '{missing}', which its tokenizer does not know")
        return numbers

    def _too_long(self, number: int, what: str, length: int, context: int) -> DataError:
        return DataError(
            f"text {number + 1}: {what} takes {length} tokens: the model's context is {context}: shorten it"
        )


def opened(model: Callable[[], Model], tokenizers: Sequence[Path]) -> tuple[Model, list[Any]]:
    """What `model` opens, and the tokenizers, read before it: a large one takes 350 MB while it is read and 110 after,
    so that both at once would need more memory than the model ever does again (Gemma 3 270M in 4 bits: 746 MB for 549).

    Raises ArtefactError for what is missing or damaged.
    """
    with freed_at_once():
        read = [_read_tokenizer(path) for path in tokenizers]
    return model(), read


def _read_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ArtefactError(f"{path}: no such file: a translator needs its tokenizer")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ArtefactError(f"{path}: damaged: {error}") from error


def batches(pairs: Sequence[tuple[list[int], list[int]]], size: int = 8) -> Iterator[list[int]]:
    """Numbers of the pairs, `size` at once, those of like length together; pairs without a second part are left out."""
    some = [number for number, (_, own) in enumerate(pairs) if own]
    order = sorted(some, key=lambda number: (-len(pairs[number][1]), -len(pairs[number][0])))
    for start in range(0, len(order), size):
        yield order[start : start + size]
