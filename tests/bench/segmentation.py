"""How much text an artefact's trimmed tokenizer cuts as the float artefact's does.

    python tests/bench/segmentation.py runs/gemma-3-270m-float-*/artefact runs/gemma-3-270m-w4-european/artefact \\
        --dataset 'parquet:NTREX[700:1000]' --languages en fr de es it pt

Prints, for each language and for all, the share of the first tokenizer's tokens that the second one has at the same
place of the text, and of the texts that are cut alike throughout.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from compress.data.parallel import open_parallel
from compress.runtime.artefact import TOKENIZER


def tokens(encoding: Encoding) -> Counter[tuple[tuple[int, int], str]]:
    """Places and names of the tokens: several may stand for bytes of one letter."""
    return Counter(zip(encoding.offsets, encoding.tokens, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--languages", nargs="+", required=True)
    args = parser.parse_args()
    before, after = (Tokenizer.from_file(str(folder / TOKENIZER)) for folder in (args.before, args.after))
    text = open_parallel(args.dataset)
    totals: Counter[str] = Counter()

    def tell(name: str, found: Counter[str]) -> None:
        same, alike = found["same"] / found["tokens"], found["alike"] / found["texts"]
        print(f"{name}: {same:.3%} of {found['tokens']:,} tokens, {alike:.2%} of {found['texts']:,} texts")

    for code in args.languages:
        texts, found = text.texts(code), Counter[str]()
        for old, new in zip(
            *(each.encode_batch(texts, add_special_tokens=False) for each in (before, after)), strict=True
        ):
            found["same"] += (tokens(old) & tokens(new)).total()
            found["tokens"] += len(old.tokens)
            found["alike"] += old.tokens == new.tokens
            found["texts"] += 1
        tell(code, found)
        totals += found
    tell("all", totals)


if __name__ == "__main__":
    main()
