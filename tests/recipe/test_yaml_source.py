"""YAML 1.2's plain data with its lines; all else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import RecipeError
from compress.recipe import parse
from compress.recipe.tree import Node, Place, Problems
from compress.recipe.yaml_source import MAX_BYTES, MAX_DEPTH, read_bytes, read_text


def read(text: str) -> Node:
    problems = Problems()
    node = read_text(text, "x.yaml", 0, problems)
    problems.raise_if_any()
    assert node is not None
    return node


def message(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("<<", "<<"),
        ("'4'", "4"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.25", -0.25),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = read(f"key: {text}").plain()
    assert found == {"key": value}
    assert type(found["key"]) is type(value)  # type: ignore[index]  # True == 1, but is another value


def test_a_value_stands_where_its_key_stands() -> None:
    root = read("a:\n  b:\n    4\n  c: [5,\n      6]\n")
    inner = root.mapping["a"].mapping
    assert [root.mapping["a"].place.line, inner["b"].place.line, inner["c"].place.line] == [1, 2, 4]
    assert [item.place.line for item in inner["c"].items] == [4, 5]


def test_an_alias_repeats_its_anchor() -> None:
    assert read("a: &x [1, 2]\nb: *x\n").plain() == {"a": [1, 2], "b": [1, 2]}


def test_a_byte_order_mark_is_no_content() -> None:
    problems = Problems()
    node = read_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "x.yaml", 0, problems)
    assert node is not None
    assert node.plain() == {"a": 1, "b": 2}
    assert not problems


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: .inf", "x.yaml:1: .inf is not a finite number: write one"),
        ("\na: 1e999", "x.yaml:2: 1e999 is not a finite number: write one"),
        ("a: " + "9" * 5000, "x.yaml:1: a number of 5000 digits is too long"),
        ("a: !!int four", "x.yaml:1: 'four' is not an integer"),
        ("a: !!bool maybe", "x.yaml:1: 'maybe' is neither true nor false"),
        ('a: "\\0"', "x.yaml:1: '\\x00' holds a character that no file can: take it out"),
        ('a: "\\ud800"', "x.yaml:1: '\\ud800' holds a character that no file can: take it out"),
        ("a: b\x07", "x.yaml:1: character '\\x07' is not allowed in YAML: take it out"),
        ("4: b", "x.yaml:1: a key '4' is not text: a recipe's keys are names"),
        ("? [a]\n: b", "x.yaml:1: a key of several values is not text: a recipe's keys are names"),
        ("a: &x [*x]", "x.yaml:1: an alias that holds itself: write the value out"),
        ("a: *x", "x.yaml:1: not YAML: no anchor '&x' stands before '*x': quote a value that begins with '*'"),
        ("a: @x", "x.yaml:1: not YAML: a value that begins with '@' must be quoted: '@…'"),
        ("a: 1\n---\nb: 2", "x.yaml:2: not YAML: a second '---': a recipe is one document"),
        ("a: 'b", "x.yaml:1: not YAML: a quote that is not closed"),
        ("a: 1\n  b: 2", "x.yaml:2: not YAML: a colon too many, or a wrong indent: quote a value that holds ': '"),
        ("a: [1, 2", "x.yaml:1: not YAML: a ']' is missing; a value that holds [ ] must be quoted here"),
        ("a: 1\nb\nc: 2", "x.yaml:3: not YAML: a key without ': ' after it: write key: value"),
        ("- 1\na: 2", "x.yaml:2: not YAML: an indent that fits no line above"),
        ("[" * 5000, f"x.yaml:1: not YAML: nested more than {MAX_DEPTH} deep: no recipe needs that"),
    ],
)
def test_what_is_not_plain_data_is_refused(text: str, told: str) -> None:
    assert message(text) == told


def test_aliases_that_nest_ever_deeper_are_refused() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2000))]
    assert message("\n".join(lines)).endswith(f"nested more than {MAX_DEPTH} deep: no recipe needs that")


def test_a_huge_file_is_not_read() -> None:
    problems = Problems()
    assert read_bytes(b"#" * (MAX_BYTES + 1), "x.yaml", 0, problems) is None
    with pytest.raises(RecipeError, match=r"x.yaml:1: more than 250000 bytes: a recipe is a short YAML file"):
        problems.raise_if_any()


def test_terminal_codes_of_a_recipe_are_shown_not_obeyed() -> None:
    with pytest.raises(RecipeError) as caught:
        parse('"\\e[31m\\nname": x\n')
    assert "unknown section '\\x1b[31m\\nname'" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@#?,. \n\t0\\"), max_size=40) | st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    problems = Problems()
    node = read_text(text, "x.yaml", 0, problems)
    assert (node is None) <= bool(problems)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    problems = Problems()
    node = read_bytes(data, "x.yaml", 0, problems)
    assert (node is None) <= bool(problems)


def test_places_sort_by_source_and_line() -> None:
    override, first, second = Place(1, 0, "--set a=1"), Place(0, 2, "x.yaml"), Place(0, 10, "x.yaml")
    assert sorted([override, second, first]) == [first, second, override]
    assert [str(override), str(first)] == ["--set a=1", "x.yaml:2"]
