"""A translator that passes made smaller, as a directory that `path:DIRECTORY` opens, and transformers too."""

from __future__ import annotations

from pathlib import Path

from compress.errors import ArtefactError, ModelError
from compress.models.quantized import quantized_weights
from compress.models.translators.building import blank_model, quiet
from compress.models.translators.loaded import LoadedTranslator
from compress.models.translators.trimmed import trimmed


def save_translator(loaded: LoadedTranslator, directory: str | Path) -> None:
    """Write a float translator into `directory`: config, safetensors, tokenizer.

    Its config says what it is: fewer layers and heads, a narrower feed-forward part, fewer tokens.

    Raises ModelError for one that is quantized (export that), a Marian model, or a structure that the config cannot
    say; ArtefactError if there is a model already.
    """
    directory, loaded = Path(directory), trimmed(loaded)
    model = loaded.model
    if quantized_weights(model):
        raise ModelError(f"{directory}: the model is quantized, and only float models are saved so: save it before")
    if model.config.model_type == "marian":  # whose tokenizers are SentencePiece files, read in a way of their own
        raise ModelError(f"{directory}: a Marian model is not saved so: export it")
    built = {name: value.shape for name, value in blank_model(model.config, str(directory)).named_parameters()}
    own = {name: value.shape for name, value in model.named_parameters()}
    if built != own:
        other = min(name for name in {*built, *own} if built.get(name) != own.get(name))
        raise ModelError(f"{directory}: the model's config does not say the shape of {other}: it is not saved so")
    if (directory / "config.json").exists():
        raise ArtefactError(f"{directory}: holds a model already: name another directory")
    directory.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(directory)
    for name, content in loaded.files.items():
        (directory / name).write_bytes(content)
    (directory / "tokenizer.json").write_text(loaded.tokenizer.to_str(), encoding="utf-8", newline="\n")
