"""Tokens and scores are those of transformers' own generate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from compress.runtime.text import Decoding, beams, generation
from compress.runtime.text.choosing import Rules
from compress.runtime.text.generation import Line
from compress.runtime.text.pieces import Text
from compress.runtime.text.tensors import Ints, Logits

VOCABULARY = 50


class TorchRun:
    """Rows of a transformers model that reads everything again at each step."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]]) -> None:
        self.model, self.rows = model, [list(prompt) for prompt in prompts]
        self._read()

    def _read(self) -> None:
        with torch.no_grad():
            logits = [self.model(torch.tensor([row])).logits[0, -1].numpy() for row in self.rows]
        self.logits: Logits = np.stack(logits)

    def select(self, rows: Ints) -> None:
        self.rows = [list(self.rows[row]) for row in rows]
        self.logits = self.logits[rows]

    def advance(self, tokens: Ints) -> None:
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.append(token)
        self._read()


class Nothing:
    """A tokenizer that is never asked for a text that matters."""

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool) -> str:
        return " ".join(map(str, tokens))

    def id_to_token(self, token: int) -> str:
        return str(token)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes, tie_word_embeddings=False)).eval()
    model.lm_head.weight.data.mul_(40)
    return model


def written(model: Any, prompts: Sequence[Sequence[int]], decoding: Decoding, rules: Rules, **more: Any) -> list[Line]:
    lines = [Line(Text(Nothing()), decoding.max_new_tokens) for _ in prompts]
    run = TorchRun(model, prompts)
    if decoding.num_beams > 1:
        events = [*beams.search(run, lines, rules, decoding, **more)]
    else:
        events = [*generation.write(run, lines, rules, decoding)]
    assert sorted(number for number, _, is_done in events if is_done) == [*range(len(prompts))]
    return lines


def expected(model: Any, prompt: Sequence[int], **settings: Any) -> tuple[int, ...]:
    """What transformers writes, without end and padding."""
    ends = settings["eos_token_id"]
    generation = GenerationConfig(do_sample=False, pad_token_id=0, **settings)
    with torch.no_grad():
        mask = torch.ones((1, len(prompt)), dtype=torch.long)
        found = model.generate(torch.tensor([prompt]), attention_mask=mask, generation_config=generation)
    tokens = found[0, len(prompt) :].tolist()
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(tokens[:end])


PROMPTS = [[3, 5, 7], [9, 2], [11, 12, 13, 14, 15], [20], [33, 31]]


@pytest.mark.parametrize("number", [1, 12])
def test_greedy_is_that_of_transformers(model: Any, number: int) -> None:
    ends = [4, 17]
    lines = written(model, PROMPTS, Decoding(number), Rules(frozenset(ends)))
    for prompt, line in zip(PROMPTS, lines, strict=True):
        tokens = tuple(line.text.tokens)
        assert tokens == expected(model, prompt, max_new_tokens=number, eos_token_id=ends)
        assert line.finished == (len(tokens) < number)


@pytest.mark.parametrize(
    ("num_beams", "length_penalty", "early_stopping"),
    [(2, 1.0, False), (4, 1.0, False), (4, 0.0, False), (3, 2.0, False), (4, 1.0, True), (2, 2.0, "never")],
)
def test_beams_are_those_of_transformers(
    model: Any, num_beams: int, length_penalty: float, early_stopping: Any
) -> None:
    ends = [4, 17, 30, 31, 32]
    settings = {"num_beams": num_beams, "length_penalty": length_penalty}
    decoding = Decoding(12, **settings)  # type: ignore[arg-type]
    lines = written(model, PROMPTS, decoding, Rules(frozenset(ends)), early_stopping=early_stopping)
    for prompt, line in zip(PROMPTS, lines, strict=True):
        assert tuple(line.text.tokens) == expected(
            model, prompt, max_new_tokens=12, eos_token_id=ends, early_stopping=early_stopping, **settings
        )


def test_what_is_forced_and_suppressed_is_so_in_transformers(model: Any) -> None:
    ends, banned = [4], (8, 9, 10, 30)
    for num_beams in (1, 3):
        rules = Rules(frozenset(ends), banned, forced_last=4)
        lines = written(model, PROMPTS, Decoding(6, num_beams), rules)
        for prompt, line in zip(PROMPTS, lines, strict=True):
            assert tuple(line.text.tokens) == expected(
                model,
                prompt,
                max_new_tokens=6,
                eos_token_id=ends,
                num_beams=num_beams,
                suppress_tokens=list(banned),
                forced_eos_token_id=4,
            )
            assert len(line.text.tokens) < 6  # the end token was forced: it was cut
            assert line.finished == (len(line.text.tokens) < 5)
