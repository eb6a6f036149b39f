"""Languages as data: what each is called, how it is written, and what translation models call it.

Codes are those of the columns of NTREX (BCP 47), the test set of 39 languages that translators are measured on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """One language, in one way of writing.

    code     BCP 47: 'en', 'zh-Hant'.
    name     in English, as prompts write it: 'Traditional Chinese'.
    scripts  names of the Unicode scripts that its letters are of, the commonest first: ('Han', 'Hiragana', 'Katakana').
    iso      its ISO 639-3 code, or for zh-Hant that of Chinese: 'fra'.
    nllb     what NLLB-200 calls it: 'fra_Latn'; None where a model does not know it.
    m2m100   what M2M100 calls it: 'fr'.
    madlad   what MADLAD-400 calls it, in '<2fr>': 'fr'.
    """

    code: str
    name: str
    scripts: tuple[str, ...]
    iso: str
    nllb: str | None
    m2m100: str | None
    madlad: str | None


_LATIN, _ARABIC, _CYRILLIC, _HAN = ("Latin",), ("Arabic",), ("Cyrillic",), ("Han",)
_JAPANESE = ("Hiragana", "Katakana", "Han")

_TABLE = (
    Language("en", "English", _LATIN, "eng", "eng_Latn", "en", "en"),
    Language("zh", "Chinese", _HAN, "zho", "zho_Hans", "zh", "zh"),
    Language("zh-Hant", "Traditional Chinese", _HAN, "zho", "zho_Hant", None, "zh_Hant"),
    Language("fr", "French", _LATIN, "fra", "fra_Latn", "fr", "fr"),
    Language("pt", "Portuguese", _LATIN, "por", "por_Latn", "pt", "pt"),
    Language("es", "Spanish", _LATIN, "spa", "spa_Latn", "es", "es"),
    Language("ja", "Japanese", _JAPANESE, "jpn", "jpn_Jpan", "ja", "ja"),
    Language("tr", "Turkish", _LATIN, "tur", "tur_Latn", "tr", "tr"),
    Language("ru", "Russian", _CYRILLIC, "rus", "rus_Cyrl", "ru", "ru"),
    Language("ar", "Arabic", _ARABIC, "ara", "arb_Arab", "ar", "ar"),
    Language("ko", "Korean", ("Hangul", "Han"), "kor", "kor_Hang", "ko", "ko"),
    Language("th", "Thai", ("Thai",), "tha", "tha_Thai", "th", "th"),
    Language("it", "Italian", _LATIN, "ita", "ita_Latn", "it", "it"),
    Language("de", "German", _LATIN, "deu", "deu_Latn", "de", "de"),
    Language("vi", "Vietnamese", _LATIN, "vie", "vie_Latn", "vi", "vi"),
    Language("ms", "Malay", _LATIN, "zsm", "zsm_Latn", "ms", "ms"),
    Language("id", "Indonesian", _LATIN, "ind", "ind_Latn", "id", "id"),
    Language("fil", "Filipino", _LATIN, "tgl", "tgl_Latn", "tl", "fil"),
    Language("hi", "Hindi", ("Devanagari",), "hin", "hin_Deva", "hi", "hi"),
    Language("pl", "Polish", _LATIN, "pol", "pol_Latn", "pl", "pl"),
    Language("cs", "Czech", _LATIN, "ces", "ces_Latn", "cs", "cs"),
    Language("nl", "Dutch", _LATIN, "nld", "nld_Latn", "nl", "nl"),
    Language("km", "Khmer", ("Khmer",), "khm", "khm_Khmr", "km", "km"),
    Language("my", "Burmese", ("Myanmar",), "mya", "mya_Mymr", "my", "my"),
    Language("fa", "Persian", _ARABIC, "fas", "pes_Arab", "fa", "fa"),
    Language("gu", "Gujarati", ("Gujarati",), "guj", "guj_Gujr", "gu", "gu"),
    Language("ur", "Urdu", _ARABIC, "urd", "urd_Arab", "ur", "ur"),
    Language("te", "Telugu", ("Telugu",), "tel", "tel_Telu", None, "te"),
    Language("mr", "Marathi", ("Devanagari",), "mar", "mar_Deva", "mr", "mr"),
    Language("he", "Hebrew", ("Hebrew",), "heb", "heb_Hebr", "he", "he"),
    Language("bn", "Bengali", ("Bengali",), "ben", "ben_Beng", "bn", "bn"),
    Language("ta", "Tamil", ("Tamil",), "tam", "tam_Taml", "ta", "ta"),
    Language("uk", "Ukrainian", _CYRILLIC, "ukr", "ukr_Cyrl", "uk", "uk"),
    Language("bo", "Tibetan", ("Tibetan",), "bod", "bod_Tibt", None, "bo"),
    Language("kk", "Kazakh", _CYRILLIC, "kaz", "kaz_Cyrl", "kk", "kk"),
    Language("mn", "Mongolian", _CYRILLIC, "mon", "khk_Cyrl", "mn", "mn"),
    Language("ug", "Uyghur", _ARABIC, "uig", "uig_Arab", None, "ug"),
    Language("yue", "Cantonese", _HAN, "yue", "yue_Hant", None, None),
    Language("sw", "Swahili", _LATIN, "swa", "swh_Latn", "sw", "sw"),
)

LANGUAGES: dict[str, Language] = {language.code: language for language in _TABLE}


def language_names() -> dict[str, str]:
    """Code → English name, of all: {'en': 'English', …}."""
    return {code: language.name for code, language in LANGUAGES.items()}
