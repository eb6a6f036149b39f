"""Parallel text: one set read from every kind of place, and what is wrong with bad ones."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data.languages import LANGUAGES
from compress.data.pairs import parse_pair
from compress.data.parallel import digest_of, open_parallel, parallel_problems
from compress.data.scripts import script_of, scripts_of
from compress.errors import DataError, MissingExtra

COLUMNS = {
    "en": ["one", " two ", "", "four"],
    "fr": ["un", "deux", "trois", "quatre"],
    "zh-Hant": ["一", "", "三", "四"],
}


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    lines = ["\t".join(COLUMNS), *("\t".join(row) for row in zip(*COLUMNS.values(), strict=True))]
    path = tmp_path / "text.tsv"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    return path


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Row groups of one row, and a column that is no text."""
    columns = {code: [cell or None for cell in cells] for code, cells in COLUMNS.items()}
    path = tmp_path / "text.parquet"
    pq.write_table(pa.table({"id": [0, 1, 2, 3], **columns}), path, row_group_size=1)
    return path


def test_a_tsv_and_a_parquet_of_the_same_texts_are_the_same(tsv: Path, parquet: Path) -> None:
    for text in (f"tsv:{tsv}", f"parquet:{parquet}"):
        parallel = open_parallel(text)
        assert parallel.languages == ("en", "fr", "zh-Hant")
        assert len(parallel) == 4
        assert parallel.pairs("en", "fr") == [("one", "un"), ("two", "deux"), ("four", "quatre")]
        assert parallel.pairs("zh-Hant", "en") == [("一", "one"), ("四", "four")]
        assert parallel.num_skipped("zh-Hant", "en") == 2
        assert parallel.texts("zh-Hant") == ["一", "三", "四"]
    prints = [open_parallel(text).fingerprint(["en", "fr"]) for text in (f"tsv:{tsv}", f"parquet:{parquet}")]
    assert prints[0] == prints[1] == open_parallel(f"tsv:{tsv}").fingerprint(["fr", "en", "fr"])


@pytest.mark.parametrize(("first", "end"), [(0, 4), (1, 3), (2, 4), (0, 1), (3, 4)])
def test_a_slice_takes_its_rows_and_keeps_their_numbers(tsv: Path, parquet: Path, first: int, end: int) -> None:
    whole = open_parallel(f"tsv:{tsv}").aligned("fr", "fr")
    for text in (f"tsv:{tsv}[{first}:{end}]", f"parquet:{parquet}[{first}:{end}]"):
        assert open_parallel(text).aligned("fr", "fr") == whole[first:end]


def test_files_of_a_pattern_are_one_set(parquet: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({code: [f"{code} more"] for code in COLUMNS}), tmp_path / "text2.parquet")
    parallel = open_parallel(f"parquet:{tmp_path}/text*.parquet[3:5]")
    assert [row.number for row in parallel.aligned("en", "fr")] == [3, 4]
    assert parallel.pairs("en", "fr") == [("four", "quatre"), ("en more", "fr more")]


def test_fingerprints_tell_rows_languages_and_cell_borders_apart(tsv: Path) -> None:
    whole, part = open_parallel(f"tsv:{tsv}"), open_parallel(f"tsv:{tsv}[0:2]")
    assert len({whole.fingerprint(["en", "fr"]), whole.fingerprint(["en"]), part.fingerprint(["en", "fr"])}) == 3
    assert digest_of(["ab", "c"]) != digest_of(["a", "bc"])


def test_a_missing_language_is_told_with_the_nearest(tsv: Path, parquet: Path) -> None:
    for text in (f"tsv:{tsv}", f"parquet:{parquet}"):
        with pytest.raises(DataError, match="unknown language 'zh-hant': did you mean 'zh-Hant'"):
            open_parallel(text).pairs("en", "zh-hant")
        with pytest.raises(DataError, match="unknown language 'ja': known: en, fr, zh-Hant"):
            open_parallel(text).pairs("ja", "en")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"en\tfr\none\tun\ntwo\n", r"text\.tsv:3: 1 columns, but the header has 2"),
        (b"en\tfr\none\tun\tuno\n", r"text\.tsv:2: 3 columns, but the header has 2"),
        (b"en\tfr\none\tun\ntwo\td\xe9\n", r"text\.tsv:3: not UTF-8: byte 0xe9"),
        (b"en,fr\none,un\n", r"text\.tsv:1: no tab"),
        (b"", r"text\.tsv:1: no tab"),
        (b"en\ten\none\tun\n", r"text\.tsv:1: two columns are called 'en'"),
        (b"en\t\none\tun\n", r"text\.tsv:1: column 2 has no name"),
        (b"en\tfr\n", "holds no rows"),
    ],
)
def test_bad_tsv_files_are_named_with_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "text.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_parallel(f"tsv:{path}").pairs("en", "fr")


