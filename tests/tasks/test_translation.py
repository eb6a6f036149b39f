"""Translation: what is asked of a translator, and scores of any answers."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from compress.data.parallel import open_parallel
from compress.data.prompts import Prompt
from compress.errors import DataError, MissingExtra, ModelError
from compress.tasks.translation import Example, Translates, Translation
from compress.tasks.translation_outputs import Outputs, PairOutputs, read_outputs

TASK = Translation(("en-fr", "en-de"), dataset="demo[100:112]", num_translations=6)


@dataclass(frozen=True)
class Answer:
    text: str
    finished: bool = True


@dataclass(frozen=True)
class Likely:
    nats: float
    num_tokens: int


@dataclass(frozen=True)
class Phrasebook:
    """Knows every translation; loses the last word of those whose row is divisible by `worse`."""

    worse: int = 1000
    nats: float = 2.0

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Answer]:
        rows = {row.source: row for row in open_parallel("demo").aligned(source, target)}
        return [
            Answer(rows[text].target if rows[text].number % self.worse else rows[text].target.rpartition(" ")[0])
            for text in texts
        ]

    def log_likelihood(
        self, sources: Sequence[str], references: Sequence[str], source: str, target: str
    ) -> list[Likely]:
        return [Likely(self.nats * len(text.split()), len(text.split())) for text in references]


@pytest.fixture(scope="module")
def perfect() -> Outputs:
    return TASK.run(Phrasebook())


@pytest.fixture(scope="module")
def worse() -> Outputs:
    return TASK.run(Phrasebook(worse=2, nats=2.5))


def test_a_translator_that_knows_everything_has_full_marks(perfect: Outputs) -> None:
    scores = TASK.score(perfect)
    for suffix, rows in (("", 2), (".en-fr", 1), (".en-de", 1)):
        assert scores[f"chrf{suffix}"].value == pytest.approx(100)
        assert scores[f"bleu{suffix}"].value == pytest.approx(100)
        assert scores[f"nll_per_token{suffix}"].value == pytest.approx(2)
        assert scores[f"nll_per_token{suffix}"].num_samples == 12 * rows
        for failure in ("empty", "repeated", "length_ratio", "source_copied", "wrong_script", "wrong_language", "cut"):
            assert scores[f"{failure}{suffix}"].value == 0
            assert scores[f"{failure}{suffix}"].num_samples == 6 * rows
    assert "comet" not in scores


def test_likelihood_is_of_all_tokens_together_and_of_all_characters() -> None:
    task = Translation(("en-fr", "en-de"), dataset="demo[100:102]", num_translations=0)
    pair = PairOutputs((100, 101), (1.0, 2.0), (4, 1), (20, 5), (), (), ())
    other = replace(pair, nats=(7.0, 8.0), num_tokens=(2, 2), num_chars=(10, 10))
    outputs = Outputs(task.run(Phrasebook()).data, {"en-fr": pair, "en-de": other})
    scores = task.score(outputs)
    assert {name: figure.value for name, figure in scores.items()} == pytest.approx(
        {
            "nll_per_token": 18 / 9,
            "nll_per_token.en-fr": 3 / 5,
            "nll_per_token.en-de": 15 / 4,
            "nll_per_char": 18 / 45,
            "nll_per_char.en-fr": 3 / 25,
            "nll_per_char.en-de": 15 / 20,
        }
    )
    # Two rows: both, or one of them twice.
    assert scores["nll_per_token.en-fr"].low == pytest.approx(1 / 4)
    assert scores["nll_per_token.en-fr"].high == pytest.approx(2 / 1)


def test_text_scores_are_sacrebleus_and_overall_their_mean(worse: Outputs) -> None:
    scores = TASK.score(worse)
    each = []
    for pair in TASK.pairs:
        references = [example.reference for example in TASK.examples(pair)[:6]]
        each.append(CHRF(word_order=2).corpus_score(worse.pairs[pair].hypotheses, [references]).score)
        assert scores[f"chrf.{pair}"].value == pytest.approx(each[-1], rel=1e-12)
        assert scores[f"chrf.{pair}"].low < each[-1] < scores[f"chrf.{pair}"].high
    assert scores["chrf"].value == pytest.approx(np.mean(each), rel=1e-12)
    assert each[0] < 100


def test_a_system_loses_nothing_against_itself(worse: Outputs) -> None:
    scores = TASK.compare(worse, worse)
    for name, figure in scores.items():
        expected = 1 if name.startswith(("identical", "chrf_ratio")) else 0
        assert figure.value == expected, name
        if not name.startswith("identical"):
            assert (figure.low, figure.high) == (expected, expected), name
    wanted = {"nll_per_token_lost", "nll_per_char_lost", "chrf_lost", "bleu_lost", "chrf_ratio", "identical"}
    assert set(scores) == wanted | {f"{name}.{pair}" for name in wanted for pair in TASK.pairs}


def test_losses_point_one_way(perfect: Outputs, worse: Outputs) -> None:
    lost, won = TASK.compare(worse, perfect), TASK.compare(perfect, worse)
    assert lost["nll_per_token_lost"].value == pytest.approx(0.5)
    # Every row loses the same: paired, there is no doubt.
    assert lost["nll_per_token_lost"].low == pytest.approx(0.5)
    assert lost["nll_per_token_lost"].high == pytest.approx(0.5)
    for name in ("nll_per_token_lost", "nll_per_char_lost", "chrf_lost", "bleu_lost.en-de"):
        assert lost[name].value > 0
        assert won[name].value == pytest.approx(-lost[name].value)
        assert won[name].low == pytest.approx(-lost[name].high)
    assert lost["chrf_ratio"].value == pytest.approx(1 - lost["chrf_lost"].value / 100)
    assert (lost["identical"].value, lost["identical"].num_samples) == (0.5, 12)


def test_pairing_is_what_narrows_the_interval(worse: Outputs, perfect: Outputs) -> None:
    noise = np.random.default_rng(0).normal(10, 4, 12)

    def noisy(outputs: Outputs, more: float) -> Outputs:
        pairs = {pair: replace(found, nats=tuple(noise + more)) for pair, found in outputs.pairs.items()}
        return Outputs(outputs.data, pairs)

    alone = TASK.score(noisy(perfect, 0))["nll_per_token"]
    paired = TASK.compare(noisy(worse, 0.1), noisy(perfect, 0))["nll_per_token_lost"]
    assert paired.low > 0
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_a_ratio_to_nothing_is_left_out(perfect: Outputs) -> None:
    nothing = {pair: replace(found, hypotheses=("",) * 6) for pair, found in perfect.pairs.items()}
    scores = TASK.compare(perfect, Outputs(perfect.data, nothing))
    assert not [name for name in scores if name.startswith("chrf_ratio")]
    assert scores["chrf_lost"].value == pytest.approx(-100)
    assert TASK.score(Outputs(perfect.data, nothing))["empty.en-fr"].value == 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 60), st.integers(1, 30)), min_size=12, max_size=12),
    st.permutations(range(12)),
)
def test_intervals_hold_their_values_and_the_order_of_rows_does_not_matter(
    rows: list[tuple[float, int]], order: list[int]
) -> None:
    task = Translation(("en-fr",), dataset="demo[100:112]", num_translations=0)
    base = task.run(Phrasebook()).pairs["en-fr"]
    found = replace(base, nats=tuple(nats for nats, _ in rows), num_tokens=tuple(tokens for _, tokens in rows))
    data = task.fingerprints()["evaluation"]
    other = PairOutputs(
        *(tuple(values[place] for place in order) for values in (found.rows, found.nats, found.num_tokens)),
        tuple(found.num_chars[place] for place in order),
        (),
        (),
        (),
    )
    scores = task.score(Outputs(data, {"en-fr": found}))
    for name, figure in task.score(Outputs(data, {"en-fr": other})).items():
        assert figure.low <= figure.value <= figure.high
        assert (figure.value, figure.low, figure.high) == pytest.approx(
            (scores[name].value, scores[name].low, scores[name].high), abs=1e-9
        )


def test_the_translator_is_asked_for_the_first_rows_only() -> None:
    asked: list[tuple[str, int]] = []

    class Counting(Phrasebook):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[Answer]:
            asked.append(("translate", len(texts)))
            return super().translate(texts, source, target)

        def log_likelihood(
            self, sources: Sequence[str], references: Sequence[str], source: str, target: str
        ) -> list[Likely]:
            asked.append(("log_likelihood", len(references)))
            assert len(sources) == len(references)
            return super().log_likelihood(sources, references, source, target)

    told: list[str] = []
    task = replace(TASK, num_likelihood=4, num_translations=2)
    outputs = task.run(Counting(), told.append)
    assert told == list(TASK.pairs)
    assert asked == [("log_likelihood", 4), ("translate", 2)] * 2
    assert outputs.pairs["en-de"].rows == (100, 101, 102, 103)
    assert outputs.pairs["en-de"].translated == (100, 101)
    asked.clear()
    scores = replace(task, num_translations=0).score(replace(task, num_translations=0).run(Counting()))
    assert asked == [("log_likelihood", 4)] * 2
    assert set(scores) == {f"nll_per_{per}{at}" for per in ("token", "char") for at in ("", ".en-fr", ".en-de")}
    asked.clear()
    only = replace(task, num_likelihood=0)
    assert "nll_per_token" not in only.score(only.run(Counting()))
    assert asked == [("translate", 2)] * 2


def test_outputs_are_plain_and_come_back_bit_for_bit(worse: Outputs) -> None:
    again = read_outputs(worse.to_json())
    assert again == worse
    assert TASK.score(again) == TASK.score(worse)
    for text in ("{}", "[]", worse.to_json()[:-9], '{"data": "", "pairs": {"en-fr": {"rows": []}}}'):
        with pytest.raises(DataError, match="outputs of a translator are damaged"):
            read_outputs(text)


def test_outputs_of_other_data_are_refused(perfect: Outputs) -> None:
    for other in (
        replace(TASK, dataset="demo[100:111]"),
        replace(TASK, num_likelihood=5),
        replace(TASK, pairs=("en-fr",)),
    ):
        with pytest.raises(DataError, match="are of other data than the task's"):
            other.score(perfect)
        with pytest.raises(DataError, match="of other data"):
            TASK.compare(perfect, other.run(Phrasebook()))


@pytest.mark.parametrize(
    ("likely", "message"),
    [
        (Likely(math.nan, 3), "en-fr, row 100: the likelihood of the reference is nan nats in 3 tokens"),
        (Likely(math.inf, 3), "is inf nats"),
        (Likely(1.0, 0), "in 0 tokens"),
    ],
)
def test_answers_that_are_no_numbers_are_model_errors(likely: Likely, message: str) -> None:
    class Broken(Phrasebook):
        def log_likelihood(
            self, sources: Sequence[str], references: Sequence[str], source: str, target: str
        ) -> list[Likely]:
            return [likely] * len(references)

    with pytest.raises(ModelError, match=message):
        TASK.run(Broken())


def test_too_few_answers_are_a_model_error() -> None:
    class Short(Phrasebook):
        def translate(self, texts: Sequence[str], source: str, target: str) -> list[Answer]:
            return super().translate(texts, source, target)[1:]

    with pytest.raises(ModelError, match="en-fr: the model gave 5 translations for 6 texts"):
        TASK.run(Short())


def test_shots_fit_a_prompt_and_are_never_scored_nor_calibrated_with() -> None:
    task = Translation(("en-fr", "fr-zh"), dataset="demo[0:10]", calibration_dataset="demo[1:5]")
    shots = task.few_shots()
    assert set(shots) == set(task.pairs)
    assert shots["en-fr"][0] == ("Good morning, how are you?", "Bonjour, comment allez-vous ?")
    assert [example.row for example in task.examples("fr-zh")] == list(range(3, 10))
    assert {example.row for example in task.calibration()} == {3, 4}
    prompt = Prompt({"en": "English", "fr": "French"}, "{examples}{source}", "{source}={target}\n", shots)
    assert prompt.render("Hello", "en", "fr").count("\n") == 3
    with pytest.raises(DataError, match=r"all its rows are shots \('demo\[0:3\]'\): none is left for en-fr"):
        replace(task, dataset="demo[1:3]").examples("en-fr")


def test_shots_of_another_file_hide_no_rows(tmp_path: Path) -> None:
    (tmp_path / "shots.tsv").write_text("en\tfr\nyes\toui\nno\tnon\n")
    task = Translation(("en-fr",), dataset="demo[0:3]", shots=f"tsv:{tmp_path}/shots.tsv")
    assert len(task.examples("en-fr")) == 3
    assert task.few_shots() == {"en-fr": (("yes", "oui"), ("no", "non"))}


def test_calibration_is_drawn_evenly_of_all_pairs_by_seed() -> None:
    task = Translation(("en-fr", "en-de", "de-fr"), calibration_num_samples=20)
    drawn = task.calibration()
    assert [example.pair for example in drawn[:4]] == ["en-fr", "en-de", "de-fr", "en-fr"]
    assert [sum(example.pair == pair for example in drawn) for pair in task.pairs] == [7, 7, 6]
    assert len({(example.pair, example.row) for example in drawn}) == 20
    assert all(3 <= example.row < 72 for example in drawn)
    assert drawn == pickle.loads(pickle.dumps(task)).calibration()
    assert drawn != replace(task, calibration_seed=1).calibration()
    assert len(replace(task, calibration_num_samples=None).calibration()) == 3 * 69
    assert len(replace(task, calibration_num_samples=10_000).calibration()) == 3 * 69
    assert drawn[0].source in open_parallel("demo").texts("en")
    assert isinstance(drawn[0], Example)


def test_fingerprints_follow_what_is_used() -> None:
    prints = TASK.fingerprints()
    assert set(prints) == {"evaluation", "calibration"}
    assert prints == replace(TASK).fingerprints()
    changed = [
        replace(TASK, dataset="demo[100:111]"),
        replace(TASK, num_translations=5),
        replace(TASK, pairs=("en-fr", "en-es")),
    ]
    assert len({prints["evaluation"], *(task.fingerprints()["evaluation"] for task in changed)}) == 4
    assert (
        replace(TASK, calibration_seed=1, calibration_num_samples=5).fingerprints()["evaluation"]
        == prints["evaluation"]
    )
    assert (
        replace(TASK, calibration_seed=1, calibration_num_samples=5).fingerprints()["calibration"]
        != replace(TASK, calibration_seed=2, calibration_num_samples=5).fingerprints()["calibration"]
    )


def test_signatures_are_by_pair() -> None:
    signatures = Translation(("en-zh", "en-ja", "zh-en")).signatures()
    assert set(signatures) == {"chrf", "bleu.en-zh", "bleu.en-ja", "bleu.zh-en"}
    assert [signatures[f"bleu.{pair}"].split("|")[3] for pair in ("en-zh", "en-ja", "zh-en")] == [
        "tok:zh",
        "tok:char",
        "tok:13a",
    ]


def test_what_cannot_be_a_task_is_a_data_error() -> None:
    with pytest.raises(DataError, match="at least one language pair"):
        Translation(())
    with pytest.raises(DataError, match="'en-fr' is listed twice"):
        Translation(("en-fr", "en-fr"))
    with pytest.raises(DataError, match="is not a language pair"):
        Translation(("enfr",))
    with pytest.raises(DataError, match="num_translations is -1"):
        Translation(("en-fr",), num_translations=-1)
    with pytest.raises(DataError, match="unknown language 'th': known: ar, de"):
        Translation(("en-th",)).examples("en-th")
    assert Translation(("en-fr", "zh-Hant-en")).languages == ("en", "fr", "zh-Hant")


def test_missing_packages_are_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never(Phrasebook):
        def log_likelihood(
            self, sources: Sequence[str], references: Sequence[str], source: str, target: str
        ) -> list[Likely]:
            raise AssertionError("asked")

    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"\[text\]"):
        TASK.run(Never())
    task = replace(TASK, num_translations=0)
    monkeypatch.setattr("compress.errors.importlib.util.find_spec", lambda name: "there" if name != "comet" else None)
    assert task.score(task.run(Phrasebook()))["nll_per_token"].value == pytest.approx(2)
    with pytest.raises(MissingExtra, match=r"\[comet\]"):
        replace(TASK, comet="a/model").run(Never())


def test_comet_is_a_mean_with_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    def scores(model: str, sources: list[str], hypotheses: tuple[str, ...], references: list[str]) -> list[float]:
        return [float(one == two) for one, two in zip(hypotheses, references, strict=True)]

    monkeypatch.setattr("compress.tasks.translation.require_comet", lambda: None)
    monkeypatch.setattr("compress.tasks.translation.comet_scores", scores)
    task = replace(TASK, comet="a/model")
    good, bad = task.run(Phrasebook()), task.run(Phrasebook(worse=2))
    figure = task.score(bad)["comet.en-fr"]
    assert (figure.value, figure.num_samples) == (0.5, 6)
    assert 0 <= figure.low < 0.5 < figure.high <= 1
    assert task.compare(bad, good)["comet_lost"].value == 0.5


def test_anything_that_translates_will_do() -> None:
    translator: Translates = Phrasebook()
    assert (
        translator.translate(["Thank you very much for your help."], "en", "fr")[0].text
        == "Merci beaucoup pour votre aide."
    )


SCRIPT = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["datasets"] = sys.modules["comet"] = None
from compress.tasks.translation import Translation
assert "sacrebleu" not in sys.modules
class Silent:
    def translate(self, texts, source, target):
        return [type("T", (), {"text": text, "finished": True}) for text in texts]
    def log_likelihood(self, sources, references, source, target):
        return [type("L", (), {"nats": 1.0, "num_tokens": 2}) for _ in references]
task = Translation(("en-fr",))
scores = task.score(task.run(Silent()))
assert scores["nll_per_token"].value == 0.5
assert scores["source_copied"].value > 0.9, scores
assert len(task.fingerprints()["evaluation"]) == 64
"""


def test_translation_is_scored_without_torch() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
