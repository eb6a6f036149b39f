"""YAML text → nodes that know their lines.

Scalars are those of YAML 1.2's core schema, as editors read them: `no` is text, `1e-3` is a number, `1:30` is text.
Only plain data: no tags, no merge keys, no aliases that multiply.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import yaml

from compress.recipe.tree import Node, Place, Problems, Scalar, storable

MAX_BYTES = 250_000  # a recipe takes a few hundred, one with ten thousand labels 200,000
MAX_VALUES = 100_000  # with every alias written out: a 'billion laughs' file stops here
MAX_DEPTH = 32

_TAG = "tag:yaml.org,2002:"
_PATTERNS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
)
# What PyYAML says, and what to do about it.  The first that matches is told.
_HINTS = (
    (r"'\\t'", "a tab: indent with spaces"),
    (r"found undefined alias '(.*)'", r"no anchor '&\1' stands before '*\1': quote a value that begins with '*'"),
    (r"while scanning an alias", "a value that begins with '*' must be quoted: '*'"),
    (r"found character '(.)' that cannot start", r"a value that begins with '\1' must be quoted: '\1…'"),
    (r"mapping values are not allowed here", "a colon too many, or a wrong indent: quote a value that holds ': '"),
    (r"could not find expected ':'", "a key without ': ' after it: write key: value"),
    (r"expected ',' or '([\]}])', but got", r"a '\1' is missing; a value that holds [ ] must be quoted here"),
    (r"found '<stream end>'", "it ends too early: a ']' or '}' is missing"),
    (r"expected a single document", "a second '---': a recipe is one document"),
    (r"while scanning a quoted scalar", "a quote that is not closed"),
    (r"expected <block end>", "an indent that fits no line above"),
    (r"found duplicate anchor", "the same anchor twice: give each its own name"),
)


_PlaceOf = Callable[[int], Place]  # of a line that counts from 0


class _Loader(yaml.SafeLoader):
    """Composes nodes; resolves scalars by YAML 1.2; counts how deep it is."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own shape)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_TOO_DEEP = f"nested more than {MAX_DEPTH} deep: no recipe needs that"


def add_resolvers(cls: type[yaml.SafeLoader] | type[yaml.SafeDumper]) -> None:
    """Make a loader or dumper take plain scalars for what YAML 1.2's core schema says they are."""
    for name, pattern, first in _PATTERNS:
        letters = ["" if letter == "\0" else letter for letter in first]
        cls.add_implicit_resolver(_TAG + name, re.compile(f"(?:{pattern})$"), letters)


add_resolvers(_Loader)


def read_bytes(data: bytes, source: str, rank: int, problems: Problems) -> Node | None:
    """The content of a file as nodes.  None, with the reason among the problems, if it cannot be read."""
    if len(data) > MAX_BYTES:
        problems.add(Place(rank, 1, source), f"more than {MAX_BYTES} bytes: a recipe is a short YAML file")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problems.add(Place(rank, line, source), "not text in UTF-8: a recipe is a YAML file")
        return None
    return read_text(text, source, rank, problems)


def read_text(text: str, source: str, rank: int, problems: Problems, *, lines: bool = True) -> Node | None:
    """YAML text as nodes.  None, with the reasons among the problems, if it is not plain YAML.

    lines: whether places carry line numbers (an override has none).
    """

    def place(line: int) -> Place:
        return Place(rank, line + 1 if lines else 0, source)

    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n")
        problems.add(place(line), f"character {chr(error.character)!r} is not allowed in YAML: take it out")
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.add(place(mark.line if mark else 0), f"not YAML: {_explained(error)}")
        return None
    if root is None:
        return Node(place(0), None)
    builder = _Builder(place, problems)
    try:
        node = builder.build(root, root.start_mark.line)
    except _Refused as refused:
        problems.add(refused.place, str(refused))
        return None
    return node if builder.readable else None


class _Refused(Exception):
    """A document that is not to be read to its end."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


class _Builder:
    """Turns PyYAML's nodes into ours; what it finds wrong goes to `problems`."""

    def __init__(self, place: _PlaceOf, problems: Problems) -> None:
        self.place, self.problems = place, problems
        self.readable, self.count, self.open = True, 0, set[int]()

    def build(self, node: yaml.Node, line: int) -> Node:
        """line: of the key that the node belongs to, or its own."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise _Refused(self.place(line), f"aliases make more than {MAX_VALUES} values of this: write them out")
        if id(node) in self.open:
            raise _Refused(self.place(line), "an alias that holds itself: write the value out")
        if len(self.open) > MAX_DEPTH:  # aliases nest deeper than the text does
            raise _Refused(self.place(line), _TOO_DEEP)
        self.open.add(id(node))
        built = Node(self.place(line), self.value(node, line))
        self.open.remove(id(node))
        return built

    def value(self, node: yaml.Node, line: int) -> Scalar | tuple[Node, ...] | dict[str, Node]:
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.ScalarNode) and tag in ("str", "int", "float", "bool", "null"):
            return self.scalar(tag, node.value, line)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            return tuple(self.build(child, child.start_mark.line) for child in node.value)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self.entries(node)
        shown = f"!!{tag}" if node.tag.startswith(_TAG) else node.tag
        self.refuse(line, f"tag '{shown}' is not allowed: a recipe is plain data, take the tag out")
        return None

    def entries(self, node: yaml.MappingNode) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            key = self.build(key_node, line).value
            if not isinstance(key, str):
                shown = f"'{key_node.value}'" if isinstance(key_node, yaml.ScalarNode) else "of several values"
                self.refuse(line, f"a key {shown} is not text: a recipe's keys are names")
            elif key in found:
                first = f", first on line {found[key].place.line}" if found[key].place.line else ""
                self.problems.add(self.place(line), f"key '{key}' is given twice{first}: keep one")
            else:
                found[key] = self.build(value_node, line)
        return found

    def scalar(self, tag: str, text: str, line: int) -> Scalar:
        try:
            return _SCALARS[tag](text)
        except ValueError as error:
            self.refuse(line, str(error))
            return None

    def refuse(self, line: int, message: str) -> None:
        self.readable = False
        self.problems.add(self.place(line), message)


def _explained(error: yaml.MarkedYAMLError) -> str:
    said = f"{error.context or ''} {error.problem or ''}".strip()
    for pattern, hint in _HINTS:
        match = re.search(pattern, said)
        if match:
            return match.expand(hint)
    return said


def _integer(text: str) -> int:
    if len(text) > 100:
        raise ValueError(f"a number of {len(text)} digits is too long")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    try:
        return int(text[2:] if base != 10 else text, base)
    except ValueError:
        raise ValueError(f"'{text}' is not an integer") from None


def _number(text: str) -> float:
    try:
        number = float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.lower()))
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number: write one")
    return number


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"'{text}' is neither true nor false")
    return text.lower() == "true"


def _nothing(text: str) -> None:
    return None


_SCALARS: dict[str, Callable[[str], Scalar]] = {
    "str": storable,
    "int": _integer,
    "float": _number,
    "bool": _truth,
    "null": _nothing,
}