def test_blank_lines_are_rows_without_text_and_marks_of_other_systems_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "text.tsv"
    path.write_bytes("\ufeffen\tfr\r\none\u2028half\tun\r\n\r\ntwo\tdeux\r\n".encode())
    parallel = open_parallel(f"tsv:{path}")
    assert [(row.number, row.source) for row in parallel.aligned("en", "fr")] == [(0, "one\u2028half"), (2, "two")]
    assert parallel.num_skipped("en", "fr") == 1


def test_sets_without_a_complete_row_are_data_errors(tmp_path: Path) -> None:
    path = tmp_path / "text.tsv"
    path.write_bytes(b"en\tfr\none\t \n\n\tdeux\n")
    with pytest.raises(DataError, match="none of its 3 rows has text in both 'en' and 'fr'"):
        open_parallel(f"tsv:{path}").pairs("en", "fr")


def test_bad_parquet_files_are_data_errors(parquet: Path, tmp_path: Path) -> None:
    whole = parquet.read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"en\tfr\n" * 50}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} is damaged or not a parquet file \({len(content)} bytes\): "):
            open_parallel(f"parquet:{tmp_path}/{name}")
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "numbers")
    with pytest.raises(DataError, match=r"has no column of text; its columns are: label \(int64\)"):
        open_parallel(f"parquet:{tmp_path}/numbers")
    pq.write_table(pa.table({"en": pa.array([], pa.string()), "fr": pa.array([], pa.string())}), tmp_path / "none")
    with pytest.raises(DataError, match="holds no rows"):
        open_parallel(f"parquet:{tmp_path}/none")
    latin = pa.Array.from_buffers(pa.string(), 1, pa.array([b"d\xe9"], pa.binary()).buffers())
    pq.write_table(pa.table({"en": latin}), tmp_path / "latin")
    with pytest.raises(DataError, match="not UTF-8"):
        open_parallel(f"parquet:{tmp_path}/latin").texts("en")
    pq.write_table(pa.table({"en": ["a"]}), tmp_path / "text3.parquet")
    with pytest.raises(DataError, match="have different columns: fr, zh-Hant"):
        open_parallel(f"parquet:{tmp_path}/text*.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text.tsv", "does not say what kind it is: write tsv:text.tsv"),
        ("text.parquet", "does not say what kind it is: write parquet:text.parquet"),
        ("something", "write demo, parquet:text.parquet, tsv:text.tsv or hf:"),
        ("tvs:a", "unknown kind of parallel text 'tvs': did you mean 'tsv'"),
        ("folder:a", "unknown kind of parallel text 'folder'"),
        ("demo:a", "demo takes no path"),
        ("tsv:", "has nothing after its colon"),
        ("tsv:/nowhere.tsv", "there is no file: /nowhere.tsv"),
        ("tsv:/", "this is a folder: /"),
        ("parquet:/nowhere", "there is no file /nowhere"),
        ("demo[3:3]", r"the slice \[3:3\] is empty"),
        ("demo[a:b]", r"\[a:b\] is not a slice"),
    ],
)
def test_bad_specs_say_what_to_write(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_parallel(text)
    assert len(parallel_problems(text)) == 1


def test_a_slice_beyond_the_set_is_a_data_error(tsv: Path) -> None:
    assert parallel_problems(f"tsv:{tsv}[0:9]") == []
    with pytest.raises(DataError, match=r"there are only 4 rows: write \[0:4\]"):
        open_parallel(f"tsv:{tsv}[0:9]")


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("en-fr", ("en", "fr")),
        ("en-zh-Hant", ("en", "zh-Hant")),
        ("zh-Hant-en", ("zh-Hant", "en")),
        ("zh-zh-Hant", ("zh", "zh-Hant")),
        ("ca-oc", ("ca", "oc")),  # languages that only the data know
    ],
)
def test_pairs_are_parted_where_both_sides_are_languages(text: str, pair: tuple[str, str]) -> None:
    assert parse_pair(text) == pair


