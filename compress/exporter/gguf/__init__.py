"""write_gguf(): a decoder, with what the passes decided lying on it as data, becomes one file for llama.cpp."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ArtefactError, ModelError, require
from compress.passes.base import Progress, silent

if TYPE_CHECKING:
    from compress.exporter.gguf.file import StoredTensor, Value
    from compress.models.translators import LoadedTranslator

__all__ = ["AUTO", "TYPES", "WrittenGguf", "check_gguf", "check_type", "refuse_existing", "write_gguf"]

AUTO = "auto"  # what a pass quantized keeps its grid
_PLAIN = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")
TYPES = (*_PLAIN, "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "TQ2_0", "TQ1_0")
# What llama.cpp calls a file of a k-quant's: those whose name is not the type's.
_FILE_TYPES = {kind: f"{kind}_S" for kind in ("Q5_K", "Q4_K", "Q3_K")}


@dataclass(frozen=True)
class WrittenGguf:
    """What was written.

    types  how many tensors are of each type, the most bytes first.
    notes  a line for each reason for which tensors are of another type than was asked, or have rounded scales.
    """

    path: Path
    num_bytes: int
    types: dict[str, int]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For the terminal."""
        types = ", ".join(f"{count} {kind}" for kind, count in self.types.items())
        told = f"{self.path}: {self.num_bytes:,} bytes, {sum(self.types.values())} tensors: {types}"
        return [told, *(f"note: {note}" for note in self.notes)]

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"file": str(self.path), "bytes": self.num_bytes, "types": self.types, "notes": list(self.notes)}


def write_gguf(
    loaded: LoadedTranslator,
    path: str | Path,
    *,
    type: str = "auto",
    name: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> WrittenGguf:
    """Write `loaded` as a GGUF file, which appears all at once: the same bytes for the same model each time.

    type   of the matrices, one of TYPES; or 'auto': weights that a pass quantized go, from their codes, to the smallest
           type that holds their grid (see `compress.exporter.gguf.fitting`), others to F16.  Norms and biases are F32.
           TQ2_0 and TQ1_0 hold ternary codes alone: with them all other weights are what 'auto' makes of them.  What
           cannot be of the type becomes another, and the result's notes say which (`compress.exporter.gguf.choosing`).
    name   of the model, for those who list files; what `loaded` says of it, unless given.
    force  replace a file that is there.

    Where the model has dropped tokens, the tokenizer is that of the tokens that are left.

    Tensors are made ready some rows at a time, so that little memory is taken beyond the model's own.

    Raises ArtefactError for a file that exists or cannot be written; ModelError for a type that is not known, a ternary
    one for a model without ternary weights, or a model that llama.cpp cannot run as it is (an encoder–decoder, a rotary
    scaling or tokenizer that GGUF has no words for); ParityError if the tokenizer, read back, cuts texts in another
    way; MissingExtra without torch or gguf.
    """
    path = Path(path)
    kind = _checked(loaded, path, type, force)
    from compress.exporter.gguf.file import write_file
    from compress.exporter.gguf.header import architecture_of, rope_factors
    from compress.exporter.gguf.tensors import Notes, tensors_of
    from compress.exporter.gguf.ternary import TERNARY, TERNARY_BLOCK
    from compress.models.translators.trimmed import trimmed

    notes, loaded = Notes(), trimmed(loaded)
    tensors = tensors_of(loaded.model, architecture_of(loaded.model.config), kind, notes)
    if kind in TERNARY and all(tensor.kind != kind for tensor in tensors):
        wanted = f"{kind} holds ternary weights, in rows and groups that are multiples of {TERNARY_BLOCK}"
        raise ModelError(
            f"{wanted}, and this model has none: put quantize.ternary into its recipe, or take another type"
        )
    factors = rope_factors(loaded.model)
    if factors is not None:
        tensors.insert(0, factors)
    num_bytes = write_file(path, _header(loaded, name, tensors), tensors, progress)
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.kind] += tensor.num_bytes
    counts = Counter(tensor.kind for tensor in tensors)
    told = (*notes.lines(), *_activation_notes(loaded))
    return WrittenGguf(path, num_bytes, {each: counts[each] for each, _ in sizes.most_common()}, told)


def check_type(type: str) -> str:
    """The type as it is spelled.  Raises ModelError for one that is not known."""
    spelled = {each.lower(): each for each in (AUTO, *TYPES)}
    if type.lower() not in spelled:
        raise ModelError(f"unknown GGUF type '{type}': known: {', '.join((AUTO, *TYPES))}")
    return spelled[type.lower()]


def refuse_existing(path: Path, force: bool) -> None:
    """Raises ArtefactError for a file that is there, or a place that is none for a file."""
    if path.is_dir():
        raise ArtefactError(f"{path}: is a directory: name a file")
    if path.exists() and not force:
        raise ArtefactError(f"{path}: exists already: give another file, or --force (force=True) to replace it")


def check_gguf(loaded: LoadedTranslator, path: Path, *, type: str = "auto", force: bool = False) -> None:
    """Raise what `write_gguf` would raise, as far as it does not depend on what passes do: to be asked before them."""
    kind = _checked(loaded, path, type, force)
    from compress.exporter.gguf.header import architecture_of
    from compress.exporter.gguf.tensors import Notes, tensors_of

    _header(loaded, None, tensors_of(loaded.model, architecture_of(loaded.model.config), kind, Notes()))


def _checked(loaded: LoadedTranslator, path: Path, type: str, force: bool) -> str:
    """The type as it is spelled, if the file may be written and the model is a decoder."""
    require("torch", "writing GGUF files", "torch")
    require("gguf", "writing GGUF files", "torch")
    from compress.exporter.gguf.header import architecture_of

    kind = check_type(type)
    refuse_existing(path, force)
    architecture_of(loaded.model.config)
    return kind


def _header(loaded: LoadedTranslator, name: str | None, tensors: list[StoredTensor]) -> dict[str, Value]:
    """Every key, in the order in which they are written."""
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    from compress.exporter.gguf.header import architecture_of, architecture_values
    from compress.exporter.gguf.tokens import tokenizer_values
    from compress.models.vocabulary import vocabulary_size

    config = loaded.model.config
    architecture = architecture_of(config)
    values: dict[str, Value] = {"general.architecture": architecture, "general.type": "model"}
    values["general.name"] = name or loaded.description or architecture
    if loaded.description:
        values["general.description"] = loaded.description
    if loaded.licence:
        values["general.license"] = loaded.licence
        if loaded.licence.startswith("http"):
            values["general.license.link"] = loaded.licence
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if len(tensor.shape) > 1:
            sizes[tensor.kind] += tensor.num_bytes
    most = sizes.most_common(1)[0][0]
    values["general.file_type"] = int(
        LlamaFileType["ALL_F32" if most == "F32" else f"MOSTLY_{_FILE_TYPES.get(most, most)}"]
    )
    if any("Q" in kind for kind in sizes):
        values["general.quantization_version"] = GGML_QUANT_VERSION
    named = tokenizer_values(loaded, vocabulary_size(loaded.model), architecture)
    return values | architecture_values(config) | named


def _activation_notes(loaded: LoadedTranslator) -> tuple[str, ...]:
    from compress.models.activations import quantized_activations
    from compress.models.dynamic import dynamic_layers

    if quantized_activations(loaded.model) or dynamic_layers(loaded.model):
        return ("the recipe's quantized activations are left out: llama.cpp rounds activations in its own way",)
    return ()
