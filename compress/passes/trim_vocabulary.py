"""trim.vocabulary: a translator of many languages keeps the tokens that some of them need (Abdaoui et al. 2020,
arXiv:2010.05609).

Which tokens a text needs is in `compress.models.translators.pieces`, with why its segmentation does not change.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, MinLen

from compress.data.alphabets import Writing, is_prose
from compress.data.languages import LANGUAGES
from compress.data.parallel import digest_of, open_parallel, parse_parallel
from compress.errors import DataError, ModelError, PromiseBroken, unknown
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.data.prompts import Prompt
    from compress.models.translators import LoadedTranslator
    from compress.models.translators.pieces import Pieces
    from compress.targets import Target

# Tokens that a model keeps for nobody.
_RESERVED = re.compile(r"[<\[].*(unused|reserved|extra_id|place.?holder).*\d.*[>\]]|madeupword\d+", re.DOTALL)
# What models call languages: '__fr__', '>>fra<<', 'fra_Latn', '<2fr>'.
_LANGUAGE = re.compile(r"__[a-z]{2,3}__|>>[\w-]+<<|[a-z]{3}_[A-Z][a-z]{3}|<2[\w-]+>")


@register("trim.vocabulary")
@dataclass(frozen=True)
class TrimVocabulary(Pass):
    """Drop the tokens that some languages do not need, from the embedding, the head and the tokenizer.

    languages   that stay: codes such as en.
    dataset     text of these languages, a column each: demo, parquet:PATH, tsv:PATH or hf:NAME, with a slice.
    vocab_size  at most so many tokens; null: all that are written in the languages' letters.

    It comes before quantization. Kept are, in this order: special tokens, bytes, letters and signs; what the text and
    the prompt are cut into, the most frequent first; then, as a text is but a sample, other pieces in the letters of
    the languages, words before what only programs contain, and those first that the tokenizer prefers. Each comes with
    all pieces that it is merged from, so that text whose pieces are kept is cut as before. Tokens of other languages
    and reserved ones go.
    """

    languages: Annotated[tuple[str, ...], MinLen(1)]
    dataset: str = "demo[0:72]"
    vocab_size: Annotated[int, Ge(1)] | None = None

    def problems(self, target: Target) -> list[str]:
        problems = [
            f"languages: {unknown('language', code, LANGUAGES)}" for code in self.languages if code not in LANGUAGES
        ]
        try:
            parse_parallel(self.dataset)
        except DataError as error:
            problems.append(str(error))
        return problems

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        if task != "translation":
            return [f"it trims the vocabulary of a translator, and the task is {task}: take it out"]
        lost = [code for code in languages if code not in self.languages]
        return (
            [f"languages: the task translates {', '.join(lost)} too: add it here, or take it out there"] if lost else []
        )

    def data_sha256(self) -> str:
        return digest_of(text for texts in self._texts().values() for text in ("", *texts))

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.vocabulary import check_tokens_can_go

        if context.translator is None:
            raise ModelError(f"{self.name}: it needs the tokenizer of a translator, and the model has none")
        try:
            check_tokens_can_go(model)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error
        for code in self.languages:
            context.translator.prompt.language(code)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        import torch

        from compress.models.translators.trimmed import alike, trimmed
        from compress.models.vocabulary import keep_tokens, vocabulary_size

        assert context.translator is not None  # as `requires` has seen
        before = trimmed(replace(context.translator, model=model))
        texts = self._texts()
        kept = sorted(self._kept(before, texts))
        rows = vocabulary_size(model)
        keep_tokens(model, torch.tensor(kept))
        after = trimmed(replace(context.translator, model=model))
        context.notes.append(f"{len(kept):,} of {rows:,} tokens are kept")
        for code, some in texts.items():
            found = alike(before.tokenizer, after.tokenizer, kept, some)
            context.notes.append(
                f"{code}: {found.pieces / found.num_pieces:.2%} of {found.num_pieces:,} tokens and "
                f"{found.texts / found.num_texts:.2%} of {found.num_texts:,} texts are cut as before"
            )
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.vocabulary import kept_tokens, vocabulary_size

        kept = kept_tokens(model)
        rows = vocabulary_size(model)
        if kept is None or len(kept) != rows:
            told = "none was dropped" if kept is None else f"{len(kept):,} tokens were kept"
            raise PromiseBroken(f"{self.name}: the embedding has {rows:,} rows, and {told}")

    def _texts(self) -> dict[str, list[str]]:
        """The text of each language.  Raises DataError if the dataset cannot be used, or lacks one."""
        parallel = open_parallel(self.dataset)
        found = {code: parallel.texts(code) for code in self.languages}
        for code, texts in found.items():
            if not texts:
                raise DataError(f"dataset '{self.dataset}' has no text in '{code}'")
        return found

    def _kept(self, translator: LoadedTranslator, texts: dict[str, list[str]]) -> set[int]:
        """Numbers of the tokens that stay.  Raises ModelError if `vocab_size` is less than what cannot go."""
        from compress.models.translators.pieces import pieces_of

        writing = Writing(self.languages)
        tokenizers = [each for each in (translator.tokenizer, translator.target_tokenizer) if each is not None]
        sides = [pieces_of(tokenizer) for tokenizer in tokenizers]
        kept = _Kept(sides, None)
        for number in sorted(_needed(translator, sides, self.languages)):
            kept.add(number)
        for pieces in sides:
            for number in pieces.numbers.values():
                text = pieces.text(number)
                if text is not None and len(text) == 1 and (text in writing.letters or text.isascii()):
                    kept.add(number)
        if self.vocab_size is not None and len(kept.found) > self.vocab_size:
            raise ModelError(
                f"{self.name}: vocab_size is {self.vocab_size}: {len(kept.found)} tokens are special ones, bytes, "
                f"letters and signs, which cannot go"
            )
        kept.limit = self.vocab_size
        shown = list(_shown(translator.prompt, texts))
        counts = Counter(
            number
            for tokenizer in tokenizers
            for encoding in tokenizer.encode_batch(shown, add_special_tokens=False)
            for number in encoding.ids
        )
        for number, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            kept.add(number)
        for pieces in sides:
            written = [number for number in pieces.ranked() if _is_written(pieces.text(number), writing)]
            possible = [number for number in written if pieces.path(number) is not None]
            for number in sorted(possible, key=lambda number: not is_prose(pieces.text(number) or "")):
                kept.add(number)
        return kept.found


def _is_written(text: str | None, writing: Writing) -> bool:
    """Whether a piece is in the languages' letters; a single letter, at least of their scripts."""
    if not text:
        return False
    return writing.writes(text) or (len(text) == 1 and writing.spells(text))