@pytest.mark.parametrize("text", ["", "en", "en-", "-fr", "zh-Hant", "en-fr-de", "en_fr"])
def test_what_is_no_pair_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError, match="is not a language pair: write SOURCE-TARGET"):
        parse_pair(text)
    with pytest.raises(DataError, match="the same"):
        parse_pair("en-en")


def test_the_phrasebook_is_complete_and_says_nothing_twice() -> None:
    phrasebook = open_parallel("demo")
    assert len(phrasebook) >= 120
    assert len(phrasebook.languages) >= 12
    for code in phrasebook.languages:
        texts = phrasebook.texts(code)
        assert len(texts) == len(set(texts)) == len(phrasebook)
        assert not any(set(text) & set('"\u00a0\ufeff\u200b') or "  " in text for text in texts)
        own = sum((scripts_of(" ".join(texts))[script] for script in LANGUAGES[code].scripts), 0)
        assert own > 0.99 * scripts_of(" ".join(texts)).total()


def test_no_two_sentences_of_the_phrasebook_are_nearly_the_same() -> None:
    texts = [set(text.lower().strip(".?!").split()) for text in open_parallel("demo").texts("en")]
    near = [len(one & two) / len(one | two) for at, one in enumerate(texts) for two in texts[:at]]
    assert max(near) < 0.5


def test_scripts_of_letters() -> None:
    letters = {
        "é": "Latin",
        "Ａ": "Latin",
        "ж": "Cyrillic",
        "語": "Han",
        "々": "Han",
        "ひ": "Hiragana",
        "ｶ": "Katakana",
    }
    letters |= {"한": "Hangul", "ع": "Arabic", "ก": "Thai", "က": "Myanmar", "ཀ": "Tibetan", "ក": "Khmer"}
    assert {letter: script_of(letter) for letter in letters} == letters
    assert [script_of(letter) for letter in "1 .ーº\ue000"] == [None] * 6


@given(st.text())
def test_every_character_has_one_script_or_none(text: str) -> None:
    assert scripts_of(text).total() <= sum(map(str.isalpha, text))


def test_the_hub_without_datasets_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"\[hub\]"):
        open_parallel("hf:org/name")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for the datasets library with one set."""

    class Table:
        def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
            self.columns, self.features = columns, features

        def __len__(self) -> int:
            return len(next(iter(self.columns.values())))

        def __getitem__(self, rows: slice) -> dict[str, list[Any]]:
            return {name: column[rows] for name, column in self.columns.items()}

    module: Any = types.ModuleType("datasets")
    module.__spec__ = importlib.util.spec_from_loader("datasets", loader=None)
    module.Translation = type("Translation", (), {"languages": ["en", "fr"]})
    module.Value = type("Value", (), {"__init__": lambda self, dtype: setattr(self, "dtype", dtype)})
    nested = [{"en": "one", "fr": "un"}, {"en": "two", "fr": None}, None]
    module.table = Table({"translation": nested}, {"translation": module.Translation()})
    module.flat = Table(
        {"id": [0, 1], "en": ["one", None], "fr": ["un", "deux"]},
        {"id": module.Value("int64"), "en": module.Value("string"), "fr": module.Value("string")},
    )

    def load(name: str, split: str, revision: str | None) -> Table:
        if split != "test":
            raise RuntimeError(f"no {name} {split}.\nTraceback …")
        return module.flat if name == "flat" else module.table

    module.load_dataset = load
    module.get_dataset_split_names = lambda name, revision: ["test"]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_hub_sets_have_a_column_of_translations_or_one_a_language(hub: Any) -> None:
    nested, flat = open_parallel("hf:org/set@abc"), open_parallel("hf:flat:test[0:2]")
    assert nested.languages == flat.languages == ("en", "fr")
    assert nested.pairs("en", "fr") == flat.pairs("en", "fr") == [("one", "un")]
    assert (nested.num_skipped("en", "fr"), flat.num_skipped("en", "fr")) == (2, 1)


def test_hub_failures_are_data_errors(hub: Any) -> None:
    with pytest.raises(DataError, match="cannot be loaded: no org/set train: check its name and split"):
        open_parallel("hf:org/set:train")
    hub.flat.features = {"id": hub.Value("int64")}
    with pytest.raises(DataError, match=r"must have a column of text a language.*columns are: id \(Value\)"):
        open_parallel("hf:flat")
