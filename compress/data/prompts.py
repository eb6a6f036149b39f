"""Prompt: how a model is asked for a translation, as data that ships beside it in translation.json.  No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError, DataError, unknown

PROMPT = "translation.json"

Shots = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Prompt:
    """What surrounds a text on its way into the model.  All but `languages` may be empty.

    languages       code → the name that templates write: {"en": "English", "fr": "French"}; all that may be asked for.
    template        of the model's input; it may name {source}, {source_language}, {target_language}, {examples}.
    example         of one shot; it may name {source}, {target}, {source_language}, {target_language}.
    shots           "en-fr" → examples shown to the model, each (source, target).
    separator       what comes between a decoder's prompt and the translation.
    stop            texts that end a translation, beside the model's own end token.
    source_tokens   code → tokens in front of an encoder's input: (">>fra<<",), or the language of the source.
    target_tokens   code → tokens that the decoder's output begins with, after its start token: ("fra_Latn",).
    add_bos         whether a decoder's prompt begins with the beginning-of-sequence token.
    parse_special   whether special tokens written in the template mean themselves (a chat template).
    """

    languages: Mapping[str, str] = field(hash=False)
    template: str = "{source}"
    example: str = ""
    shots: Mapping[str, Shots] = field(default_factory=dict, hash=False)
    separator: str = ""
    stop: tuple[str, ...] = ()
    source_tokens: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    target_tokens: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    add_bos: bool = True
    parse_special: bool = False

    def render(self, text: str, source: str, target: str) -> str:
        """The model's input for one text, from language `source` to `target`, both codes.

        Raises DataError for a language, or a pair that has no shots where the template wants some.
        """
        names = {"source_language": self.language(source), "target_language": self.language(target)}
        examples = ""
        if "{examples}" in self.template:
            pair = f"{source}-{target}"
            if pair not in self.shots:
                raise DataError(unknown("language pair", pair, self.shots))
            shots = self.shots[pair]
            examples = "".join(_filled(self.example, source=one, target=two, **names) for one, two in shots)
        return _filled(self.template, source=text, examples=examples, **names)

    def language(self, code: str) -> str:
        """The name of a language.  Raises DataError for one that is unknown."""
        if code not in self.languages:
            raise DataError(unknown("language", code, self.languages))
        return self.languages[code]

    def named_in_front(self, source: str, target: str) -> str:
        """Which of two languages `source_tokens` stand for: the target, where they are of Marian's form >>xx<<."""
        names = [token for tokens in self.source_tokens.values() for token in tokens]
        return target if all(token.startswith(">>") for token in names) else source

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_prompt(directory: Path) -> Prompt:
    """The prompt of the artefact in `directory`.  Raises ArtefactError if it has none, or a damaged one."""
    path = directory / PROMPT
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        values["shots"] = {pair: tuple((str(a), str(b)) for a, b in given) for pair, given in plain["shots"].items()}
        for key in ("source_tokens", "target_tokens"):
            values[key] = {code: tuple(given) for code, given in plain[key].items()}
        return Prompt(**values)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}: this is no translator") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtefactError(f"{path}: damaged: {error}") from error


def _filled(template: str, **values: str) -> str:
    """The template with each {name} replaced; braces in the values mean themselves."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
