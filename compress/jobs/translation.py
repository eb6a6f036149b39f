"""Jobs of `translation`: from a recipe to its translator, its parallel text and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.pairs import parse_pair
from compress.data.parallel import open_parallel
from compress.errors import DataError
from compress.exporter import Card
from compress.exporter.text import export_translator, graph_bytes
from compress.files import write_text
from compress.jobs.sequences import examples_in_a_row, sentence_pairs
from compress.jobs.speaking import Speaker
from compress.passes.base import Progress
from compress.recipe import Recipe, TranslationSpec
from compress.runtime.artefact import Artefact
from compress.runtime.measurement import Measurement, Prefill, bytes_of
from compress.runtime.text import Decoding, open_translator
from compress.runtime.text.measure import TextRuns, measure_text
from compress.runtime.verify import Verification, verify_scores
from compress.tasks.base import Scores
from compress.tasks.translation import Example, Translation, texts_sha256
from compress.tasks.translation_outputs import Outputs, read_outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compress.models.source import ModelSource
    from compress.models.translators import LoadedTranslator
    from compress.training.examples import Examples

OUTPUTS = "outputs.json"  # what a translator made of the data, beside its row
MAX_SEQ_LENGTH = 512  # tokens of a calibration text, where the recipe gives none
_PARITY_TEXTS = 2
_SPEED_PROMPTS = 4


@dataclass(frozen=True)
class TranslationJob:
    """A Job: a translator, and the task that scores it."""

    source: LoadedTranslator
    task: Translation
    recipe: Recipe

    @property
    def model(self) -> nn.Module:
        return self.source.model  # type: ignore[no-any-return]

    @property
    def card(self) -> Card:
        source = self.source
        return Card(source.description, source.random_weights, source.licence, task="translation")

    @property
    def translator(self) -> LoadedTranslator:
        return self.source

    @property
    def num_evaluation(self) -> int:
        spec = _spec(self.recipe)
        numbers = (spec.num_likelihood, spec.num_translations)
        rows = [len(self.task.examples(pair)) for pair in self.task.pairs]
        return sum(min(count, number if number is not None else count) for count in rows for number in numbers)

    @property
    def num_calibration(self) -> int:
        return sum(1 for _ in self.batches())

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        """One row each: a decoder's (input_ids [1, T],), or an encoder–decoder's (input_ids, attention_mask,
        decoder_input_ids), of at most `max_seq_length` tokens."""
        import torch

        from compress.models.translators.trimmed import trimmed

        source = trimmed(self.source)
        longest = self.recipe.calibration.max_seq_length or MAX_SEQ_LENGTH
        sequences = examples_in_a_row if self.source.family == "decoder" else sentence_pairs
        for rows in sequences(source, self.task.calibration(), longest):
            yield tuple(torch.tensor([row]) for row in rows)

    def example(self) -> tuple[Tensor, ...]:
        return next(self.batches())

    def corpus(self, dataset: str | None) -> tuple[Example, ...]:
        """All rows of `dataset`, or of the calibration's set, in all pairs.  Raises DataError."""
        return _training(self.task, dataset)

    def examples(self, dataset: str | Sequence[Example] | None, augment: tuple[str, ...] = ()) -> Examples:
        from compress.jobs.text_examples import TextExamples
        from compress.models.translators.trimmed import trimmed

        longest = self.recipe.calibration.max_seq_length or MAX_SEQ_LENGTH
        texts = self.corpus(dataset) if dataset is None or isinstance(dataset, str) else dataset
        return TextExamples(trimmed(self.source), texts, longest)

    def another(self, source: ModelSource, allow_code: bool) -> nn.Module:
        from compress.models.translators import load_translator

        return load_translator(source, allow_code=allow_code).model  # type: ignore[no-any-return]

    def data_sha256(self) -> dict[str, str]:
        return fingerprints(self.recipe)

    def decided_by(self) -> Any:
        return self.source.prompt.to_json()

    def export(self, model: nn.Module, directory: Path, lock: Mapping[str, Any]) -> Artefact:
        pair = self.task.pairs[0]
        texts = [example.source for example in self.task.examples(pair)[:_PARITY_TEXTS]]
        return export_translator(
            replace(self.source, model=model),
            directory,
            target=self.recipe.device(),
            lock=lock,
            card=self.card,
            verify_texts=texts,
        )

    @property
    def file_bytes(self) -> Callable[[nn.Module], int]:
        return graph_bytes

    def measure(self, artefact: Artefact, reference: Artefact | None, keep: Path, progress: Progress) -> Measurement:
        threads = self.recipe.evaluate.threads
        examples = [example for pair in self.task.pairs for example in self.task.examples(pair)[:_SPEED_PROMPTS]]
        prompts = [self.source.prompt.render(each.source, *parse_pair(each.pair)) for each in examples]
        speed = measure_text(
            artefact.directory,
            None if reference is None else reference.directory,
            prompts[:: max(1, len(prompts) // _SPEED_PROMPTS)],
            threads,
            TextRuns(),
            progress,
        )
        scores = scores_of(self.task, self.recipe, artefact, reference, keep, threads, progress)
        return Measurement(
            latency_ms_p50=1e3 / speed.decode_tokens_per_second,
            latency_ms_p95=speed.decode_ms_p95,
            items_per_second=speed.decode_tokens_per_second,
            latency_ratio=speed.decode_ratio,
            energy_joules=None,
            energy_note="not measured for translators",
            prefill=Prefill(
                tokens_per_second=speed.prefill_tokens_per_second,
                ratio=speed.prefill_ratio,
                first_token_ms=speed.time_to_first_token_ms,
            ),
            **bytes_of(artefact, reference),
            parameters=int(artefact.manifest["model"]["parameters"]),
            macs=None,
            operators={},
            effective_bits=speed.effective_bits,
            load_ms=speed.load_ms,
            rss_after_load_bytes=speed.rss_after_load_bytes,
            peak_rss_bytes=max(speed.peak_rss_loading_bytes, speed.peak_rss_running_bytes),
            scores=scores,
            machine=speed.machine,
            parts=vars(speed.parts),
        )


def scores_of(
    task: Translation,
    recipe: Recipe,
    artefact: Artefact,
    reference: Artefact | None,
    keep: Path | None,
    threads: int,
    progress: Progress,
) -> Scores:
    """The artefact's scores and, with a reference, how they compare; its outputs are kept in `keep`."""
    outputs = _outputs(task, recipe, artefact, threads, progress)
    if keep is not None:
        write_text(keep / OUTPUTS, outputs.to_json())
    scores = task.score(outputs)
    if reference is None:
        return scores
    return {**scores, **task.compare(outputs, outputs_of(task, recipe, reference, threads, progress))}


def outputs_of(task: Translation, recipe: Recipe, artefact: Artefact, threads: int, progress: Progress) -> Outputs:
    """What a translator makes of the task's data: as its run left it beside the row, or else by running it."""
    kept = _kept(task, artefact.directory.parent / OUTPUTS)
    return kept if kept is not None else _outputs(task, recipe, artefact, threads, progress)


def _outputs(task: Translation, recipe: Recipe, artefact: Artefact, threads: int, progress: Progress) -> Outputs:
    spec = _spec(recipe)
    decoding = Decoding(max_new_tokens=spec.max_new_tokens, num_beams=spec.num_beams)
    return task.run(Speaker(open_translator(artefact, threads), decoding, spec.batch_size, progress))


def _kept(task: Translation, path: Path) -> Outputs | None:
    """The outputs that a run left there, if they are of the task's data."""
    try:
        outputs = read_outputs(path.read_text(encoding="utf-8"))
    except (OSError, DataError):
        return None
    return outputs if outputs.data == task.evaluation_fingerprint() else None


def fingerprints(recipe: Recipe) -> dict[str, str]:
    """See `Kind`."""
    task = task_of(recipe)
    if not recipe.passes:
        return {"evaluation": task.evaluation_fingerprint()}
    own: dict[str, str | None] = {}
    for number, step in enumerate(recipe.passes, 1):
        own[f"{step.name}.{number}"] = step.data_sha256()
        for dataset in step.trains_on():
            own[f"{step.name}.{number}"] = texts_sha256(_training(task, dataset))
    return task.fingerprints() | {name: sha256 for name, sha256 in own.items() if sha256 is not None}


def _training(task: Translation, dataset: str | None) -> tuple[Example, ...]:
    """What a pass is trained on: all rows of the dataset in all pairs, in an order drawn by the calibration's seed."""
    return replace(
        task, calibration_dataset=dataset or task.calibration_dataset, calibration_num_samples=None
    ).calibration()


def check_examples(recipe: Recipe, dataset: str) -> None:
    """See `Kind`."""
    _training(task_of(recipe), dataset)


def check_dataset(recipe: Recipe, section: str) -> None:
    """See `Kind`."""
    task = task_of(recipe)
    if section == "task":
        for pair in task.pairs:
            task.examples(pair)
        task.few_shots()
    else:
        open_parallel(recipe.calibration.dataset)
        task.calibration()


def layer_names(recipe: Recipe, allow_code: bool) -> dict[str, nn.Module]:
    """See `Kind`."""
    from compress.models.translators import model_layer_names

    return model_layer_names(recipe.model)


def load(recipe: Recipe, allow_code: bool) -> TranslationJob:
    """See `Kind`.  A prompt that wants examples gets the task's shots."""
    from compress.models.translators import load_translator

    task, source = task_of(recipe), load_translator(recipe.model, allow_code=allow_code)
    prompt = source.prompt
    for pair in task.pairs:
        for code in parse_pair(pair):
            prompt.language(code)
    if "{examples}" in prompt.template:
        prompt = replace(prompt, shots=task.few_shots())
    return TranslationJob(replace(source, prompt=prompt), task, recipe)


def verify(
    artefact: Artefact, recipe: Recipe, dataset: str | None, reference: Path | None, threads: int, progress: Progress
) -> Verification:
    """See `Kind`."""
    task = task_of(recipe)
    if dataset is not None:
        task = replace(task, dataset=dataset)

    def rescore(opened: Artefact, beside: Artefact | None) -> Scores:
        return scores_of(task, recipe, opened, beside, None, threads, progress)

    return verify_scores(artefact.directory, rescore, task.evaluation_fingerprint(), float_artefact=reference)


def kept_outputs(run: Path) -> Outputs | None:
    """What the translator of a run made of the data; None for a run that left none.  Raises DataError if damaged."""
    path = run / OUTPUTS
    return read_outputs(path.read_text(encoding="utf-8")) if path.is_file() else None


def task_of(recipe: Recipe) -> Translation:
    """The recipe's task."""
    spec, calibration = _spec(recipe), recipe.calibration
    return Translation(
        spec.pairs,
        dataset=spec.dataset,
        calibration_dataset=calibration.dataset,
        calibration_num_samples=calibration.num_samples,
        calibration_seed=calibration.seed,
        num_likelihood=spec.num_likelihood,
        num_translations=spec.num_translations,
        shots=spec.shots,
    )


def _spec(recipe: Recipe) -> TranslationSpec:
    assert isinstance(recipe.task, TranslationSpec)  # `kind_of` chose this module by it
    return recipe.task
