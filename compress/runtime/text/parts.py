"""Of what a translator's bytes are: its body, its embedding and head, its tokenizer, its graphs, and all else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import ArtefactError

_EMBEDDINGS = {"Gather", "GatherBlockQuantized"}
_PRODUCTS = {
    "MatMul",
    "FusedMatMul",
    "Gemm",
    "MatMulNBits",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
}
_TOKENIZER_ENDS = (".spm", ".model", ".bpe", "merges.txt", "vocab.json", "vocab.txt")
_RELAYS = {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze"}


@dataclass(frozen=True)
class Parts:
    """Bytes of a directory; their sum is that of its files.

    body            weights and constants of all layers.
    embedding_head  weights that the tokens are looked up in, and those that make the logits; one, where they share it.
    tokenizer       files of the tokenizers.
    graph           operators, names and padding: what the model's files hold beside weights.
    other           all other files.
    """

    body: int
    embedding_head: int
    tokenizer: int
    graph: int
    other: int

    @property
    def model(self) -> int:
        """Bytes of the model without its tokenizer."""
        return self.body + self.embedding_head + self.graph


def parts_of(directory: Path) -> Parts:
    """The parts of the translator in `directory`.  Raises ArtefactError for a file that is no ONNX model."""
    files = {path.relative_to(directory).as_posix(): path.stat().st_size for path in _files(directory)}
    stored: dict[Any, int] = {}
    vocabulary: set[Any] = set()
    model_files: set[str] = set()
    for name in sorted(files):
        if name.endswith(".onnx"):
            graph = _Graph(directory, name)
            stored |= graph.stored
            vocabulary |= graph.vocabulary()
            model_files |= {name, *graph.locations}
    tokenizer = {name for name in files if "token" in name or name.endswith(_TOKENIZER_ENDS)} - model_files
    weights = sum(stored.values())
    embedding = sum(stored[key] for key in vocabulary)
    model = sum(files[name] for name in model_files if name in files)
    return Parts(
        body=weights - embedding,
        embedding_head=embedding,
        tokenizer=sum(files[name] for name in tokenizer),
        graph=model - weights,
        other=sum(size for name, size in files.items() if name not in model_files | tokenizer),
    )


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


class _Graph:
    """One file: what it stores, by where that lies, and who reads what; branches are read as if they were one graph."""

    def __init__(self, directory: Path, file: str) -> None:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        try:
            model = onnx.load(directory / file, load_external_data=False)
        except (DecodeError, OSError) as error:
            raise ArtefactError(f"{directory / file}: not an ONNX model: {error}") from error
        self.file = file
        self.stored: dict[Any, int] = {}
        self.locations: set[str] = set()
        self.places: dict[str, Any] = {}  # of a stored tensor, by its name
        self.nodes: list[Any] = []
        self.makers: dict[str, list[Any]] = {}  # more than one where branches use the same name
        self._take(model.graph, "")
        self.constants = set(self.places) | {""}
        for node in self.nodes:
            if not _branches(node) and all(name in self.constants for name in node.input):
                self.constants.update(node.output)

    def _take(self, graph: Any, path: str) -> None:
        for tensor in graph.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if entries:
                self.locations.add(entries["location"])
                place: Any = (entries["location"], entries.get("offset", "0"))
                size = int(entries["length"])
            else:
                place, size = (self.file, path, tensor.name), tensor.ByteSize()
            self.places[tensor.name] = place
            self.stored[place] = size
        for number, node in enumerate(graph.node):
            self.nodes.append(node)
            for name in node.output:
                self.makers.setdefault(name, []).append(node)
            for branch in _branches(node):
                self._take(branch, f"{path}/{number}/{branch.name}")

    def vocabulary(self) -> set[Any]:
        """Places of the weights that `input_ids` look up, and of those that the logits come from."""
        found = {
            place
            for node in self.nodes
            if node.op_type in _EMBEDDINGS and len(node.input) > 1 and self._is_input(node.input[1])
            for place in self._weights(node)
        }
        return found | self._head("logits")

    def _is_input(self, name: str) -> bool:
        """Whether a tensor is `input_ids`, perhaps in another type or shape."""
        while name != "input_ids":
            makers = self.makers.get(name, [])
            if len(makers) != 1 or makers[0].op_type not in _RELAYS:
                return False
            name = makers[0].input[0]
        return True

    def _head(self, name: str) -> set[Any]:
        """Places of the weights of the matrix products nearest to an output, whatever is added to it after them."""
        found: set[Any] = set()
        for node in self.makers.get(name, []):
            if _branches(node):
                position = list(node.output).index(name)
                for branch in _branches(node):
                    found |= self._head(branch.output[position].name)
            elif node.op_type in _PRODUCTS and self._weights(node):
                found |= self._weights(node)
            else:
                others = [given for given in node.input if given not in self.constants]
                for given in others if node.op_type == "Concat" else others[:1]:
                    found |= self._head(given)
        return found

    def _weights(self, node: Any) -> set[Any]:
        """Places of all that a node's constant inputs are made of."""
        found: set[Any] = set()
        names = [name for name in node.input if name in self.constants and name]
        while names:
            name = names.pop()
            if name in self.places:
                found.add(self.places[name])
            names += [given for maker in self.makers.get(name, []) for given in maker.input if given]
        return found


def _branches(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]
