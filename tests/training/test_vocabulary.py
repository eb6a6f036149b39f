"""A language model learns with the tokens that its examples ask for, and a sample that stands for all others."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.applying import apply
from compress.errors import ModelError
from compress.models.calls import logits_of
from compress.models.quantized import decoded_once, stored
from compress.passes import Distill, DistillQuantized, Finetune, QuantizeWeights
from compress.passes.base import silent
from compress.training import vocabulary
from compress.training.examples import NOTHING, Batch, Examples
from compress.training.loop import Surroundings, train
from compress.training.phase import Phase
from compress.training.settings import LogitsLoss, Teaching
from compress.training.teaching import Teach
from compress.training.vocabulary import FewTokens, SeenTokens
from tests.language import VOCABULARY, decoder, encoder_decoder, sentences

SETTINGS = Finetune(epochs=None, max_steps=3, batch_size=2, learning_rate=0.1, weight_decay=0.0, momentum=0.0)


class Texts:
    """Six rows of eight tokens, of the thirty numbers from 60 on; the next token is asked for but at two places."""

    def __init__(self, model: nn.Module) -> None:
        drawn = torch.Generator().manual_seed(3)
        self.tokens = torch.randint(60, 90, (6, 9), generator=drawn)
        self.both_sides = bool(model.config.is_encoder_decoder)  # type: ignore[union-attr]

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        chosen = self.tokens[list(rows)]
        labels = chosen[:, 1:].clone()
        labels[:, :2] = NOTHING
        read = chosen[:, :-1]
        inputs = (read, torch.ones_like(read), read) if self.both_sides else (read,)
        return Batch(inputs, labels)


def losses(model: nn.Module, examples: Examples, phases: Sequence[Phase], head: nn.Module) -> tuple[float, ...]:
    """Of three steps that leave the head as it is."""

    class Held(Phase):
        def held(self) -> list[nn.Parameter]:
            return [head.weight]  # type: ignore[list-item]

    return train(model, [*phases, Held()], examples, SETTINGS, Surroundings(0, silent)).losses


def head_of(model: nn.Module) -> nn.Module:
    return model.get_output_embeddings()  # type: ignore[no-any-return, operator]


@pytest.mark.parametrize("kind", ["gemma", "llama", "marian", "t5", "m2m100"])
def test_with_all_other_tokens_in_the_sample_a_training_is_the_same(kind: str) -> None:
    def fresh() -> nn.Module:
        model = decoder(kind) if kind in ("gemma", "llama") else encoder_decoder(kind)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias = torch.randn(model.final_logits_bias.shape, generator=torch.manual_seed(2))
        return model

    teacher = copy.deepcopy(fresh())
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.1)
    teaching = Teaching(logits=LogitsLoss())
    whole, narrow = fresh(), fresh()
    expected = losses(whole, Texts(whole), [Teach(whole, copy.deepcopy(teacher), teaching)], head_of(whole))
    phases: list[Phase] = [Teach(narrow, teacher, teaching)]
    head, before = head_of(narrow), logits_of(teacher(*sentences(narrow)[0]))
    seen = SeenTokens(narrow, phases, Texts(narrow), seed=0)
    assert losses(narrow, seen.examples, [*phases, seen], head) == pytest.approx(expected, rel=1e-4)
    seen.finish()
    assert head_of(narrow) is head
    torch.testing.assert_close(logits_of(teacher(*sentences(narrow)[0])), before)
    torch.testing.assert_close(narrow.state_dict(), whole.state_dict(), rtol=1e-3, atol=1e-5)


def test_a_teacher_that_is_a_function_is_asked_for_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "SAMPLED", 40)
    teacher, found = decoder("llama", seed=5), []
    for given in (copy.deepcopy(teacher), lambda tokens: teacher(tokens).logits):
        model = decoder("llama")
        phase = Teach(model, given, Teaching(logits=LogitsLoss()))
        head = head_of(model)
        seen = SeenTokens(model, [phase], Texts(model), seed=0)
        found.append(losses(model, seen.examples, [phase, seen], head))
        seen.finish()
        assert phase.chosen is None
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_sample_stands_for_all_tokens_in_the_sum_of_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of the estimates over many samples is the true sum, and those asked for are in each as they are."""
    monkeypatch.setattr(vocabulary, "SAMPLED", 40)
    model = decoder("llama").eval()
    texts = Texts(model)
    (tokens,) = texts.batch([0], None).inputs
    with torch.no_grad():
        exact = model(tokens).logits.double().exp().sum(-1)
    estimates, asked = [], len(np.unique(texts.tokens[:, 3:].numpy()))
    for seed in range(200):
        seen = SeenTokens(model, [], texts, seed)
        narrow = head_of(model)
        assert isinstance(narrow, FewTokens)
        assert len(narrow.weight) == asked + 40
        torch.testing.assert_close(narrow.bias[asked:], torch.full((40,), float(np.log((VOCABULARY - asked) / 40))))
        with torch.no_grad():
            estimates.append(model(tokens).logits.double().exp().sum(-1))
        seen.finish()
    found = torch.stack(estimates)
    error = found.std(0) / len(estimates) ** 0.5
    assert bool(((found.mean(0) - exact).abs() < 4 * error).all())


