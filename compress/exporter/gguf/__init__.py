"""write_gguf(): a decoder, with what the passes decided lying on it as data, becomes one file for llama.cpp."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import ModelError, require, unknown
from compress.passes.base import Progress, silent

if TYPE_CHECKING:
    from compress.exporter.gguf.file import StoredTensor, Value
    from compress.models.translators import LoadedTranslator

__all__ = ["WrittenGguf", "check_gguf", "write_gguf"]


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

    type   of the matrices: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1; or 'auto': weights that a pass quantized go,
           from their codes, to the type that holds their grid (see `compress.exporter.gguf.blocks`), others to F16.
           Norms and biases are F32.  What cannot be of the type is F16 (or F32), and the result's notes say so.
    name   of the model, for those who list files; what `loaded` says of it, unless given.
    force  replace a file that is there.

    Tensors are made ready some rows at a time, so that little memory is taken beyond the model's own.

    Raises ArtefactError for a file that exists or cannot be written; ModelError for a type that is not known, or a
    model that llama.cpp cannot run as it is (an encoder–decoder, a rotary scaling or tokenizer that GGUF has no words
    for); ParityError if the tokenizer, read back, cuts texts in another way; MissingExtra without torch or gguf.
    """
    path = Path(path)
    kind = check_gguf(loaded, path, type=type, force=force)
    from compress.exporter.gguf.file import write_file
    from compress.exporter.gguf.header import architecture_of, rope_factors
    from compress.exporter.gguf.tensors import Notes, tensors_of

    notes = Notes()
    tensors = tensors_of(loaded.model, architecture_of(loaded.model.config), kind, notes)
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


def check_gguf(loaded: LoadedTranslator, path: Path, *, type: str = "auto", force: bool = False) -> str:
    """Raise whatever `write_gguf` would raise of a model before its passes, and return the type as it is spelled."""
    require("torch", "writing GGUF files", "torch")
    require("gguf", "writing GGUF files", "torch")
    from compress.exporter.gguf.file import refuse_existing
    from compress.exporter.gguf.header import architecture_values
    from compress.exporter.gguf.tensors import AUTO, TYPES

    spelled = {each.lower(): each for each in (AUTO, *TYPES)}
    if type.lower() not in spelled:
        raise ModelError(unknown("GGUF type", type, (AUTO, *TYPES)))
    refuse_existing(path, force)
    architecture_values(loaded.model.config)
    return spelled[type.lower()]


def _header(loaded: LoadedTranslator, name: str | None, tensors: list[StoredTensor]) -> dict[str, Value]:
    """Every key, in the order in which they are written."""
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    from compress.exporter.gguf.header import architecture_of, architecture_values
    from compress.exporter.gguf.tokens import tokenizer_values

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
    values["general.file_type"] = int(LlamaFileType["ALL_F32" if most == "F32" else f"MOSTLY_{most}"])
    if any(kind.startswith("Q") for kind in sizes):
        values["general.quantization_version"] = GGML_QUANT_VERSION
    rows = loaded.model.get_input_embeddings().num_embeddings
    return values | architecture_values(config) | tokenizer_values(loaded, rows, architecture)


def _activation_notes(loaded: LoadedTranslator) -> tuple[str, ...]:
    from compress.models.dynamic import dynamic_inputs
    from compress.models.quantized import quantized_activations

    if quantized_activations(loaded.model) or any(True for _ in dynamic_inputs(loaded.model)):
        return ("the recipe's quantized activations are left out: llama.cpp rounds activations in its own way",)
    return ()
