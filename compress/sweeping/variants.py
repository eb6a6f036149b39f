"""Variants of recipes: --vary KEY=V1,V2 makes one for each value, and of several keys one for each combination."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from compress.errors import CompressError, RecipeError
from compress.preflight import Job, read_jobs, same_named

_LONGEST = 32  # letters of a value in a name; of a longer one the name has its number
_CLOSING = {"[": "]", "{": "}", '"': '"', "'": "'"}


@dataclass(frozen=True)
class Variation:
    """A key of the recipe, as after --set, and the values that it takes in turn, in YAML."""

    key: str
    values: tuple[str, ...]


def parse_variation(text: str) -> Variation:
    """'seed=0,1' → Variation('seed', ('0', '1')); commas within brackets, braces and quotes belong to a value.

    Raises CompressError for text that is none.
    """
    key, equals, rest = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise CompressError(f"--vary {text}: write --vary KEY=VALUE,VALUE")
    if key == "name":
        raise CompressError("--vary name: each variant's name says what is varied: vary something else")
    values = [value.strip() for value in _split(rest)]
    if "" in values:
        raise CompressError(f"--vary {text}: a value is empty: write null for none")
    twice = [value for number, value in enumerate(values) if value in values[:number]]
    if twice:
        raise CompressError(f"--vary {text}: {twice[0]} is given twice: keep one")
    return Variation(key, tuple(values))


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket, brace or quotes."""
    parts, awaited = [""], list[str]()
    for letter in text:
        quoted = bool(awaited) and awaited[-1] in "\"'"
        if letter == "," and not awaited:
            parts.append("")
            continue
        parts[-1] += letter
        if awaited and letter == awaited[-1]:
            awaited.pop()
        elif letter in _CLOSING and not quoted:
            awaited.append(_CLOSING[letter])
    return parts


def labels(variations: Sequence[Variation]) -> dict[str, str]:
    """What a name calls each key: the shortest end of its path that no other key has: 'num_bits'.

    Raises CompressError for a key that is varied twice.
    """
    keys = [variation.key for variation in variations]
    twice = [key for number, key in enumerate(keys) if key in keys[:number]]
    if twice:
        raise CompressError(f"--vary {twice[0]}: given twice: write all its values in one")
    paths = {key: key.split(".") for key in keys}
    found = {}
    for key, path in paths.items():
        others = [other for name, other in paths.items() if name != key]
        lengths = range(1, len(path) + 1)
        length = next((n for n in lengths if all(other[-n:] != path[-n:] for other in others)), len(path))
        found[key] = _slug(".".join(path[-length:]))
    return found


def value_labels(values: Sequence[str]) -> list[str]:
    """What a name calls each of the values: its letters, or its number from 1 where these are many or not its own."""
    slugs = [_slug(value) for value in values]
    usable = all(slugs) and len(set(slugs)) == len(slugs) and max(map(len, slugs)) <= _LONGEST
    return slugs if usable else [str(number) for number in range(1, len(values) + 1)]


def _slug(text: str) -> str:
    """As part of a directory's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")


def suffixes(variations: Sequence[Variation]) -> dict[tuple[str, ...], str]:
    """Each combination, as the texts after --set, the first key's values changing slowest → the end of its name:
    '-num_bits-4-seed-1'."""
    called = labels(variations)
    choices = [
        [
            (f"{each.key}={value}", f"-{called[each.key]}-{label}")
            for value, label in zip(each.values, shown, strict=True)
        ]
        for each, shown in ((variation, value_labels(variation.values)) for variation in variations)
    ]
    return {tuple(text for text, _ in chosen): "".join(end for _, end in chosen) for chosen in product(*choices)}


def read_variants(recipes: Sequence[str], overrides: Sequence[str], variations: Sequence[Variation]) -> list[Job]:
    """All recipes in all their variants, with names of their own.

    Raises RecipeError with the problems of all of them.
    """
    if not variations:
        return read_jobs(recipes, overrides)
    jobs: list[Job] = []
    problems: list[str] = []
    for base in read_jobs(recipes, overrides, apart=False):
        for chosen, suffix in suffixes(variations).items():
            texts = (*overrides, *chosen, f"name={base.recipe.name}{suffix}")
            try:
                jobs += read_jobs([base.asked], texts)
            except RecipeError as error:
                problems += error.problems
    problems += same_named(jobs, "a variant's name")
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return jobs