class _Kept:
    """Tokens that are chosen one by one, each with all that makes it, as long as there is room."""

    def __init__(self, sides: Sequence[Pieces], limit: int | None) -> None:
        self.sides, self.limit = sides, limit
        self.found: set[int] = set()

    def add(self, number: int) -> None:
        """Keep a token, unless there is no room for it and what makes it."""
        if number in self.found or (self.limit is not None and len(self.found) >= self.limit):
            return
        more = {number}.union(*(pieces.path(number) or () for pieces in self.sides)) - self.found
        if self.limit is None or len(self.found) + len(more) <= self.limit:
            self.found |= more


def _needed(translator: LoadedTranslator, sides: Iterable[Pieces], languages: Sequence[str]) -> set[int]:
    """What the model's config, its tokenizers and its prompt name, bytes, and the added tokens that mean something."""
    from compress.models.translators.trimmed import around, language_tokens
    from compress.models.vocabulary import named_tokens

    prompt = translator.prompt
    found = named_tokens(translator.model)
    named = {token for code in languages for token in language_tokens(prompt, code)}
    templates = prompt.template + "".join(content.decode(errors="replace") for content in _templates(translator.files))
    for pieces in sides:
        found |= pieces.indispensable() | around(pieces.plain)
        for number in {*pieces.added, *(pieces.numbers[token] for token in named if token in pieces.numbers)}:
            token = pieces.names[number]
            goes = _RESERVED.fullmatch(token) and token not in templates
            if token in named or not (goes or _LANGUAGE.fullmatch(token)):
                found.add(number)
    return found


def _templates(files: dict[str, bytes]) -> list[bytes]:
    """The files that hold a chat template."""
    import json

    from compress.models.translators.loaded import SETTINGS, TEMPLATE

    settings = json.loads(files.get(SETTINGS, b"{}"))
    return [files.get(TEMPLATE, b""), str(settings.get("chat_template") or "").encode()]


def _shown(prompt: Prompt, texts: dict[str, list[str]]) -> Iterable[str]:
    """Each text as it is, and as the prompt asks for it, shows it and goes on with it."""
    codes = list(texts)
    for place, (code, some) in enumerate(texts.items()):
        other = codes[(place + 1) % len(codes)]
        for text in some:
            example = replace(prompt, shots={f"{code}-{other}": ((text, text),)})
            yield text
            yield example.render(text, code, other) + prompt.separator + text
    for source in codes:
        for target in codes:
            shots = prompt.shots.get(f"{source}-{target}", ())
            yield replace(prompt, shots={f"{source}-{target}": shots}).render("", source, target)
