"""How each family of translators is asked, where nobody says otherwise.

The task fills the shots of a few-shot prompt.  `source_tokens` name the language of the text (NLLB, M2M100), but those
of Marian's form `>>fra<<` the one to translate into.  MADLAD's `<2fr>` is part of the template, and the `languages` of
such a prompt are the model's own names for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Tokenizer

from compress.data.languages import LANGUAGES, Language, language_names
from compress.data.prompts import Prompt
from compress.errors import ModelError

FEW_SHOT = "{examples}{source_language}: {source}\n{target_language}:"
EXAMPLE = "{source_language}: {source}\n{target_language}: {target}\n\n"
INSTRUCTION = (
    "Translate the following text from {source_language} into {target_language}. "
    "Answer with the translation alone.\n\n{source}"
)
# What the model card of Hy-MT asks for, between any languages but Chinese.
HUNYUAN_INSTRUCTION = (
    "Translate the following segment into {target_language}, without additional explanation.\n\n{source}"
)
# What Marian's models call a language, where it is none of its codes.
_MARIAN = {
    "ar": ("arb", "ara"),
    "fa": ("pes", "fas"),
    "fil": ("tgl", "fil"),
    "mn": ("khk", "mon"),
    "ms": ("zsm_Latn", "zsm", "zlm_Latn", "msa"),
    "sw": ("swh", "swa"),
    "yue": ("yue_Hant", "yue"),
    "zh": ("cmn_Hans", "zho_Hans", "cmn", "zho", "zh", "zh_cn"),
    "zh-Hant": ("cmn_Hant", "zho_Hant", "zh_tw"),
}


def default_prompt(config: Any, tokenizer: Tokenizer, chat: str | None, specials: Mapping[str, str]) -> Prompt:
    """The prompt of a model with this config of transformers, this tokenizer and, if it is a chat model, this template.

    specials  what its template calls the special tokens: {'bos_token': '<s>', …}.
    """
    kind = config.model_type
    if kind == "m2m_100":
        return _language_tokens(tokenizer)
    if kind == "marian":
        return marian_prompt(tokenizer)
    if kind == "t5":
        return _t5_prompt(tokenizer)
    begins = _begins(tokenizer)
    if chat is None:
        return Prompt(
            language_names(),
            template=FEW_SHOT,
            example=EXAMPLE,
            separator=" ",
            stop=("\n",),
            add_bos=begins is not None,
        )
    instruction = HUNYUAN_INSTRUCTION if kind == "hunyuan_v1_dense" else INSTRUCTION
    template = rendered(chat, instruction, specials)
    written = begins is not None and template.startswith(begins)
    return Prompt(language_names(), template=template, add_bos=begins is not None and not written, parse_special=True)


def rendered(chat: str, instruction: str, specials: Mapping[str, str]) -> str:
    """A chat of one instruction, up to where the answer begins, with the instruction's {names} left in it.

    Raises ModelError for a chat template that fails, or loses them.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        texts, _ = render_jinja_template(
            conversations=[[{"role": "user", "content": instruction}]],
            chat_template=chat,
            add_generation_prompt=True,
            enable_thinking=False,
            **specials,
        )
    except Exception as error:  # a template is a program of the model's own
        raise ModelError(f"the model's chat template fails: {error}") from error
    text = str(texts[0])
    lost = [name for name in re.findall(r"\{\w+\}", instruction) if name not in text]
    if lost:
        raise ModelError(f"the model's chat template leaves {', '.join(lost)} out of what the user says")
    return text


def marian_prompt(tokenizer: Tokenizer, source: str | None = None) -> Prompt:
    """Of a model with one target language: the text alone.  With several: its `>>fra<<` and the text.

    source  what the model calls the language that it reads, if its files say so.
    """
    vocabulary = tokenizer.get_vocab()

    def named(language: Language) -> str | None:
        own = (language.iso, language.code, language.nllb or "", language.m2m100 or "")
        candidates = (*_MARIAN.get(language.code, ()), *own)
        return next((name for name in candidates if f">>{name}<<" in vocabulary), None)

    targets = {code: (f">>{name}<<",) for code, name in _known(named).items()}
    if not targets:
        return Prompt(language_names())
    sources = [
        code for code, language in LANGUAGES.items() if source in (code, language.iso, *_MARIAN.get(code, ()))
    ] or ["en"]
    read = {code: LANGUAGES[code].name for code in LANGUAGES if code in targets or code in sources}
    return Prompt(read, source_tokens=targets)


def _language_tokens(tokenizer: Tokenizer) -> Prompt:
    """NLLB and M2M100: the source's language before the input, the target's before the output."""
    vocabulary = tokenizer.get_vocab()

    def named(language: Language) -> str | None:
        candidates = (language.nllb or "", f"__{language.m2m100}__")
        return next((token for token in candidates if token in vocabulary), None)

    tokens = {code: (token,) for code, token in _known(named).items()}
    return Prompt({code: LANGUAGES[code].name for code in tokens}, source_tokens=tokens, target_tokens=tokens)


def _t5_prompt(tokenizer: Tokenizer) -> Prompt:
    """MADLAD-400's `<2fr>`, or what T5 was taught: 'translate English to French: …'."""
    vocabulary = tokenizer.get_vocab()
    languages = _known(lambda language: language.madlad if f"<2{language.madlad}>" in vocabulary else None)
    if not languages:
        return Prompt(language_names(), template="translate {source_language} to {target_language}: {source}")
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    # Where they are no special tokens, they are pieces like others, and a text's own </s> stays text.
    parse = any(f"<2{name}>" in special for name in languages.values())
    return Prompt(languages, template="<2{target_language}> {source}", parse_special=parse)


def _known(name: Callable[[Language], str | None]) -> dict[str, str]:
    found = {language.code: name(language) for language in LANGUAGES.values()}
    return {code: own for code, own in found.items() if own is not None}


def _begins(tokenizer: Tokenizer) -> str | None:
    """The token that the tokenizer puts before a text, if it does."""
    bare, whole = tokenizer.encode("a", add_special_tokens=False), tokenizer.encode("a")
    return whole.tokens[0] if whole.ids[: len(bare.ids)] != bare.ids else None