def test_labels_are_places_among_the_tokens_that_are_left() -> None:
    model = decoder("llama")
    texts = Texts(model)
    seen = SeenTokens(model, [], texts, 0)
    tokens = np.unique(texts.tokens[:, 3:].numpy())
    batch, before = seen.examples.batch([4, 1], None), texts.batch([4, 1], None)
    assert torch.equal(batch.inputs[0], before.inputs[0])
    assert len(seen.examples) == 6
    asked = before.labels != NOTHING
    assert torch.equal(batch.labels == NOTHING, ~asked)
    assert torch.equal(torch.from_numpy(tokens)[batch.labels[asked]], before.labels[asked])


def test_a_quantized_model_keeps_its_head_and_learns_in_a_recipe_s_pass() -> None:
    model = decoder("llama")
    passes = [QuantizeWeights(num_bits=2), QuantizeWeights(num_bits=4, targets=("role:embedding",))]
    model = apply(model, passes, lambda: sentences(model))
    before = stored(head_of(model))
    assert before is not None
    codes = before.codes.clone()
    step = DistillQuantized(
        epochs=None, max_steps=2, batch_size=2, logits=None, task_weight=1.0, learning_rate=0.01, vocabulary="seen"
    )
    texts = Texts(model)
    trained = apply(model, [step], lambda: sentences(model), examples=lambda dataset, augment: texts)
    after = stored(head_of(trained))
    assert after is not None
    assert torch.equal(after.codes, codes)
    assert trained(texts.tokens).logits.shape[-1] == VOCABULARY


def test_weights_that_stay_are_decoded_once() -> None:
    model = decoder("llama")
    model = apply(model, [QuantizeWeights(num_bits=4, targets=("role:embedding",))], lambda: sentences(model))
    part = stored(head_of(model))
    assert part is not None
    with decoded_once(model):
        assert part(torch.empty(0)) is part(torch.empty(0))
        assert torch.equal(part.quantized.dequantize(), part(torch.empty(0)))
        assert not [name for name in model.state_dict() if "decoded" in name]
    assert part.decoded is None


def trained_head(model: nn.Module) -> tuple[nn.Module, list[Phase]]:
    passes = [QuantizeWeights(num_bits=4, targets=("*", "role:embedding"))]
    model = apply(model, passes, lambda: sentences(model))
    step = DistillQuantized(targets=("role:embedding",), logits=None, task_weight=1.0)
    step.grids(model, step.layers(model))
    return model, []


def other_teacher(model: nn.Module) -> tuple[nn.Module, list[Phase]]:
    return model, [Teach(model, decoder("llama", vocab_size=150), Teaching(logits=LogitsLoss()))]


def bent(model: nn.Module) -> tuple[nn.Module, list[Phase]]:
    model.config.final_logit_softcapping = 30.0  # type: ignore[union-attr]
    return model, []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (trained_head, "its grid is trained: write 'all'"),
        (other_teacher, "the student has 199 tokens, a teacher 150: write 'all'"),
        (bent, "bends its logits"),
        (lambda model: (nn.Linear(3, 3), []), "Linear has no head of one matrix: write 'all'"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(make: object, message: str) -> None:
    model, teachers = make(decoder("llama"))  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        SeenTokens(model, teachers, Texts(decoder("llama")), 0)


def test_it_is_for_language_models() -> None:
    step = replace(Distill(logits=LogitsLoss()), vocabulary="seen")
    assert step.task_problems("image_classification", ()) == ["vocabulary is for language models: take it out"]
    assert step.task_problems("translation", ("en",)) == []


def test_few_tokens_by_hand() -> None:
    head = FewTokens(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([0.5, 0.0]))
    given: Tensor = head(torch.tensor([[3.0, 1.0]]))
    assert given.tolist() == [[5.5, -1.0]]
