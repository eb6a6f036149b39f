"""Translators of random weights through the whole program: recipe, passes, artefact, scores, verification."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import compress
from compress import applying
from compress.comparing import compare
from compress.errors import DataError
from compress.jobs import kind_of, recipe_of
from compress.jobs.translation import OUTPUTS, TranslationJob
from compress.models.vocabulary import kept_tokens
from compress.passes.base import Pass, silent
from compress.plan import plan
from compress.recipe import Recipe, parse
from compress.runtime.artefact import open_artefact
from compress.runtime.text import open_translator
from compress.runtime.verify import Verdict

RECIPE = """
name: tiny
model: random:{model}
task:
  translation:
    {{pairs: [en-fr, en-de], shots: "demo[0:1]", num_likelihood: 2, num_translations: 1, max_new_tokens: 4}}
calibration: {{dataset: "demo[3:72]", num_samples: 6, max_seq_length: 96}}
passes:
  - quantize.weights: {{num_bits: 4, strategy: group, group_size: 16, symmetric: false, algorithm: gptq}}
  - quantize.weights: {{targets: ["role:embedding"], num_bits: 8, strategy: group, group_size: 16}}
"""


TRIM = """
passes:
  - trim.vocabulary: {{languages: [en, fr, de], vocab_size: 280}}
