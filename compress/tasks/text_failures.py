"""Failures of translations that BLEU and chrF hide in a mean: each translation has some, or none.

    empty           no character but white space.
    repeated        some stretch of at least two characters, a letter among them, comes four times in a row; or one of
                    at least 12 comes two and a half times in a row at the end (a loop that was cut).
    length_ratio    shorter than 0.4 or longer than 2.5 of the reference's characters, and by more than 12 characters.
    source_copied   the source itself, or nearly so, or the source whole within other text.
    wrong_script    more letters outside the scripts of the target language than the reference has, by 0.3 of all.
    wrong_language  surely one of the phrasebook's languages other than the target (language_guess.py).
    cut             ended by the limit of new tokens or the context, not by the model.

What the reference does too (it repeats itself, it leaves a name as it is) is no failure.  An empty translation is
`empty`, and `cut` if it was, and nothing else.
"""

from __future__ import annotations

import difflib

import numpy as np

from compress.data.languages import LANGUAGES
from compress.data.scripts import scripts_of
from compress.tasks.language_guess import guess, known_languages, sure_guess

FAILURES = ("empty", "repeated", "length_ratio", "source_copied", "wrong_script", "wrong_language", "cut")

REPEATS, MIN_UNIT = 4, 2
LOOP_REPEATS, MIN_LOOP_UNIT = 2.5, 12
SHORTEST, LONGEST, LENGTH_SLACK = 0.4, 2.5, 12
FOREIGN_SHARE = 0.3
COPY_SIMILARITY, MIN_COPIED = 0.85, 12


def judged(target: str) -> tuple[str, ...]:
    """The failures that can be told in a target language."""
    unknown = {"wrong_script"} if target not in LANGUAGES else set()
    unknown |= {"wrong_language"} if target not in known_languages() else set()
    return tuple(name for name in FAILURES if name not in unknown)


def failures_of(source: str, reference: str, hypothesis: str, finished: bool, target: str) -> frozenset[str]:
    """The names of what is wrong with one translation into the language `target`."""
    cut = frozenset() if finished else frozenset({"cut"})
    if not hypothesis.strip():
        return cut | {"empty"}
    found = {
        "repeated": repeats(hypothesis) and not repeats(reference),
        "length_ratio": length_is_off(hypothesis, reference),
        "source_copied": copies(hypothesis, source) and not copies(reference, source),
        "wrong_script": has_wrong_script(hypothesis, reference, target),
        "wrong_language": has_wrong_language(hypothesis, reference, target),
    }
    return cut | {name for name in judged(target) if found.get(name)}


def repeats(text: str) -> bool:
    """Whether a stretch comes too often in a row, as defined above."""
    plain = " ".join([*text.split(), ""])  # each word with the space behind it, the last too
    codes = np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    for unit in range(MIN_UNIT, int(len(codes) / LOOP_REPEATS) + 1):
        same = codes[:-unit] == codes[unit:]
        breaks = np.flatnonzero(~np.append(same, False))
        runs = np.diff(breaks, prepend=-1) - 1
        longest = int(runs.argmax())
        end = int(breaks[longest])
        if runs[longest] + unit >= REPEATS * unit and _has_letter(plain[end : end + unit]):
            return True
        at_end = unit >= MIN_LOOP_UNIT and runs[-1] + unit >= LOOP_REPEATS * unit
        if at_end and _has_letter(plain[-unit:]):
            return True
    return False


def length_is_off(hypothesis: str, reference: str) -> bool:
    """Whether the length in characters is out of bounds."""
    ours, theirs = len(hypothesis.strip()), len(reference.strip())
    return not SHORTEST * theirs <= ours <= LONGEST * theirs and abs(ours - theirs) > LENGTH_SLACK


def copies(text: str, source: str) -> bool:
    """Whether a text is the source, nearly the source, or holds it whole; white space, case and marks do not count."""
    ours, theirs = _letters(text), _letters(source)
    if not theirs:
        return False
    if ours == theirs or (len(theirs) >= MIN_COPIED and theirs in ours):
        return True
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    return (
        len(theirs) >= MIN_COPIED
        and matcher.real_quick_ratio() > COPY_SIMILARITY
        and matcher.quick_ratio() > COPY_SIMILARITY
        and matcher.ratio() > COPY_SIMILARITY
    )


def has_wrong_script(hypothesis: str, reference: str, target: str) -> bool:
    """Whether too many letters are of scripts in which the target language is not written."""
    return _foreign(hypothesis, target) > _foreign(reference, target) + FOREIGN_SHARE


def has_wrong_language(hypothesis: str, reference: str, target: str) -> bool:
    """Whether the text is surely in another language; asked only where the guess about the reference is right."""
    if target not in known_languages() or guess(reference) != target:
        return False
    return sure_guess(hypothesis, unlike=target) is not None


def _foreign(text: str, target: str) -> float:
    if target not in LANGUAGES:
        return 0.0
    scripts = scripts_of(text)
    own = sum(scripts[script] for script in LANGUAGES[target].scripts)
    return 1 - own / scripts.total() if scripts else 0.0


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _has_letter(text: str) -> bool:
    return any(character.isalpha() for character in text)
