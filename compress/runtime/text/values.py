"""What goes into a translator beside the text, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from compress.errors import DataError


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen.  The defaults are greedy: always the most likely one.

    max_new_tokens        after which a text is cut.
    num_beams             beams of a beam search; 1: none.
    temperature           0: greedy; above, tokens are drawn from softmax(logits / temperature).
    top_k                 draw from that many most likely tokens; 0: from all.
    top_p                 draw from the fewest tokens whose probabilities sum to that (nucleus sampling).
    seed                  of the draws: each text has a generator of its own, so that its neighbours do not matter.
    length_penalty        of a beam search: the sum of log p is divided by length ** length_penalty.
    no_repeat_ngram_size  no run of so many tokens is written twice in a text; 0: any may be.

    Raises DataError for values outside their range, and for beams with a temperature.
    """

    max_new_tokens: int = 256
    num_beams: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0

    def __post_init__(self) -> None:
        least = {
            "max_new_tokens": 1,
            "num_beams": 1,
            "temperature": 0,
            "top_k": 0,
            "seed": 0,
            "no_repeat_ngram_size": 0,
        }
        for name, limit in least.items():
            if not getattr(self, name) >= limit:
                raise DataError(f"{name} is {getattr(self, name)}: write {limit} or more")
        if not 0 < self.top_p <= 1:
            raise DataError(f"top_p is {self.top_p}: write a number above 0, at most 1")
        if self.num_beams > 1 and self.temperature > 0:
            raise DataError(
                f"num_beams is {self.num_beams} and temperature {self.temperature}: a beam search draws nothing: "
                "set one of them alone"
            )


@dataclass(frozen=True)
class Translation:
    """One translation.

    text      without what surrounds it: the separator, the stop text, white space at both ends.
    tokens    that the model chose, without the end token; those of a stop text are among them.
    finished  False: cut by max_new_tokens or by the end of the context.
    """

    text: str
    tokens: tuple[int, ...]
    finished: bool


@dataclass(frozen=True)
class Likelihood:
    """Of one reference, given its source.

    nats        sum of -log p of the reference's tokens, each after the true ones before it.
    num_tokens  over how many.
    """

    nats: float
    num_tokens: int