"""


def recipe(model: str) -> Recipe:
    return parse(RECIPE.format(model=model))


@pytest.mark.parametrize("model", ["tiny-gemma3", "tiny-m2m100", "tiny-marian"])
def test_a_plan_counts_an_embedding_once_in_its_own_bits(model: str) -> None:
    made = plan(recipe(model))
    tables = [layer for layer in made.layers if layer.shape == max(each.shape for each in made.layers)]
    [table] = tables
    rows, columns = table.shape
    assert (table.num_bits, table.stored_bytes) == (8, rows * (columns + columns // 16 * 2))
    assert sum(layer.num_bits == 4 for layer in made.layers) > 10
    parameters = sum(value.numel() for value in job(model).model.parameters())
    assert 4 * parameters <= made.float_bytes < 4.1 * parameters + 1e6
    assert made.model_bytes < made.float_bytes
    assert made.peak_memory_bytes < 2e9


def test_a_plan_counts_the_tokens_that_may_stay() -> None:
    trim = "trim.vocabulary: {languages: [en, fr, de], vocab_size: 400}"
    text = RECIPE.format(model="tiny-gemma3").replace("passes:\n", f"passes:\n  - {trim}\n")
    trimmed, whole = plan(parse(text)), plan(recipe("tiny-gemma3"))
    [table] = [layer for layer in trimmed.layers if layer.shape[0] == 400]
    columns = table.shape[1]
    assert (table.num_bits, table.stored_bytes) == (8, 400 * (columns + columns // 16 * 2))
    assert trimmed.model_bytes < whole.model_bytes
    assert trimmed.float_bytes == whole.float_bytes


def job(model: str) -> TranslationJob:
    loaded = kind_of(recipe(model)).load(recipe(model), False)
    assert isinstance(loaded, TranslationJob)
    return loaded


@pytest.mark.parametrize("model", ["tiny-gemma3", pytest.param("tiny-m2m100", marks=pytest.mark.slow)])
def test_a_translator_becomes_a_measured_artefact_that_verifies(model: str, tmp_path: Path) -> None:
    row = compress.run(recipe(model), output=tmp_path)
    assert row.task == "translation"
    assert row.random_weights
    assert row.prefill is not None
    assert row.size_ratio is not None
    assert row.size_ratio < 0.5
    assert {"nll_per_token", "nll_per_token_lost.en-de", "chrf", "identical", "empty"} <= row.scores.keys()
    artefact = open_artefact(row.artefact)
    assert artefact.model_bytes == row.model_bytes
    [translation] = open_translator(artefact).translate(["Good morning."], "en", "fr")
    assert isinstance(translation.text, str)
    [baseline] = tmp_path.glob("*-float-*")
    assert (baseline / OUTPUTS).is_file()
    found_again = compare(baseline, tmp_path / "tiny")
    [lost] = found_again.compared.differences
    assert lost == {name: row.scores[name] for name in lost}
    assert {"nll_per_token_lost", "chrf_lost.en-fr", "identical"} <= lost.keys()
    [layers] = found_again.layers.values()
    assert layers.apart == ()
    by_bits = {layer.layer: layer.sqnr_db for layer in layers.errors}
    assert max(by_bits, key=by_bits.__getitem__).endswith("embed_tokens")
    asked = recipe_of(artefact)
    found = kind_of(asked).verify(artefact, asked, None, baseline / "artefact", 2, silent)
    assert found.ok
    assert {check.verdict for check in found.checks} == {Verdict.EXACT}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny-gemma3", "tiny-m2m100"])
def test_a_trimmed_translator_resumes_and_verifies(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = parse(RECIPE.replace("passes:\n", TRIM.lstrip()).format(model=model))
    apply_one, export = applying.apply_one, TranslationJob.export
    done: list[str] = []

    def counted(step: Pass, *others: Any) -> Any:
        done.append(step.name)
        return apply_one(step, *others)

    def killed(self: TranslationJob, network: nn.Module, *others: Any) -> Any:
        if kept_tokens(network) is not None:
            raise KeyboardInterrupt
        return export(self, network, *others)

    monkeypatch.setattr(applying, "apply_one", counted)
    monkeypatch.setattr(TranslationJob, "export", killed)
    with pytest.raises(KeyboardInterrupt):
        compress.run(asked, output=tmp_path)
    monkeypatch.setattr(TranslationJob, "export", export)
    row = compress.run(asked, output=tmp_path)
    assert done == ["trim.vocabulary", "quantize.weights", "quantize.weights"]
    artefact = open_artefact(row.artefact)
    assert artefact.manifest["quantization"]["vocabulary"]["tokens"] <= 280
    assert "trim.vocabulary.1_sha256" in artefact.manifest["lock"]
    assert " tokens are kept" in (tmp_path / "tiny" / "log.txt").read_text()
    compress.run(asked, output=tmp_path / "at once")
    again = open_artefact(tmp_path / "at once" / "tiny" / "artefact")
    assert artefact.manifest["files"] == again.manifest["files"]
    if model != "tiny-gemma3":  # which knows languages by their names
        with pytest.raises(DataError, match="unknown language 'es'"):
            open_translator(artefact).translate(["Good morning."], "en", "es")
    [baseline] = tmp_path.glob("*-float-*")
    found = kind_of(asked).verify(artefact, recipe_of(artefact), None, baseline / "artefact", 2, silent)
    assert found.ok


def test_a_decoder_calibrates_on_examples_in_a_row_and_no_longer_than_asked() -> None:
    tiny = job("tiny-gemma3")
    sequences = [batch[0][0].tolist() for batch in tiny.batches()]
    assert all(8 < len(sequence) <= 96 for sequence in sequences)
    text = tiny.source.tokenizer.decode(sequences[0])
    assert text.startswith("English: ")
    assert "\nFrench: " in text


def test_an_encoder_decoder_calibrates_on_a_pair_a_batch() -> None:
    tiny = job("tiny-m2m100")
    batches = list(tiny.batches())
    assert len(batches) == 6
    ids, mask, written = batches[0]
    settings = tiny.source.model.generation_config
    assert ids.shape == mask.shape
    assert ids[0, 0] == tiny.source.tokenizer.token_to_id("__en__")
    assert ids[0, -1] == settings.eos_token_id
    assert written[0, 0] == settings.decoder_start_token_id
    assert tiny.source.tokenizer.id_to_token(int(written[0, 1])) in ("__fr__", "__de__")


def test_a_language_that_the_model_does_not_know_is_refused() -> None:
    task = replace(recipe("tiny-m2m100").task, pairs=("en-te",))  # type: ignore[type-var]
    with pytest.raises(DataError, match="unknown language 'te'"):
        kind_of(recipe("tiny-m2m100")).load(replace(recipe("tiny-m2m100"), task=task), False)  # type: ignore[arg-type]
