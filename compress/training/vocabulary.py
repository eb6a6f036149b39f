"""SeenTokens: a language model learns with the tokens of its examples, and a sample that stands for all others.

Of a small model with a large vocabulary the head is most of the work of a step. Its other rows enter the loss through
the sum of softmax alone, which a sample estimates (Jean et al. 2015, arXiv:1412.2007).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from compress.errors import ModelError
from compress.models.layers import parametrizations, raw_weight
from compress.training.examples import NOTHING, Batch, Examples
from compress.training.phase import Phase
from compress.training.teaching import Teach

SAMPLED = 8192  # tokens that stand for those that no example asks for


class FewTokens(nn.Module):
    """A head that gives the logits of some tokens: [N, T, in] → [N, T, tokens]."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class SeenExamples:
    """`Examples` whose labels are places among the tokens that a `FewTokens` gives."""

    def __init__(self, examples: Examples, places: Tensor) -> None:
        self.examples, self.places = examples, places

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        batch = self.examples.batch(rows, draw)
        asked = batch.labels != NOTHING
        return Batch(batch.inputs, torch.where(asked, self.places[batch.labels.clamp_min(0)], NOTHING))


class SeenTokens(Phase):
    """Until it is finished `model`, and who teaches it, give the logits of the tokens that `examples` ask for, and of
    `SAMPLED` others by `seed`, whose logits are raised by the logarithm of how many tokens each of them stands for.

    model     of transformers; its head, and the embedding that is tied to it, are not trained meanwhile.
    phases    of the training, among which teachers are found.
    examples  the same with labels that fit: what the loop is to be given.

    Raises ModelError for a head that is trained or that this cannot narrow, and for a teacher of another vocabulary.
    """

    def __init__(self, model: Any, phases: Sequence[Phase], examples: Examples, seed: int) -> None:
        super().__init__()
        taught = [phase for phase in phases if isinstance(phase, Teach)]
        teachers: list[Any] = [phase.teacher for phase in taught if isinstance(phase.teacher, nn.Module)]
        self._functions = [phase for phase in taught if not isinstance(phase.teacher, nn.Module)]
        size = _tokens(model)
        seen = _asked_for(examples)
        unseen = np.setdiff1d(np.arange(size), seen)
        few = np.sort(np.random.default_rng(seed).permutation(unseen)[:SAMPLED])
        raised = math.log(len(unseen) / len(few)) if len(few) else 0.0
        tokens = torch.from_numpy(np.concatenate([np.array(seen, np.int64), few]))
        bias = torch.cat([torch.zeros(len(seen)), torch.full((len(few),), raised)])
        places = torch.full((size,), NOTHING)
        places[tokens] = torch.arange(len(tokens))
        self.examples = SeenExamples(examples, places)
        self._models = [model, *teachers]
        self._heads = [each.get_output_embeddings() for each in self._models]
        self._biases = [getattr(each, "final_logits_bias", None) for each in self._models]
        for each in self._models:
            _check(each, size)
        for each in self._models:
            _narrow(each, tokens, bias)
        for phase in self._functions:
            phase.chosen = (tokens, bias)

    def held(self) -> list[nn.Parameter]:
        weight = raw_weight(self._heads[0])
        return [weight] if isinstance(weight, nn.Parameter) else []

    def finish(self) -> None:
        """Every head in its place again."""
        for model, head, bias in zip(self._models, self._heads, self._biases, strict=True):
            model.set_output_embeddings(head)
            if bias is not None:
                model.final_logits_bias = bias
        for phase in self._functions:
            phase.chosen = None


def _tokens(model: Any) -> int:
    """Rows of the head.  Raises ModelError for a model that has none."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    weight = None if head is None else raw_weight(head)
    if weight is None:
        raise ModelError(f"vocabulary: {type(model).__name__} has no head of one matrix: write 'all'")
    return len(weight)


def _asked_for(examples: Examples) -> list[int]:
    """All labels, rising."""
    found = {label for row in range(len(examples)) for label in examples.batch([row], None).labels.flatten().tolist()}
    return sorted(found - {NOTHING})


def _check(model: Any, size: int) -> None:
    if _tokens(model) != size:
        raise ModelError(f"vocabulary: the student has {size} tokens, a teacher {_tokens(model)}: write 'all'")
    head = model.get_output_embeddings()
    chain = parametrizations(head) if parametrize.is_parametrized(head, "weight") else ()
    if any(True for part in chain for _ in part.parameters()):
        raise ModelError("vocabulary: with 'seen' the head stays as it is, and here its grid is trained: write 'all'")
    if getattr(model.config, "final_logit_softcapping", None):
        raise ModelError("vocabulary: the model bends its logits (final_logit_softcapping): write 'all'")


def _narrow(model: Any, tokens: Tensor, raised: Tensor) -> None:
    head = model.get_output_embeddings()
    with torch.no_grad():
        weight = head.weight[tokens].clone()
        bias = raised.to(weight)
        if getattr(head, "bias", None) is not None:
            bias = bias + head.bias[tokens]
        whole = getattr(model, "final_logits_bias", None)
        if whole is not None:
            bias = bias + whole.flatten()[tokens]
            model.final_logits_bias = torch.zeros_like(whole[..., :1])
    model.set_output_embeddings(FewTokens(weight, bias))
