"""export(): a torch model, with what the passes decided lying on it as data, becomes the directory that ships.

torch is imported when export() is called, so that `compress.exporter.lint` works without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError, require
from compress.exporter.card import Card
from compress.exporter.directory import appearing, describe, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from compress.data.preprocess import Preprocessor
    from compress.runtime.artefact import Artefact
    from compress.targets import Target
    from compress.tasks.base import Scores

__all__ = ["Card", "export"]


def export(
    model: nn.Module,
    example: Tensor | NDArray[np.float32],
    directory: str | Path,
    *,
    target: Target | str,
    preprocessor: Preprocessor | None = None,
    labels: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    lock: Mapping[str, Any] | None = None,
    scores: Scores | None = None,
    card: Card | None = None,
    verify_inputs: Sequence[NDArray[np.float32]] | None = None,
    force: bool = False,
) -> Artefact:
    """Write the artefact of `model` into `directory`, which appears all at once, and return it.

    example        one real input, float32 [1, 3, H, W]; the model maps [N, 3, H, W] to logits [N, classes].
    preprocessor   becomes preprocessor_config.json, if given.
    labels         of the classes, in order; with `config` they become config.json.
    lock           what decided the result: recipe, seed, versions, hashes of the data.
    card           what the model card says beside the numbers.
    verify_inputs  batches on which the file and the torch model are compared; without them, on `example`.
    force          replace a directory that is there.

    Raises ArtefactError for a directory that exists; ModelError for a model that ONNX cannot express, or labels that
    are not as many as its classes; ParityError if the file and the torch model are not the same function.
    """
    require("torch", "exporting a model", "torch")
    require("onnxscript", "exporting a model", "torch")
    import torch

    from compress import __version__, targets
    from compress.exporter.build import build
    from compress.exporter.parity import check_parity
    from compress.exporter.tidy import write
    from compress.runtime.artefact import MODEL, open_artefact
    from compress.runtime.session import open_session

    directory, card = Path(directory), card or Card()
    target = targets.load(target) if isinstance(target, str) else target
    example = torch.as_tensor(example)
    with appearing(directory, force) as partial:
        write(build(model, (example,), target), partial / MODEL, target, __version__)
        model_bytes = sum(file.stat().st_size for file in partial.iterdir())
        batches = verify_inputs if verify_inputs is not None else [example.cpu().numpy()]
        session = open_session(partial / MODEL)
        outputs = check_parity(model, session, batches, str(directory / MODEL), half=target.is_half).num_outputs
        write_json(partial / "config.json", _config(config or {}, labels, outputs))
        if preprocessor is not None:
            write_json(partial / "preprocessor_config.json", preprocessor.to_hugging_face())
        describe(partial, model, target, card, model_bytes, lock, scores)
    return open_artefact(directory)


def _config(config: Mapping[str, Any], labels: Sequence[str] | None, num_classes: int) -> dict[str, Any]:
    """config.json: the given keys, and the labels in the Hugging Face convention."""
    named = {"num_labels": num_classes}
    if not labels:
        return {**config, **named}
    if len(labels) != num_classes:
        raise ModelError(f"{len(labels)} labels were given, and the model has {num_classes} classes")
    by_index = dict(enumerate(labels))
    return {
        **config,
        **named,
        "id2label": {str(index): label for index, label in by_index.items()},
        "label2id": {label: index for index, label in by_index.items()},
    }
